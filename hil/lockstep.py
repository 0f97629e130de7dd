"""A run in virtual time: the loop, the buses and the plant take turns; nobody waits for a clock."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from control.records import Orders
from firmware.config import Site, site_from_dict
from firmware.loop import Loop, Publisher, Telemetry, Trader
from firmware.parameters import site_parameters
from firmware.ports import Ports
from firmware.publishers import DirectRecording
from firmware.wiring import build_buses, build_pins, build_sensor
from firmware.workers import Workers
from hil import fake_pi
from hil.observer import Observer
from hil.world import World

START_T_S = 1200.0  # monotonic time of the first cycle: any whole minute, always the same

Progress = Callable[[float, Observer], None]  # seconds simulated


class VirtualClock:
    """The world's time."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment before the run."""
        return START_T_S + self._world.elapsed_s

    def utc(self) -> float:
        """The world's UTC."""
        return self._world.utc_s()

    def sleep(self, seconds: float) -> None:
        """Let the world go on."""
        self._world.advance(self._world.elapsed_s + seconds)


class _Tracing:
    """Hands each cycle to the observer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def publish(self, telemetry: Telemetry) -> None:
        self._observer.controller.add(
            telemetry.sample, telemetry.advice, telemetry.decision, telemetry.notices
        )

    def close(self) -> None:
        pass


def run_lockstep(
    world: World,
    observer: Observer,
    recording: Path,
    history: Path | None,
    speed: float | None,
    progress: Progress,
) -> Loop:
    """Run the scenario to its end; `speed` holds virtual time to that multiple of real time."""
    fake_pi.install(world.pi)
    try:
        with lockstep_loop(world, observer, recording, history) as loop:
            period_s = world.loaded.site.loop.period_s
            _cycles(world, loop, period_s, speed, lambda s: progress(s, observer))
    finally:
        fake_pi.uninstall()
    return loop


@contextmanager
def lockstep_loop(
    world: World,
    observer: Observer,
    recording: Path,
    history: Path | None,
    trader: Trader | None = None,
) -> Iterator[Loop]:
    """The house's control loop in the world's time, with its planning process; nothing steps it."""
    site = _site(world, history)
    parameters = site_parameters(site)
    clock = VirtualClock(world)
    ports = Ports(
        site,
        build_buses(site, clock.monotonic),
        build_sensor(site),
        build_pins(site),
        clock,
        lockstep=True,
    )
    iterations = world.loaded.scenario.scenario.plan_iterations
    workers = Workers(site, parameters, iterations=iterations)
    recorder = DirectRecording(recording, parameters)
    publishers: list[Publisher] = [recorder, _Tracing(observer)]
    try:
        ports.start()
        workers.start()
        yield Loop(parameters, ports, workers, Orders, publishers, clock, workers.notices, trader)
    finally:
        workers.stop()
        ports.stop()
        recorder.close()


def _cycles(
    world: World,
    loop: Loop,
    period_s: float,
    speed: float | None,
    progress: Callable[[float], None],
) -> None:
    end_s = world.loaded.scenario.scenario.duration_h * 3600.0
    started = time.monotonic()
    count = 0
    while world.elapsed_s < end_s - 1e-6:
        loop.step()
        count += 1
        world.advance(min(end_s, count * period_s))
        progress(world.elapsed_s)
        if speed is not None:
            ahead_s = world.elapsed_s / speed - (time.monotonic() - started)
            if ahead_s > 0:
                time.sleep(ahead_s)


def _site(world: World, history: Path | None) -> Site:
    table = dict(world.site())
    if history is not None:
        table["forecast"] = {**table.get("forecast", {}), "history": str(history)}
    return site_from_dict(table, str(world.loaded.site_path))
