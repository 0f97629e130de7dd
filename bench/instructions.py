"""What a piece of work costs in machine instructions, and what that may mean on a Raspberry Pi.

Run as `python -m bench.instructions [NAME]...` (needs valgrind). Each piece is run once and three
times in processes of their own under callgrind; half the difference is what one costs, without the
interpreter, the imports and what only the first one pays. numpy is told to leave the wide vector
units alone, so that 128 bits are handled at once, as a Pi's cores do. Seconds on a Pi are an
**estimate**: instructions divided by the rates below, which are typical, not measured.
"""

import functools
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench import dispatch_instances
from control.dispatch_fleet import Fleet
from control.dispatch_instance import Instance
from control.planning import plan
from control.planning_fleet import plan_fleet
from models.forecaster import Forecaster
from models.history import DAY_S, History, Target

ONCE, MORE = 1, 3
RATES = {"Pi 4": (1.0e9, 1.5e9), "Pi 5": (2.2e9, 3.5e9)}  # instructions in a second, from - to
NARROW = {
    "NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3",
    "OPENBLAS_CORETYPE": "Nehalem",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
ISLAND = 11  # of the generated instances: quarters of an hour, battery and diesel, no grid
FLEET = 1
QUARTERS = 96
LEARNT_DAYS = 9  # of history, before something is counted
ITERATIONS = 6  # of the planner: by then a day is within some 0.01 % of its best cost


island = functools.cache(lambda: dispatch_instances.instance(ISLAND))
fleet = functools.cache(lambda: dispatch_instances.fleet(FLEET))


def plan_day() -> None:
    """A day of an island, as the service plans it."""
    plan(Instance.from_dict(island()), iterations=ITERATIONS)


def plan_first() -> None:
    """The first valid plan of that day, from its file's content on."""
    plan(Instance.from_dict(island()), iterations=0)


def plan_two_and_two() -> None:
    """A day of two batteries and two generators, down to the first plan that nothing improves."""
    plan_fleet(Fleet.from_dict(fleet()), iterations=ITERATIONS)


@functools.cache
def forecaster(target: Target, learning: bool) -> Forecaster:
    """One that has looked at its past; what that costs is the first call's."""
    place, rated_kw = (37.5, -2.0), 6.0 if target == "pv" else None
    made = Forecaster(target, *place, rated_kw, learning=learning)
    made.forecast(past(target, LEARNT_DAYS), LEARNT_DAYS * DAY_S, QUARTERS)
    return made


def past(target: Target, days: int) -> History:
    """A quantity that differs from day to day, from 1970 on."""
    rng = np.random.default_rng(0)
    clock = np.arange(days * QUARTERS) % QUARTERS
    sun = np.maximum(0.0, np.sin(2.0 * np.pi * clock / QUARTERS - 1.5))
    shape = 4.0 * sun if target == "pv" else 0.4 + sun**2 + 0.3 * (clock % 8 == 0)
    return History(0, DAY_S // QUARTERS, shape * rng.uniform(0.4, 1.0, 400)[:days].repeat(QUARTERS))


def forecast_pv() -> None:
    """One forecast of PV, 24 h ahead: features and network."""
    forecaster("pv", False).forecast(past("pv", LEARNT_DAYS), LEARNT_DAYS * DAY_S, QUARTERS)


def forecast_load() -> None:
    """One forecast of load, 24 h ahead: features and network."""
    forecaster("load", False).forecast(past("load", LEARNT_DAYS), LEARNT_DAYS * DAY_S, QUARTERS)


nights = itertools.count(LEARNT_DAYS + 1)


def learn_night() -> None:
    """A night's learning of load, with the first forecast after it."""
    days = next(nights)
    forecaster("load", True).forecast(past("load", days), days * DAY_S, QUARTERS)


WORK: dict[str, Callable[[], None]] = {
    "plan-day": plan_day,
    "plan-first": plan_first,
    "plan-fleet": plan_two_and_two,
    "forecast-pv": forecast_pv,
    "forecast-load": forecast_load,
    "learn-night": learn_night,
}


def instructions(name: str, times: int) -> int:
    """Instructions of a process that does the work so many times; raises ClickException."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    command += ["-W", "ignore", "-m", "bench.instructions", "--only-run", str(times), name]
    try:
        done = subprocess.run(
            command, env=os.environ | NARROW, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise click.ClickException("valgrind is missing (apt-get install valgrind)") from None
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise click.ClickException(f"{name}: valgrind failed: {done.stderr[-500:]}")
    return int(found[1])


def cost(name: str) -> float:
    """Instructions of one piece of work."""
    return (instructions(name, MORE) - instructions(name, ONCE)) / (MORE - ONCE)


def seconds(count: float, rates: tuple[float, float]) -> str:
    """From - to."""
    return f"{count / rates[1]:.3f} to {count / rates[0]:.3f}"


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(WORK)))
@click.option("--only-run", "times", type=click.IntRange(1), help="Do the work so often, no more.")
@click.option("--json", "as_json", is_flag=True, help="Counts as JSON.")
def main(names: tuple[str, ...], times: int | None, as_json: bool) -> None:
    """Count the instructions of NAMES (default: all)."""
    chosen = names or tuple(WORK)
    if times is not None:
        for name in chosen:
            for _ in range(times):
                WORK[name]()
        return
    counts = {name: cost(name) for name in chosen}
    if as_json:
        click.echo(json.dumps(counts))
        return
    estimates = [f"{pi}, s (estimate)" for pi in RATES]
    table = Table("work", "what", "instructions", *estimates)
    for name, count in counts.items():
        found = [seconds(count, rates) for rates in RATES.values()]
        what = (WORK[name].__doc__ or "").rstrip(".")
        table.add_row(name, what, f"{count / 1e6:.1f}e6", *found)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
