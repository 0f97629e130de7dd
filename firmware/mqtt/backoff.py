"""One connection after the other, and how long to wait before the next attempt."""

import random
import threading
import time
from collections.abc import Callable

from firmware.mqtt.session import LinkError

FIRST_S = 1.0  # doubles up to ...
LAST_S = 60.0
STEADY_S = 30.0  # a connection that has lasted so long was a good one


class Backoff:
    """Longer and longer, at random moments so that not all come back at once."""

    def __init__(self) -> None:
        self._wait_s = FIRST_S

    def next_s(self, lasted_s: float) -> float:
        """The wait after a connection, or an attempt at one, of `lasted_s`."""
        if lasted_s > STEADY_S:
            self._wait_s = FIRST_S
        wait_s = random.uniform(self._wait_s / 2, self._wait_s)
        self._wait_s = min(2 * self._wait_s, LAST_S)
        return wait_s


def keep_connected(
    stopping: threading.Event,
    connected: Callable[[], None],
    lost: Callable[[str], None],
    pause: Callable[[float], object],
) -> None:
    """Until it is to stop: `connected` is one connection from beginning to end, or an attempt."""
    backoff = Backoff()
    while not stopping.is_set():
        opened_s = time.monotonic()
        try:
            connected()
        except LinkError as error:
            lost(str(error))
        pause(backoff.next_s(time.monotonic() - opened_s))
