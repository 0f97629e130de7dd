"""What each level wants: on grid, generator and battery, without plan, in manual and safe mode."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.arbiter import arbitrate
from control.propose import low_soc, propose
from control.records import Advice, Level, Orders, Proposal, Quantity
from control.state import Estimate, GeneratorState, Mode, State

NOW = 1000.0
CALM = Estimate(
    pv_kw=1.0,
    wind_kw=0.0,
    battery_kw=0.0,
    generator_kw=0.0,
    grid_kw=1.0,
    load_kw=2.0,
    soc_frac=0.5,
    charge_limit_kw=4.0,
    discharge_limit_kw=4.0,
    grid_present=True,
    generator_phase="stopped",
    generator_available=True,
)
ISLAND = replace(CALM, grid_present=False, grid_kw=0.0, battery_kw=1.0)
CARRIED = replace(ISLAND, generator_phase="running", generator_kw=1.0, battery_kw=0.0)


def wishes(build: Any, plant: Estimate = CALM, **more: Any) -> list[Proposal]:
    """`more`: plan, orders, mode, generator, sample_..., site_..."""
    site = build.site(**{n[5:]: more.pop(n) for n in list(more) if n.startswith("site_")})
    sample = build.sample(
        NOW, **{n[7:]: more.pop(n) for n in list(more) if n.startswith("sample_")}
    )
    advice = Advice(plan=more.pop("plan", None))
    orders = Orders(proposals=tuple(more.pop("orders", ())))
    state = State(t_s=NOW - 1.0, mode=more.pop("mode", Mode.AUTO), estimate=plant, **more)
    return list(propose(site, state, sample, advice, orders))


def of(found: list[Proposal], device: str) -> list[tuple[str, float | None, str]]:
    return [(p.level.title, p.value, p.reason) for p in found if p.device == device]


def decided(build: Any, device: str, plant: Estimate = CALM, **more: Any) -> tuple[float, str, str]:
    quantity = {"battery": Quantity.POWER_KW, "genset": Quantity.RUN}[device]
    verdict = arbitrate(wishes(build, plant, **more), NOW)[device, quantity]
    return round(verdict.value, 6), verdict.source, verdict.reason


# --- battery -------------------------------------------------------------------------------


def test_without_a_plan_it_covers_the_deficit(build: Any) -> None:
    assert decided(build, "battery") == (1.0, "rules", "self-consumption")


def test_of_a_surplus_the_fuzzy_share_is_stored(build: Any) -> None:
    sunny = replace(CALM, load_kw=0.0)
    value, source, reason = decided(build, "battery", sunny)
    assert -1.0 < value < 0.0
    assert (source, reason) == ("rules", f"self-consumption; of the surplus {-value:.0%} stored")


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_price_buy_per_kwh": math.nan},
        {"sample_hour_local": math.inf},
        {"sample_temperature_degc": math.nan},
        {"sample_interest_frac": math.nan},
    ],
)
def test_with_nonsense_for_the_split_all_is_stored(build: Any, changes: dict[str, Any]) -> None:
    value, _, reason = decided(build, "battery", replace(CALM, load_kw=0.0), **changes)
    assert value == -1.0
    assert "of the surplus all stored: price, hour" in reason


def test_buyers_in_the_market_and_the_temperature_count(build: Any) -> None:
    sunny = replace(CALM, load_kw=0.0)
    kept = decided(build, "battery", sunny)[0]
    asked = decided(build, "battery", sunny, sample_interest_frac=0.9)[0]
    assert abs(asked) < abs(kept)
    few = decided(build, "battery", sunny, sample_interest_frac=0.05)[0]
    assert abs(few) < abs(kept)  # whoever asks in the market is a third way for a surplus
    full = replace(sunny, soc_frac=0.93)
    assert abs(decided(build, "battery", full)[0]) < abs(kept)
    assert decided(build, "battery", sunny, sample_temperature_degc=None)[0] == kept


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (replace(CALM, load_kw=None), "the load is unknown"),
        (replace(CALM, soc_frac=None), "the state of charge is unknown"),
        (replace(ISLAND, load_kw=None), "the load is unknown"),
    ],
)
def test_what_is_unknown_leaves_it_at_rest(build: Any, plant: Estimate, reason: str) -> None:
    assert decided(build, "battery", plant) == (0.0, "rules", reason)


def test_pv_that_is_not_seen_does_not_stop_it(build: Any) -> None:
    unseen = replace(CALM, pv_kw=None, load_kw=None, measured_net_kw=0.7)
    assert decided(build, "battery", unseen) == (0.7, "rules", "self-consumption")


def test_an_island_is_formed_by_its_battery(build: Any) -> None:
    for phase in ("stopped", "starting", "warming", "cooling", "unknown"):
        made = decided(build, "battery", replace(ISLAND, generator_phase=phase))
        assert made == (1.0, "rules", "island: the battery forms the grid")


def test_beside_the_generator_it_charges(build: Any) -> None:
    assert decided(build, "battery", CARRIED) == (-2.75, "rules", "charge beside the generator")
    made = decided(build, "battery", CARRIED, site_generator=None)
    assert made[2] == "island: the battery forms the grid"


def test_a_generator_beside_the_grid_is_taken_off_the_net_load(build: Any) -> None:
    plant = replace(CALM, generator_kw=3.0, generator_phase="running", grid_kw=-2.0)
    assert decided(build, "battery", plant)[0] < 0.0


# --- plan ----------------------------------------------------------------------------------


def test_the_plan_is_followed_beside_the_grid(build: Any) -> None:
    plan = build.plan(battery_kw=(-2.0, 0.0), grid_kw=(3.0, 0.0))
    assert decided(build, "battery", plan=plan) == (-2.0, "plan", "plan: charge from the grid")
    stale = replace(plan, expires_t_s=NOW)
    assert decided(build, "battery", plan=stale)[1] == "rules"


@pytest.mark.parametrize("plant", [CALM, ISLAND, CARRIED])
@given(
    battery_kw=st.floats(-9.0, 9.0),
    grid_kw=st.floats(-9.0, 9.0),
    run=st.booleans(),
    flags=st.booleans(),
    late_s=st.floats(0.0, 1e6),
)
def test_whatever_it_says_a_plan_past_its_expiry_speaks_no_more(
    build: Any,
    plant: Estimate,
    battery_kw: float,
    grid_kw: float,
    run: bool,
    flags: bool,
    late_s: float,
) -> None:
    plan = build.plan(
        issued_t_s=NOW - late_s - 60.0,
        start_t_s=NOW - late_s - 60.0,
        step_s=1e7,
        expires_t_s=NOW - late_s,
        battery_kw=(battery_kw,) * 2,
        grid_kw=(grid_kw if plant.grid_present else 0.0,) * 2,
        generator_on=(run,) * 2,
        generator_kw=(3.0 * run,) * 2,
        cover_deficit=(flags,) * 2,
        store_surplus=(flags,) * 2,
    )
    assert Level.PLAN not in {wish.level for wish in wishes(build, plant, plan=plan)}
    alive = replace(plan, expires_t_s=NOW + 1.0)
    spoken = Level.PLAN in {wish.level for wish in wishes(build, plant, plan=alive)}
    assert spoken or (plant is CARRIED and not run)


def test_the_reserve_is_kept_whatever_is_planned(build: Any) -> None:
    plan = build.plan(battery_kw=(2.0, 0.0), grid_kw=(-1.0, 0.0))
    full, low = replace(CALM, soc_frac=0.26), replace(CALM, soc_frac=0.25)
    assert decided(build, "battery", full, plan=plan)[0] == 2.0
    assert decided(build, "battery", low, plan=plan)[0] == 0.0
    order = build.order(Level.LOCAL_OPERATOR, "battery", 1.5)
    assert decided(build, "battery", low, plan=plan, orders=[order])[0] == 1.5


def test_the_plan_holds_the_generator_at_its_power(build: Any) -> None:
    plan = build.plan(grid_kw=(0.0, 0.0), generator_on=(True, True), generator_kw=(4.0, 4.0))
    made = decided(build, "battery", CARRIED, plan=plan)
    assert made == (-3.0, "plan", "plan: hold the generator at 4.00 kW")
    rest = replace(plan, generator_on=(False, False))
    assert decided(build, "battery", CARRIED, plan=rest)[1] == "rules"


def test_a_plan_that_counts_on_the_grid_is_not_for_an_island(build: Any) -> None:
    plan = build.plan(generator_on=(True, True))
    assert of(wishes(build, ISLAND, plan=plan), "genset")[-1][0] == "rules"
    island = replace(plan, grid_kw=(0.0, 0.0))
    low = replace(ISLAND, soc_frac=0.4)
    assert of(wishes(build, low, plan=island), "genset")[-1] == ("plan", 1.0, "plan: run")


@pytest.mark.parametrize(
    ("soc_frac", "running", "wish"),
    [
        (0.42, False, (1.0, "plan: run")),  # the border: 0.15 + 0.35 * 0.80 = 0.43
        (0.44, False, (0.0, "plan: run, but the battery can wait")),
        (0.44, True, (1.0, "plan: run")),
        (0.94, True, (1.0, "plan: run")),
    ],
)
def test_a_full_battery_puts_off_a_planned_start(
    build: Any, soc_frac: float, running: bool, wish: tuple[float, str]
) -> None:
    plan = build.plan(grid_kw=(0.0, 0.0), generator_on=(True, True))
    plant = replace(ISLAND, soc_frac=soc_frac)
    found = wishes(build, plant, plan=plan, generator=GeneratorState(run=running))
    assert of(found, "genset")[-1] == ("plan", *wish)


@pytest.mark.parametrize(
    ("soc_frac", "load_kw", "pv_kw", "wish"),
    [
        (0.95, 0.8, 0.0, (0.0, "plan: run, but nothing takes the set's minimum load")),
        (0.95, 0.8, 1.3, (0.0, "plan: run, but nothing takes the set's minimum load")),
        (0.95, 2.0, 2.0, (1.0, "plan: run")),  # PV makes way
        (0.95, 1.6, 0.0, (1.0, "plan: run")),
        (0.80, 0.8, 0.0, (1.0, "plan: run")),  # the battery takes the rest
        (0.95, None, 0.0, (1.0, "plan: run")),  # who knows
    ],
)
def test_a_planned_set_that_nothing_loads_rests(
    build: Any, soc_frac: float, load_kw: float | None, pv_kw: float, wish: tuple[float, str]
) -> None:
    plan = build.plan(grid_kw=(0.0, 0.0), generator_on=(True, True))
    plant = replace(CARRIED, soc_frac=soc_frac, load_kw=load_kw, pv_kw=pv_kw)
    found = wishes(build, plant, plan=plan, generator=GeneratorState(run=True))
    assert of(found, "genset")[-1] == ("plan", *wish)


def test_a_planned_set_goes_on_while_nobody_knows_what_the_battery_takes(build: Any) -> None:
    plan = build.plan(grid_kw=(0.0, 0.0), generator_on=(True, True))
    plant = replace(CARRIED, soc_frac=0.80, load_kw=0.8, pv_kw=0.0, charge_limit_kw=None)
    found = wishes(build, plant, plan=plan, generator=GeneratorState(run=True))
    assert of(found, "genset")[-1] == ("plan", 1.0, "plan: run")


# --- outside the limits --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plant", "from_grid", "value"),
    [
        (replace(CALM, soc_frac=0.149), True, -0.7),  # from the grid, 5 % of capacity per hour
        (replace(CALM, soc_frac=0.149), False, 0.0),
        (replace(CALM, soc_frac=0.149, load_kw=0.5), False, -0.5),  # from the sun alone
        (replace(CARRIED, soc_frac=0.149), False, -2.75),
        (replace(CARRIED, soc_frac=0.149, load_kw=5.0), False, -0.7),
        (replace(CALM, soc_frac=0.15), True, 0.0),
        (replace(CALM, soc_frac=0.961), True, 1.0),
        (replace(CALM, soc_frac=0.961, load_kw=0.4), True, 0.0),
    ],
)
def test_back_into_bounds(build: Any, plant: Estimate, from_grid: bool, value: float) -> None:
    battery = build.battery(charge_from_grid=from_grid)
    plan = build.plan(battery_kw=(0.0, 0.0), grid_kw=(0.0, 0.0), store_surplus=(False, False))
    if plant.grid_present and plant.soc_frac and plant.soc_frac > 0.9:
        plan = replace(plan, cover_deficit=(True, True))
    made = decided(build, "battery", plant, site_battery=battery, plan=plan)
    assert made[0] == pytest.approx(value)


def test_above_the_ceiling_it_serves_load_but_sells_nothing(build: Any) -> None:
    keep = build.order(Level.LOCAL_OPERATOR, "battery", -1.0)
    for soc_frac, load_kw, value in ((0.961, 3.0, 0.7), (0.961, 1.2, 0.2), (0.96, 3.0, -1.0)):
        plant = replace(CALM, soc_frac=soc_frac, load_kw=load_kw)
        assert decided(build, "battery", plant, orders=[keep])[0] == pytest.approx(value)


def test_below_the_floor_nobody_discharges(build: Any) -> None:
    order = build.order(Level.GRID_OPERATOR, "battery", 3.0)
    low = replace(CALM, soc_frac=0.14)
    for mode in (Mode.AUTO, Mode.MANUAL, Mode.DEGRADED):
        assert decided(build, "battery", low, orders=[order], mode=mode)[0] == -0.7


# --- generator -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plant", "running", "result"),
    [
        (CALM, False, (0.0, "rules", "the grid serves")),
        (CALM, True, (0.0, "rules", "the grid serves")),
        (ISLAND, False, (0.0, "rules", "state of charge 50% is high enough")),
        (ISLAND, True, (1.0, "rules", "state of charge 50% is low")),
        (replace(ISLAND, soc_frac=0.2), False, (1.0, "rules", "state of charge 20% is low")),
        (replace(ISLAND, soc_frac=None), False, (1.0, "rules", "island whose battery is unknown")),
        (
            replace(ISLAND, soc_frac=0.2, grid_for_s=9.0),
            False,
            (0.0, "rules", "the grid has just gone: stays as it is"),
        ),
        (
            replace(ISLAND, grid_for_s=9.0),
            True,
            (1.0, "rules", "the grid has just gone: stays as it is"),
        ),
        (
            replace(ISLAND, soc_frac=0.2, grid_for_s=10.0),
            False,
            (1.0, "rules", "state of charge 20% is low"),
        ),
    ],
)
def test_the_generator_by_rule(
    build: Any, plant: Estimate, running: bool, result: tuple[float, str, str]
) -> None:
    generator = GeneratorState(run=running, since_s=0.0)
    assert decided(build, "genset", plant, generator=generator) == result


def test_an_island_without_a_battery_runs_its_generator(build: Any) -> None:
    plant = replace(ISLAND, soc_frac=None)
    plan = build.plan(grid_kw=(0.0, 0.0))
    made = decided(build, "genset", plant, site_battery=None, plan=plan)
    assert made == (1.0, "rules", "island without a battery")


def test_the_plan_decides_on_an_island_and_only_there(build: Any) -> None:
    plan = build.plan(grid_kw=(0.0, 0.0), generator_on=(True, True))
    half = replace(ISLAND, soc_frac=0.4)
    assert decided(build, "genset", half, plan=plan) == (1.0, "plan", "plan: run")
    rest = replace(plan, generator_on=(False, False))
    low = replace(ISLAND, soc_frac=0.2)
    assert decided(build, "genset", low, plan=rest) == (0.0, "plan", "plan: rest")
    assert decided(build, "genset", CALM, plan=plan)[1] == "rules"
    just = replace(ISLAND, grid_for_s=9.0)
    assert decided(build, "genset", just, plan=plan)[1] == "rules"


def test_an_unknown_battery_is_not_left_to_the_plan(build: Any) -> None:
    rest = build.plan(grid_kw=(0.0, 0.0))
    made = decided(build, "genset", replace(ISLAND, soc_frac=None), plan=rest)
    assert made == (1.0, "rules", "island whose battery is unknown")


def test_a_nearly_empty_island_starts_its_generator_whoever_says_no(build: Any) -> None:
    saving = GeneratorState(low_soc=True)
    rest = build.plan(grid_kw=(0.0, 0.0))
    stop = build.order(Level.LOCAL_OPERATOR, "genset", 0.0)
    for mode in (Mode.AUTO, Mode.MANUAL, Mode.DEGRADED):
        made = decided(
            build, "genset", ISLAND, generator=saving, plan=rest, orders=[stop], mode=mode
        )
        assert made[:2] == (1.0, "safety")


@pytest.mark.parametrize(
    ("plant", "before", "result"),
    [
        (replace(ISLAND, soc_frac=0.179), False, True),
        (replace(ISLAND, soc_frac=0.181), False, False),
        (replace(ISLAND, soc_frac=0.269), True, True),
        (replace(ISLAND, soc_frac=0.271), True, False),
        (replace(ISLAND, soc_frac=None), True, False),  # the rule for unknown batteries takes over
        # a moment without grid is no island yet; one that began before stays one
        (replace(ISLAND, soc_frac=0.1, grid_for_s=9.0), False, False),
        (replace(ISLAND, soc_frac=0.1, grid_for_s=10.0), False, True),
        (replace(ISLAND, soc_frac=0.2, grid_for_s=9.0), True, True),
        # the BMS lets nothing out: it cannot carry the island, whatever its charge
        (replace(ISLAND, soc_frac=0.6, discharge_limit_kw=0.0), False, True),
        (replace(ISLAND, soc_frac=0.6, discharge_limit_kw=0.1), True, False),
        (replace(ISLAND, soc_frac=0.6, discharge_limit_kw=None), False, False),
        # beside the grid never, but not at once after its return
        (replace(CALM, soc_frac=0.1), False, False),
        (replace(CALM, soc_frac=0.1, discharge_limit_kw=0.0), False, False),
        (replace(CALM, soc_frac=0.1, grid_for_s=59.0), False, False),
        (replace(CALM, soc_frac=0.9, grid_for_s=59.0), True, True),
        (replace(CALM, soc_frac=0.1, grid_for_s=60.0), True, False),
        # with the meter silent only a battery that sinks below its floor tells
        (replace(CALM, soc_frac=0.151, missing=("grid",)), False, False),
        (replace(CALM, soc_frac=0.149, missing=("grid",)), False, True),
        (replace(CALM, soc_frac=0.26, missing=("grid",)), True, True),
        (replace(CALM, soc_frac=0.28, missing=("grid",)), True, False),
        (replace(CALM, soc_frac=0.149, missing=("roof",)), False, False),
    ],
)
def test_low_charge(build: Any, plant: Estimate, before: bool, result: bool) -> None:
    state = State(estimate=plant, generator=GeneratorState(low_soc=before))
    assert low_soc(build.site(), state) is result


def test_low_charge_needs_a_battery(build: Any) -> None:
    state = State(estimate=replace(ISLAND, soc_frac=0.0))
    assert not low_soc(build.site(battery=None), state)
    assert low_soc(build.site(grid=None), state)
    present = State(estimate=replace(CALM, soc_frac=0.0))
    assert not low_soc(build.site(grid=None), present)


# --- modes and orders ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.DEGRADED, Mode.MANUAL])
def test_orders_by_level(build: Any, mode: Mode) -> None:
    for level in Level:
        order = build.order(level, "battery", -1.5)
        made = decided(build, "battery", orders=[order], mode=mode)
        operators = (Level.LOCAL_OPERATOR, Level.GRID_OPERATOR)
        heard = level in operators or (mode is not Mode.MANUAL and level is not Level.SAFETY)
        assert (made[:2] == (-1.5, level.title)) is heard, level


def test_manual_leaves_alone_what_nobody_orders(build: Any) -> None:
    plan = build.plan(battery_kw=(-2.0, 0.0), grid_kw=(3.0, 0.0))
    made = decided(build, "battery", mode=Mode.MANUAL, plan=plan)
    assert made == (0.0, "rules", "manual, no operator's setpoint")
    for run in (True, False):
        generator = GeneratorState(run=run, since_s=0.0)
        made = decided(build, "genset", ISLAND, mode=Mode.MANUAL, generator=generator)
        assert made == (float(run), "rules", "manual, no operator's order: stays as it is")


@pytest.mark.parametrize(
    ("plant", "latched", "running", "battery", "genset", "roof"),
    [
        (CALM, False, False, 0.0, 0.0, 6.0),
        (CALM, False, True, 0.0, 1.0, 6.0),  # what it does there nobody can see: it stays
        (ISLAND, False, False, 0.0, 1.0, 6.0),  # a battery that nobody sees may run empty
        (replace(ISLAND, grid_for_s=9.0), False, False, 0.0, 0.0, 6.0),
        (ISLAND, True, True, 0.0, 0.0, 0.0),
        (replace(ISLAND, emergency_stop=True), False, True, 0.0, 0.0, 0.0),
    ],
)
def test_safe_mode(
    build: Any,
    plant: Estimate,
    latched: bool,
    running: bool,
    battery: float,
    genset: float,
    roof: float,
) -> None:
    order = build.order(Level.GRID_OPERATOR, "battery", 3.0)
    found = wishes(
        build,
        plant,
        mode=Mode.SAFE,
        mode_reason="why",
        emergency_latched=latched,
        orders=[order],
        generator=GeneratorState(run=running, since_s=0.0),
    )
    pv = Level.SAFETY if roof == 0.0 else Level.RULES
    assert [p.level for p in found] == [Level.SAFETY, Level.SAFETY, pv]
    assert {p.reason for p in found if p.level is Level.SAFETY} == {"safe: why"}
    assert [p.value for p in found] == [battery, genset, roof]


def test_safe_mode_keeps_limits_on_pv(build: Any) -> None:
    limit = build.order(Level.SUPERVISOR, "roof", upper=1.5)
    found = wishes(build, mode=Mode.SAFE, orders=[limit])
    assert arbitrate(found, NOW)["roof", Quantity.LIMIT_KW].value == 1.5
    found = wishes(build, mode=Mode.SAFE, orders=[limit], emergency_latched=True)
    assert arbitrate(found, NOW)["roof", Quantity.LIMIT_KW].value == 0.0


def test_a_site_without_devices_wants_nothing(build: Any) -> None:
    bare = {"site_battery": None, "site_generator": None, "site_pv": ()}
    assert wishes(build, **bare) == []
    assert wishes(build, mode=Mode.SAFE, **bare) == []
