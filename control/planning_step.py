"""The exact decision within one step: given battery power and who runs, who serves the rest.

What remains of a step is one demand `r = load - PV - wind - battery`, served by the running diesels
(convex cost between their limits) and by a stack of linear offers: less curtailment, less export,
more import, and, without limit, dumped and unserved power. Cheapest first is optimal, and with
convex cost the diesels' share is a closed form of r. Only where selling pays more than buying costs
is the stack not convex; then import and export are tried separately.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from control.dispatch import Bools, Schedule, wear_slope
from control.dispatch_instance import Floats, Instance
from control.planning_running import Burning, Running

Ints = np.ndarray[Any, np.dtype[np.intp]]

_ALL = slice(None)
Index = slice | tuple[slice | Ints, None]
_CURTAIL, _EXPORT, _IMPORT = 0, 1, 2  # offers in the order that breaks ties


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """The linear offers of every step, cheapest first. All arrays (steps,) or (offers, steps).

    `edge[0]` is the demand that nothing but dumping serves; `edge[k + 1] - edge[k]` is the k-th
    offer's width; `price` is clipped to what dumped and unserved power cost.
    """

    order: np.ndarray[Any, np.dtype[np.intp]]
    edge: Floats
    price: Floats
    base: Floats  # cost per hour at edge[0]
    always: Bools  # the offer pays more than dumping costs: it is used in full
    never: Bools
    diesel: Floats  # (offers + 2, steps): diesels' power while the k-th price is the marginal one


class Supply:
    """Cost and dispatch of whatever a step has to serve, while given diesels run."""

    def __init__(self, instance: Instance, running: Running) -> None:
        """Price everything in weighted currency per kWh."""
        self.instance, self.running = instance, running
        pollution = instance.weight_pollution * instance.grid_pollution_per_kwh
        self.buy = instance.weight_generation * instance.price_buy_per_kwh + pollution
        self.sell = instance.weight_generation * instance.price_sell_per_kwh
        self._stacks = self._build()

    def _build(self) -> list[_Stack]:
        """One stack, or one that only imports and one that only exports."""
        most_in, most_out = self.instance.import_max_kw, self.instance.export_max_kw
        if not np.any((self.sell > self.buy) & (most_in > 0) & (most_out > 0)):
            return [self._stack(most_in, most_out)]
        nothing = np.zeros_like(most_in)
        return [self._stack(most_in, nothing), self._stack(nothing, most_out)]

    def _stack(self, most_in: Floats, most_out: Floats) -> _Stack:
        instance = self.instance
        available = instance.pv_kw + instance.wind_kw
        low, high = -instance.dumped_per_kwh, instance.unserved_per_kwh
        price = np.stack([np.full_like(self.buy, -instance.curtailed_per_kwh), self.sell, self.buy])
        width = np.stack([available, most_out, most_in])
        order = np.argsort(np.clip(price, low, high), axis=0, kind="stable")
        price = np.take_along_axis(price, order, 0)
        width = np.take_along_axis(width, order, 0)
        always, never = price < low, price > high
        base = instance.curtailed_per_kwh * available - self.sell * most_out
        base = base + np.sum(np.where(always, (price - low) * width, 0.0), axis=0)
        price = np.clip(price, low, high)
        edge = -available - most_out + np.cumsum(np.vstack([np.zeros_like(self.buy), width]), 0)
        ends = np.vstack([np.full_like(self.buy, low), price, np.full_like(self.buy, high)])
        power = self.running.at_price(ends)
        return _Stack(order, edge, price, base, always, never, power)

    def _diesel_kw(self, stack: _Stack, rest: Floats, expand: Index) -> Floats:
        """The running diesels' best power for a rest to serve."""
        power = np.broadcast_to(stack.diesel[0][expand], rest.shape)
        for edge, here, after in zip(stack.edge, stack.diesel, stack.diesel[1:], strict=False):
            power = power + np.clip(rest - (edge + here)[expand], 0.0, (after - here)[expand])
        return power

    def _cost(self, stack: _Stack, rest: Floats, expand: Index) -> Floats:
        """Cost per hour of serving a rest; `expand` makes series of the stack fit its shape."""
        cost = stack.base[expand] + self.running.per_h
        if self.running.diesels:
            power = self._diesel_kw(stack, rest, expand)
            rest = rest - power
            cost = cost + self.running.cost(power)
        over = rest - stack.edge[0][expand]
        cost = cost - self.instance.dumped_per_kwh * np.minimum(over, 0.0)
        widths = np.diff(stack.edge, axis=0)
        for price, width, edge in zip(stack.price, widths, stack.edge, strict=False):
            cost = cost + price[expand] * np.clip(rest - edge[expand], 0.0, width[expand])
        missing = np.maximum(rest - stack.edge[-1][expand], 0.0)
        return np.asarray(cost + self.instance.unserved_per_kwh * missing)

    def cost(self, rest_kw: Floats, at: Index = _ALL) -> Floats:
        """Cost per hour of serving rests; `at` makes a series of all steps fit their shape."""
        cost = self._cost(self._stacks[0], rest_kw, at)
        for stack in self._stacks[1:]:
            cost = np.minimum(cost, self._cost(stack, rest_kw, at))
        return cost

    def kinks_kw(self) -> Floats:
        """Rests at which a step's marginal cost changes, (steps, kinks)."""
        columns = []
        for stack in self._stacks:
            edges = stack.edge
            if self.running.diesels:
                edges = np.vstack([edges + stack.diesel[:-1], edges + stack.diesel[1:]])
            columns.append(edges)
        return np.vstack(columns).T

    def dispatch(self, rest_kw: Floats) -> Floats:
        """Diesels', grid, curtailed, unserved and dumped power, (5, steps), at least cost."""
        parts = [self._dispatch(stack, rest_kw) for stack in self._stacks]
        if len(parts) == 1:
            return parts[0]
        one, other = (self._cost(stack, rest_kw, _ALL) for stack in self._stacks)
        return np.where(other < one, parts[1], parts[0])

    def _dispatch(self, stack: _Stack, rest: Floats) -> Floats:
        diesel = np.zeros_like(rest)
        if self.running.diesels:
            diesel = self._diesel_kw(stack, rest, _ALL)
        rest = rest - diesel
        width = np.diff(stack.edge, axis=0)
        used = np.clip(rest - stack.edge[:-1], 0.0, width)
        used = np.where(stack.always, width, np.where(stack.never, 0.0, used))
        by_offer = np.empty_like(used)
        np.put_along_axis(by_offer, stack.order, used, 0)
        total = np.empty_like(used)
        np.put_along_axis(total, stack.order, width, 0)
        curtailed = total[_CURTAIL] - by_offer[_CURTAIL]
        grid = by_offer[_EXPORT] - total[_EXPORT] + by_offer[_IMPORT]
        left = rest - grid + curtailed
        return np.stack([diesel, grid, curtailed, np.maximum(left, 0.0), np.maximum(-left, 0.0)])


def wear(instance: Instance) -> tuple[float, float]:
    """The battery's linear and quadratic cost per hour of its power, weighted."""
    a, b = instance.weight_generation, instance.weight_equipment
    battery = instance.battery
    linear = a * battery.generation_cost_per_kwh + b * battery.om_linear_per_kwh
    return linear, b * wear_slope(battery)


def constant_cost(instance: Instance) -> float:
    """What no decision changes: the cost of PV and wind that are available."""
    pv = np.sum(instance.pv_kw * instance.pv_cost_per_kwh)
    wind = np.sum(instance.wind_kw * instance.wind_cost_per_kwh)
    return instance.weight_generation * instance.step_h * float(pv + wind)


class MeritOrder:
    """Cost and dispatch of every step for any power of the one battery, exact."""

    def __init__(self, instance: Instance) -> None:
        """Price the steps with the diesel off and on."""
        self.instance = instance
        self.diesel = Burning.of(instance, instance.diesel)
        self.startup = self.diesel.startup
        self.demand = instance.load_kw - instance.pv_kw - instance.wind_kw
        self.supply = (Supply(instance, Running([])), Supply(instance, Running([self.diesel])))
        self.wear_linear, self.wear_quadratic = wear(instance)
        self.constant = constant_cost(instance)

    def cost(self, battery_kw: Floats, running: int, at: slice = _ALL) -> Floats:
        """Cost of the steps `at` for battery powers (steps, powers), without start-ups.

        `running` is 1 while the diesel runs, else 0.
        """
        cost = self.supply[running].cost(self.demand[at, None] - battery_kw, (at, None))
        worn = np.abs(battery_kw) * self.wear_linear + self.wear_quadratic * battery_kw**2
        return self.instance.step_h * (cost + worn)

    def kinks_kw(self, running: int) -> Floats:
        """Battery powers at which a step's marginal cost changes, (steps, kinks), unclipped."""
        return self.demand[:, None] - self.supply[running].kinks_kw()

    def schedule(self, battery_kw: Floats, on: Bools) -> Schedule:
        """The whole schedule that battery powers and diesel states imply, at least cost."""
        rest = self.demand - battery_kw
        off, running = (supply.dispatch(rest) for supply in self.supply)
        diesel, grid, curtailed, unserved, dumped = np.where(on, running, off)
        return Schedule(battery_kw, on, diesel, grid, curtailed, unserved, dumped)
