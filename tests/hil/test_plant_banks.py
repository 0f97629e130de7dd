"""Two batteries and two generators in the simulated plant."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.devices.device import combined
from hil.plant import Controls, Plant, PlantParameters, Weather
from hil.score import balance_error_frac

BATTERY = {"capacity_kwh": 10.0, "charge_max_kw": 4.0, "discharge_max_kw": 4.0, "soc_min_frac": 0.1}
SITE = {
    "pv": [{"name": "roof", "rated_kw": 5.0}],
    "battery": [
        {**BATTERY, "name": "hall"},
        {**BATTERY, "name": "shed", "charge_max_kw": 2.0, "discharge_max_kw": 2.0},
    ],
    "generator": [{"name": "diesel", "rated_kw": 6.0}, {"name": "spare", "rated_kw": 3.0}],
    "grid": {"name": "grid", "import_max_kw": 10.0, "export_max_kw": 5.0},
}
NIGHT = Weather(0.0, 0.0, 15.0, 0.0, grid_present=False)
GRID = replace(NIGHT, grid_present=True)


def plant(weather: Weather = NIGHT) -> Plant:
    return Plant(PlantParameters.from_site(SITE, {"exact": True}), weather, 1.0)


def controls(**units: Controls) -> Controls:
    untouched = {name: Controls() for name in ("hall", "shed", "diesel", "spare")}
    every = untouched | units
    return combined(every.values(), every)


def test_each_battery_follows_its_own_setpoint_beside_the_grid() -> None:
    p = plant(GRID)
    wanted = controls(hall=Controls(battery_kw=2.0), shed=Controls(battery_kw=-1.0))
    for _ in range(60):
        state = p.step(1.0, GRID, 3.0, wanted)
    assert state.batteries["hall"].power_kw == pytest.approx(2.0, abs=1e-3)
    assert state.batteries["shed"].power_kw == pytest.approx(-1.0, abs=1e-3)
    assert state.battery is not None
    assert state.battery.power_kw == pytest.approx(1.0, abs=1e-3)
    assert state.grid_kw == pytest.approx(2.0, abs=1e-3)


def test_an_island_is_shared_around_the_setpoints() -> None:
    p = plant()
    wanted = controls(hall=Controls(battery_kw=1.0), shed=Controls(battery_kw=0.0))
    state = p.step(1.0, NIGHT, 2.5, wanted)
    powers = [state.batteries[name].power_kw for name in ("hall", "shed")]
    assert powers == pytest.approx([2.0, 0.5])  # 1.5 kW more, by 4 to 2
    state = p.step(1.0, NIGHT, 5.5, controls())
    powers = [state.batteries[name].power_kw for name in ("hall", "shed")]
    assert sum(powers) == pytest.approx(5.5)
    assert powers[1] <= 2.0 + 1e-9


def test_one_that_is_off_leaves_the_load_to_the_other() -> None:
    p = plant()
    state = p.step(1.0, NIGHT, 2.0, controls(shed=Controls(battery_off=True)))
    assert (state.mode, state.batteries["shed"].state) == ("battery", "off")
    assert state.batteries["hall"].power_kw == pytest.approx(2.0)
    both = controls(hall=Controls(battery_off=True), shed=Controls(battery_off=True))
    state = p.step(1.0, NIGHT, 2.0, both)
    assert (state.mode, state.unserved_kw) == ("black", 2.0)


def test_sets_on_the_bus_share_by_what_they_can_give_and_one_trips_alone() -> None:
    p = plant()
    run = controls(diesel=Controls(generator_run=True), spare=Controls(generator_run=True))
    rest = {"hall": Controls(battery_kw=0.0), "shed": Controls(battery_kw=0.0)}
    both = combined({**run.units, **rest}.values(), {**run.units, **rest})
    for _ in range(200):
        state = p.step(1.0, NIGHT, 6.0, both)
    assert state.mode == "generator"
    assert state.generators["diesel"].power_kw == pytest.approx(
        2.0 * state.generators["spare"].power_kw, rel=0.02
    )
    tripped = {**both.units, "diesel": Controls(generator_run=True, generator_trip=True)}
    for _ in range(20):
        state = p.step(1.0, NIGHT, 2.0, combined(tripped.values(), tripped))
    assert state.generators["diesel"].alarm == "tripped"
    assert state.generators["spare"].power_kw == pytest.approx(2.0, abs=0.1)
    assert state.mode == "generator"


def test_one_setpoint_for_all_is_shared_by_rating() -> None:
    p = plant(GRID)
    for _ in range(60):
        state = p.step(1.0, GRID, 1.0, Controls(battery_kw=3.0))
    powers = [state.batteries[name].power_kw for name in ("hall", "shed")]
    assert powers == pytest.approx([2.0, 1.0], abs=1e-2)


step = st.tuples(
    st.floats(0.05, 60.0),
    st.sampled_from([NIGHT, GRID, replace(NIGHT, plane_w_m2=900.0, ghi_w_m2=900.0)]),
    st.floats(0.0, 9.0),
    st.dictionaries(
        st.sampled_from(["hall", "shed", "diesel", "spare"]),
        st.builds(
            Controls,
            battery_kw=st.none() | st.floats(-5.0, 5.0),
            battery_off=st.sampled_from([False, False, True]),
            generator_run=st.booleans(),
            generator_trip=st.sampled_from([False, False, True]),
        ),
    ),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, min_size=1, max_size=25))
def test_the_books_close_whatever_is_done_to_it(history: list[Any]) -> None:
    p = plant()
    first = p.parameters.batteries
    stored_kwh = sum(each.initial_soc_frac * each.capacity_kwh for each in first)
    for dt_s, weather, load_kw, units in history:
        state = p.step(dt_s, weather, load_kw, controls(**units))
        assert state.battery is not None
        assert state.generator is not None
        assert sum(b.power_kw for b in state.batteries.values()) == pytest.approx(
            state.battery.power_kw, abs=1e-9
        )
        assert sum(g.power_kw for g in state.generators.values()) == pytest.approx(
            state.generator.power_kw, abs=1e-9
        )
        moved_kwh = state.energy.battery_discharge_kwh + state.energy.battery_charge_kwh
        assert balance_error_frac(state, stored_kwh) < 1e-6 or moved_kwh < 1e-3
