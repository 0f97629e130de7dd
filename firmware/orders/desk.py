"""The desk: where commands come in, whoever sends them. A thread of its own does the work."""

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from control.records import Event, Orders
from control.site import SiteParameters
from firmware.clock import Clock
from firmware.config_operation import CommandSource
from firmware.loop import Telemetry
from firmware.orders.clerk import Clerk
from firmware.orders.clock_sync import clock_problem
from firmware.orders.journal import Disk, Journal
from firmware.orders.telling import Acknowledgement, Tell, Way
from firmware.store_restore import boot_id
from firmware.unexpected import SteadyThread

__all__ = ["Desk", "Way"]

log = logging.getLogger("nanogrid")

INBOX = 200  # commands that wait at most
CYCLES = 100  # that wait to be looked at
TURN_S = 0.5  # an order ends so late at most
CLOSE_S = 10.0


class Desk:
    """Takes commands from any thread and has the orders ready for the loop; a Publisher."""

    def __init__(
        self,
        site: SiteParameters,
        sources: Sequence[CommandSource],
        disk: Disk | None,
        clock: Clock,
        problem: Callable[[float], str] = clock_problem,
    ) -> None:
        """Read what stood before the restart, and start the thread; `disk` is the store."""
        self._clerk = Clerk(site, sources, Journal(disk), clock, boot_id(), problem)
        self._inbox: queue.Queue[tuple[bytes, Way, Tell]] = queue.Queue(INBOX)
        self._cycles: deque[Telemetry] = deque(maxlen=CYCLES)
        self._dropped = 0
        self._wake = threading.Event()
        self._stopping = False
        self._thread = SteadyThread("commands", self._run)
        self._thread.start()

    # --- from any thread; none of these waits --------------------------------------------------

    def submit(self, raw: bytes, way: Way, tell: Callable[[dict[str, Any]], None]) -> None:
        """Take a command; `tell` hears each acknowledgement, in the desk's thread.

        With too many waiting it is dropped, which the log tells.
        """
        try:
            self._inbox.put_nowait((raw, way, tell))
        except queue.Full:
            self._dropped += 1
        self._wake.set()

    def submit_from_mqtt(self, raw: bytes, retained: bool, tell: Tell) -> None:
        """`submit` for the link to the broker."""
        self.submit(raw, Way("mqtt", retained), tell)

    def orders(self) -> Orders:
        """What stands now."""
        return self._clerk.orders

    def notices(self) -> tuple[Event, ...]:
        """What has been decided about commands since the last call, for the next cycle to tell."""
        return self._clerk.notices.take()

    def acknowledgement(self, id: str) -> Acknowledgement | None:
        """The newest acknowledgement of a command, None for one that did not count."""
        return self._clerk.acknowledgement(id)

    def tell_of_restored(self, tell: Tell) -> None:
        """Who hears of commands that came by MQTT before the restart."""
        self._clerk.tell_of_restored = tell

    def publish(self, telemetry: Telemetry) -> None:
        """Take one cycle."""
        self._cycles.append(telemetry)
        if self._clerk.is_watching:
            self._wake.set()

    def close(self) -> None:
        """Write what is left; a disk that hangs is not waited for."""
        self._stopping = True
        self._wake.set()
        self._thread.join(CLOSE_S)

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(TURN_S)
            self._wake.clear()
            self._turn()
        self._turn()
        self._clerk.close()

    def _turn(self) -> None:
        """Everything that waits; commands see the newest cycle."""
        while self._cycles:
            self._clerk.look(self._cycles.popleft())
        self._clerk.tick()
        for _ in range(self._inbox.qsize()):
            self._clerk.take(*self._inbox.get_nowait())
        if self._dropped:
            log.warning("commands: %d dropped: more than %d waited", self._dropped, INBOX)
            self._dropped = 0
