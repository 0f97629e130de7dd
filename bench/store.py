"""What is written to disk in a day at the defaults; exit status 1: more than the bound.

A day of cycles is published in virtual time to the real store, and each batch waited for, so that
every commit happens as it would in a day. Events, `--events` an hour, also go through the MQTT
outbox, whose broker is away for the second half of every hour. Bytes are what the kernel counts for
this process (proc(5), `io`, write_bytes: pages handed to the file system), on a real disk; the file
system's journal and the card's own erase blocks come on top. A commit is one fsync, and two more
when SQLite takes its log over into the file. The recording, off by default, is measured after it.

    python -m bench.store [--folder out/bench-store] [--period 1.0] [--events 4]
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from control.cycle import Decision
from control.records import (
    Advice,
    BatteryMeasurement,
    Command,
    Event,
    Explanation,
    GridMeasurement,
    InverterMeasurement,
    Observed,
    Orders,
    Quality,
    Quantity,
    Sample,
    Setpoint,
    Severity,
)
from control.site import SiteParameters
from control.state import Estimate, GeneratorState, Mode, State
from firmware.config import load_site
from firmware.config_tables import Recording
from firmware.config_tables import Store as Settings
from firmware.loop import Telemetry
from firmware.mqtt.outbox import Outbox
from firmware.parameters import site_parameters
from firmware.publishers import BackgroundRecording
from firmware.store import Store

EXAMPLE = Path(__file__).parents[1] / "examples" / "site.toml"
BOUND_MB = 100.0
DAY_S = 86_400
UTC_S = 1_760_000_040.0
GENERATOR_CHANGES_S = 4 * 3600
HOUR_S = 3600.0


def main() -> int:
    """Measure, print, return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("out/bench-store"))
    parser.add_argument("--period", type=float, default=1.0, help="of the loop, s")
    parser.add_argument("--events", type=float, default=4.0, help="per hour")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for old in options.folder.glob("*"):
        old.unlink()
    site = replace(site_parameters(load_site(EXAMPLE)), period_s=options.period)
    cycles = list(day(options.period, options.events))
    written_mb = measure_store(options.folder / "state.db", site, cycles)
    recorded_mb = measure_recording(options.folder / "cycles.jsonl.gz", site, cycles)
    print(f"recording, if on   {recorded_mb:8.1f} MB   [recording] path; off by default")
    print(f"written in a day   {written_mb:8.1f} MB   bound {BOUND_MB:.0f} MB")
    return 0 if written_mb < BOUND_MB else 1


def measure_store(path: Path, site: SiteParameters, cycles: list[Telemetry]) -> float:
    """MB that store and outbox write for these cycles; prints what else was seen."""
    before_mb, took_s = _written_mb(), 0.0
    store = Store(Settings(path=str(path)), site)
    commits = _counted(store)
    outbox = Outbox(store, limit=1000, now_s=0.0)
    for telemetry in cycles:
        start_s = time.perf_counter()
        store.publish(telemetry)
        took_s += time.perf_counter() - start_s
        _mail(outbox, telemetry)
        while not store._queue.empty():
            time.sleep(0.0002)
    outbox.close(5.0)
    store.close()
    written_mb = _written_mb() - before_mb
    print(f"state.db           {written_mb:8.1f} MB   with the MQTT outbox")
    print(f"commits            {len(commits):8d}")
    print(f"file after it      {path.stat().st_size / 1e6:8.2f} MB")
    print(f"loop's part        {1e6 * took_s / len(cycles):8.1f} us per cycle")
    return written_mb


def measure_recording(path: Path, site: SiteParameters, cycles: list[Telemetry]) -> float:
    """MB that a recording of these cycles writes."""
    before_mb = _written_mb()
    recording = BackgroundRecording(path, site, 1e6 * Recording().max_mb)
    for telemetry in cycles:
        recording.publish(telemetry)
        while recording._queue.qsize() > 100:
            time.sleep(0.001)
    recording.close()
    return _written_mb() - before_mb


def _counted(store: Store) -> list[int]:
    """A list that grows with every commit of the store."""
    commits: list[int] = []

    def trace(statement: str) -> None:
        if statement == "COMMIT":
            commits.append(1)

    store._writer._open().set_trace_callback(trace)
    return commits


def _mail(outbox: Outbox, telemetry: Telemetry) -> None:
    """What the MQTT link does with a cycle's events; the broker is away half of the time."""
    now_s = telemetry.sample.t_s
    connected = now_s % HOUR_S < 0.5 * HOUR_S
    for event in telemetry.decision.events:
        outbox.add("ng/1/site/event", f"{event.key}: {event.text}" + 150 * " ", now_s)
    outbox.work(now_s, connected=connected)
    for message in outbox.next(now_s) if connected else ():
        outbox.acknowledged(message)


def day(period_s: float, events_per_h: float) -> Iterator[Telemetry]:
    """A day of cycles whose values all change."""
    cycles = int(DAY_S / period_s) + 1
    every = max(1, int(3600 / events_per_h / period_s)) if events_per_h else cycles
    for number in range(cycles):
        t_s = number * period_s
        wave = 0.001 * (number % 997)
        state = _state(t_s, wave)
        told = (Event(Severity.INFO, "mode", "auto: all devices answer"),) * (number % every == 0)
        setpoint = Setpoint("battery", Quantity.POWER_KW, -1 + wave, 30.0)
        why = Explanation("battery", Quantity.POWER_KW, "plan", "plan 12:15", -1 + wave)
        decision = Decision(state, Command((setpoint,), (why,)), told)
        yield Telemetry(state, _sample(number, t_s, wave), (), Advice(), Orders(), decision)


def _state(t_s: float, wave: float) -> State:
    run_since_s = t_s // GENERATOR_CHANGES_S * GENERATOR_CHANGES_S
    plant = Estimate(
        pv_kw=2 + wave,
        wind_kw=wave,
        battery_kw=-1 + wave,
        generator_kw=wave,
        grid_kw=0.5 - wave,
        load_kw=1.5 + wave,
        soc_frac=0.5 + 0.1 * wave,
    )
    run = run_since_s % (2 * GENERATOR_CHANGES_S) > 0
    generator = GeneratorState(run=run, since_s=run_since_s)
    return State(t_s=t_s, mode=Mode.AUTO, estimate=plant, generator=generator)


def _sample(number: int, t_s: float, wave: float) -> Sample:
    def good(value: object) -> Observed[object]:
        return Observed(value, 0.1, Quality.GOOD, "")

    return Sample(
        cycle=number,
        t_s=t_s,
        utc_s=UTC_S + t_s,
        irradiance_w_m2=good(500.0 + wave),  # type: ignore[arg-type]
        emergency_stop=None,
        pv=(good(InverterMeasurement(2 + wave, 5.0, t_s / 1800)),),  # type: ignore[arg-type]
        wind=(),
        batteries=(good(BatteryMeasurement(-1 + wave, 0.5, 4.0, 4.0)),),  # type: ignore[arg-type]
        generators=(),
        grid=good(GridMeasurement(0.5 - wave, 230 + wave, 50.0, t_s, 7.0)),  # type: ignore[arg-type]
        sun_elevation_deg=wave,
        hour_local=t_s / 3600 % 24,
        price_buy_per_kwh=0.3,
        price_sell_per_kwh=0.06,
        temperature_degc=wave,
    )


def _written_mb() -> float:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"]) / 1e6


if __name__ == "__main__":
    sys.exit(main())
