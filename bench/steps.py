"""How fast the battery follows the load between two plans, and that it does not hunt.

Run as `python -m bench.steps [-o PICTURE.svg]`: `hil/scenarios/steps.toml` through the real loop in
virtual time, a cycle per second, over Modbus, against devices with delays of their own. A kettle of
2 kW is switched on and off, then something smaller in a hurry. Per switch: the cycles until the
battery has made nine tenths of its way, how far it goes beyond, the cycles until what is left to
the grid stays within 0.1 kW of where it was, and how often the setpoint turns round.
"""

import itertools
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from bench.step_picture import draw
from hil.inputs import write_history
from hil.lockstep import run_lockstep
from hil.observer import Observer
from hil.plant import PlantState
from hil.scenario import LoadedScenario
from hil.world import World

Floats = NDArray[np.float64]
SCENARIO = Path(__file__).parents[1] / "hil" / "scenarios" / "steps.toml"
MOVED_FRAC = 0.9
SETTLED_KW = 0.1
SWITCH_KW = 0.2  # a smaller jump of the load is none
TURN_KW = 0.02  # a smaller move of the setpoint is none
CYCLE_S = 1.0


@dataclass(frozen=True)
class Trace:
    """The plant once a second, kW."""

    load_kw: Floats
    battery_kw: Floats
    setpoint_kw: Floats
    grid_kw: Floats


@dataclass(frozen=True)
class Response:
    """How the battery answered one switch."""

    at_s: float
    step_kw: float
    rise: int  # cycles to nine tenths of its way
    overshoot_kw: float
    settling: int  # cycles until the grid stays where it was
    turns: int  # of the setpoint


def trace(path: Path = SCENARIO) -> Trace:
    """Run the scenario."""
    loaded = LoadedScenario(path)
    world = World(loaded, loaded.scenario.scenario.start_utc_s)
    rows: list[tuple[float, float, float, float]] = []

    def watch(state: PlantState, _utc_s: float, _dt_s: float) -> None:
        battery = state.battery
        assert battery is not None
        setpoint_kw = battery.power_kw if battery.setpoint_kw is None else battery.setpoint_kw
        rows.append((state.load_kw, battery.power_kw, setpoint_kw, state.grid_kw))

    with tempfile.TemporaryDirectory() as folder:
        try:
            world.watchers.append(watch)
            history = Path(folder) / "history.csv"
            write_history(
                history, loaded, world.parameters.pv, world.weather, world.load, world.start_utc_s
            )
            recording = Path(folder) / "cycles.jsonl.gz"
            run_lockstep(
                world, Observer(world), recording, history, None, lambda _seconds, _observer: None
            )
        finally:
            world.close()
    return Trace(*np.array(rows).T)


def switches(load_kw: Floats) -> list[int]:
    """The cycles in which the load jumps."""
    return (np.flatnonzero(np.abs(np.diff(load_kw)) > SWITCH_KW) + 1).tolist()


def turns(setpoint_kw: Floats) -> int:
    """How often a setpoint turns round."""
    moves, last, found = np.diff(setpoint_kw), 0.0, 0
    for move in moves[np.abs(moves) > TURN_KW].tolist():
        found += last * move < 0
        last = move
    return int(found)


def responses(seen: Trace, least_s: int = 30) -> list[Response]:
    """The answers to switches after which nothing else is switched for so long."""
    places = [*switches(seen.load_kw), len(seen.load_kw)]
    found = []
    for first, last in itertools.pairwise(places):
        if last - first >= least_s:
            found.append(_response(seen, first, last))
    return found


def _response(seen: Trace, first: int, last: int) -> Response:
    battery = seen.battery_kw[first:last]  # it has not noticed yet in the first of these
    step_kw = float(seen.load_kw[first] - seen.load_kw[first - 1])
    sign = np.sign(step_kw)
    end_kw = float(battery[-10:].mean())
    way = sign * (battery - battery[0])
    rise = int(np.argmax(way >= MOVED_FRAC * sign * (end_kw - battery[0])))
    grid = seen.grid_kw[first:last]
    away = np.flatnonzero(np.abs(grid - grid[-10:].mean()) > SETTLED_KW)
    beyond_kw = float(np.max(sign * (battery - end_kw)))
    settling = int(away[-1]) + 1 if away.size else 0
    return Response(
        first * CYCLE_S,
        step_kw,
        rise,
        max(0.0, beyond_kw),
        settling,
        turns(seen.setpoint_kw[first - 1 : last]),
    )


@click.command()
@click.option("-o", "picture", type=click.Path(path_type=Path), help="Where the picture goes.")
def main(picture: Path | None) -> None:
    """Print the table of answers."""
    seen = trace()
    table = Table("at, s", "step, kW", "rise, cycles", "overshoot, kW", "settling", "turns")
    for one in responses(seen):
        table.add_row(
            f"{one.at_s:.0f}",
            f"{one.step_kw:+.2f}",
            str(one.rise),
            f"{one.overshoot_kw:.2f}",
            str(one.settling),
            str(one.turns),
        )
    console = Console()
    console.print(table)
    jumps = len(switches(seen.load_kw))
    console.print(f"{turns(seen.setpoint_kw)} turns of the setpoint, {jumps} switches of the load")
    if picture is not None:
        draw(seen.load_kw, seen.battery_kw, seen.grid_kw, picture)


if __name__ == "__main__":
    main()
