"""The planner and what a user could pick instead, each asked in the same way.

`pyswarms` is what its manual suggests: every step's powers are coordinates, and what breaks a limit
is fined. pymoo's differential evolution and CMA-ES get more help: every candidate is repaired and
dispatched by the planner's own exact merit order before it is judged. HiGHS gets the
piecewise-linear program. Whatever they find is made feasible in the same way, and its true cost
counts.
"""

import contextlib
import logging
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from control.dispatch_fleet import Fleet
from control.planning_candidates import Candidates, FleetPlan
from control.planning_fleet import plan_fleet
from control.planning_qian import fined_cost, limits_kw, plan_qian, powers
from firmware import milp

Floats = NDArray[np.float64]
Spent = Callable[[], bool]
Solver = Callable[[Fleet, float, Spent], FleetPlan]


class _SpentError(Exception):
    """The budget has ended."""


def nanogrid(fleet: Fleet, _budget_s: float, spent: Spent) -> FleetPlan:
    """The planner."""
    return plan_fleet(fleet, out_of_time=spent)


def qian2024(fleet: Fleet, _budget_s: float, spent: Spent) -> FleetPlan:
    """The paper's algorithm as printed."""
    return plan_qian(fleet, out_of_time=spent)


def highs(fleet: Fleet, budget_s: float, _spent: Spent) -> FleetPlan:
    """HiGHS; its clock is its own."""
    return milp.solve(fleet, seed=0, budget_s=budget_s)


def _idle(fleet: Fleet) -> Candidates:
    candidates = Candidates(fleet)
    steps = fleet.site.steps
    idle = np.zeros((len(fleet.diesels), steps), dtype=bool)
    candidates.offer(np.zeros((len(fleet.batteries), steps)), idle, "idle")
    return candidates


def pyswarms(fleet: Fleet, _budget_s: float, spent: Spent) -> FleetPlan:
    """Global best PSO over every step's powers, with fines."""
    from pyswarms.single import GlobalBestPSO

    logging.disable(logging.INFO)
    candidates = _idle(fleet)
    low, high = limits_kw(fleet)
    best = [np.inf]

    def cost(particles: Floats) -> Floats:
        if spent():
            raise _SpentError
        found = fined_cost(candidates.steps, *powers(fleet, particles))
        leader = int(np.argmin(found))
        if found[leader] < best[0]:
            best[0] = float(found[leader])
            battery, _, on = powers(fleet, particles[leader : leader + 1])
            candidates.offer(battery[0], on[0], "pyswarms")
        return found

    options = {"c1": 1.5, "c2": 1.5, "w": 0.7}
    np.random.seed(0)  # pyswarms draws from the global generator
    swarm = GlobalBestPSO(50, low.size, options, bounds=(low, high + 1e-9))
    with contextlib.suppress(_SpentError):
        swarm.optimize(cost, 100_000, verbose=False)
    return candidates.result(0, "budget")


def _pymoo(kind: str) -> Solver:
    def solve(fleet: Fleet, _budget_s: float, spent: Spent) -> FleetPlan:
        from pymoo.algorithms.soo.nonconvex.cmaes import CMAES
        from pymoo.algorithms.soo.nonconvex.de import DE
        from pymoo.core.problem import ElementwiseProblem
        from pymoo.optimize import minimize

        candidates = _idle(fleet)
        low, high = limits_kw(fleet)

        class Problem(ElementwiseProblem):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(n_var=low.size, n_obj=1, xl=low, xu=high + 1e-9)

            def _evaluate(self, x: Floats, out: dict[str, float]) -> None:
                if spent():
                    raise _SpentError
                battery, _, on = powers(fleet, x[None])
                out["F"] = candidates.offer(battery[0], on[0], kind)[0]

        algorithm = DE(pop_size=40) if kind == "DE" else CMAES(x0=np.clip(0.0, low, high))
        quiet = contextlib.redirect_stdout(open(os.devnull, "w"))  # noqa: SIM115
        with quiet, contextlib.suppress(_SpentError):
            minimize(Problem(), algorithm, ("n_gen", 100_000), seed=1, verbose=False)
        return candidates.result(0, "budget")

    return solve


SOLVERS: dict[str, Solver] = {
    "nanogrid": nanogrid,
    "HiGHS": highs,
    "pymoo DE": _pymoo("DE"),
    "pymoo CMA-ES": _pymoo("CMA-ES"),
    "pyswarms": pyswarms,
    "qian2024": qian2024,
}
