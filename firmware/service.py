"""Puts one nano-grid's controller together and runs it until it is told to stop."""

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from control.cycle import Decision
from control.records import Orders
from firmware.clock import SystemClock
from firmware.config import Site
from firmware.loop import Loop, Publisher
from firmware.notify import Notifier
from firmware.parameters import site_parameters
from firmware.ports import Ports
from firmware.publishers import BackgroundRecording, EventLog
from firmware.realtime import go_realtime
from firmware.wiring import build_buses, build_pins, build_sensor
from firmware.workers import Workers

log = logging.getLogger("nanogrid")
SUMMARY_S = 600.0


def no_orders() -> Orders:
    """What operators want while there is no way to tell."""
    return Orders()


class Service:
    """The controller of one site on this machine."""

    def __init__(self, site: Site) -> None:
        """Build everything; raises OSError when a recording cannot be written."""
        self._site = site
        clock = SystemClock()
        buses = build_buses(site, clock.monotonic)
        self.parameters = site_parameters(site)
        self._ports = Ports(site, buses, build_sensor(site), build_pins(site), clock)
        self._workers = Workers(site, self.parameters)
        self._publishers: list[Publisher] = [EventLog()]
        if site.recording.path:
            path = Path(site.recording.path)
            self._publishers.append(BackgroundRecording(path, self.parameters))
        self.loop = Loop(
            self.parameters, self._ports, self._workers, no_orders, self._publishers, clock
        )
        self._notifier = Notifier()
        self._started_s = time.monotonic()
        self._acted = False

    def run(self, stats: Path | None = None) -> None:
        """Run until SIGTERM or SIGINT; then give the plant back to its devices."""
        with _stop_signals() as stopping:
            problem = go_realtime(self._site.loop.realtime_priority)
            if problem:
                log.warning("realtime: %s", problem)
            try:
                self._ports.start()
                self._workers.start()
                self._notifier.send("READY=1")
                self.loop.run(stopping, self._feed)
            finally:
                self._notifier.send("STOPPING=1")
                self._workers.stop()
                self._ports.stop()
                for publisher in self._publishers:
                    publisher.close()
                self._notifier.close()
        self._summarise()
        if stats is not None:
            stats.write_text(json.dumps(self.loop.statistics(), indent=1) + "\n")

    def _feed(self, decision: Decision) -> None:
        """Feed the watchdog, last of all; say once when the first setpoints are out."""
        self._notifier.send("WATCHDOG=1")
        if not self._acted and decision.command.setpoints:
            self._acted = True
            elapsed_s = time.monotonic() - self._started_s
            log.info("first actuating cycle %.2f s after start", elapsed_s)

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
    """Yield a question that SIGTERM and SIGINT answer with yes."""
    stopped = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True

    old = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
