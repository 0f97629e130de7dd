"""What the store writes to disk in a day at its defaults; exit status 1: more than the bound.

A day of cycles of the example site is published in virtual time, each minute waited for, so that
every commit happens as it would in a day: 1440 minutes, with `--events` events an hour. Bytes are
what the kernel counts for this process (proc(5), `io`, write_bytes: pages handed to the file
system), on a real disk; the file system's journal and the card's own erase blocks come on top.

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
    Command,
    Event,
    Observed,
    Orders,
    Quality,
    Sample,
    Severity,
)
from control.state import Estimate, GeneratorState, Mode, State
from firmware.config import load_site
from firmware.config_tables import Store as Settings
from firmware.loop import Telemetry
from firmware.parameters import site_parameters
from firmware.store import Store

EXAMPLE = Path(__file__).parents[1] / "examples" / "site.toml"
BOUND_MB = 100.0
DAY_S = 86_400
UTC_S = 1_760_000_040.0
GENERATOR_CHANGES_S = 4 * 3600


def main() -> int:
    """Measure, print, return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("out/bench-store"))
    parser.add_argument("--period", type=float, default=1.0, help="of the loop, s")
    parser.add_argument("--events", type=float, default=4.0, help="per hour")
    options = parser.parse_args()
    path = options.folder / "state.db"
    for old in options.folder.glob("state.db*"):
        old.unlink()
    site = replace(site_parameters(load_site(EXAMPLE)), period_s=options.period)
    store = Store(Settings(path=str(path)), site)
    before, took_s, count = _written(), 0.0, 0
    for telemetry in day(options.period, options.events):
        start_s = time.perf_counter()
        store.publish(telemetry)
        took_s += time.perf_counter() - start_s
        count += 1
        while not store._queue.empty():
            time.sleep(0.0002)
    store.close()
    written_mb, size_mb = (_written() - before) / 1e6, path.stat().st_size / 1e6
    print(f"written in a day   {written_mb:8.1f} MB   bound {BOUND_MB:.0f} MB")
    print(f"file after it      {size_mb:8.2f} MB")
    print(f"loop's part        {1e6 * took_s / count:8.1f} us per cycle")
    return 0 if written_mb < BOUND_MB else 1


def day(period_s: float, events_per_h: float) -> Iterator[Telemetry]:
    """A day of cycles whose values all change."""
    sample = Sample(
        0, 0.0, 0.0, Observed(500.0, 0.1, Quality.GOOD, ""), None, (), (), (), (), None, 0, 0, 0, 0
    )
    cycles = int(DAY_S / period_s) + 1
    every = int(3600 / events_per_h / period_s) if events_per_h else cycles
    for number in range(cycles):
        t_s = number * period_s
        wave = 0.001 * (number % 997)
        run_since_s = t_s // GENERATOR_CHANGES_S * GENERATOR_CHANGES_S
        state = State(
            t_s=t_s,
            mode=Mode.AUTO,
            estimate=Estimate(
                pv_kw=2 + wave,
                wind_kw=wave,
                battery_kw=-1 + wave,
                generator_kw=wave,
                grid_kw=0.5 - wave,
                load_kw=1.5 + wave,
                soc_frac=0.5 + 0.1 * wave,
            ),
            generator=GeneratorState(
                run=run_since_s % (2 * GENERATOR_CHANGES_S) > 0, since_s=run_since_s
            ),
        )
        told = (Event(Severity.INFO, "mode", "auto: all devices answer"),) * (number % every == 0)
        seen = replace(sample, cycle=number, t_s=t_s, utc_s=UTC_S + t_s, temperature_degc=wave)
        yield Telemetry(state, seen, (), Advice(), Orders(), Decision(state, Command((), ()), told))


def _written() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


if __name__ == "__main__":
    sys.exit(main())
