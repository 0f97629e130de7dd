"""A month of measured load and sun: what planning is worth beside the rules, and beside foresight.

Run as `python -m bench.month [--days N] [house] [clinic]`; `month_sites` says what the two sites
are. Three controllers on the same simulated plant:

- *nanogrid*: the real loop in virtual time, over Modbus to simulated devices, with its own
  forecasters, as `nanogrid hil run` does it; a cycle every 10 s, so that a month takes an hour;
- *rules*: the bench's rule-based controller, beside it and once for the whole month in one go,
  which is what the shares are of;
- *foresight*: the same planner and the same judgement with the true means of the next 48 hours.
  Without buses and their delays (`plain_loop`), in which nanogrid is run once more to compare.
  Every third midnight HiGHS gets the same 48 hours, to see what the planner leaves on the table.

The month is run in parts, each beginning with what the battery held; what is done is kept in
`out/month/`, and another run goes on from there (`--afresh` forgets it).
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from bench import month_sites, plain_loop
from bench.month_pictures import draw
from bench.month_sites import PLACES, Place
from bench.plan_solvers import highs
from control.planning_fleet import plan_fleet
from hil.inputs import write_history
from hil.lockstep import run_lockstep
from hil.observer import Observer
from hil.result import Result
from hil.world import World

OUT = Path("out/month")
PART_DAYS = 6
SOC_FRAC = 0.5  # at the beginning
ITERATIONS = 8  # of the planner: within some 0.01 % of the best
FORESIGHT_H = 48.0
MILP_DAYS = 3  # between two comparisons of the foreseeing planner with HiGHS
MILP_S = 60.0
PER_SLOT = 15  # of the bench's points, a minute each
Columns = dict[str, list[float]]
Tell = Callable[[str], None]


def loop_part(place: Place, folder: Path, first_day: int, days: int, soc_frac: float) -> Columns:
    """Some days through the real loop: nanogrid and rules, one value per slot."""
    loaded = month_sites.scenario(place, folder, first_day, days, soc_frac, ITERATIONS)
    world = World(loaded, loaded.scenario.scenario.start_utc_s)
    try:
        observer = Observer(world)
        history = folder / f"{place.name}.history.csv"
        write_history(
            history, loaded, world.parameters.pv, world.weather, world.load, world.start_utc_s
        )
        recording = folder / f"{place.name}.jsonl.gz"
        loop = run_lockstep(
            world, observer, recording, history.resolve(), None, lambda _s, _o: None
        )
        statistics = loop.statistics()
    finally:
        world.close()
    cycles, missed = statistics["cycles"], statistics["cycles_missed"]
    summary = observer.summary(cycles, missed, 0.0, recording)
    return _columns(observer.result(summary, {}, {}))


def _columns(result: Result) -> Columns:
    """Per slot: cost so far and state at its end, else means."""
    found: Columns = {"utc_s": result.utc_s[::PER_SLOT]}
    ours = {**result.truth, "cost": result.controller["cost"]}
    for who, columns in (("nanogrid", ours), ("rules", result.rule_based)):
        for name, values in columns.items():
            slots = np.array(values, float).reshape(-1, PER_SLOT)
            last = name in ("cost", "soc_frac")
            found[f"{who}.{name}"] = (slots[:, -1] if last else slots.mean(axis=1)).tolist()
    totals = ("unserved_kwh", "fuel_l", "generator_starts", "limit_violations", "cycles")
    for name in totals:
        found[f"nanogrid.total.{name}"] = [_number(result.summary, name)]
    for limit, count in result.violations.items():
        found[f"nanogrid.total.{limit}"] = [float(count)]
    names = ("unserved_rule_based_kwh", "fuel_rule_based_l", "generator_starts_rule_based")
    for name, key in zip(totals, names, strict=False):
        found[f"rules.total.{name}"] = [_number(result.summary, key)]
    return found


def _number(summary: Mapping[str, Any], key: str) -> float:
    return float(summary[key])


def loop_month(place: Place, days: int, tell: Tell) -> Columns:
    """The month through the real loop, part by part."""
    folder, soc_frac = OUT / place.name, SOC_FRAC
    parts: list[Columns] = []
    for first in range(0, days, PART_DAYS):
        count = min(PART_DAYS, days - first)
        path = folder / f"loop-{first}-{count}.json"

        def run(first: int = first, count: int = count, soc: float = soc_frac) -> Columns:
            return loop_part(place, folder, first, count, soc)

        parts.append(_kept(path, run, tell))
        soc_frac = parts[-1]["nanogrid.soc_frac"][-1]
    return _joined(parts)


def _joined(parts: list[Columns]) -> Columns:
    """Parts one after the other; costs and totals go on from one to the next."""
    found: Columns = {}
    for part in parts:
        for name, values in part.items():
            before = found.setdefault(name, [])
            if ".total." in name:
                found[name] = [sum(before) + values[0]]
                continue
            base = before[-1] if before and name.endswith(".cost") else 0.0
            before += [base + value for value in values]
    return found


def plain_month(place: Place, days: int, tell: Tell) -> dict[str, Columns]:
    """The month without buses: rules, nanogrid, foresight."""
    folder = OUT / place.name
    loaded = month_sites.scenario(place, folder, 0, days, SOC_FRAC, ITERATIONS)
    world = plain_loop.World(loaded)
    history = folder / f"{place.name}.first-history.csv"
    write_history(
        history, loaded, world.parameters.pv, world.weather, world.load, world.start_utc_s
    )
    known = str(history.resolve())

    def planned(advise: plain_loop.Advise) -> Columns:
        return _of(plain_loop.play_planned(world, advise))

    ways: dict[str, Callable[[], Columns]] = {
        "rules": lambda: _of(plain_loop.play_rules(world)),
        "nanogrid": lambda: planned(plain_loop.forecasting(world, known, ITERATIONS)),
        "foresight": lambda: _foresight(world),
    }
    return {
        name: _kept(folder / f"plain-{name}-{days}.json", way, tell) for name, way in ways.items()
    }


def _foresight(world: plain_loop.World) -> Columns:
    """The planner with the truth, and some of its problems given to HiGHS."""
    found: Columns = {"planner": [], "milp": []}

    def compare(problem: plain_loop.Foreseen) -> None:
        slots = round(problem.forecast.start_t_s / plain_loop.SLOT_S)
        if slots % (MILP_DAYS * plain_loop.SLOTS_PER_DAY) == 0:
            planned = plan_fleet(problem.fleet, iterations=ITERATIONS)
            found["planner"].append(planned.cost.total)
            best = highs(problem.fleet, MILP_S, lambda: False)
            found["milp"].append(best.cost.total)

    advise = plain_loop.foreseeing(world, ITERATIONS, FORESIGHT_H, compare)
    return _of(plain_loop.play_planned(world, advise)) | found


def _of(run: plain_loop.Run) -> Columns:
    """A run as columns."""
    found = {n: getattr(run, n) for n in ("cost", "soc_frac", "battery_kw", "generator_kw")}
    totals = {
        "unserved_kwh": run.unserved_kwh,
        "fuel_l": run.fuel_l,
        "generator_starts": float(run.starts),
    }
    return found | {"grid_kw": run.grid_kw} | {f"total.{n}": [v] for n, v in totals.items()}


def _kept(path: Path, run: Callable[[], Columns], tell: Tell) -> Columns:
    """What a run gave, from its file if it has been done."""
    if not path.exists():
        tell(f"{path.parent.name}: {path.stem}")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        partial.write_text(json.dumps(run()), encoding="utf-8")
        partial.replace(path)
    found: Columns = json.loads(path.read_text(encoding="utf-8"))
    return found


def table(place: Place, loop: Columns, plain: dict[str, Columns]) -> Table:
    """Costs, and the share of what foresight gains over the rules."""
    made = Table(
        place.name, "loop", "cost", "share of the gain", "fuel, l", "starts", "unserved, kWh"
    )

    def add(name: str, where: str, cost: float, share: float | None, *rest: float) -> None:
        shown = "" if share is None else f"{share:.0%}"
        made.add_row(name, where, f"{cost:.2f}", shown, *(f"{value:.2f}" for value in rest))

    totals = ("fuel_l", "generator_starts", "unserved_kwh")
    foreseen, by_rules = plain["foresight"]["cost"][-1], plain["rules"]["cost"][-1]
    for who in ("rules", "nanogrid"):
        cost = loop[f"{who}.cost"][-1]
        share = (by_rules - cost) / (by_rules - foreseen) if who == "nanogrid" else None
        add(who, "real", cost, share, *(loop[f"{who}.total.{t}"][0] for t in totals))
    for who, run in plain.items():
        cost = run["cost"][-1]
        share = (by_rules - cost) / (by_rules - foreseen) if who != "rules" else None
        add(who, "plain", cost, share, *(run[f"total.{t}"][0] for t in totals))
    return made


def beside_milp(foresight: Columns) -> str:
    """How much dearer the foreseeing planner's 48 hours are than those of HiGHS."""
    if "milp" not in foresight:
        return "foresight: kept from a run that did not ask HiGHS (--afresh does)"
    planner, milp = np.array(foresight["planner"]), np.array(foresight["milp"])
    dearer = 100.0 * (planner - milp) / np.abs(milp)
    return (
        f"foresight: the planner's cost of {len(milp)} times 48 h is {dearer.mean():+.3f} % "
        f"({dearer.min():+.3f} to {dearer.max():+.3f} %) of that of HiGHS after {MILP_S:.0f} s"
    )


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(list(PLACES)))
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 60))
@click.option("--afresh", is_flag=True, help="Forget what has been run.")
def main(names: tuple[str, ...], days: int, afresh: bool) -> None:
    """Run what is missing of the month, print the table, draw the pictures."""
    console = Console(width=110)
    progress = Console(stderr=True)
    if afresh:
        shutil.rmtree(OUT, ignore_errors=True)
    for name in names or tuple(PLACES):
        place = PLACES[name]
        loop = loop_month(place, days, progress.print)
        plain = plain_month(place, days, progress.print)
        console.print(table(place, loop, plain))
        console.print(beside_milp(plain["foresight"]))
        draw(place, loop, plain, OUT / f"month-{name}.svg")


if __name__ == "__main__":
    main()
