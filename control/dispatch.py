"""A dispatch schedule, its true cost and whether it keeps every constraint.

The cost is Qian 2024, eqs 5-11, with inverter efficiency, start-up, penalties and the value of the
energy left at the end; the constraints are eqs 4 and 12-15. Nothing here is simplified or smoothed:
what a planner assumes is its own affair, what counts is `evaluate`.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from control.dispatch_instance import Battery, Diesel, Floats, Instance

Bools = np.ndarray[Any, np.dtype[np.bool_]]

TOLERANCE = 1e-6  # kW and kWh, of every constraint


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """What every source does in every step, in kW; battery > 0 discharges, grid > 0 buys."""

    battery_kw: Floats
    diesel_on: Bools
    diesel_kw: Floats
    grid_kw: Floats
    curtailed_kw: Floats
    unserved_kw: Floats
    dumped_kw: Floats


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost J of a schedule and what it is made of, in currency.

    `total` is generation, equipment and pollution (Y1, Y2, Y3) weighted, + penalty + terminal.
    """

    total: float
    generation: float
    equipment: float
    pollution: float
    penalty: float
    terminal: float
    final_kwh: float

    def __add__(self, other: Self) -> Self:
        """The cost of both together."""
        sums = (getattr(self, f.name) + getattr(other, f.name) for f in dataclasses.fields(self))
        return type(self)(*sums)


def inverter_efficiency(battery: Battery, power_kw: Floats) -> Floats:
    """Efficiency as a fraction at |power|, linear between the curve's points."""
    load = np.abs(power_kw) / battery.inverter_rated_kw
    return np.interp(load, battery.inverter_load_frac, battery.inverter_efficiency_frac)


def stored_kwh_per_h(battery: Battery, power_kw: Floats) -> Floats:
    """The rate at which stored energy changes at a terminal power: < 0 while discharging."""
    efficiency = inverter_efficiency(battery, power_kw)
    charging = -power_kw * efficiency * battery.charge_efficiency_frac
    discharging = -power_kw / (efficiency * battery.discharge_efficiency_frac)
    return np.where(power_kw < 0, charging, discharging)


def energy_kwh(instance: Instance, battery_kw: Floats) -> Floats:
    """Stored energy at the start and after every step: steps + 1 values."""
    battery = instance.battery
    start = battery.soc_initial_frac * battery.capacity_kwh
    change = instance.step_h * stored_kwh_per_h(battery, battery_kw)
    return np.concatenate(([start], start + np.cumsum(change)))


def fastest_kw(battery: Battery) -> tuple[float, float]:
    """The powers that charge (<= 0) and discharge (>= 0) fastest: the limits, or less.

    Less only where the inverter's curve falls so steeply that more power stores less.
    """
    load, efficiency = np.array(battery.inverter_load_frac), battery.inverter_efficiency_frac
    slope = np.append(np.diff(efficiency) / np.diff(load), 0.0)
    falling = slope < 0
    steepest = (load[falling] - np.array(efficiency)[falling] / slope[falling]) / 2
    power = np.concatenate([load, steepest]) * battery.inverter_rated_kw
    charge = np.append(-np.minimum(power, battery.charge_max_kw), -battery.charge_max_kw)
    discharge = np.append(np.minimum(power, battery.discharge_max_kw), battery.discharge_max_kw)
    if battery.capacity_kwh == 0:
        return 0.0, 0.0
    fastest_charge = charge[np.argmax(stored_kwh_per_h(battery, charge))]
    return float(fastest_charge), float(discharge[np.argmin(stored_kwh_per_h(battery, discharge))])


def energy_bounds_kwh(instance: Instance) -> tuple[Floats, Floats]:
    """Lowest and highest stored energy allowed at the start and after every step.

    A battery that starts outside its limits goes back as fast as its power allows.
    """
    battery = instance.battery
    up, down = instance.step_h * stored_kwh_per_h(battery, np.array(fastest_kw(battery)))
    start = battery.soc_initial_frac * battery.capacity_kwh
    elapsed = np.arange(instance.steps + 1)
    low = np.minimum(battery.soc_min_frac * battery.capacity_kwh, start + elapsed * up)
    high = np.maximum(battery.soc_max_frac * battery.capacity_kwh, start + elapsed * down)
    return low, high


def whole_steps(hours: float, step_h: float) -> int:
    """Hours as steps, rounded up; a hair above a whole step is that step."""
    return math.ceil(hours / step_h - 1e-9)


def locked_steps(diesel: Diesel, step_h: float) -> int:
    """How many steps from the first on the diesel has to stay in its initial state."""
    needed = whole_steps(diesel.min_up_h if diesel.initial_on else diesel.min_down_h, step_h)
    return max(0, needed - math.floor(diesel.initial_time_in_state_h / step_h + 1e-9))


def starts(diesel: Diesel, on: Bools) -> int:
    """How often the diesel starts; a start at the first step counts."""
    return int(np.count_nonzero(np.diff(on.astype(np.int8), prepend=int(diesel.initial_on)) > 0))


def evaluate(instance: Instance, schedule: Schedule) -> Cost:
    """The true cost of a schedule, whether or not it is feasible."""
    return site_cost(instance, schedule) + units_cost(
        instance, schedule.battery_kw, schedule.diesel_on, schedule.diesel_kw
    )


def site_cost(instance: Instance, schedule: Schedule) -> Cost:
    """What all costs but battery and diesel: PV, wind, grid, and power curtailed or not served."""
    dt = instance.step_h
    buy, sell = np.maximum(schedule.grid_kw, 0), np.maximum(-schedule.grid_kw, 0)
    generation = dt * float(
        np.sum(
            instance.pv_kw * instance.pv_cost_per_kwh
            + instance.wind_kw * instance.wind_cost_per_kwh
            + buy * instance.price_buy_per_kwh
            - sell * instance.price_sell_per_kwh
        )
    )
    pollution = dt * float(np.sum(buy * instance.grid_pollution_per_kwh))
    penalty = dt * float(
        np.sum(
            schedule.unserved_kw * instance.unserved_per_kwh
            + schedule.curtailed_kw * instance.curtailed_per_kwh
            + schedule.dumped_kw * instance.dumped_per_kwh
        )
    )
    return _cost(instance, generation, 0.0, pollution, penalty)


def units_cost(instance: Instance, battery_kw: Floats, on: Bools, diesel_kw: Floats) -> Cost:
    """What the instance's battery and diesel cost, with the energy that is left at the end."""
    battery, diesel, dt = instance.battery, instance.diesel, instance.step_h
    throughput = np.abs(battery_kw)
    generation = dt * float(
        np.sum(
            diesel_kw * diesel.generation_cost_per_kwh
            + throughput * battery.generation_cost_per_kwh
        )
    )
    litres_per_h = (
        diesel.fuel_no_load_l_per_h_per_rated_kw * diesel.rated_kw * on
        + diesel.fuel_linear_l_per_kwh * diesel_kw
        + diesel.fuel_quadratic_l_per_h_per_kw2 * diesel_kw**2
    )
    wear = battery.om_linear_per_kwh + wear_slope(battery) * throughput
    equipment = diesel.startup * starts(diesel, on) + dt * float(
        np.sum(
            diesel_kw * diesel.om_per_kwh
            + on * diesel.om_per_h_on
            + diesel.fuel_price_per_l * litres_per_h
            + throughput * wear
        )
    )
    pollution = dt * float(np.sum(diesel_kw * instance.diesel_pollution_per_kwh))
    stored = energy_kwh(instance, battery_kw)
    terminal = float(terminal_cost(instance, stored[-1:])[0])
    short = float(np.sum(reserve_cost(instance, stored[1:, None])))
    return _cost(instance, generation, equipment, pollution, short, terminal, float(stored[-1]))


def _cost(
    instance: Instance,
    generation: float,
    equipment: float,
    pollution: float,
    penalty: float,
    terminal: float = 0.0,
    final_kwh: float = 0.0,
) -> Cost:
    weighted = (
        instance.weight_generation * generation
        + instance.weight_equipment * equipment
        + instance.weight_pollution * pollution
    )
    total = weighted + penalty + terminal
    return Cost(total, generation, equipment, pollution, penalty, terminal, final_kwh)


def wear_slope(battery: Battery) -> float:
    """What a kWh costs more per kW of battery power, currency per kWh per kW."""
    if battery.discharge_max_kw == 0:
        return 0.0  # undefined: such a battery only charges
    return battery.om_quadratic_per_kwh_at_max / battery.discharge_max_kw


def terminal_cost(instance: Instance, final_kwh: Floats) -> Floats:
    """Cost of ending with these energies: their value, negative, and what is short of target."""
    target = instance.target_soc_frac * instance.battery.capacity_kwh
    shortfall = np.maximum(target - final_kwh, 0.0)
    return instance.shortfall_per_kwh * shortfall - instance.energy_value_per_kwh * final_kwh


def violations(instance: Instance, schedule: Schedule) -> list[str]:
    """Every kind of constraint the schedule breaks by more than `TOLERANCE`, worst step first."""
    supplied_kw = schedule.battery_kw + schedule.diesel_kw
    return site_violations(instance, schedule, supplied_kw) + units_violations(
        instance, schedule.battery_kw, schedule.diesel_on, schedule.diesel_kw
    )


def site_violations(instance: Instance, plan: Schedule, units_kw: Floats) -> list[str]:
    """Broken balance and limits beside battery and diesel, which supply `units_kw` together."""
    available = instance.pv_kw + instance.wind_kw
    served = (available - plan.curtailed_kw + units_kw + plan.grid_kw) + (
        plan.unserved_kw - plan.dumped_kw
    )
    return _exceeded(
        {
            "power balance": np.abs(served - instance.load_kw),
            "curtailed power": np.maximum(-plan.curtailed_kw, plan.curtailed_kw - available),
            "unserved power": -plan.unserved_kw,
            "dumped power": -plan.dumped_kw,
            "import limit": plan.grid_kw - instance.import_max_kw,
            "export limit": -plan.grid_kw - instance.export_max_kw,
        }
    )


def units_violations(
    instance: Instance, battery_kw: Floats, on: Bools, diesel_kw: Floats
) -> list[str]:
    """Broken limits of the instance's battery and diesel."""
    battery, diesel = instance.battery, instance.diesel
    low, high = energy_bounds_kwh(instance)
    stored = energy_kwh(instance, battery_kw)
    least, most = diesel.power_min_kw * on, diesel.power_max_kw * on
    return _exceeded(
        {
            "charging power": -battery_kw - battery.charge_max_kw,
            "discharging power": battery_kw - battery.discharge_max_kw,
            "stored energy": np.maximum(low - stored, stored - high)[1:],
            "diesel power": np.maximum(diesel_kw - most, least - diesel_kw),
        }
    ) + _broken_runs(instance, on)


def _exceeded(excess: dict[str, Floats]) -> list[str]:
    return [
        f"{name}: off by {np.max(value):g} in step {np.argmax(value)}"
        for name, value in excess.items()
        if not np.max(value) <= TOLERANCE
    ]


def _broken_runs(instance: Instance, on: Bools) -> list[str]:
    """Where the diesel changes state before its minimum time; runs cut by the horizon are fine."""
    diesel, found = instance.diesel, []
    changes = np.flatnonzero(np.diff(on.astype(np.int8), prepend=int(diesel.initial_on)))
    locked = locked_steps(diesel, instance.step_h)
    if changes.size and changes[0] < locked:
        found.append(f"diesel: changes in step {changes[0]}, locked for {locked}")
    for first, after in itertools.pairwise(changes):
        hours = diesel.min_up_h if on[first] else diesel.min_down_h
        if after - first < whole_steps(hours, instance.step_h):
            found.append(f"diesel: {after - first} steps {'on' if on[first] else 'off'}")
    return found


def reserve_cost(instance: Instance, stored_kwh: Floats) -> Floats:
    """What it costs to be short of the reserve with these energies after each step, (steps, …)."""
    floor = instance.battery.soc_min_frac * instance.battery.capacity_kwh + instance.reserve_kwh
    short = np.maximum(floor[:, None] - stored_kwh, 0.0)
    return instance.step_h * instance.reserve_short_per_kwh_h * short


def to_dict(instance: Instance, schedule: Schedule) -> dict[str, Any]:
    """A schedule and its cost as JSON content."""
    return content(schedule, evaluate(instance, schedule))


def content(schedule: Any, cost: Cost) -> dict[str, Any]:
    """The same for a cost that is known."""
    return {
        "battery_kw": schedule.battery_kw.tolist(),
        "diesel_on": schedule.diesel_on.astype(int).tolist(),
        "diesel_kw": schedule.diesel_kw.tolist(),
        "grid_kw": schedule.grid_kw.tolist(),
        "curtailed_kw": schedule.curtailed_kw.tolist(),
        "unserved_kw": schedule.unserved_kw.tolist(),
        "dumped_kw": schedule.dumped_kw.tolist(),
        "cost": cost.total,
        "terms": {
            "generation": cost.generation,
            "equipment": cost.equipment,
            "pollution": cost.pollution,
            "penalty": cost.penalty,
            "terminal": cost.terminal,
            "final_kwh": cost.final_kwh,
        },
    }
