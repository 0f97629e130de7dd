"""What stored energy is worth along a plan: read off from what the plan does and leaves.

Between two steps that end full or empty a stored kWh is worth the same, whenever it is used; every
step in between tells a bound: a battery that rests beside a deficit says that energy is worth more
than buying now, one that covers it says less. Follow the value instead of the planned power, and a
slot that turns out sunnier or darker than forecast is still answered as the plan would have.
"""

from dataclasses import dataclass

import numpy as np

from control.dispatch import Schedule, energy_kwh, inverter_efficiency
from control.dispatch_instance import Battery, Floats, Instance

NONE_KW = 0.02
AT_BOUND_FRAC = 0.01  # of capacity: this near to full or empty ends a segment
TIE = 1.1  # worth nearly the same now and later: act now, later is only a forecast
SLACK_FRAC = 0.02  # a single bound is passed by so much: indifference goes to what the plan did


@dataclass(frozen=True, slots=True)
class Guidance:
    """Per step: is the battery to cover load that was not foreseen, and to store surplus?"""

    value_per_kwh: Floats  # of a stored kWh, in the weighted objective
    cover_deficit: np.ndarray
    store_surplus: np.ndarray


def guidance(instance: Instance, schedule: Schedule) -> Guidance:
    """Return what the plan implies for deviations from its forecast beside a grid."""
    battery = instance.battery
    if battery.capacity_kwh <= 0:
        never = np.zeros(instance.steps, dtype=bool)
        return Guidance(np.zeros(instance.steps), never, never)
    value = _values(instance, schedule)
    typical_kw = np.full(instance.steps, 0.4 * battery.inverter_rated_kw)
    out, into = _worth_out(instance, typical_kw), _worth_in(instance, typical_kw)
    cover = value <= TIE * np.maximum(out(_buy(instance)), 0.0)
    store = TIE * value >= into(_sell(instance))
    return Guidance(value, cover, store)


def _buy(instance: Instance) -> Floats:
    """Marginal cost of a bought kWh in the objective (Qian 2024, eqs 5-11)."""
    pollution = instance.weight_pollution * instance.grid_pollution_per_kwh
    return instance.weight_generation * instance.price_buy_per_kwh + pollution


def _sell(instance: Instance) -> Floats:
    return instance.weight_generation * instance.price_sell_per_kwh


def _wear(instance: Instance, power_kw: Floats) -> Floats:
    """Marginal cost of a kWh through the battery."""
    battery = instance.battery
    share = power_kw / max(battery.discharge_max_kw, 1e-9)
    wear = battery.om_linear_per_kwh + 2.0 * battery.om_quadratic_per_kwh_at_max * share
    return (
        instance.weight_equipment * wear
        + instance.weight_generation * battery.generation_cost_per_kwh
    )


class _Worth:
    """Value per stored kWh at which a price per kWh at the terminals breaks even."""

    def __init__(self, factor: Floats, wear: Floats, sign: float) -> None:
        self._factor, self._wear, self._sign = factor, wear, sign

    def __call__(self, price: Floats) -> Floats:
        return self._factor * (price + self._sign * self._wear)


def _worth_out(instance: Instance, power_kw: Floats) -> _Worth:
    battery = instance.battery
    efficiency = inverter_efficiency(battery, power_kw) * battery.discharge_efficiency_frac
    return _Worth(efficiency, _wear(instance, power_kw), -1.0)


def _worth_in(instance: Instance, power_kw: Floats) -> _Worth:
    battery = instance.battery
    efficiency = inverter_efficiency(battery, power_kw) * battery.charge_efficiency_frac
    return _Worth(1.0 / efficiency, _wear(instance, power_kw), 1.0)


def _values(instance: Instance, schedule: Schedule) -> Floats:
    lower, upper = _bounds(instance, schedule)
    value = np.empty(instance.steps)
    for first, last in _segments(instance, schedule):
        low = float(np.max(lower[first:last], initial=-np.inf))
        high = float(np.min(upper[first:last], initial=np.inf))
        value[first:last] = _between(low, high, instance.energy_value_per_kwh)
    return value


def _between(low: float, high: float, otherwise: float) -> float:
    if np.isfinite(low) and np.isfinite(high):
        return 0.5 * (low + high)
    if np.isfinite(low):
        return max(low + SLACK_FRAC * abs(low), otherwise)
    return min(high - SLACK_FRAC * abs(high), otherwise) if np.isfinite(high) else otherwise


def _segments(instance: Instance, schedule: Schedule) -> list[tuple[int, int]]:
    """Runs of steps whose energy meets no bound before the last of them ends."""
    battery = instance.battery
    energy = energy_kwh(instance, schedule.battery_kw)[1:]
    margin = AT_BOUND_FRAC * battery.capacity_kwh
    full = energy >= battery.soc_max_frac * battery.capacity_kwh - margin
    empty = energy <= battery.soc_min_frac * battery.capacity_kwh + margin
    ends = sorted({*(np.flatnonzero(full | empty) + 1).tolist(), instance.steps})
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _bounds(instance: Instance, schedule: Schedule) -> tuple[Floats, Floats]:
    """Lower and upper bounds of the value that each step's decision implies."""
    power, grid = schedule.battery_kw, schedule.grid_kw
    net = power + grid
    rest = np.abs(power) <= NONE_KW
    moved_kw = np.where(rest, np.minimum(np.abs(net), _limit(instance.battery, net)), np.abs(power))
    out, into = _worth_out(instance, moved_kw), _worth_in(instance, moved_kw)
    buys, sells = grid > NONE_KW, grid < -NONE_KW
    gives, takes = power > NONE_KW, power < -NONE_KW
    bare = ~schedule.diesel_on  # beside the diesel its cost decides, not the prices
    lower = np.full(instance.steps, -np.inf)
    upper = np.full(instance.steps, np.inf)
    buy, sell = _buy(instance), _sell(instance)
    _raise(lower, bare & rest & buys, out(buy))
    _raise(lower, bare & gives & ~buys & ~sells, out(sell))
    _raise(lower, bare & takes & buys, into(buy))
    _raise(lower, bare & takes & ~buys, into(sell))
    _sink(upper, bare & rest & sells, into(sell))
    _sink(upper, bare & gives & ~sells, out(buy))
    _sink(upper, bare & gives & sells, out(sell))
    _sink(upper, bare & takes & sells, into(sell))
    return lower, upper


def _limit(battery: Battery, net_kw: Floats) -> Floats:
    return np.where(net_kw > 0, battery.discharge_max_kw, battery.charge_max_kw)


def _raise(bound: Floats, where: np.ndarray, to: Floats) -> None:
    np.maximum(bound, to, out=bound, where=where)


def _sink(bound: Floats, where: np.ndarray, to: Floats) -> None:
    np.minimum(bound, to, out=bound, where=where)
