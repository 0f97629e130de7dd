"""`nanogrid plan`: the day plan of one dispatch instance."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from control.dispatch_fleet import Fleet, to_dict
from control.planning_candidates import FleetPlan
from control.planning_fleet import plan_fleet
from control.planning_pareto import Point, front, triangle
from firmware.bad_input import BadInput
from firmware.front_plot import front_svg

DEFAULT_BUDGET_S = 1.0
FRONT_BUDGET_S = 5.0
FRONT_DIVISIONS = 5  # of the triangle of weights: 21 plans
_WRITING_S = 0.003  # kept back for judging, formatting and writing the answer

Json = dict[str, Any]


@click.command()
@click.argument("instance", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    help=f"Seconds until the answer; {DEFAULT_BUDGET_S:g} ({FRONT_BUDGET_S:g} with --pareto) "
    "unless --iterations is given.",
)
@click.option(
    "--iterations",
    type=click.IntRange(min=0),
    help="Stop after so many iterations (of every plan of a front): the same seed then gives the "
    "same bytes.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--solver",
    type=click.Choice(["swarm", "milp", "qian2024"]),
    default="swarm",
    show_default=True,
    help="milp: a piecewise-linear program for HiGHS, as a yardstick (needs highspy); qian2024: "
    "the particle swarm of Qian 2024 as printed, for comparison.",
)
@click.option(
    "--pareto", is_flag=True, help="Plans between least cost, equipment and pollution instead."
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="With --pareto: draw the front here (.svg)."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The answer's file; default: stdout."
)
def plan(
    instance: Path,
    budget: float | None,
    iterations: int | None,
    seed: int,
    solver: str,
    pareto: bool,
    plot: Path | None,
    output: Path | None,
) -> None:
    """Plan batteries and generators for the dispatch problem in INSTANCE (JSON)."""
    start_s = time.perf_counter()
    _require_fitting(solver, iterations, pareto, plot)
    content, fleet = _read(instance)
    if budget is None and iterations is None:
        budget = FRONT_BUDGET_S if pareto else DEFAULT_BUDGET_S
    clock = _Clock(start_s, budget)
    if pareto:
        points = _front(fleet, clock, seed, iterations)
        answer = _front_content(content, fleet, points)
        if plot is not None:
            _write(front_svg(points), plot)
    else:
        result = _solve(fleet, solver, clock, seed, iterations)
        answer = to_dict(fleet, result.schedule, content)
        answer["solver"] = _how(result, solver)
    # A count of iterations promises the same bytes, and no two runs take the same time.
    elapsed_s = clock.elapsed_s() if iterations is None else None
    answer["solver"] |= {"seed": seed, "budget_s": budget, "elapsed_s": elapsed_s}
    _write(json.dumps(answer) + "\n", output)


def _require_fitting(solver: str, iterations: int | None, pareto: bool, plot: Path | None) -> None:
    """Refuse options that do not go together."""
    if pareto and solver != "swarm":
        raise click.UsageError(f"--pareto: --solver {solver} (allowed: swarm)")
    if solver == "milp" and iterations is not None:
        raise click.UsageError("--iterations: not with --solver milp (allowed: --budget)")
    if plot is not None and not pareto:
        raise click.UsageError("--plot: only with --pareto")
    if plot is not None and plot.suffix != ".svg":
        raise click.UsageError(f"--plot: {plot} (allowed: a name that ends in .svg)")


class _Clock:
    """The budget of one answer."""

    def __init__(self, start_s: float, budget_s: float | None) -> None:
        self._start_s = start_s
        self._end_s = float("inf") if budget_s is None else start_s + budget_s - _WRITING_S

    def elapsed_s(self) -> float:
        return round(time.perf_counter() - self._start_s, 6)

    def left_s(self) -> float:
        return max(0.0, self._end_s - time.perf_counter())

    def spent(self) -> bool:
        return time.perf_counter() >= self._end_s

    def shared_among(self, parts: int) -> Callable[[int], bool]:
        """Whether the n-th of so many equal parts of what is left is spent."""
        now_s = time.perf_counter()
        part_s = max(0.0, self._end_s - now_s) / parts
        return lambda n: time.perf_counter() >= now_s + (n + 1) * part_s


def _solve(
    fleet: Fleet, solver: str, clock: _Clock, seed: int, iterations: int | None
) -> FleetPlan:
    if solver == "milp":
        from firmware import milp  # highspy is big, and an extra

        return milp.solve(fleet, seed=seed, budget_s=clock.left_s())
    if solver == "qian2024":
        from control.planning_qian import plan_qian

        return plan_qian(fleet, seed=seed, out_of_time=clock.spent, iterations=iterations)
    return plan_fleet(fleet, seed=seed, out_of_time=clock.spent, iterations=iterations)


def _how(result: FleetPlan, name: str) -> Json:
    """How the answer was found."""
    return {
        "name": name,
        "stage": result.stage,
        "iterations": result.iterations,
        "evaluations": result.evaluations,
        "stopped_by": result.stopped_by,
    }


def _front(fleet: Fleet, clock: _Clock, seed: int, iterations: int | None) -> list[Point]:
    weights = triangle(FRONT_DIVISIONS)
    out_of_time = clock.shared_among(len(weights))
    return front(fleet, weights, seed=seed, out_of_time=out_of_time, iterations=iterations)


def _front_content(content: Json, fleet: Fleet, points: list[Point]) -> Json:
    """The front as JSON content: for each plan its weights, objectives and schedule."""
    names = ("cost", "equipment", "pollution")
    keys = ("alpha_generation", "beta_equipment", "gamma_pollution")
    plans = [
        {
            "weights": dict(zip(keys, point.weights, strict=True)),
            "objectives": dict(zip(names, point.objectives, strict=True)),
            **to_dict(fleet, point.schedule, content),
        }
        for point in points
    ]
    return {"front": plans, "solver": {"name": "swarm", "plans": len(plans)}}


def _read(path: Path) -> tuple[Json, Fleet]:
    """The file's content and the fleet it describes; `BadInput` names the file and the fault."""
    try:
        content = json.loads(path.read_bytes())
        return content, Fleet.from_dict(content)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: {error}") from None


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from None
