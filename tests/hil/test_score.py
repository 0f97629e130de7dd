"""Money and limits of a run, on plant states made by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from firmware.config import Site, load_site
from hil.plant import BatteryState, Energy, GeneratorState, PlantState, Weather
from hil.score import Lasting, Ledger, Violations, balance_error_frac

CLINIC = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "clinic.toml"
MIDNIGHT_UTC_S = 1_778_623_200.0  # 2026-05-13 00:00 in Madrid
HOUR_S = 3600.0
IDLE = PlantState(
    t_s=0.0,
    weather=Weather(0.0, 0.0, 15.0),
    pv=(),
    wind=(),
    battery=BatteryState(
        power_kw=0.0,
        dc_kw=0.0,
        soc_frac=0.5,
        stored_kwh=7.0,
        voltage_v=52.0,
        current_a=0.0,
        charge_limit_kw=4.0,
        discharge_limit_kw=4.0,
        setpoint_kw=None,
        grid_forming=False,
        loss_kw=0.0,
        temperature_degc=20.0,
        charged_kwh=0.0,
        discharged_kwh=0.0,
        state="standby",
    ),
    generator=GeneratorState(
        power_kw=0.0,
        phase="stopped",
        on_bus=False,
        available_kw=5.0,
        rpm=0.0,
        frequency_hz=0.0,
        voltage_v=0.0,
        coolant_degc=20.0,
        fuel_l=50.0,
        fuel_frac=0.5,
        fuel_l_per_h=0.0,
        starts=0,
        run_h=0.0,
        energy_kwh=0.0,
        locked_out=False,
        alarm="",
    ),
    mode="grid",
    load_kw=1.0,
    served_kw=1.0,
    unserved_kw=0.0,
    curtailed_kw=0.0,
    dumped_kw=0.0,
    grid_kw=1.0,
    grid_present=True,
    grid_connected=True,
    grid_frequency_hz=50.0,
    grid_voltage_v=(230.0,) * 3,
    bus_frequency_hz=50.0,
    bus_voltage_v=(230.0,) * 3,
    energy=Energy(),
)


@pytest.fixture(scope="module")
def site() -> Site:
    return load_site(CLINIC)


def battery(state: PlantState = IDLE, **changes: object) -> PlantState:
    assert state.battery is not None
    return replace(state, battery=replace(state.battery, **changes))  # type: ignore[arg-type]


def generator(state: PlantState = IDLE, **changes: object) -> PlantState:
    assert state.generator is not None
    return replace(state, generator=replace(state.generator, **changes))  # type: ignore[arg-type]


# --- limits ---------------------------------------------------------------------------------


def test_what_lasts_counts_once_until_it_ends() -> None:
    lasting = Lasting(15.0)
    for holds in [True] * 15 + [False] + [True] * 40 + [False] * 5 + [True] * 16:
        lasting.update(holds, 1.0)
    assert lasting.count == 2


def counted(site: Site, *phases: tuple[PlantState, float]) -> dict[str, int]:
    violations = Violations(site)
    for state, seconds in phases:
        for _ in range(round(seconds)):
            violations.update(state, 1.0)
    return {name: count for name, count in violations.counts().items() if count}


@pytest.mark.parametrize(
    ("state", "name"),
    [
        (replace(IDLE, grid_kw=6.5), "grid import"),
        (replace(IDLE, grid_kw=-3.3), "grid export"),
        (battery(soc_frac=0.13, power_kw=1.0), "battery floor"),
        (battery(soc_frac=0.97, power_kw=-1.0), "battery ceiling"),
        (battery(power_kw=4.4), "battery power"),
        (battery(power_kw=-4.4), "battery power"),
        (generator(on_bus=True, power_kw=5.4, phase="running"), "generator rating"),
    ],
)
def test_a_limit_may_be_passed_for_a_moment_only(site: Site, state: PlantState, name: str) -> None:
    assert counted(site, (state, 15.0), (IDLE, 5.0)).get(name, 0) == 0
    assert counted(site, (state, 16.0))[name] == 1
    assert counted(site, (state, 300.0), (IDLE, 1.0), (state, 20.0))[name] == 2


@pytest.mark.parametrize(
    "state",
    [
        replace(IDLE, grid_kw=6.0),
        replace(IDLE, grid_kw=-3.0),
        replace(IDLE, grid_kw=9.0, grid_connected=False),
        battery(soc_frac=0.10, power_kw=-2.0),  # on the way back
        battery(soc_frac=0.99, power_kw=2.0),
        battery(power_kw=4.05),
        battery(replace(IDLE, grid_connected=False), soc_frac=0.1, power_kw=1.0, grid_forming=True),
    ],
)
def test_what_is_inside_its_limits_is_no_violation(site: Site, state: PlantState) -> None:
    assert counted(site, (state, 600.0)) == {}


RUNNING = generator(on_bus=True, power_kw=3.0, phase="running")
COOLING = generator(phase="cooling")


def test_a_generator_has_time_to_take_load(site: Site) -> None:
    low = generator(on_bus=True, power_kw=0.5, phase="running")
    assert counted(site, (low, 120.0), (RUNNING, 1800.0)) == {}
    assert counted(site, (low, 121.0), (RUNNING, 1800.0)) == {"generator minimum load": 1}


@pytest.mark.parametrize(
    ("run_s", "rest_s", "found"),
    [
        (1800, 600, {}),
        (1797, 597, {}),
        (1700, 600, {"generator run time": 2}),
        (1800, 500, {"generator rest": 1}),
    ],
)
def test_short_runs_and_rests_are_counted(
    site: Site, run_s: int, rest_s: int, found: dict[str, int]
) -> None:
    cycle = ((RUNNING, run_s), (COOLING, 120), (IDLE, rest_s - 120))
    assert counted(site, *cycle, *cycle[:2]) == found


def test_a_trip_is_not_our_doing(site: Site) -> None:
    tripped = generator(alarm="tripped", locked_out=True)
    assert counted(site, (RUNNING, 60), (tripped, 60)) == {}


# --- money ----------------------------------------------------------------------------------


def booked(site: Site, *states: PlantState, hours: float = 1.0) -> Ledger:
    """The states, an hour each, after a first moment in which nothing happened."""
    ledger = Ledger(site)
    ledger.update(replace(IDLE, grid_kw=0.0), MIDNIGHT_UTC_S, 1.0)
    utc_s = MIDNIGHT_UTC_S
    for state in states:
        for _ in range(60):
            utc_s += hours * 60.0
            ledger.update(state, utc_s, hours * 60.0)
    return ledger


def test_energy_is_bought_and_sold_at_the_price_of_its_minute(site: Site) -> None:
    buys = [replace(IDLE, grid_kw=2.0)] * 24
    ledger = booked(site, *buys)
    hours = {0.16: 24 - 4 - 4, 0.24: 4, 0.38: 4}
    expected = 2.0 * sum(price * count for price, count in hours.items())
    assert ledger.parts["grid"] == pytest.approx(expected)
    assert ledger.cost == pytest.approx(expected)
    sold = booked(site, *[replace(IDLE, grid_kw=-2.0)] * 24)
    assert sold.parts["grid"] == pytest.approx(-2.0 * 24 * 0.05)


def test_fuel_starts_and_upkeep_are_the_sites_figures(site: Site) -> None:
    costs = site.generator[0]
    energy = replace(IDLE.energy, fuel_l=2.5)
    running = replace(
        generator(on_bus=True, power_kw=3.0, phase="running", starts=1), energy=energy
    )
    parts = booked(site, replace(running, grid_kw=0.0)).parts
    assert parts["fuel"] == pytest.approx(2.5 * costs.fuel_price_per_l)
    assert parts["starts"] == pytest.approx(costs.startup_cost)
    assert parts["generator upkeep"] == pytest.approx(3.0 * costs.om_per_kwh + costs.om_per_h_on)


def test_wear_and_stored_energy(site: Site) -> None:
    costs = site.battery[0]
    state = replace(battery(power_kw=-2.0, stored_kwh=8.9), grid_kw=0.0)
    parts = booked(site, state).parts
    wear = costs.om_linear_per_kwh + costs.om_quadratic_per_kwh_at_max * 2.0 / 4.0
    assert parts["battery wear"] == pytest.approx(2.0 * wear)
    worth = 0.16 * costs.discharge_efficiency_frac  # the mean price of this hour
    assert parts["stored energy"] == pytest.approx(-1.9 * worth, rel=0.02)


def test_a_kwh_stored_on_an_island_saves_the_set_running_time(site: Site) -> None:
    island = site.model_copy(update={"grid": None})
    set_, battery_ = island.generator[0], island.battery[0]
    parts = booked(island, replace(battery(stored_kwh=8.9), grid_kw=0.0)).parts
    an_hour_l = (
        set_.fuel_no_load_l_per_h_per_kw * set_.rated_kw
        + set_.fuel_linear_l_per_kwh * set_.rated_kw
        + set_.fuel_quadratic_l_per_h_per_kw2 * set_.rated_kw**2
    )
    an_hour = set_.fuel_price_per_l * an_hour_l + set_.om_per_h_on
    worth = an_hour / set_.rated_kw + set_.om_per_kwh
    kwh = 1.9 * battery_.discharge_efficiency_frac
    assert parts["stored energy"] == pytest.approx(-kwh * worth, rel=0.02)


def test_unserved_energy_costs_what_the_site_says(site: Site) -> None:
    state = replace(IDLE, grid_kw=0.0, unserved_kw=0.5)
    assert booked(site, state).parts["unserved"] == pytest.approx(
        0.5 * site.planner.unserved_cost_per_kwh
    )


def test_books_that_do_not_close_show(site: Site) -> None:
    energy = Energy(
        pv_kwh=10.0,
        grid_import_kwh=2.0,
        battery_charge_kwh=4.0,
        battery_discharge_kwh=1.0,
        battery_loss_kwh=0.5,
        served_kwh=8.0,
        grid_export_kwh=1.0,
    )
    state = replace(battery(stored_kwh=9.5), energy=energy)
    assert balance_error_frac(state, 7.0) == pytest.approx(0.0, abs=1e-12)
    assert balance_error_frac(state, 7.13) == pytest.approx(0.01)
    leak = replace(state, energy=replace(energy, served_kwh=7.87))
    assert balance_error_frac(leak, 7.0) == pytest.approx(0.01)
    assert balance_error_frac(IDLE, 7.0) == 0.0
