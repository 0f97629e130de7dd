"""The trade-off between cost, equipment and pollution: plans of which none is beaten in all three.

The three are the objectives of Qian 2024 (Y1, Y2, Y3). What is unserved, wasted and left in the
battery is money and counts with the first, at the rate at which the instance's own weights trade
it against Y1. The plans come from a sweep of the weights of eq. 5, each one beginning with
whichever plan before it costs least under its weights. So what is found lies on the convex hull of
the possible: a plan in one of its dents is optimal under no weights.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from control.dispatch import Cost
from control.dispatch_fleet import Fleet, FleetSchedule, evaluate
from control.dispatch_instance import Floats
from control.planning_fleet import plan_fleet

Weights = tuple[float, float, float]

BEST = ("cheapest", "gentlest", "cleanest")  # in cost, equipment, pollution
PREFERENCE_POINTS = 6  # plans between the two objectives of a preference

ALIKE_FRAC = 2e-3
LEAST_WEIGHT = 0.01  # of every objective: at 0 its waste would cost nothing


@dataclass(frozen=True, slots=True)
class Preference:
    """The best in one objective among plans within a fraction of the best in another."""

    best_in: int  # 0 cost, 1 equipment, 2 pollution
    within_frac: float
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """As in "cheapest within 5 % of the cleanest"; ValueError if it is not like that."""
        words = text.split()
        if len(words) != 7 or words[1] != "within" or words[3:6] != ["%", "of", "the"]:
            raise ValueError(f'{text!r} (allowed: like "cheapest within 5 % of the cleanest")')
        names = list(BEST)
        return cls(names.index(words[0]), float(words[2]) / 100, names.index(words[6]))


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """One plan of the front."""

    weights: Weights
    objectives: Weights  # cost, equipment, pollution
    schedule: FleetSchedule
    cost: Cost  # at the instance's own weights


def front(
    fleet: Fleet,
    weights: Sequence[Weights],
    *,
    seed: int = 0,
    out_of_time: Callable[[int], bool] = lambda _: False,
    iterations: int | None = None,
) -> list[Point]:
    """The plans that no other one beats, by rising cost; at most one for each of the weights.

    `out_of_time(n)` says whether the share of the budget for the n-th of them is spent.
    """
    found: list[Point] = []
    for n, some in enumerate(weights):
        weighted = reweighted(fleet, some)
        before = [(evaluate(weighted, p.schedule).total, k) for k, p in enumerate(found)]
        result = plan_fleet(
            weighted,
            seed=seed,
            out_of_time=functools.partial(out_of_time, n),
            iterations=iterations,
            warm_start=found[min(before)[1]].schedule if before else None,
        )
        found.append(_point(fleet, some, result.schedule))
    return sorted(_unbeaten(found), key=lambda point: point.objectives)


def triangle(divisions: int) -> list[Weights]:
    """Evenly spread weights, neighbours one after the other."""
    rows = []
    for i in range(divisions + 1):
        row = [(i, j, divisions - i - j) for j in range(divisions + 1 - i)]
        rows.append(row[:: -1 if i % 2 else 1])
    return [_weights(np.array(parts) / divisions) for parts in itertools.chain.from_iterable(rows)]


def line(one: int, other: int, points: int) -> list[Weights]:
    """Weights from one objective alone to another alone."""
    shares = np.zeros((points, 3))
    shares[:, other] = np.linspace(0.0, 1.0, points)
    shares[:, one] = 1.0 - shares[:, other]
    return [_weights(share) for share in shares]


def plan_preferred(
    fleet: Fleet,
    wish: Preference,
    *,
    seed: int = 0,
    out_of_time: Callable[[int], bool] = lambda _: False,
    iterations: int | None = None,
) -> Point:
    """The plan that a preference chooses from `PREFERENCE_POINTS` plans; as `front`."""
    weights = line(wish.of, wish.best_in, PREFERENCE_POINTS)
    points = front(fleet, weights, seed=seed, out_of_time=out_of_time, iterations=iterations)
    return preferred(points, wish)


def _weights(shares: Floats) -> Weights:
    at_least = LEAST_WEIGHT + (1 - 3 * LEAST_WEIGHT) * shares
    return float(at_least[0]), float(at_least[1]), float(at_least[2])


def reweighted(fleet: Fleet, weights: Weights) -> Fleet:
    """The fleet with other weights; its penalties and the worth of stored energy are kept in step.

    Stored energy is traded like the first objective. Penalties follow the largest weight: no weight
    makes it pay to leave load unserved.
    """
    site = fleet.site
    own = site.weight_generation or 1.0
    as_cost, strictly = weights[0] / own, max(1.0, max(weights) / own)
    site = dataclasses.replace(
        site,
        weight_generation=weights[0],
        weight_equipment=weights[1],
        weight_pollution=weights[2],
        energy_value_per_kwh=as_cost * site.energy_value_per_kwh,
        shortfall_per_kwh=as_cost * site.shortfall_per_kwh,
        unserved_per_kwh=strictly * site.unserved_per_kwh,
        curtailed_per_kwh=strictly * site.curtailed_per_kwh,
        dumped_per_kwh=strictly * site.dumped_per_kwh,
    )
    return Fleet(site, fleet.batteries, fleet.diesels)


def _point(fleet: Fleet, weights: Weights, schedule: FleetSchedule) -> Point:
    cost = evaluate(fleet, schedule)
    own = fleet.site.weight_generation or 1.0
    money = cost.generation + (cost.penalty + cost.terminal) / own
    return Point(weights, (money, cost.equipment, cost.pollution), schedule, cost)


def _unbeaten(points: Sequence[Point]) -> list[Point]:
    """Points that no other one matches in every objective, to within `ALIKE_FRAC` of its span."""
    values = np.array([point.objectives for point in points])
    span = np.ptp(values, axis=0)
    slack = ALIKE_FRAC * span + 1e-9
    kept: list[int] = []
    # In this order whoever beats a point comes before it.
    for n in np.argsort((values / np.where(span > 0, span, 1.0)).sum(axis=1), kind="stable"):
        if not any(np.all(values[k] <= values[n] + slack) for k in kept):
            kept.append(int(n))
    return [points[n] for n in kept]


def preferred(points: Sequence[Point], wish: Preference) -> Point:
    """The point best in one objective among those within a fraction of the best in another."""
    least = min(point.objectives[wish.of] for point in points)
    limit = least + wish.within_frac * abs(least) + 1e-9
    near = [point for point in points if point.objectives[wish.of] <= limit]
    return min(near, key=lambda point: point.objectives[wish.best_in])
