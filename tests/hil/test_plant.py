from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hil.plant import Controls, Plant, PlantParameters, PlantState, Weather

SITE = {
    "pv": [{"name": "roof", "rated_kw": 5.0}, {"name": "shed", "rated_kw": 2.0}],
    "wind": [{"name": "mast", "rated_kw": 1.5}],
    "battery": [
        {
            "name": "battery",
            "capacity_kwh": 12.0,
            "charge_max_kw": 4.0,
            "discharge_max_kw": 4.0,
            "soc_min_frac": 0.15,
        }
    ],
    "generator": [{"name": "genset", "rated_kw": 6.0}],
    "grid": {"name": "grid", "import_max_kw": 10.0, "export_max_kw": 5.0},
}
NIGHT = Weather(0.0, 0.0, 15.0, 0.0, grid_present=False)
NOON = Weather(900.0, 900.0, 20.0, 0.0, grid_present=False)
GRID = replace(NIGHT, grid_present=True)


def plant(weather: Weather = NIGHT, without: tuple[str, ...] = ("wind",), **truth: object) -> Plant:
    site = {kind: table for kind, table in SITE.items() if kind not in without}
    return Plant(PlantParameters.from_site(site, truth), weather, 1.0)


def run(
    p: Plant,
    seconds: float,
    weather: Weather,
    load_kw: float,
    controls: Controls,
    dt_s: float = 1.0,
) -> list[PlantState]:
    return [p.step(dt_s, weather, load_kw, controls) for _ in range(round(seconds / dt_s))]


def residuals(p: Plant, first: PlantState) -> tuple[float, float, float]:
    """Of the bus, of the battery and of the load, in kWh."""
    e = p.state.energy
    sources = e.pv_kwh + e.wind_kwh + e.grid_import_kwh + e.generator_kwh + e.battery_discharge_kwh
    sinks = e.served_kwh + e.dumped_kwh + e.grid_export_kwh
    sinks += e.generator_reverse_kwh + e.battery_charge_kwh
    stored = p.state.battery.stored_kwh - first.battery.stored_kwh if p.state.battery else 0.0
    through = e.battery_charge_kwh - e.battery_discharge_kwh - stored - e.battery_loss_kwh
    return sources - sinks, through, e.load_kwh - e.served_kwh - e.unserved_kwh


steps = st.lists(
    st.tuples(
        st.floats(0.01, 60.0),
        st.builds(
            Weather,
            st.just(0.0),
            st.floats(0.0, 1400.0),
            st.floats(-20.0, 45.0),
            st.floats(0.0, 30.0),
            st.booleans(),
        ),
        st.floats(0.0, 15.0),
        st.builds(
            Controls,
            pv_limit_kw=st.dictionaries(
                st.sampled_from(["roof", "mast"]), st.none() | st.floats(-1.0, 9.0)
            ),
            inverters_off=st.frozensets(st.sampled_from(["roof", "shed", "mast"])),
            battery_kw=st.none() | st.floats(-9.0, 9.0),
            battery_off=st.booleans(),
            generator_run=st.booleans(),
            generator_kw=st.none() | st.floats(-2.0, 9.0),
            generator_stop=st.sampled_from([False, False, False, True]),
            generator_trip=st.sampled_from([False, False, False, True]),
            generator_reset=st.booleans(),
            generator_crank_fails=st.booleans(),
        ),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps,
    st.floats(0.0, 1.0),
    st.booleans(),
    st.sampled_from([(), ("battery",), ("generator",), ("grid",), ("battery", "grid")]),
)
def test_any_treatment_leaves_the_account_closed(
    treatment: list[tuple[float, Weather, float, Controls, int]],
    soc_frac: float,
    throttles: bool,
    without: tuple[str, ...],
) -> None:
    truth: dict[str, object] = {"pv": {"shed": {"throttles": throttles}}}
    if "battery" not in without:
        truth["battery"] = {"initial_soc_frac": soc_frac, "capacity_kwh": 1.5}
    if "generator" not in without:
        truth["generator"] = {"warm_up_s": 20.0, "cool_down_s": 20.0, "tank_l": 0.2}
    p = plant(NIGHT, without, **truth)
    first = p.state
    for dt_s, weather, load_kw, controls, times in treatment:
        for _ in range(times):
            before = p.state
            now = p.step(dt_s, weather, load_kw, controls)
            check_step(before, now)
    assert residuals(p, first) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def check_step(before: PlantState, now: PlantState) -> None:
    renewable_kw = sum(inverter.power_kw for inverter in now.pv + now.wind)
    battery_kw = now.battery.power_kw if now.battery else 0.0
    generator_kw = now.generator.power_kw if now.generator else 0.0
    fed_kw = renewable_kw + battery_kw + generator_kw + now.grid_kw
    assert fed_kw == pytest.approx(now.served_kw + now.dumped_kw, abs=1e-9)
    assert -1e-12 <= now.unserved_kw <= now.load_kw + 1e-12
    assert now.dumped_kw >= 0.0
    for inverter in now.pv + now.wind:
        assert 0.0 <= inverter.power_kw <= inverter.available_kw + 1e-12
    if now.battery:
        assert -1e-9 <= now.battery.soc_frac <= 1.0 + 1e-9
        assert now.battery.loss_kw >= -1e-12
        assert now.battery.charge_limit_kw >= 0.0 <= now.battery.discharge_limit_kw
    if now.generator and before.generator:
        assert now.generator.power_kw == 0.0 or before.generator.phase in ("running", "cooling")
        assert now.generator.power_kw == 0.0 or before.generator.run_h >= 20.0 / 3600.0 - 1e-9
        assert now.generator.fuel_l >= 0.0
    if now.mode != "grid":
        assert now.grid_kw == 0.0
    if now.mode == "black":
        assert (now.served_kw, now.bus_frequency_hz, now.bus_voltage_v[0]) == (0.0, 0.0, 0.0)


def test_same_inputs_give_the_same_states() -> None:
    assert run(plant(seed=4), 90, NOON, 2.0, Controls()) == run(
        plant(seed=4), 90, NOON, 2.0, Controls()
    )
    assert plant(seed=4).parameters != plant(seed=5).parameters


def test_long_steps_agree_with_short_ones() -> None:
    day = replace(NOON, grid_present=True)
    long, short = plant(), plant()
    run(long, 7200, day, 2.0, Controls(battery_kw=-1.5), dt_s=60.0)
    run(short, 7200, day, 2.0, Controls(battery_kw=-1.5), dt_s=0.5)
    assert long.state.battery.soc_frac == pytest.approx(short.state.battery.soc_frac, abs=0.005)
    assert long.state.energy.pv_kwh == pytest.approx(short.state.energy.pv_kwh, rel=1e-6)


# --- PV and wind -----------------------------------------------------------------------------


def test_pv_follows_the_equation_at_standard_conditions() -> None:
    p = plant(exact=True, pv={"roof": {"soiling_frac": 0.0, "mismatch_frac": 0.0, "array_kw": 4.0}})
    # cells at 25 degC under 1000 W/m2: 31.25 K above the ambient by NOCT
    state = p.step(1.0, Weather(0.0, 1000.0, 25.0 - 31.25, 0.0), 1.0, Controls())
    assert state.pv[0].available_kw == pytest.approx(4.0 * 0.97)
    hotter = p.step(1.0, Weather(0.0, 1000.0, 35.0 - 31.25, 0.0), 1.0, Controls())
    assert hotter.pv[0].available_kw == pytest.approx(4.0 * 0.97 * (1.0 - 0.037))


def test_limit_takes_hold_within_seconds_and_what_is_missing_counts_as_curtailed() -> None:
    p = plant()
    day = replace(NOON, grid_present=True)
    states = run(p, 15, day, 1.0, Controls(pv_limit_kw={"roof": 1.0}))
    powers = [state.pv[0].power_kw for state in states]
    assert powers[0] > 2.0
    assert all(later <= sooner for sooner, later in pairwise(powers))
    assert powers[-1] == pytest.approx(1.0, abs=0.01)
    assert states[-1].pv[0].state == "throttled"
    assert states[-1].curtailed_kw == pytest.approx(states[-1].pv[0].available_kw - 1.0, abs=0.01)
    assert states[-1].pv[1].power_kw == states[-1].pv[1].available_kw


@pytest.mark.parametrize(
    ("wind_m_s", "power_kw"),
    [(2.9, 0.0), (7.0, 1.5 * (343 - 27) / (1331 - 27)), (11.0, 1.5), (25.0, 1.5), (25.1, 0.0)],
)
def test_wind_follows_the_equation(wind_m_s: float, power_kw: float) -> None:
    p = plant(without=())
    state = p.step(1.0, Weather(0.0, 0.0, 10.0, wind_m_s), 1.0, Controls())
    assert state.wind[0].power_kw == pytest.approx(power_kw)


# --- battery ---------------------------------------------------------------------------------


def test_battery_follows_its_setpoint_and_loses_on_the_way() -> None:
    p = plant(GRID, exact=True)
    down = run(p, 3600, GRID, 1.0, Controls(battery_kw=2.0))
    assert down[0].battery.power_kw < 2.0  # response lag
    assert down[10].battery.power_kw == pytest.approx(2.0, abs=1e-6)
    assert down[-1].grid_kw == pytest.approx(-1.0, abs=1e-6)
    drawn_kwh = down[0].battery.stored_kwh - down[-1].battery.stored_kwh
    assert 0.90 < 2.0 / drawn_kwh < 0.97
    up = run(p, 3600, GRID, 1.0, Controls(battery_kw=-2.0))
    gained_kwh = up[-1].battery.stored_kwh - up[0].battery.stored_kwh
    assert 0.90 < gained_kwh / 2.0 < 0.97


def test_part_load_is_inefficient_and_half_load_best() -> None:
    efficiency = []
    for power_kw in (0.2, 1.6, 4.0):
        p = plant(GRID, exact=True)
        battery = run(p, 30, GRID, 1.0, Controls(battery_kw=power_kw))[-1].battery
        efficiency.append(power_kw / (power_kw + battery.loss_kw))
    assert efficiency[0] < efficiency[2] < efficiency[1]


def test_bms_limits_shrink_towards_full_and_empty() -> None:
    p = plant(GRID, battery={"initial_soc_frac": 0.85})
    states = run(p, 5 * 3600, GRID, 0.5, Controls(battery_kw=-4.0), dt_s=10.0)
    limits = [state.battery.charge_limit_kw for state in states]
    assert all(later <= sooner + 1e-12 for sooner, later in pairwise(limits))
    assert limits[-1] < 0.05 * limits[0]
    assert 0.99 < states[-1].battery.soc_frac <= 1.0
    states = run(p, 5 * 3600, GRID, 0.5, Controls(battery_kw=4.0), dt_s=10.0)
    assert states[-1].battery.discharge_limit_kw == 0.0
    assert states[-1].battery.soc_frac == pytest.approx(0.03, abs=0.002)
    assert states[-1].battery.power_kw < 0.0  # the standby power comes from the grid


def test_battery_left_alone_brings_the_meter_to_zero_down_to_its_floor() -> None:
    p = plant(GRID, battery={"initial_soc_frac": 0.2})
    states = run(p, 3600, GRID, 1.5, Controls(), dt_s=1.0)
    assert states[20].grid_kw == pytest.approx(0.0, abs=1e-6)
    assert states[-1].battery.soc_frac == pytest.approx(0.15, abs=0.006)
    assert states[-1].grid_kw >= 1.5


# --- generator -------------------------------------------------------------------------------


def test_generator_cranks_warms_up_runs_and_cools_down() -> None:
    p = plant()
    on, off = Controls(generator_run=True, battery_kw=-2.0), Controls(battery_kw=0.0)
    states = run(p, 80, NIGHT, 1.0, on) + run(p, 125, NIGHT, 1.0, off)
    phases = [state.generator.phase for state in states]
    order = [a for a, b in pairwise([*phases, ""]) if a != b]
    assert order == ["starting", "warming", "running", "cooling", "stopped"]
    assert phases.count("warming") == pytest.approx(60, abs=1)
    assert phases.count("cooling") == pytest.approx(120, abs=1)
    assert {state.mode for state in states} == {"battery", "generator"}
    assert all(s.generator.power_kw == 0.0 for s in states if s.mode == "battery")
    assert all(s.unserved_kw == 0.0 for s in states)
    assert states[79].generator.power_kw == pytest.approx(3.0, abs=1e-3)
    assert states[79].generator.rpm == pytest.approx(1500.0, rel=0.01)
    assert states[-1].generator.starts == 1


def test_a_withdrawn_request_ends_a_start_and_a_renewed_one_a_cool_down() -> None:
    p = plant()
    on, off = Controls(generator_run=True), Controls()
    assert run(p, 2, NIGHT, 1.0, on)[-1].generator.phase == "starting"
    assert p.step(1.0, NIGHT, 1.0, off).generator.phase == "stopped"
    assert run(p, 30, NIGHT, 1.0, on)[-1].generator.phase == "warming"
    assert p.step(1.0, NIGHT, 1.0, off).generator.phase == "cooling"
    assert p.step(1.0, NIGHT, 1.0, on).generator.phase == "warming"  # not warm yet
    assert run(p, 70, NIGHT, 1.0, on)[-1].generator.phase == "running"
    assert p.step(1.0, NIGHT, 1.0, off).generator.phase == "cooling"
    assert p.step(1.0, NIGHT, 1.0, on).generator.on_bus
    assert p.state.generator.starts == 1


def test_fuel_follows_the_curve_and_the_tank_runs_dry() -> None:
    p = plant(
        exact=True,
        generator={
            "tank_l": 3.0,
            "initial_fuel_frac": 1.0,
            "warm_up_s": 0.0,
            "fuel_quadratic_l_per_kw2h": 0.0,
        },
    )
    controls = Controls(generator_run=True, battery_kw=0.0)
    states = run(p, 3600, NIGHT, 4.0, controls)
    expected = 1.03 * (0.08 * 6.0 + 0.246 * 4.0)
    assert states[-1].generator.fuel_l_per_h == pytest.approx(expected, rel=1e-6)
    states += run(p, 7200, NIGHT, 4.0, controls)
    last = states[-1]
    assert (last.generator.phase, last.generator.alarm) == ("stopped", "out of fuel")
    assert last.energy.fuel_l == pytest.approx(3.0)
    refuelled = run(p, 20, NIGHT, 4.0, replace(controls, refuel_l=1.0))
    assert refuelled[-1].generator.phase == "running"


def test_failed_start_trip_and_local_stop() -> None:
    p = plant()
    run_request = Controls(generator_run=True)
    states = run(p, 70, NIGHT, 1.0, replace(run_request, generator_crank_fails=True))
    assert states[-1].generator.alarm == "failed to start"
    assert run(p, 100, NIGHT, 1.0, run_request)[-1].generator.phase == "stopped"
    run(p, 1, NIGHT, 1.0, replace(run_request, generator_reset=True))
    assert run(p, 100, NIGHT, 1.0, run_request)[-1].generator.phase == "running"
    stopped = p.step(1.0, NIGHT, 1.0, replace(run_request, generator_stop=True))
    assert (stopped.generator.phase, stopped.generator.alarm) == ("stopped", "emergency stop")
    assert run(p, 100, NIGHT, 1.0, run_request)[-1].generator.phase == "running"
    tripped = p.step(1.0, NIGHT, 1.0, replace(run_request, generator_trip=True))
    assert tripped.generator.locked_out
    assert p.step(1.0, NIGHT, 1.0, run_request).generator.alarm == "tripped"


def test_pv_gives_way_to_a_generator_before_power_reverses() -> None:
    p = plant()
    run(p, 100, NIGHT, 1.0, Controls(generator_run=True, battery_kw=0.0))
    bright = run(p, 200, NOON, 1.0, Controls(generator_run=True, battery_kw=0.0))
    assert bright[-1].generator.phase == "running"
    assert bright[-1].generator.power_kw == pytest.approx(0.0, abs=1e-9)
    assert bright[-1].bus_frequency_hz > 50.2
    assert bright[-1].curtailed_kw > 3.0
    assert bright[-1].energy.generator_low_load_s > 190.0


def test_reverse_power_trips_the_generator() -> None:
    p = plant()
    run(p, 100, NIGHT, 1.0, Controls(generator_run=True, battery_kw=0.0))
    states = run(p, 10, NIGHT, 1.0, Controls(generator_run=True, battery_kw=3.0))
    assert states[-1].generator.alarm == "reverse power"
    assert states[-1].generator.locked_out
    assert states[-1].mode == "battery"
    assert states[-1].energy.generator_reverse_kwh > 0.0


def test_battery_helps_a_generator_out() -> None:
    p = plant()
    on = Controls(generator_run=True, battery_kw=0.0)
    run(p, 100, NIGHT, 1.0, on)
    states = run(p, 10, NIGHT, 8.0, on)
    assert all(state.unserved_kw == 0.0 for state in states)
    assert states[0].generator.power_kw < states[-1].generator.power_kw < 6.0
    assert states[-1].battery.power_kw == pytest.approx(8.0 - states[-1].generator.power_kw)


# --- island, grid and darkness ---------------------------------------------------------------


def test_battery_takes_over_when_the_grid_fails_and_hands_back_after_a_while() -> None:
    p = plant(GRID)
    run(p, 10, GRID, 2.0, Controls(battery_kw=0.0))
    outage = p.step(1.0, NIGHT, 2.0, Controls(battery_kw=0.0))
    assert (outage.mode, outage.unserved_kw) == ("battery", 0.0)
    assert outage.battery.power_kw == pytest.approx(2.0)
    assert outage.battery.grid_forming
    assert (outage.grid_frequency_hz, outage.grid_voltage_v) == (0.0, (0.0, 0.0, 0.0))
    back = run(p, 40, GRID, 2.0, Controls(battery_kw=0.0))
    assert back[0].grid_present
    assert not back[0].grid_connected
    assert back[-1].grid_connected


def test_overload_sags_and_is_counted_as_unserved() -> None:
    p = plant()
    state = run(p, 5, NIGHT, 6.0, Controls())[-1]
    assert state.unserved_kw == pytest.approx(2.0)
    assert state.bus_frequency_hz < 49.5
    assert state.bus_voltage_v[0] < 0.93 * 230.0


def test_full_battery_throttles_pv_by_frequency() -> None:
    p = plant(battery={"initial_soc_frac": 1.0})
    state = run(p, 5, NOON, 1.0, Controls())[-1]
    assert state.bus_frequency_hz > 50.5
    assert sum(pv.power_kw for pv in state.pv) == pytest.approx(1.0, abs=0.1)
    assert state.dumped_kw == 0.0


def test_wind_without_a_taker_is_dumped() -> None:
    p = plant(without=("pv",), battery={"initial_soc_frac": 1.0})
    state = run(p, 5, replace(NIGHT, wind_m_s=12.0), 0.2, Controls())[-1]
    assert state.dumped_kw == pytest.approx(1.3, abs=0.1)


def test_pv_that_cannot_throttle_trips_and_comes_back() -> None:
    p = plant(battery={"initial_soc_frac": 1.0}, pv={"shed": {"throttles": False}})
    states = run(p, 3, NOON, 0.5, Controls())
    assert states[-1].pv[1].state in ("off", "starting")
    states = run(p, 75, NOON, 7.0, Controls())
    assert states[-1].pv[1].power_kw > 1.0


def test_black_out_and_recovery_by_the_sun() -> None:
    p = plant(without=("wind", "generator", "grid"), battery={"initial_soc_frac": 0.04})
    dark = run(p, 3600, NIGHT, 1.0, Controls())[-1]
    assert (dark.mode, dark.unserved_kw, dark.bus_frequency_hz) == ("black", 1.0, 0.0)
    assert dark.battery.state == "off"
    states = run(p, 300, NOON, 1.0, Controls())
    assert states[30].mode == "black"
    assert (states[-1].mode, states[-1].unserved_kw) == ("battery", 0.0)
    assert states[-1].battery.power_kw < -1.0
    assert states[-1].energy.black_s > 60.0


def test_black_out_and_recovery_by_the_generator() -> None:
    p = plant(without=("wind", "grid"), battery={"initial_soc_frac": 0.03})
    assert p.step(1.0, NIGHT, 1.0, Controls()).mode == "black"
    state = run(p, 90, NIGHT, 1.0, Controls(generator_run=True))[-1]
    assert (state.mode, state.unserved_kw) == ("generator", 0.0)
    assert state.generator.power_kw == pytest.approx(0.7 * 6.0, abs=0.01)  # charges as well


def test_exceeding_the_grid_connection_is_served_and_counted() -> None:
    p = plant(GRID)
    state = run(p, 60, GRID, 12.0, Controls(battery_kw=0.0))[-1]
    assert state.grid_kw == pytest.approx(12.0)
    assert state.unserved_kw == 0.0
    assert state.energy.import_excess_s == pytest.approx(60.0)
    assert state.energy.import_excess_kwh == pytest.approx(2.0 / 60.0, rel=0.01)


def test_generator_in_parallel_ramps_to_its_setpoint() -> None:
    p = plant(GRID)
    states = run(p, 100, GRID, 1.0, Controls(generator_run=True, generator_kw=3.0, battery_kw=0.0))
    powers = [state.generator.power_kw for state in states]
    assert max(b - a for a, b in pairwise(powers)) <= 1.2 + 1e-9
    assert powers[-1] == pytest.approx(3.0)
    assert states[-1].grid_kw == pytest.approx(-2.0, abs=1e-6)
