"""The day ahead as the planner gets it, and its answer as the loop gets it."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.dispatch import Schedule
from control.dispatch_fleet import Fleet, FleetSchedule, evaluate
from control.dispatch_instance import Instance
from control.follow import current_slot
from control.records import Forecast, Plan, PricePeriod, Series
from firmware.config import Site
from firmware.day_plan import (
    Situation,
    build_instance,
    day_reserve,
    day_units,
    plan_day,
    slot_start,
    to_plan,
)
from firmware.day_units import SetNow, Units, later
from firmware.tariff import Tariff

STEPS, SLOT_S = 96, 900.0
UTC_S = 1_760_018_400.0 + 130.0  # 2025-10-09 14:00 UTC, 16:00 in Copenhagen, in a slot


def situation(**changes: Any) -> Situation:
    known = {
        "t_s": 1000.0,
        "utc_s": UTC_S,
        "soc_frac": 0.5,
        "wind_kw": 0.3,
        "grid_present": True,
        "generator_run": False,
        "generator_for_s": 1e9,
        "generator_usable": False,
    }
    return Situation(**{**known, **changes})


def forecast(now: Situation) -> Forecast:
    start_t_s, _ = slot_start(now, SLOT_S)
    pv = tuple(float(n) / 50.0 for n in range(STEPS))
    load = (1.0,) * STEPS
    low, high = (0.0,) * STEPS, (9.0,) * STEPS
    return Forecast(
        now.t_s, start_t_s, SLOT_S, Series(low, pv, high, "x"), Series(low, load, high, "x")
    )


def instance(site: Site, **changes: Any) -> Instance:
    now = situation(**changes)
    return build_instance(site, Tariff(site.prices, site.site.timezone), forecast(now), now)


@given(st.floats(0.0, 1e7), st.floats(0.0, 4e9), st.sampled_from([60, 300, 900, 3600]))
def test_a_slot_starts_on_the_clock_and_now_lies_in_it(
    t_s: float, utc_s: float, slot_s: int
) -> None:
    start_t_s, start_utc_s = slot_start(situation(t_s=t_s, utc_s=utc_s), slot_s)
    assert start_utc_s % slot_s == 0.0
    assert 0.0 <= utc_s - start_utc_s < slot_s
    assert t_s - start_t_s == pytest.approx(utc_s - start_utc_s, abs=1e-5)


def test_orders_count_where_they_are_tighter(site: Site) -> None:
    loose = instance(site)
    start_utc_s = slot_start(situation(), SLOT_S)[1]
    made = instance(
        site,
        import_max_kw=2.0,
        export_max_kw=0.0,
        reserve_soc_frac=0.4,
        prices=(PricePeriod(start_utc_s + SLOT_S, start_utc_s + 3 * SLOT_S, 0.9, 0.2),),
    )
    assert set(made.import_max_kw) == {2.0}
    assert set(made.export_max_kw) == {0.0}
    assert made.battery.soc_min_frac == 0.4
    assert made.price_buy_per_kwh[1:3].tolist() == [0.9, 0.9]
    assert made.price_sell_per_kwh[1:3].tolist() == [0.2, 0.2]
    assert made.price_buy_per_kwh[3:].tolist() == loose.price_buy_per_kwh[3:].tolist()
    wider = instance(site, import_max_kw=99.0, export_max_kw=99.0, reserve_soc_frac=0.0)
    assert wider.import_max_kw.tolist() == loose.import_max_kw.tolist()
    assert wider.export_max_kw.tolist() == loose.export_max_kw.tolist()
    assert wider.battery == loose.battery
    island = instance(site, grid_present=False, import_max_kw=2.0, reserve_soc_frac=0.4)
    assert set(island.import_max_kw) == {0.0}
    assert island.battery.soc_min_frac == site.battery[0].soc_min_frac


def test_medians_prices_and_limits_are_where_they_belong(site: Site) -> None:
    made = instance(site)
    assert made.steps == STEPS
    assert made.step_h == 0.25
    assert made.load_kw.tolist() == [1.0] * STEPS
    assert made.pv_kw[50] == 1.0
    assert set(made.wind_kw) == {0.3}
    dear = np.flatnonzero(made.price_buy_per_kwh == 0.48)
    assert dear.tolist() == list(range(4, 20))  # 17 to 21 o'clock, from 16 o'clock on
    assert set(made.import_max_kw) == {10.0}
    assert set(made.export_max_kw) == {5.0}
    assert made.diesel.rated_kw == 0.0


def test_on_an_island_the_grid_gives_nothing_and_the_generator_may_run(site: Site) -> None:
    made = instance(site, grid_present=False, generator_usable=True, generator_run=True)
    assert set(made.import_max_kw) == set(made.export_max_kw) == {0.0}
    assert made.diesel.rated_kw == 6.0
    assert made.diesel.initial_on
    assert made.diesel.min_up_h == 0.5


def test_a_kwh_left_on_an_island_saves_running_time_and_not_only_fuel_per_kwh(site: Site) -> None:
    made = instance(site, grid_present=False, generator_usable=True)
    planner, unit = site.planner, site.generator[0]
    fuel_l = unit.fuel_linear_l_per_kwh + unit.fuel_no_load_l_per_h_per_kw
    fuel_l += unit.fuel_quadratic_l_per_h_per_kw2 * unit.rated_kw
    running = unit.fuel_price_per_l * fuel_l + unit.om_per_kwh + unit.om_per_h_on / unit.rated_kw
    made_for = planner.weight_equipment * running
    made_for += planner.weight_generation * unit.generation_cost_per_kwh
    made_for += planner.weight_pollution * unit.pollution_per_kwh
    efficiency = site.battery[0].discharge_efficiency_frac
    assert made.energy_value_per_kwh == pytest.approx(made_for * efficiency)


def test_power_that_nothing_takes_is_as_dear_as_load_that_nothing_serves(site: Site) -> None:
    made = instance(site, grid_present=False, generator_usable=True)
    assert made.dumped_per_kwh == made.unserved_per_kwh == site.planner.unserved_cost_per_kwh


def test_a_generator_that_never_ran_has_rested_for_long(site: Site) -> None:
    made = instance(site, grid_present=False, generator_usable=True, generator_for_s=1e9)
    assert 100.0 < made.diesel.initial_time_in_state_h < float("inf")


@pytest.mark.parametrize(
    ("soc_frac", "connected", "floor"),
    [
        (0.5, True, 0.25),  # the reserve
        (0.2, True, 0.2),  # below it: kept, not charged at once
        (0.1, True, 0.15),  # below the floor
        (0.5, False, 0.15),
        (1.2, True, 0.25),
        (-0.3, False, 0.15),
    ],
)
def test_the_reserve_is_kept_beside_a_grid(
    site: Site, soc_frac: float, connected: bool, floor: float
) -> None:
    battery = instance(site, soc_frac=soc_frac, grid_present=connected).battery
    assert battery.soc_min_frac == floor
    assert battery.soc_initial_frac == min(1.0, max(0.0, soc_frac))


def test_an_unknown_charge_means_no_battery(site: Site) -> None:
    assert instance(site, soc_frac=None).battery.capacity_kwh == 0.0


def test_a_schedule_becomes_a_plan_in_monotonic_time(site: Site) -> None:
    now = situation()
    ahead, problem = forecast(now), instance(site)
    battery_kw = np.where(np.arange(STEPS) < 8, -1.0, 0.0)
    none = np.zeros(STEPS)
    grid_kw = problem.load_kw - problem.pv_kw - problem.wind_kw - battery_kw
    schedule = Schedule(battery_kw, np.zeros(STEPS, dtype=bool), none, grid_kw, none, none, none)
    plan = to_plan(site, ahead, problem, FleetSchedule.of(schedule), 12.5, "by hand")
    assert (plan.issued_t_s, plan.start_t_s) == (1000.0, 870.0)
    assert plan.expires_t_s == 1000.0 + site.planner.expiry_s
    assert plan.soc_frac[7] == pytest.approx(0.5 + 2.0 * 0.97 / 12.0, abs=0.02)
    assert plan.soc_frac[-1] == plan.soc_frac[7]
    assert all(type(value) is float for value in (*plan.battery_kw, *plan.soc_frac, plan.cost))
    assert all(type(value) is bool for value in (*plan.generator_on, *plan.cover_deficit))
    slot = current_slot(plan, 1000.0)
    assert slot is not None
    assert (slot.index, slot.battery_kw) == (0, -1.0)
    slot = current_slot(plan, 870.0 + 900.0 * 8)
    assert slot is None  # expired before
    later = current_slot(plan, 870.0 + 900.0 * 3)
    assert later is not None
    assert later.index == 3


def test_a_battery_that_the_grid_may_not_charge_is_planned_so(site: Site) -> None:
    battery = site.battery[0].model_copy(update={"charge_from_grid": False})
    made = instance(site.model_copy(update={"battery": (battery,)}))
    lacking = np.maximum(0.0, made.load_kw - made.pv_kw - made.wind_kw)
    assert site.grid is not None
    assert (made.import_max_kw == np.minimum(lacking, site.grid.import_max_kw)).all()
    assert (instance(site).import_max_kw == site.grid.import_max_kw).all()


def test_the_reserve_for_a_bad_day_is_kept_on_islands_and_told(site: Site) -> None:
    beside_grid = day_reserve(site, forecast(situation()), situation())
    assert not beside_grid.kwh.any()
    alone = situation(grid_present=False, generator_usable=False)
    with_set = situation(grid_present=False, generator_usable=True)
    tired = site.generator[0].model_copy(update={"min_rest_s": 4 * 3600.0})
    resting = site.model_copy(update={"generator": (tired,)})
    most, some, none = (
        day_reserve(at, forecast(now), now).kwh
        for at, now in ((site, alone), (resting, with_set), (site, with_set))
    )
    assert most[0] >= some[0] > none[0] == 0.0
    problem = instance(site, grid_present=False, generator_usable=False)
    assert problem.reserve_kwh.tolist() == most.tolist()
    schedule, cost, how = plan_day(
        site, Fleet.of(problem), None, spent=lambda _: False, iterations=2
    )
    made = to_plan(site, forecast(alone), problem, schedule, cost, how)
    assert "for a bad day" in made.reserve[0]
    slot = current_slot(made, made.start_t_s)
    assert slot is not None
    assert slot.reserve == made.reserve[0]


def test_a_preference_takes_the_place_of_the_weights(site: Site) -> None:
    wish = "cleanest within 0 % of the cleanest"
    eager = site.model_copy(
        update={"planner": site.planner.model_copy(update={"preference": wish})}
    )
    problem = instance(site)
    clean, _, how = plan_day(eager, Fleet.of(problem), None, spent=lambda _: False, iterations=3)
    usual, _, _ = plan_day(site, Fleet.of(problem), None, spent=lambda _: False, iterations=3)
    assert wish in how
    assert (
        evaluate(Fleet.of(problem), clean).pollution
        <= evaluate(Fleet.of(problem), usual).pollution + 1e-9
    )


# --- several of a kind ---------------------------------------------------------------------


def of_two(site: Site, **changes: Any) -> Site:
    """The example with a second, smaller battery and a second, cheaper set; an island."""
    battery = site.battery[0].model_copy(
        update={"name": "second", "capacity_kwh": 5.0, "charge_max_kw": 2.0, **changes}
    )
    generator = site.generator[0].model_copy(
        update={"name": "spare", "start": "gencomm", "rated_kw": 3.0, "fuel_price_per_l": 1.0}
    )
    return site.model_copy(
        update={
            "battery": (*site.battery, battery),
            "generator": (*site.generator, generator),
            "grid": None,
        }
    )


def planned(site: Site, now: Situation) -> tuple[Plan, Units]:
    ahead = forecast(now)
    problem = build_instance(site, Tariff(site.prices, site.site.timezone), ahead, now)
    units = day_units(site, now)
    found, cost, how = plan_day(
        site, units.fleet(problem), None, spent=lambda _: False, iterations=2
    )
    return to_plan(site, ahead, problem, found, cost, how, units), units


def test_every_unit_has_its_row_in_the_plan(site: Site) -> None:
    two = of_two(site)
    still = SetNow(run=False, for_s=1e9, usable=True)
    now = situation(
        grid_present=False,
        soc_frac=0.3,
        generator_usable=True,
        soc_units_frac=(0.3, 0.4),
        sets=(still, still),
    )
    plan, units = planned(two, now)
    assert units.places == ((0, 1), (0, 1))
    assert [len(row) for row in plan.battery_units_kw] == [STEPS, STEPS]
    for step in range(STEPS):
        rows = [row[step] for row in plan.battery_units_kw]
        assert plan.battery_kw[step] == pytest.approx(sum(rows))
        on = [row[step] for row in plan.generator_units_on]
        assert plan.generator_on[step] == any(on)
        kw = [row[step] for row in plan.generator_units_kw]
        assert plan.generator_kw[step] == pytest.approx(sum(kw))
    capacity_kwh = sum(each.capacity_kwh for each in two.battery)
    first_kwh = 0.3 * two.battery[0].capacity_kwh + 0.4 * two.battery[1].capacity_kwh
    assert plan.soc_frac[0] == pytest.approx(first_kwh / capacity_kwh, abs=0.1)
    slot = current_slot(plan, now.t_s)
    assert slot is not None
    assert len(slot.battery_units_kw) == len(slot.generator_units_on) == 2
    assert "swarm" in plan.solver


def test_what_cannot_be_used_rests_in_the_plan(site: Site) -> None:
    two = of_two(site)
    still, lost = (SetNow(run=False, for_s=1e9, usable=usable) for usable in (True, False))
    now = situation(
        grid_present=False,
        soc_frac=0.3,
        generator_usable=True,
        soc_units_frac=(None, 0.3),
        sets=(lost, still),
    )
    plan, units = planned(two, now)
    assert units.places == ((1,), (1,))
    assert not any(plan.battery_units_kw[0])
    assert not any(plan.generator_units_on[0])
    assert plan.battery_units_kw[1] == plan.battery_kw
    assert plan.generator_units_kw[1] == plan.generator_kw
    none = situation(
        grid_present=False,
        soc_frac=None,
        soc_units_frac=(None, None),
        sets=(lost, lost),
    )
    plan, units = planned(two, none)
    assert units.places == ((), ())
    assert not any(plan.battery_kw)
    assert not any(plan.generator_on)


def test_a_warm_start_moves_with_the_time(site: Site) -> None:
    still = SetNow(run=False, for_s=1e9, usable=True)
    now = situation(
        grid_present=False, soc_units_frac=(0.3, 0.4), sets=(still, still), soc_frac=0.3
    )
    two = of_two(site)
    problem = build_instance(two, Tariff(None, two.site.timezone), forecast(now), now)
    fleet = day_units(two, now).fleet(problem)
    found, _, _ = plan_day(two, fleet, None, spent=lambda _: False, iterations=1)
    moved = later(found, 3)
    assert moved.battery_kw.shape == found.battery_kw.shape
    assert (moved.battery_kw[:, :-3] == found.battery_kw[:, 3:]).all()
    assert (moved.diesel_on[:, -3:] == found.diesel_on[:, -1:]).all()
    again, _, _ = plan_day(two, fleet, moved, spent=lambda _: False, iterations=1)
    assert again.battery_kw.shape == (2, STEPS)
