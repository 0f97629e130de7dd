"""`nanogrid plan`: the day plan of one dispatch instance."""

import json
import time
from pathlib import Path
from typing import Any

import click

from control.dispatch import to_dict
from control.dispatch_instance import Instance
from control.planning import PlanResult
from control.planning import plan as find_plan
from firmware.bad_input import BadInput

DEFAULT_BUDGET_S = 1.0
_WRITING_S = 0.003  # kept back for judging, formatting and writing the answer


@click.command()
@click.argument("instance", type=click.Path(path_type=Path))
@click.option(
    "--budget",
    type=click.FloatRange(min=0),
    help=f"Seconds until the answer; {DEFAULT_BUDGET_S:g} unless --iterations is given.",
)
@click.option(
    "--iterations",
    type=click.IntRange(min=0),
    help="Stop after so many iterations: the same seed then gives the same bytes.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--solver", type=click.Choice(["swarm"]), default="swarm", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The schedule's file; default: stdout."
)
def plan(
    instance: Path,
    budget: float | None,
    iterations: int | None,
    seed: int,
    solver: str,
    output: Path | None,
) -> None:
    """Plan battery and generator for the dispatch problem in INSTANCE (JSON)."""
    start_s = time.perf_counter()
    if budget is None and iterations is None:
        budget = DEFAULT_BUDGET_S
    problem = _read(instance)
    end_s = float("inf") if budget is None else start_s + budget - _WRITING_S
    result = find_plan(
        problem,
        seed=seed,
        out_of_time=lambda: time.perf_counter() >= end_s,
        iterations=iterations,
    )
    answer = to_dict(problem, result.schedule)
    answer["solver"] = _solver(result, solver, seed, budget)
    # A count of iterations promises the same bytes, and no two runs take the same time.
    elapsed_s = round(time.perf_counter() - start_s, 6) if iterations is None else None
    answer["solver"]["elapsed_s"] = elapsed_s
    _write(json.dumps(answer) + "\n", output)


def _solver(result: PlanResult, name: str, seed: int, budget_s: float | None) -> dict[str, Any]:
    """How the answer was found."""
    return {
        "name": name,
        "stage": result.stage,
        "seed": seed,
        "budget_s": budget_s,
        "elapsed_s": None,
        "iterations": result.iterations,
        "evaluations": result.evaluations,
        "stopped_by": result.stopped_by,
    }


def _read(path: Path) -> Instance:
    """The instance in a file; `BadInput` names the file and what is wrong."""
    try:
        return Instance.from_dict(json.loads(path.read_bytes()))
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
