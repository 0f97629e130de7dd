"""The dispatch algorithm of Qian 2024 as printed, for comparison.

Every step's battery and diesel powers are a particle's coordinates (section 4.1), moved by eq. 16;
the cost is eq. 5, and whatever breaks eqs 12-15 is fined. The paper prints neither the size of the
swarm nor its fines: they are ours. A diesel below half its least power is off; short runs and
stored energy outside its limits are fined, and the answer is made feasible at the end.
"""

from collections.abc import Callable, Iterator

import numpy as np

from control.dispatch import Bools, inverter_efficiency, terminal_cost
from control.dispatch_fleet import Fleet
from control.dispatch_instance import Floats
from control.planning import OutOfTimeError, exhaust
from control.planning_candidates import Candidates, FleetPlan
from control.planning_fleet_step import FleetSteps
from control.swarm import Swarm

PARTICLES = 50
MOVES = 1000
FINE_PER_KWH = 10.0  # of stored energy outside its limits, summed over steps
FINE_PER_CHANGE = 0.1  # of a diesel's state, where it has minimum times


def plan_qian(
    fleet: Fleet,
    *,
    seed: int = 0,
    out_of_time: Callable[[], bool] = lambda: False,
    iterations: int | None = None,
) -> FleetPlan:
    """Plan by the printed algorithm until the time, the iterations or its own moves are up."""

    def check() -> None:
        if out_of_time():
            raise OutOfTimeError

    candidates = Candidates(fleet)
    steps = fleet.site.steps
    batteries, diesels = len(fleet.batteries), len(fleet.diesels)
    idle = np.zeros((diesels, steps), dtype=bool)
    candidates.offer(np.zeros((batteries, steps)), idle, "idle")
    moves = MOVES if iterations is None else iterations
    done, stopped_by = exhaust(_moves(fleet, candidates, seed, moves), check, iterations)
    return candidates.result(done, stopped_by)


def _moves(fleet: Fleet, candidates: Candidates, seed: int, moves: int) -> Iterator[float]:
    """The swarm, one move at a time; its best is offered whenever it has improved."""
    low, high = limits_kw(fleet)
    rng = np.random.default_rng(seed)
    swarm = Swarm(low, high, np.empty((0, low.size)), PARTICLES, rng)

    def cost(particles: Floats) -> Floats:
        candidates.evaluations += len(particles)
        return fined_cost(candidates.steps, *powers(fleet, particles))

    for _ in range(moves):
        if swarm.iterate(cost, moves):
            battery, _, on = powers(fleet, swarm.best_position[None])
            candidates.offer(battery[0], on[0], "qian2024")
        yield swarm.best_cost


def limits_kw(fleet: Fleet) -> tuple[Floats, Floats]:
    """Least and greatest value of every coordinate: unit by unit, step by step."""
    steps = fleet.site.steps
    none = [0.0] * len(fleet.diesels)
    low = [*(-b.charge_max_kw for b in fleet.batteries), *none]
    high = [b.discharge_max_kw for b in fleet.batteries]
    high += [d.power_max_kw for d in fleet.diesels]
    return np.repeat(low, steps), np.repeat(high, steps)


def powers(fleet: Fleet, particles: Floats) -> tuple[Floats, Floats, Bools]:
    """Battery powers, diesel powers and states of every particle, (particles, units, steps)."""
    units = particles.reshape(len(particles), -1, fleet.site.steps)
    battery, diesel = np.split(units, [len(fleet.batteries)], axis=1)
    least = np.array([d.power_min_kw for d in fleet.diesels]).reshape(-1, 1)
    on = (diesel > 0) & (diesel >= least / 2)
    return battery, np.where(on, np.maximum(diesel, least), 0.0), on


def fined_cost(steps: FleetSteps, battery: Floats, diesel: Floats, on: Bools) -> Floats:
    """What every particle costs, with its fines."""
    fleet, site = steps.fleet, steps.fleet.site
    rest = steps.demand - battery.sum(axis=1) - diesel.sum(axis=1)
    # Grid, curtailed, unserved and dumped power are what is left: nobody runs any more.
    cost = steps.supply(0).cost(rest, slice(None)).sum(axis=1)
    for n, burning in enumerate(steps.diesels):
        cost = cost + (on[:, n] * burning.per_h + burning.cost(diesel[:, n])).sum(axis=1)
    for n, (linear, quadratic) in enumerate(steps.wear):
        power = battery[:, n]
        cost = cost + (np.abs(power) * linear + quadratic * power**2).sum(axis=1)
    cost = cost * site.step_h
    for n, unit in enumerate(fleet.diesels):
        changes = np.diff(on[:, n].astype(np.int8), axis=1, prepend=int(unit.initial_on))
        cost = cost + steps.diesels[n].startup * (changes > 0).sum(axis=1)
        cost = cost + FINE_PER_CHANGE * (changes != 0).sum(axis=1)
    for n, store in enumerate(fleet.batteries):
        efficiency = inverter_efficiency(store, battery[:, n])
        into = -np.minimum(battery[:, n], 0.0) * efficiency * store.charge_efficiency_frac
        out = np.maximum(battery[:, n], 0.0) / (efficiency * store.discharge_efficiency_frac)
        start = store.soc_initial_frac * store.capacity_kwh
        stored = start + site.step_h * np.cumsum(into - out, axis=1)
        over = stored - store.soc_max_frac * store.capacity_kwh
        under = store.soc_min_frac * store.capacity_kwh - stored
        cost = cost + FINE_PER_KWH * np.maximum(0.0, np.maximum(over, under)).sum(axis=1)
        cost = cost + terminal_cost(fleet.alone(battery=store), stored[:, -1])
    return np.asarray(cost)
