"""How far the day planner's plans are from the best known, at several budgets of CPU time.

Run as `python -m bench.plan [--count N] [--budget S]...`. The contract's twelve instances are
judged against the best costs that come with them, generated ones against the best that a far longer
search found. Gap = (J - best) / max(|best|, 0.25 |rule-based cost|). Every plan is checked by
`bench.dispatch_referee`, which shares no code with the planner. One thread.
"""

import json
import resource
import time
from collections.abc import Callable, Iterator
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
from control import planning
from control.dispatch import to_dict
from control.dispatch_instance import Instance

CONTRACTS = Path(__file__).parents[2] / "shared" / "contracts" / "dispatch"
FAR_LONGER = {"PLANES": (96, 320, 700), "POLISH_HALF": 32, "POLISH_FINER": 2}


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


@dataclass(frozen=True)
class Outcome:
    """One plan, judged."""

    gap_percent: float
    cpu_s: float
    stage: str
    stopped_by: str


def outcome(case: Case, budget_s: float) -> Outcome:
    """Plan a case within a budget of CPU time and have the referee judge it."""
    instance = Instance.from_dict(case.problem)
    start_s = time.process_time()
    result = planning.plan(instance, out_of_time=_spent(start_s + budget_s))
    cpu_s = time.process_time() - start_s
    answer = to_dict(instance, result.schedule)
    wrong = dispatch_referee.broken(case.problem, answer)
    if wrong:
        raise click.ClickException(f"{case.name}: infeasible: {wrong[0]}")
    cost = dispatch_referee.cost(case.problem, answer)
    return Outcome(case.gap_percent(cost), cpu_s, result.stage, result.stopped_by)


def _spent(end_s: float) -> Callable[[], bool]:
    return lambda: time.process_time() >= end_s


def first_plan_s(case: Case) -> float:
    """CPU time to the first valid plan."""
    instance = Instance.from_dict(case.problem)
    start_s = time.process_time()
    planning.plan(instance, iterations=0)
    return time.process_time() - start_s


@click.command()
@click.option("--count", default=100, show_default=True, help="Generated instances.")
@click.option("--budget", "budgets", multiple=True, type=float, default=(0.25, 1.0, 5.0))
def main(count: int, budgets: tuple[float, ...]) -> None:
    """Print the table of gaps."""
    console = Console(width=100)
    groups = {"contract": list(contract_cases()), "generated": list(generated_cases(count))}
    table = Table("instances", "number", "budget", "median", "p90", "worst", "CPU mean", "CPU max")
    for name, cases in groups.items():
        if not cases:
            console.print(f"{name}: none found")
            continue
        for budget_s in budgets:
            found = [outcome(case, budget_s) for case in track(cases, name, transient=True)]
            gaps = np.array([o.gap_percent for o in found])
            cpu = np.array([o.cpu_s for o in found])
            table.add_row(
                name,
                str(len(cases)),
                f"{budget_s:g} s",
                *(f"{np.quantile(gaps, q):.5f} %" for q in (0.5, 0.9, 1.0)),
                f"{cpu.mean():.3f} s",
                f"{cpu.max():.3f} s",
            )
        first_ms = 1e3 * np.array([first_plan_s(case) for case in cases])
        console.print(
            f"{name}: first plan after {np.median(first_ms):.1f} ms (worst {first_ms.max():.1f})"
        )
    console.print(table)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    console.print(f"peak memory of this process: {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()
