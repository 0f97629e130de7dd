"""The day ahead as a dispatch instance, and the planner's schedule as the loop's plan."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from control.dispatch_fleet import Fleet, FleetSchedule
from control.dispatch_instance import NO_DIESEL, Diesel, Floats, Instance
from control.planning_fleet import plan_fleet
from control.planning_pareto import PREFERENCE_POINTS, Preference, plan_preferred
from control.records import Forecast, Plan, PricePeriod
from control.reserve import Reserve, reserve
from control.sky import PvAhead
from control.stored_value import guidance
from control.tighten import tighter_kw
from control.trades import NO_MARKET, Market
from firmware.config import Site
from firmware.day_units import (
    SetNow,
    Units,
    as_one,
    batteries_as_one,
    battery,
    diesel,
    diesels_as_one,
    placed,
    stored_kwh,
)
from firmware.tariff import Tariff

ALONE_H = 12.0  # an island without a generator gets through a night
NO_UNITS = Units((), ())
READY_H = 1.0  # a generator whose rest is shorter starts before the battery is empty


@dataclass(frozen=True, slots=True)
class Situation:
    """The plant at the moment of planning. Times are monotonic unless they say utc."""

    t_s: float
    utc_s: float
    soc_frac: float | None
    wind_kw: float
    grid_present: bool
    generator_run: bool
    generator_for_s: float  # in that state
    generator_usable: bool  # may run beside what else holds the bus, and is not locked
    import_max_kw: float | None = None  # ordered; each counts where it is tighter than the site's
    export_max_kw: float | None = None
    reserve_soc_frac: float | None = None
    prices: tuple[PricePeriod, ...] = ()  # ordered, before the tariff's
    market: Market = NO_MARKET  # what is traded and agreed with neighbours
    pv_ahead: PvAhead | None = None  # the next minutes by the irradiance sensor
    soc_units_frac: tuple[float | None, ...] = ()  # of several batteries; None: not to be used
    sets: tuple[SetNow, ...] = ()  # several generators


def slot_start(situation: Situation, slot_s: float) -> tuple[float, float]:
    """Return start of the current slot, as monotonic time and as UTC; slots lie on UTC's grid."""
    start_utc_s = situation.utc_s // slot_s * slot_s
    return situation.t_s - (situation.utc_s - start_utc_s), start_utc_s


def build_instance(
    site: Site, tariff: Tariff, forecast: Forecast, situation: Situation
) -> Instance:
    """Return the dispatch problem of the hours ahead, from the forecast's medians."""
    steps = len(forecast.load.p50_kw)
    _, start_utc_s = slot_start(situation, forecast.step_s)
    starts_utc_s = start_utc_s + forecast.step_s * np.arange(steps)
    buy, sell = tariff.prices_over(starts_utc_s, situation.prices)
    connected = site.grid is not None and situation.grid_present
    planner = site.planner
    units = day_units(site, situation)
    sets = diesels_as_one([unit for _, unit in units.diesels])
    kept = day_reserve(site, forecast, situation)
    return Instance(
        step_h=forecast.step_s / 3600.0,
        load_kw=np.array(forecast.load.p50_kw),
        pv_kw=np.array(forecast.pv.p50_kw),
        wind_kw=np.full(steps, situation.wind_kw),  # persistence: there is no wind forecaster
        price_buy_per_kwh=buy,
        price_sell_per_kwh=sell,
        import_max_kw=_import_max(site, forecast, situation) if connected else np.zeros(steps),
        export_max_kw=np.full(steps, _export_max_kw(site, situation) if connected else 0.0),
        reserve_kwh=kept.kwh,
        reserve_short_per_kwh_h=kept.short_per_kwh_h,
        battery=batteries_as_one([unit for _, unit in units.batteries]),
        diesel=sets,
        weight_generation=planner.weight_generation,
        weight_equipment=planner.weight_equipment,
        weight_pollution=planner.weight_pollution,
        diesel_pollution_per_kwh=_pollution_per_kwh(site),
        grid_pollution_per_kwh=site.grid.pollution_per_kwh if site.grid else 0.0,
        unserved_per_kwh=planner.unserved_cost_per_kwh,
        dumped_per_kwh=planner.unserved_cost_per_kwh,  # nothing here dumps: a set runs too low
        energy_value_per_kwh=_energy_value(site, buy, connected, sets),
    )


def day_reserve(site: Site, forecast: Forecast, situation: Situation) -> Reserve:
    """What the plan keeps for a day worse than its median: on islands that help is far from."""
    usable_kwh = 0.0
    if situation.soc_frac is not None:
        usable_kwh = sum(
            battery.capacity_kwh * (battery.soc_max_frac - battery.soc_min_frac)
            for battery in site.battery
        )
    help_after_h = ALONE_H
    if site.grid is not None and situation.grid_present:
        help_after_h = 0.0
    elif site.generator and situation.generator_usable:
        rest_h = min(generator.min_rest_s for generator in site.generator) / 3600.0
        help_after_h = rest_h if rest_h > READY_H else 0.0
    return reserve(
        forecast.load,
        forecast.pv,
        step_h=forecast.step_s / 3600.0,
        help_after_h=help_after_h,
        usable_kwh=usable_kwh,
        unserved_per_kwh=site.planner.unserved_cost_per_kwh,
    )


def _import_max(site: Site, forecast: Forecast, situation: Situation) -> Floats:
    """The connection's limit; no more than the load lacks where the grid may not charge."""
    load_kw, pv_kw = np.array(forecast.load.p50_kw), np.array(forecast.pv.p50_kw)
    site_kw = site.grid.import_max_kw if site.grid else 0.0
    limit_kw = np.full(load_kw.size, tighter_kw(site_kw, situation.import_max_kw))
    if all(battery.charge_from_grid for battery in site.battery):
        return limit_kw
    return np.asarray(np.clip(load_kw - pv_kw - situation.wind_kw, 0.0, limit_kw))


def _pollution_per_kwh(site: Site) -> float:
    """Of a kWh of the sets', by their ratings."""
    sets = site.generator
    if len(sets) < 2:
        return sets[0].pollution_per_kwh if sets else 0.0
    return float(
        np.average([each.pollution_per_kwh for each in sets], weights=[s.rated_kw for s in sets])
    )


def _export_max_kw(site: Site, situation: Situation) -> float:
    return tighter_kw(site.grid.export_max_kw if site.grid else 0.0, situation.export_max_kw)


def day_units(site: Site, situation: Situation) -> Units:
    """Every battery and set that can be planned with now."""
    connected = site.grid is not None and situation.grid_present
    charges = situation.soc_units_frac or (situation.soc_frac,)
    sets = situation.sets or (
        SetNow(situation.generator_run, situation.generator_for_s, situation.generator_usable),
    )
    reserve_frac = situation.reserve_soc_frac
    return Units(
        tuple(
            (index, battery(unit, soc_frac, reserve_frac, connected=connected))
            for index, (unit, soc_frac) in enumerate(zip(site.battery, charges, strict=False))
            if soc_frac is not None
        ),
        tuple(
            (index, diesel(unit, now))
            for index, (unit, now) in enumerate(zip(site.generator, sets, strict=False))
            if now.usable
        ),
    )


def _energy_value(site: Site, buy: Floats, connected: bool, sets: Diesel) -> float:
    """What a stored kWh is worth at the end of the horizon, in the weighted objective."""
    planner = site.planner
    efficiency = min((each.discharge_efficiency_frac for each in site.battery), default=1.0)
    if connected:
        price = 0.5 * (float(buy.min()) + float(buy.mean()))
        return planner.weight_generation * max(0.0, price) * efficiency
    if sets is NO_DIESEL:
        return planner.weight_generation * planner.unserved_cost_per_kwh * 0.1
    return _made_per_kwh(site, sets) * efficiency


def _made_per_kwh(site: Site, sets: Diesel) -> float:
    """Cost of a kWh from the sets at full load, in the weighted objective, starts not counted.

    With fuel at no load: a kWh that is left over saves running time, not only fuel per kWh.
    """
    planner, power_kw = site.planner, sets.power_max_kw
    litres_per_h = (
        sets.fuel_no_load_l_per_h_per_rated_kw * sets.rated_kw
        + sets.fuel_linear_l_per_kwh * power_kw
        + sets.fuel_quadratic_l_per_h_per_kw2 * power_kw**2
    )
    running_per_h = sets.fuel_price_per_l * litres_per_h + sets.om_per_h_on
    return (
        planner.weight_equipment * (running_per_h / power_kw + sets.om_per_kwh)
        + planner.weight_generation * sets.generation_cost_per_kwh
        + planner.weight_pollution * _pollution_per_kwh(site)
    )


def plan_day(
    site: Site,
    fleet: Fleet,
    warm_start: FleetSchedule | None,
    *,
    spent: Callable[[float], bool],
    iterations: int | None,
) -> tuple[FleetSchedule, float, str]:
    """The schedule by the site's weights or its preference, its cost, and how it was found.

    `spent(share)` says whether so much of the budget is.
    """
    settings = site.planner
    if not settings.preference:
        made = plan_fleet(
            fleet,
            seed=settings.seed,
            out_of_time=lambda: spent(1.0),
            iterations=iterations,
            warm_start=warm_start,
        )
        return made.schedule, made.cost.total, f"swarm, answer of stage {made.stage}"
    chosen = plan_preferred(
        fleet,
        Preference.parse(settings.preference),
        seed=settings.seed,
        out_of_time=lambda n: spent((n + 1) / PREFERENCE_POINTS),
        iterations=iterations,
    )
    return chosen.schedule, chosen.cost.total, f"swarm, {settings.preference}"


def to_plan(
    site: Site,
    forecast: Forecast,
    instance: Instance,
    found: FleetSchedule,
    cost: float,
    solver: str,
    units: Units = NO_UNITS,
) -> Plan:
    """Return the schedule as the loop's plan, void after the configured expiry.

    Where there are several of a kind, the plan says of `units` what each does.
    """
    schedule = as_one(found)
    capacity = instance.battery.capacity_kwh
    stored = stored_kwh(units.fleet(instance), found)
    soc = stored / capacity if capacity > 0 else np.zeros(instance.steps)
    guide = guidance(instance, schedule)
    weight = instance.weight_generation
    kept = Reserve(instance.reserve_kwh, instance.reserve_short_per_kwh_h)
    return Plan(
        issued_t_s=forecast.issued_t_s,
        start_t_s=forecast.start_t_s,
        step_s=forecast.step_s,
        expires_t_s=forecast.issued_t_s + site.planner.expiry_s,
        battery_kw=_floats(schedule.battery_kw),
        generator_on=tuple(bool(on) for on in schedule.diesel_on),
        generator_kw=_floats(schedule.diesel_kw),
        grid_kw=_floats(schedule.grid_kw),
        curtailed_kw=_floats(schedule.curtailed_kw),
        soc_frac=_floats(soc),
        cover_deficit=tuple(bool(cover) for cover in guide.cover_deficit),
        store_surplus=tuple(bool(store) for store in guide.store_surplus),
        cost=float(cost),
        solver=solver,
        reserve=tuple(kept.words(step) for step in range(instance.steps)),
        stored_value_per_kwh=_floats(guide.value_per_kwh / weight) if weight else (),
        **_rows(site, found, units),
    )


def _rows(site: Site, found: FleetSchedule, units: Units) -> Mapping[str, Any]:
    """A row for each unit of a kind of which there are several."""
    rows: dict[str, Any] = {}
    if len(site.battery) > 1:
        every = placed(found.battery_kw, [n for n, _ in units.batteries], len(site.battery))
        rows["battery_units_kw"] = tuple(map(_floats, every))
    if len(site.generator) > 1:
        places, count = [n for n, _ in units.diesels], len(site.generator)
        on = placed(found.diesel_on, places, count)
        rows["generator_units_on"] = tuple(tuple(map(bool, row)) for row in on)
        rows["generator_units_kw"] = tuple(map(_floats, placed(found.diesel_kw, places, count)))
    return rows


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
