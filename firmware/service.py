"""Puts one nano-grid's controller together and runs it until it is told to stop."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from control.cycle import Decision
from control.records import Event
from firmware.clock import SystemClock, process_age_s
from firmware.config import Site
from firmware.energy_tail import EnergyTail
from firmware.local_commands import LocalCommands
from firmware.local_server import LocalServer, Snapshot, StatusAnswer
from firmware.loop import Loop, Publisher, Telemetry
from firmware.notify import Notifier, ready
from firmware.orders.desk import Desk
from firmware.parameters import site_parameters
from firmware.ports import Ports
from firmware.publishers import BackgroundRecording, EventLog, Sheltered
from firmware.realtime import go_realtime, raise_other_threads
from firmware.recording import own_version
from firmware.status import Machine, Moment, status
from firmware.store import Store
from firmware.unexpected import failures
from firmware.web.servers import build_servers
from firmware.wiring import build_buses, build_pins, build_sensor
from firmware.workers import Workers

if TYPE_CHECKING:
    from firmware.mqtt.link import Link
    from firmware.trader_link import TraderLink

log = logging.getLogger("nanogrid")
VERSION = own_version()


class Service:
    """The controller of one site on this machine."""

    def __init__(self, site: Site, record: Path | None = None) -> None:
        """Build everything; raises OSError when `record` cannot be written.

        The recording that the site file asks for is not worth going without control.
        """
        self._site = site
        clock = SystemClock()
        buses = build_buses(site, clock.monotonic)
        self.parameters = site_parameters(site)
        self._ports = Ports(site, buses, build_sensor(site), build_pins(site), clock)
        self._workers = Workers(site, self.parameters)
        self._publishers: list[Publisher] = [EventLog()]
        if record is not None:
            self._publishers.append(BackgroundRecording(record, self.parameters))
        elif site.recording.path:
            self._record_if_possible(Path(site.recording.path), 1e6 * site.recording.max_mb)
        self._trader = self._trader_link() if site.trading.enabled else None
        self._store = store = self._state_store() if site.store.path else None
        self._desk = Desk(self.parameters, site.commands.source, store, clock)
        self.loop = Loop(
            self.parameters,
            self._ports,
            self._workers,
            self._desk.orders,
            [Sheltered(self._publishers)],
            clock,
            self._notices,
            self._trader,
        )
        if store is not None:
            self.loop.state = store.state(clock.monotonic(), clock.utc())
            self._publishers.append(store)
        self._link = self._mqtt_link(store) if site.mqtt.host else None
        self._publishers.append(self._desk)
        self._local = self._local_server(clock) if site.local.socket else None
        self._servers = build_servers(
            site, self.parameters, self._status, self.loop.timing, clock, self._publishers
        )
        self._notifier = Notifier()
        self._faults: tuple[str, ...] = ()
        self._first_act_s: float | None = None  # after the start of the process

    def run(self) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP, or an error; then the plant is its devices' own."""
        with _stop_signals() as stopping, ExitStack() as at_end:  # at the end: last comes first
            at_end.callback(Sheltered(self._publishers).close)
            at_end.callback(self._notifier.close)
            if self._local is not None:
                at_end.callback(self._local.stop)
            for server in self._servers:
                at_end.callback(server.stop)
            at_end.callback(self._workers.stop)
            if self._trader is not None:
                at_end.callback(self._trader.stop)
            at_end.callback(self._ports.stop)
            at_end.callback(self._notifier.send, "STOPPING=1")
            problem = go_realtime(self._site.loop.realtime_priority)
            if problem:
                log.warning("realtime: %s", problem)
            self._ports.start()
            self._workers.start()
            if self._trader is not None:
                self._trader.start()
            if self._link is not None:
                self._link.start()
            if self._local is not None:
                self._local.start()
            for server in self._servers:
                server.start()
            raise_other_threads(self._site.loop.realtime_priority)
            self._notifier.send(ready(self.parameters.period_s))
            self.loop.run(stopping, self._feed)
        self._summarise()

    def statistics(self) -> dict[str, Any]:
        """The loop's statistics, and how long after the start of the process it acted first."""
        return {**self.loop.statistics(), "first_act_s": self._first_act_s}

    def _notices(self) -> tuple[Event, ...]:
        """What is to be told beside what the cycles decide."""
        trades = self._trader.notices() if self._trader is not None else ()
        return (*self._desk.notices(), *self._workers.notices(), *trades)

    def _trader_link(self) -> "TraderLink":
        from firmware.trader_link import TraderLink  # houses that do not trade need not carry it

        return TraderLink(self._site)

    def _state_store(self) -> Store:
        """The store, with energy kept beside the socket: as a rule on a memory file system."""
        socket = self._site.local.socket
        tail = EnergyTail(Path(socket).with_suffix(".energy")) if socket else None
        return Store(self._site.store, self.parameters, tail)

    def _record_if_possible(self, path: Path, max_bytes: float) -> None:
        try:
            self._publishers.append(BackgroundRecording(path, self.parameters, max_bytes))
        except OSError as error:
            log.error("no recording: %s", error)

    def _local_server(self, clock: SystemClock) -> LocalServer | None:
        """The local interface; what keeps it from working is not worth going without control."""
        snapshot, path = Snapshot(), Path(self._site.local.socket)
        answer = StatusAnswer(snapshot, self._status, clock.monotonic)
        try:
            server = LocalServer(path, LocalCommands(self._desk, answer, clock.utc))
        except OSError as error:
            log.error("no local interface: %s: %s", path, error.strerror or error)
            return None
        self._publishers.append(snapshot)
        return server

    def _mqtt_link(self, store: Store | None) -> "Link":
        """The link to the broker, which has the last word: it closes after who tells it."""
        from firmware.mqtt.link import Link  # 2 MB that others need not carry

        link = Link(self._site, VERSION, self._status, self._desk.submit_from_mqtt, store)
        self._desk.tell_of_restored(link.tell)
        self._publishers.append(link)
        return link

    def _status(self, telemetry: Telemetry) -> dict[str, Any]:
        decision = telemetry.decision
        moment = Moment(
            telemetry.sample,
            telemetry.applied,
            telemetry.advice,
            decision.state,
            decision.command,
            telemetry.orders,
            telemetry.neighbours,
        )
        machine = Machine(
            self._ports.images,
            self.loop.statistics(),
            self._ports.faults,
            self._servers,
            asdict(self._link.status) if self._link else None,
            self._store.problem if self._store else None,
            failures(),
        )
        return status(self._site.site.name, VERSION, self.parameters, moment, machine)

    def _feed(self, decision: Decision) -> None:
        """Feed the watchdog, then say what is new: faults of the pins, the first setpoints."""
        self._notifier.send("WATCHDOG=1")
        if self._ports.faults != self._faults:
            self._faults = self._ports.faults
            log.warning("pins: %s", "; ".join(self._faults) or "work again")
        if self._first_act_s is None and decision.command.setpoints:
            self._first_act_s = process_age_s()
            log.info("first actuating cycle %.2f s after start", self._first_act_s)

    def _summarise(self) -> None:
        timing = self.loop.timing
        log.info(
            "stopped after %d cycles, %d missed; lateness p50 %.3f ms, p99 %.3f ms, max %.3f ms",
            timing.cycles,
            timing.missed,
            1e3 * timing.lateness.quantile_s(0.5),
            1e3 * timing.lateness.quantile_s(0.99),
            1e3 * timing.lateness.max_s,
        )


@contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """Yield a question that SIGTERM, SIGINT and SIGHUP (unless ignored: nohup) answer with yes.

    They are ignored afterwards: the process is about to end, and has been told.
    """
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, stop)
    try:
        yield lambda: stopped
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
