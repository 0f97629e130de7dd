"""The day plan: battery power and diesel state for every step of an instance, at least true cost.

Four stages, each able to answer: a plan that leaves the battery idle (at once), a particle swarm
over what stored energy is worth (`planning_values`), dynamic programming over the whole plane of
stored energy and diesel state, coarse and then finer, and the polish of what that found in
shrinking corridors (`planning_corridor`). A long horizon begins with a coarser plane or with steps
in groups (`planning_coarse`). Every candidate is made feasible and judged by `dispatch.evaluate`;
the best so far is the answer whenever the budget ends.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from control.dispatch import TOLERANCE, Bools, Cost, Schedule, energy_kwh, evaluate
from control.dispatch_instance import Floats, Instance
from control.planning_coarse import NearChanges, coarser, without_minimum_times
from control.planning_corridor import Corridor, CorridorSearch, StepCosts
from control.planning_diesel import ALWAYS_OFF, DieselStates
from control.planning_step import MeritOrder
from control.planning_storage import Storage
from control.planning_values import ValueDecoder
from control.swarm import Swarm

PARTICLES = 16
OPENING_MOVES = 2  # of the swarm, before dynamic programming takes over
LONE_MOVES = 30  # of the swarm where the diesel has too many states for that
PLANES = (64, 160, 400)  # energies of the whole plane, one search after the other
POLISH_HALF = 24  # energies on either side of the trajectory
POLISH_FINER = 3  # from one corridor to the next
POLISH_CELLS = 300_000  # of the battery's usable span: finer is of no use
HOPE = 2.0  # how much a polish may be behind, in gains of its last search, to go on
STEPS_MAX = 300  # of an ordinary horizon; a longer one begins with ...
QUICK_PLANE = 24  # ... so few energies of the whole plane, or, where that is too much, ...
STEPS_GROUPED = 100  # ... with steps in groups, about so many of these, and ...
GROUPED_ITERATIONS = 2  # ... so many searches
SIZE_MAX = 4_000_000  # numbers kept by one search: 32 MB


@dataclass(frozen=True, slots=True, eq=False)
class PlanResult:
    """The best plan found, how it was found and why the search ended."""

    schedule: Schedule
    cost: Cost
    stage: str  # idle, warm start, swarm, groups, plane or polish: which one gave the answer
    evaluations: int  # candidates whose true cost was computed, particles included
    iterations: int  # moves of the swarm and searches of a corridor
    stopped_by: str  # budget, iterations or converged


def plan(
    instance: Instance,
    *,
    seed: int = 0,
    out_of_time: Callable[[], bool] = lambda: False,
    iterations: int | None = None,
    warm_start: Schedule | None = None,
) -> PlanResult:
    """Plan an instance until nothing more is to be gained, or the time or the iterations are up.

    A count of iterations gives the same plan for the same seed, a budget in time what it allows.
    The warm start has the instance's length and need not be feasible; the result costs no more.
    """
    if warm_start is not None and warm_start.battery_kw.size != instance.steps:
        found = f"{warm_start.battery_kw.size} steps"
        raise ValueError(f"warm start: {found} (allowed: {instance.steps})")
    planner = _Planner(instance, seed, out_of_time)
    planner.offer(np.zeros(instance.steps), np.zeros(instance.steps, dtype=bool), "idle")
    if warm_start is not None:
        planner.offer(warm_start.battery_kw, warm_start.diesel_on, "warm start")
    return planner.result(*exhaust(planner.work(), planner.check, iterations))


class OutOfTimeError(Exception):
    """The budget has ended, in the middle of whatever was tried."""


def exhaust(
    work: Iterator[float], check: Callable[[], None], iterations: int | None
) -> tuple[int, str]:
    """Go through the work until it or the budget ends: the iterations done and what stopped it."""
    done = 0
    try:
        while iterations is None or done < iterations:
            check()
            if next(work, None) is None:
                return done, "converged"
            done += 1
    except OutOfTimeError:
        return done, "budget"
    return done, "iterations"


class _Planner:
    """The best plan so far, and the stages that improve it."""

    def __init__(self, instance: Instance, seed: int, out_of_time: Callable[[], bool]) -> None:
        self.instance, self._seed = instance, seed
        self.merit, self.storage = MeritOrder(instance), Storage(instance)
        self.states = DieselStates.of(instance)
        self._out_of_time = out_of_time
        self.search = CorridorSearch(self.merit, self.storage, self.check)
        self.evaluations = 0
        self.best: tuple[Cost, Schedule, str] | None = None

    def check(self) -> None:
        """Raise when the budget has ended."""
        if self._out_of_time():
            raise OutOfTimeError

    def offer(self, battery_kw: Floats, on: Bools, stage: str) -> float:
        """Make a candidate feasible and keep it if it is the best; its cost."""
        battery = self.storage.repaired_kw(battery_kw)
        schedule = self.merit.schedule(battery, self.states.repaired(on))
        cost = evaluate(self.instance, schedule)
        self.evaluations += 1
        if self.best is None or cost.total < self.best[0].total:
            self.best = (cost, schedule, stage)
        return cost.total

    def offer_energy(self, energy: Floats, on: np.ndarray[Any, Any], stage: str) -> float:
        """The same for a candidate given as its trajectory of stored energy."""
        return self.offer(self.storage.power_kw(np.diff(energy)), on.astype(bool), stage)

    def result(self, iterations: int, stopped_by: str) -> PlanResult:
        """What has been found."""
        assert self.best is not None
        cost, schedule, stage = self.best
        return PlanResult(schedule, cost, stage, self.evaluations, iterations, stopped_by)

    def work(self) -> Iterator[float]:
        """All stages, one iteration at a time; ends when nothing is left to try."""
        planes = [self.search.whole_plane(energies) for energies in PLANES]
        planes = [p for p in planes if self.search.size(p, self.states) <= SIZE_MAX]
        long = self.instance.steps > STEPS_MAX
        if long and planes:
            yield from self._plane(self.search.whole_plane(QUICK_PLANE), polish=False)
        elif long:
            yield from self._grouped(round(self.instance.steps / STEPS_GROUPED))
        if not (long and planes):
            yield from self._swarm(OPENING_MOVES if planes else LONE_MOVES)
        if not planes:
            yield from self._fixed_diesel()
        for plane in planes:
            yield from self._plane(plane)
            if plane.width == 1:
                return  # the battery has no choice

    def _grouped(self, group: int) -> Iterator[float]:
        """Plan groups of steps first; then every step, near that plan."""
        coarse = _Planner(coarser(self.instance, group), self._seed, self._out_of_time)
        idle = np.zeros(coarse.instance.steps)
        coarse.offer(idle, idle.astype(bool), "idle")
        plane = coarse.search.whole_plane(PLANES[0])
        if coarse.search.size(plane, coarse.states) > SIZE_MAX:
            return
        steps = self.instance.steps
        for _ in itertools.islice(coarse._plane(plane), GROUPED_ITERATIONS):
            assert coarse.best is not None
            _, plan, _ = coarse.best
            on = np.repeat(plan.diesel_on, group)[:steps]
            yield self.offer(np.repeat(plan.battery_kw, group)[:steps], on, "groups")
        yield from self._near_changes(group)

    def _near_changes(self, margin: int) -> Iterator[float]:
        """Search narrower corridors around the best plan, its diesel free near its changes."""
        assert self.best is not None
        cells = PLANES[0] * POLISH_FINER
        while cells < POLISH_CELLS:
            _, plan, _ = self.best
            costs: StepCosts = self.merit
            states = ALWAYS_OFF
            if self.states.on:
                costs = NearChanges(self.merit, plan.diesel_on, margin)
                states = without_minimum_times(self.states)
            search = CorridorSearch(costs, self.storage, self.check)
            energy = energy_kwh(self.instance, plan.battery_kw)
            found = search.best(search.around(energy, cells, POLISH_HALF), states)
            if found is None:
                return
            yield self.offer_energy(*found, "polish")
            cells *= POLISH_FINER

    def _swarm(self, moves: int) -> Iterator[float]:
        decoder = ValueDecoder(self.merit, self.storage, self.states, self.check)
        low, high = decoder.box()
        rng = np.random.default_rng(self._seed)
        swarm = Swarm(low, high, decoder.start(), PARTICLES, rng)

        def cost(particles: Floats) -> Floats:
            self.evaluations += len(particles)
            return decoder.decode(particles).cost

        for _ in range(moves):
            if swarm.iterate(cost, moves):
                found = decoder.decode(swarm.best_position[None])
                self.offer(found.battery_kw[0], found.on[0], "swarm")
            yield swarm.best_cost

    def _plane(self, corridor: Corridor, *, polish: bool = True) -> Iterator[float]:
        """Search the whole plane, then polish what it found."""
        found = self.search.best(corridor, self.states)
        if found is None:
            return
        cost = self.offer_energy(*found, "plane")
        yield cost
        if polish and corridor.width > 1:
            yield from self._polish(corridor, found[0], cost)

    def _polish(self, corridor: Corridor, energy: Floats, cost: float) -> Iterator[float]:
        """Search ever narrower and finer corridors around the best trajectory."""
        assert self.best is not None
        cells = round(self.storage.span_kwh / corridor.spacing_kwh)
        while (cells := cells * POLISH_FINER) < POLISH_CELLS:
            corridor = self.search.around(energy, cells, POLISH_HALF)
            found = self.search.best(corridor, self.states)
            if found is None:
                return
            new = self.offer_energy(*found, "polish")
            yield new
            gain = max(cost - new, 0.0)
            if gain > 0:
                energy, cost = found[0], new
            if cost - self.best[0].total > HOPE * gain + TOLERANCE:
                return  # another trajectory is better by more than this one still gains

    def _fixed_diesel(self) -> Iterator[float]:
        """For diesel states too many to search: the best energies for the swarm's diesel."""
        assert self.best is not None
        on = self.best[1].diesel_on
        corridor = self.search.whole_plane(PLANES[0])
        while True:
            energy = self.search.best_energy(corridor, on)
            if energy is None:
                return
            yield self.offer_energy(energy, on, "polish")
            cells = POLISH_FINER * round(self.storage.span_kwh / corridor.spacing_kwh)
            if corridor.width == 1 or cells >= POLISH_CELLS:
                return
            best = energy_kwh(self.instance, self.best[1].battery_kw)
            corridor = self.search.around(best, cells, POLISH_HALF)
