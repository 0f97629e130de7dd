"""The site's batteries and generators as the planner knows them, each by itself and as one.

The problem of the day (`firmware.day_plan`) has all batteries as one and all sets as one: what its
values, reserve and guidance rest on. The planner gets every unit; what is lost, locked or cannot do
anything now is left out, and rests in the plan.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from control.dispatch import Bools, Schedule, energy_kwh
from control.dispatch_fleet import Fleet, FleetSchedule
from control.dispatch_instance import NO_BATTERY, NO_DIESEL, Battery, Diesel, Floats, Instance
from control.tighten import higher_reserve_frac
from firmware import config_models

INFINITE_H = 1e4

Rows = TypeVar("Rows", Floats, Bools)
Places = tuple[tuple[int, ...], tuple[int, ...]]  # of batteries and of sets in the site file


@dataclass(frozen=True, slots=True)
class SetNow:
    """One of several generators at the moment of planning."""

    run: bool
    for_s: float  # in that state
    usable: bool


@dataclass(frozen=True, slots=True)
class Units:
    """Every unit for the planner, with its place in the site file."""

    batteries: tuple[tuple[int, Battery], ...]
    diesels: tuple[tuple[int, Diesel], ...]

    @property
    def places(self) -> Places:
        """Which units these are."""
        return tuple(n for n, _ in self.batteries), tuple(n for n, _ in self.diesels)

    def fleet(self, instance: Instance) -> Fleet:
        """The instance with these units in the place of all as one.

        The reserve is kept by each battery in equal parts.
        """
        if len(self.batteries) <= 1 and len(self.diesels) <= 1:
            return Fleet.of(instance)
        share = 1.0 / max(1, len(self.batteries))
        site = dataclasses.replace(
            instance,
            battery=NO_BATTERY,
            diesel=NO_DIESEL,
            reserve_kwh=share * instance.reserve_kwh,
        )
        return Fleet(
            site,
            tuple(battery for _, battery in self.batteries),
            tuple(diesel for _, diesel in self.diesels),
        )


def battery(
    unit: config_models.Battery,
    soc_frac: float,
    ordered_reserve_frac: float | None,
    *,
    connected: bool,
) -> Battery:
    """One battery; beside a grid it keeps the reserve, but is not charged at once to reach it."""
    soc_frac = min(1.0, max(0.0, soc_frac))
    floor = unit.soc_min_frac
    if connected:
        reserve = higher_reserve_frac(
            unit.reserve_soc_frac, ordered_reserve_frac, unit.soc_max_frac
        )
        floor = max(floor, min(reserve, soc_frac))
    return Battery(
        capacity_kwh=unit.capacity_kwh,
        soc_min_frac=floor,
        soc_max_frac=unit.soc_max_frac,
        soc_initial_frac=soc_frac,
        charge_max_kw=unit.charge_max_kw,
        discharge_max_kw=unit.discharge_max_kw,
        charge_efficiency_frac=unit.charge_efficiency_frac,
        discharge_efficiency_frac=unit.discharge_efficiency_frac,
        generation_cost_per_kwh=unit.generation_cost_per_kwh,
        om_linear_per_kwh=unit.om_linear_per_kwh,
        om_quadratic_per_kwh_at_max=unit.om_quadratic_per_kwh_at_max,
        inverter_rated_kw=unit.inverter_rated_kw,
    )


def diesel(unit: config_models.Generator, now: SetNow) -> Diesel:
    """One set."""
    return Diesel(
        rated_kw=unit.rated_kw,
        power_min_kw=unit.min_load_frac * unit.rated_kw,
        power_max_kw=unit.rated_kw,
        fuel_no_load_l_per_h_per_rated_kw=unit.fuel_no_load_l_per_h_per_kw,
        fuel_linear_l_per_kwh=unit.fuel_linear_l_per_kwh,
        fuel_quadratic_l_per_h_per_kw2=unit.fuel_quadratic_l_per_h_per_kw2,
        fuel_price_per_l=unit.fuel_price_per_l,
        generation_cost_per_kwh=unit.generation_cost_per_kwh,
        om_per_kwh=unit.om_per_kwh,
        om_per_h_on=unit.om_per_h_on,
        startup=unit.startup_cost,
        min_up_h=unit.min_run_s / 3600.0,
        min_down_h=unit.min_rest_s / 3600.0,
        initial_on=now.run,
        initial_time_in_state_h=min(INFINITE_H, max(0.0, now.for_s / 3600.0)),
    )


def batteries_as_one(units: Sequence[Battery]) -> Battery:
    """Powers and capacities add up, shares and unit costs count by capacity."""
    if len(units) < 2:
        return units[0] if units else NO_BATTERY
    kwh = np.array([unit.capacity_kwh for unit in units])
    means: dict[str, Any] = {
        name: float(np.average([getattr(unit, name) for unit in units], weights=kwh))
        for name in (
            "soc_min_frac",
            "soc_max_frac",
            "soc_initial_frac",
            "charge_efficiency_frac",
            "discharge_efficiency_frac",
            "generation_cost_per_kwh",
            "om_linear_per_kwh",
            "om_quadratic_per_kwh_at_max",
        )
    }
    sums: dict[str, Any] = {
        name: float(sum(getattr(unit, name) for unit in units))
        for name in ("capacity_kwh", "charge_max_kw", "discharge_max_kw", "inverter_rated_kw")
    }
    return dataclasses.replace(units[0], **means, **sums)


def diesels_as_one(units: Sequence[Diesel]) -> Diesel:
    """The cheapest set's figures, with the power of all."""
    if len(units) < 2:
        return units[0] if units else NO_DIESEL
    cheapest = min(units, key=lambda unit: unit.fuel_price_per_l * unit.fuel_linear_l_per_kwh)
    return dataclasses.replace(
        cheapest,
        rated_kw=sum(unit.rated_kw for unit in units),
        power_max_kw=sum(unit.power_max_kw for unit in units),
        initial_on=any(unit.initial_on for unit in units),
    )


# --- the answer ----------------------------------------------------------------------------


def as_one(schedule: FleetSchedule) -> Schedule:
    """The schedule of all batteries as one and all sets as one."""
    return Schedule(
        _added(schedule.battery_kw),
        np.asarray(schedule.diesel_on.any(axis=0)),
        _added(schedule.diesel_kw),
        schedule.grid_kw,
        schedule.curtailed_kw,
        schedule.unserved_kw,
        schedule.dumped_kw,
    )


def _added(rows: Floats) -> Floats:
    """The sum of the rows, the row itself where there is one."""
    return rows[0] if len(rows) == 1 else np.asarray(rows.sum(axis=0))


def stored_kwh(fleet: Fleet, schedule: FleetSchedule) -> Floats:
    """Energy in all batteries after every step."""
    total = np.zeros(fleet.site.steps)
    for unit, row in zip(fleet.batteries, schedule.battery_kw, strict=True):
        if unit.capacity_kwh > 0:
            total = total + energy_kwh(fleet.alone(unit), row)[1:]
    return total


def placed(rows: Rows, places: Sequence[int], count: int) -> Rows:
    """Rows of the units that were planned for, among all of the site; zeros for the others."""
    every = np.zeros((count, rows.shape[1]), dtype=rows.dtype)
    every[list(places)] = rows
    return every


def later(schedule: FleetSchedule, steps: int) -> FleetSchedule:
    """The schedule as a warm start for the horizon that begins so many steps later.

    The steps that come anew are idle, the sets as they were last.
    """

    def shifted(rows: Rows, last: Rows) -> Rows:
        moved: Rows = np.concatenate([rows[..., steps:], last], axis=-1)
        return moved

    still_kw = np.zeros((*schedule.battery_kw.shape[:1], steps))
    idle_kw = np.zeros(steps)
    return FleetSchedule(
        shifted(schedule.battery_kw, still_kw),
        shifted(schedule.diesel_on, np.repeat(schedule.diesel_on[:, -1:], steps, axis=1)),
        shifted(schedule.diesel_kw, np.zeros((len(schedule.diesel_kw), steps))),
        shifted(schedule.grid_kw, idle_kw),
        shifted(schedule.curtailed_kw, idle_kw),
        shifted(schedule.unserved_kw, idle_kw),
        shifted(schedule.dumped_kw, idle_kw),
    )
