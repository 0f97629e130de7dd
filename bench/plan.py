"""How far the day planner's plans are from the best known, beside what a user could pick instead.

Run as `python -m bench.plan [--count N] [--fleets N] [--peers N] [--budget S]...`. The contract's
twelve instances are judged against the best costs that come with them, generated ones against the
best that a far longer search found, fleets of two batteries and two generators against HiGHS after
a minute. Gap = (J - best) / max(|best|, 0.25 |rule-based cost|). Every plan is checked by
`bench.dispatch_referee`, which shares no code with the planner. One thread, CPU time.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import dispatch_instances, dispatch_referee
from bench.plan_solvers import SOLVERS, Solver, highs, nanogrid
from control import planning
from control.dispatch_fleet import Fleet, FleetSchedule, to_dict
from control.dispatch_instance import Instance
from control.planning_candidates import FleetPlan
from control.planning_fleet import plan_fleet
from firmware.day_units import later

CONTRACTS = Path(__file__).parents[2] / "shared" / "contracts" / "dispatch"
WARM_BUDGETS_S = {"generated": (0.01, 0.02, 0.05), "fleets": (0.02, 0.1, 0.25, 1.0)}
ERROR = 0.1  # of load and sun against the forecast of an hour ago
LONG_S = 3.0
FAR_LONGER: dict[str, Any] = {"PLANES": (96, 320, 700), "POLISH_HALF": 32, "POLISH_FINER": 2}


@dataclass(frozen=True)
class Case:
    """One instance with what is known about it."""

    name: str
    problem: dict[str, Any]
    best: float
    rule: float

    def gap_percent(self, cost: float) -> float:
        """How much more a plan costs than the best known one."""
        return 100 * (cost - self.best) / max(abs(self.best), 0.25 * abs(self.rule))


def contract_cases() -> Iterator[Case]:
    """The instances beside the contract."""
    for path in sorted(CONTRACTS.glob("*.best.json")):
        best = json.loads(path.read_text())
        name = path.name.removesuffix(".best.json")
        problem = json.loads(path.with_name(f"{name}.json").read_text())
        yield Case(name, problem, best["best_known_cost"], best["rule_based_cost"])


def generated_cases(count: int) -> Iterator[Case]:
    """Generated instances; their best known cost is this planner's own, given far longer."""
    for seed in track(range(count), "best known costs", transient=True):
        problem = dispatch_instances.instance(seed)
        with mock.patch.multiple(planning, **FAR_LONGER):
            best = planning.plan(Instance.from_dict(problem), seed=1).cost.total
        rule = dispatch_referee.cost(problem, dispatch_referee.rule_plan(problem))
        yield Case(str(problem["name"]), problem, best, rule)


def fleet_cases(count: int, reference_s: float) -> Iterator[Case]:
    """Two batteries and two diesels; the best known cost is that of HiGHS after so long."""
    for seed in track(range(count), "fleets, HiGHS", transient=True):
        problem = dispatch_instances.fleet(seed)
        best = highs(Fleet.from_dict(problem), reference_s, lambda: False).cost.total
        rule = dispatch_referee.cost(problem, dispatch_referee.rule_plan(problem))
        yield Case(str(problem["name"]), problem, best, rule)


@dataclass(frozen=True)
class Outcome:
    """One plan, judged."""

    gap_percent: float
    cpu_s: float
    result: FleetPlan


def outcome(case: Case, budget_s: float, solver: Solver = nanogrid) -> Outcome:
    """Plan a case within a budget of CPU time and have the referee judge it."""
    fleet = Fleet.from_dict(case.problem)
    start_s = time.process_time()
    result = solver(fleet, budget_s, _spent(start_s + budget_s))
    cpu_s = time.process_time() - start_s
    return Outcome(case.gap_percent(judged_cost(case, fleet, result)), cpu_s, result)


def judged_cost(case: Case, fleet: Fleet, result: FleetPlan) -> float:
    """The referee's cost of a plan that the referee finds feasible."""
    answer = to_dict(fleet, result.schedule, case.problem)
    wrong = dispatch_referee.broken(case.problem, answer)
    if wrong:
        raise click.ClickException(f"{case.name}: infeasible: {wrong[0]}")
    return dispatch_referee.cost(case.problem, answer)


def _spent(end_s: float) -> Callable[[], bool]:
    return lambda: time.process_time() >= end_s


def first_plan_s(case: Case) -> float:
    """CPU time to the first valid plan."""
    fleet = Fleet.from_dict(case.problem)
    start_s = time.process_time()
    plan_fleet(fleet, iterations=0)
    return time.process_time() - start_s


@dataclass(frozen=True)
class AnHourOn:
    """A case an hour later, on a day that has turned out otherwise, and the plan of before."""

    fleet: Fleet
    before: FleetSchedule
    best: float
    scale: float

    @classmethod
    def of(cls, case: Case, seed: int) -> "AnHourOn":
        """Load and sun differ by a tenth in every step; the best is found with far more time."""
        steps = round(1.0 / case.problem["time"]["step_h"])
        rng = np.random.default_rng(seed)
        series = {k: np.roll(v, -steps) for k, v in case.problem["series"].items()}
        for name in ("load_kw", "pv_available_kw"):
            series[name] = series[name] * np.exp(rng.normal(0.0, ERROR, len(series[name])))
        turned = case.problem | {"series": {k: v.tolist() for k, v in series.items()}}
        fleet, known = Fleet.from_dict(turned), Fleet.from_dict(case.problem)
        before = later(plan_fleet(known, out_of_time=_within(LONG_S)).schedule, steps)
        best = plan_fleet(fleet, out_of_time=_within(2 * LONG_S), warm_start=before).cost.total
        return cls(fleet, before, best, max(abs(best), 0.25 * abs(case.rule)))

    def gaps_percent(self, budget_s: float) -> tuple[float, float]:
        """Begun cold, and with the plan of before."""
        found = []
        for start in (None, self.before):
            made = plan_fleet(self.fleet, out_of_time=_within(budget_s), warm_start=start)
            found.append(100 * (made.cost.total - self.best) / self.scale)
        return found[0], found[1]


def warm_row(name: str, cases: Sequence[AnHourOn], budget_s: float) -> list[str]:
    """One line of the table of warm starts."""
    gaps = np.array([case.gaps_percent(budget_s) for case in cases])
    quantiles = [f"{np.quantile(g, q):.4f} %" for g in gaps.T for q in (0.5, 0.9, 1.0)]
    return [name, str(len(cases)), f"{1e3 * budget_s:.0f} ms", *quantiles]


def warm_table(groups: dict[str, list[Case]]) -> Table:
    """What the plan of an hour ago is worth as a start."""
    made = Table(
        "an hour on", "no.", "budget", "cold, median", "p90", "worst", "warm", "p90", "worst"
    )
    for name, cases in groups.items():
        turned = [AnHourOn.of(c, n) for n, c in enumerate(track(cases, "warm", transient=True))]
        for budget_s in WARM_BUDGETS_S[name] if turned else ():
            made.add_row(*warm_row(name, turned, budget_s))
    return made


def _within(seconds: float) -> Callable[[], bool]:
    return _spent(time.process_time() + seconds)


def row(
    name: str, cases: Sequence[Case], budget_s: float, solver_name: str = "nanogrid"
) -> list[str]:
    """One line of the table."""
    solver = SOLVERS[solver_name]
    found = [outcome(c, budget_s, solver) for c in track(cases, solver_name, transient=True)]
    gaps, cpu = np.array([o.gap_percent for o in found]), np.array([o.cpu_s for o in found])
    return [
        name,
        str(len(cases)),
        solver_name,
        f"{budget_s:g} s",
        *(f"{np.quantile(gaps, q):.5f} %" for q in (0.5, 0.9, 1.0)),
        f"{cpu.max():.2f} s",
    ]


@click.command()
@click.option("--count", default=60, show_default=True, help="Generated instances.")
@click.option("--fleets", default=20, show_default=True, help="Fleets of two and two.")
@click.option("--peers", default=12, show_default=True, help="Instances given to the peers.")
@click.option("--reference", default=60.0, show_default=True, help="Seconds of HiGHS per fleet.")
@click.option("--budget", "budgets", multiple=True, type=float, default=(0.25, 1.0, 5.0))
def main(count: int, fleets: int, peers: int, reference: float, budgets: tuple[float, ...]) -> None:
    """Print the tables of gaps."""
    console = Console(width=110)
    groups = {
        "contract": list(contract_cases()),
        "generated": list(generated_cases(count)),
        "fleets": list(fleet_cases(fleets, reference)),
    }
    table = Table("instances", "no.", "solver", "budget", "median", "p90", "worst", "CPU max")
    for name, cases in groups.items():
        if not cases:
            console.print(f"{name}: none found")
            continue
        for budget_s in budgets:
            table.add_row(*row(name, cases, budget_s))
        if name != "fleets" and peers:
            for solver_name in list(SOLVERS)[1:]:
                table.add_row(*row(name, cases[:peers], 1.0, solver_name))
        first_ms = 1e3 * np.array([first_plan_s(case) for case in cases])
        worst = f"worst {first_ms.max():.1f}"
        console.print(f"{name}: first plan after {np.median(first_ms):.1f} ms ({worst})")
    console.print(table)
    console.print(warm_table({name: groups[name][:peers] for name in WARM_BUDGETS_S}))
    console.print(f"stages: {_stages(groups)}")
    console.print(f"peak memory of nanogrid plan: {peak_memory_mb(groups):.0f} MB")


PEAK = """
import atexit, pathlib, sys
from firmware.cli import main
def peak():
    status = pathlib.Path("/proc/self/status").read_text()
    print(next(line for line in status.splitlines() if line.startswith("VmHWM")), file=sys.stderr)
atexit.register(peak)
main()
"""


def peak_memory_mb(groups: dict[str, list[Case]]) -> float:
    """Of `nanogrid plan` in a process of its own, the most over one case of each group."""
    found = [0.0]
    for cases in groups.values():
        for case in cases[:1]:
            done = subprocess.run(
                [sys.executable, "-c", PEAK, "plan", "/dev/stdin", "--budget", "2"],
                input=json.dumps(case.problem),
                capture_output=True,
                text=True,
                check=True,
            )
            found.append(int(done.stderr.split()[1]) / 1024)
    return max(found)


def _stages(groups: dict[str, list[Case]]) -> str:
    """Which stage gave how many of the answers at 0.25 s."""
    stages = [outcome(c, 0.25).result.stage for cases in groups.values() for c in cases]
    return ", ".join(f"{stages.count(s)} {s}" for s in sorted(set(stages)))


if __name__ == "__main__":
    main()
