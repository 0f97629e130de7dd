"""Candidate plans of a fleet, made feasible and judged at their true cost; the best is kept."""

from dataclasses import dataclass

import numpy as np

from control.dispatch import Bools, Cost
from control.dispatch_fleet import Fleet, FleetSchedule, evaluate
from control.dispatch_instance import Floats
from control.planning_diesel import DieselStates
from control.planning_fleet_step import FleetSteps
from control.planning_storage import Storage


@dataclass(frozen=True, slots=True, eq=False)
class FleetPlan:
    """The best plan found, how it was found and why the search ended."""

    schedule: FleetSchedule
    cost: Cost
    stage: str  # idle, warm start, swarm, plane, pair or polish; or the name of another solver
    evaluations: int  # candidates whose true cost was computed, particles included
    iterations: int
    stopped_by: str  # budget, iterations or converged


class Candidates:
    """The best plan of a fleet so far."""

    def __init__(self, fleet: Fleet) -> None:
        """Tabulate what making a plan feasible needs; there is no plan yet."""
        self.fleet, self.steps = fleet, FleetSteps(fleet)
        self.storages = [Storage(fleet.alone(battery=b)) for b in fleet.batteries]
        self.states = [DieselStates.of(fleet.alone(diesel=d)) for d in fleet.diesels]
        self.evaluations = 0
        self._best: tuple[Cost, FleetSchedule, str] | None = None

    def offer(self, battery_kw: Floats, on: Bools, stage: str) -> tuple[float, FleetSchedule]:
        """Make a candidate feasible and keep it if it is the best; its cost and schedule.

        Battery powers are (batteries, steps), diesel states (diesels, steps).
        """
        power, running = np.array(battery_kw, dtype=float), np.array(on, dtype=bool)
        for row, storage in zip(power, self.storages, strict=True):
            row[:] = storage.repaired_kw(row)
        for states, row in zip(self.states, running, strict=True):
            row[:] = states.repaired(row)
        schedule = self.steps.schedule(power, running)
        cost = evaluate(self.fleet, schedule)
        self.evaluations += 1
        if self._best is None or cost.total < self._best[0].total:
            self._best = (cost, schedule, stage)
        return cost.total, schedule

    def result(self, iterations: int, stopped_by: str) -> FleetPlan:
        """What has been found."""
        assert self._best is not None
        cost, schedule, stage = self._best
        return FleetPlan(schedule, cost, stage, self.evaluations, iterations, stopped_by)
