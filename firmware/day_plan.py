"""The day ahead as a dispatch instance, and the planner's schedule as the loop's plan."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from control.dispatch import Schedule, energy_kwh
from control.dispatch_fleet import Fleet
from control.dispatch_instance import NO_BATTERY, NO_DIESEL, Battery, Diesel, Floats, Instance
from control.planning import plan
from control.planning_pareto import PREFERENCE_POINTS, Preference, plan_preferred
from control.records import Forecast, Plan, PricePeriod
from control.reserve import Reserve, reserve
from control.sky import PvAhead
from control.stored_value import guidance
from control.tighten import higher_reserve_frac, tighter_kw
from control.trades import NO_MARKET, Market
from firmware.config import Site
from firmware.tariff import Tariff

ISLAND_VALUE_FRAC = 0.8  # of what a stored kWh saves in fuel: it may also meet a sunny day
INFINITE_H = 1e4
ALONE_H = 12.0  # an island without a generator gets through a night
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
    diesel = _diesel(site, situation)
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
        battery=_battery(site, situation, connected),
        diesel=diesel,
        weight_generation=planner.weight_generation,
        weight_equipment=planner.weight_equipment,
        weight_pollution=planner.weight_pollution,
        diesel_pollution_per_kwh=site.generator[0].pollution_per_kwh if site.generator else 0.0,
        grid_pollution_per_kwh=site.grid.pollution_per_kwh if site.grid else 0.0,
        unserved_per_kwh=planner.unserved_cost_per_kwh,
        energy_value_per_kwh=_energy_value(site, buy, connected, diesel),
    )


def day_reserve(site: Site, forecast: Forecast, situation: Situation) -> Reserve:
    """What the plan keeps for a day worse than its median: on islands that help is far from."""
    battery = site.battery[0] if site.battery else None
    usable_kwh = 0.0
    if battery is not None and situation.soc_frac is not None:
        usable_kwh = battery.capacity_kwh * (battery.soc_max_frac - battery.soc_min_frac)
    help_after_h = ALONE_H
    if site.grid is not None and situation.grid_present:
        help_after_h = 0.0
    elif site.generator and situation.generator_usable:
        rest_h = site.generator[0].min_rest_s / 3600.0
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


def _export_max_kw(site: Site, situation: Situation) -> float:
    return tighter_kw(site.grid.export_max_kw if site.grid else 0.0, situation.export_max_kw)


def _battery(site: Site, situation: Situation, connected: bool) -> Battery:
    """The battery; beside a grid it keeps the reserve, but is not charged at once to reach it."""
    if not site.battery or situation.soc_frac is None:
        return NO_BATTERY
    battery = site.battery[0]
    soc_frac = min(1.0, max(0.0, situation.soc_frac))
    floor = battery.soc_min_frac
    if connected:
        reserve = higher_reserve_frac(
            battery.reserve_soc_frac, situation.reserve_soc_frac, battery.soc_max_frac
        )
        floor = max(floor, min(reserve, soc_frac))
    return Battery(
        capacity_kwh=battery.capacity_kwh,
        soc_min_frac=floor,
        soc_max_frac=battery.soc_max_frac,
        soc_initial_frac=soc_frac,
        charge_max_kw=battery.charge_max_kw,
        discharge_max_kw=battery.discharge_max_kw,
        charge_efficiency_frac=battery.charge_efficiency_frac,
        discharge_efficiency_frac=battery.discharge_efficiency_frac,
        generation_cost_per_kwh=battery.generation_cost_per_kwh,
        om_linear_per_kwh=battery.om_linear_per_kwh,
        om_quadratic_per_kwh_at_max=battery.om_quadratic_per_kwh_at_max,
        inverter_rated_kw=battery.inverter_rated_kw,
    )


def _diesel(site: Site, situation: Situation) -> Diesel:
    if not site.generator or not situation.generator_usable:
        return NO_DIESEL
    generator = site.generator[0]
    return Diesel(
        rated_kw=generator.rated_kw,
        power_min_kw=generator.min_load_frac * generator.rated_kw,
        power_max_kw=generator.rated_kw,
        fuel_no_load_l_per_h_per_rated_kw=generator.fuel_no_load_l_per_h_per_kw,
        fuel_linear_l_per_kwh=generator.fuel_linear_l_per_kwh,
        fuel_quadratic_l_per_h_per_kw2=generator.fuel_quadratic_l_per_h_per_kw2,
        fuel_price_per_l=generator.fuel_price_per_l,
        generation_cost_per_kwh=generator.generation_cost_per_kwh,
        om_per_kwh=generator.om_per_kwh,
        om_per_h_on=generator.om_per_h_on,
        startup=generator.startup_cost,
        min_up_h=generator.min_run_s / 3600.0,
        min_down_h=generator.min_rest_s / 3600.0,
        initial_on=situation.generator_run,
        initial_time_in_state_h=min(INFINITE_H, max(0.0, situation.generator_for_s / 3600.0)),
    )


def _energy_value(site: Site, buy: Floats, connected: bool, diesel: Diesel) -> float:
    """What a stored kWh is worth at the end of the horizon, in the weighted objective."""
    planner = site.planner
    efficiency = site.battery[0].discharge_efficiency_frac if site.battery else 1.0
    if connected:
        price = 0.5 * (float(buy.min()) + float(buy.mean()))
        return planner.weight_generation * max(0.0, price) * efficiency
    if diesel is NO_DIESEL:
        return planner.weight_generation * planner.unserved_cost_per_kwh * 0.1
    fuel = diesel.fuel_price_per_l * diesel.fuel_linear_l_per_kwh
    return ISLAND_VALUE_FRAC * planner.weight_equipment * (fuel + diesel.om_per_kwh) * efficiency


def plan_day(
    site: Site,
    instance: Instance,
    warm_start: Schedule | None,
    *,
    spent: Callable[[float], bool],
    iterations: int | None,
) -> tuple[Schedule, float, str]:
    """The schedule by the site's weights or its preference, its cost, and how it was found.

    `spent(share)` says whether so much of the budget is.
    """
    settings = site.planner
    if not settings.preference:
        made = plan(
            instance,
            seed=settings.seed,
            out_of_time=lambda: spent(1.0),
            iterations=iterations,
            warm_start=warm_start,
        )
        return made.schedule, made.cost.total, f"swarm, answer of stage {made.stage}"
    chosen = plan_preferred(
        Fleet.of(instance),
        Preference.parse(settings.preference),
        seed=settings.seed,
        out_of_time=lambda n: spent((n + 1) / PREFERENCE_POINTS),
        iterations=iterations,
    )
    s = chosen.schedule
    rows = (s.battery_kw[0], s.diesel_on[0], s.diesel_kw[0])
    schedule = Schedule(*rows, s.grid_kw, s.curtailed_kw, s.unserved_kw, s.dumped_kw)
    return schedule, chosen.cost.total, f"swarm, {settings.preference}"


def to_plan(
    site: Site, forecast: Forecast, instance: Instance, schedule: Schedule, cost: float, solver: str
) -> Plan:
    """Return the schedule as the loop's plan, void after the configured expiry."""
    capacity = instance.battery.capacity_kwh
    stored = energy_kwh(instance, schedule.battery_kw)[1:]
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
    )


def _floats(values: Floats) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
