"""What orders do to whole cycles: each takes effect at once, says who, and ends when it expires."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.cycle import Decision
from control.records import (
    Explanation,
    InverterMeasurement,
    Level,
    Orders,
    Proposal,
    Quantity,
    Sample,
)
from control.state import Mode

NONE = Orders()
OPERATOR = Level.LOCAL_OPERATOR


def value(made: Decision, device: str) -> float:
    return next(s.value for s in made.command.setpoints if s.device == device)


def why(made: Decision, device: str) -> Explanation:
    return next(w for w in made.command.why if w.device == device)


def settled(world: Any, cycles: int = 30, orders: Orders = NONE) -> Decision:
    for _ in range(cycles):
        made: Decision = world.step(1.0, orders)
    return made


def ordered(*proposals: Proposal, **more: Any) -> Orders:
    return Orders(proposals=proposals, **more)


# --- setpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("device", "power", "otherwise"),
    [("battery", -2.0, 2.0), ("roof", 1.5, 6.0), ("genset", 1.0, 0.0)],
)
def test_a_setpoint_ends_in_the_cycle_after_its_expiry(
    plant: Any, build: Any, device: str, power: float, otherwise: float
) -> None:
    wide = build.grid(export_max_kw=8.0)
    site = build.site(generator=build.generator(min_run_s=0.0), grid=wide)
    world = plant(site, load_kw=2.0, sun_kw=0.0)
    assert value(settled(world), device) == pytest.approx(otherwise)
    order = build.order(OPERATOR, device, power, expires_t_s=world.t_s + 20.0)
    made = world.step(1.0, ordered(order))
    assert why(made, device).source == "local operator"
    made = settled(world, 18, ordered(order))
    assert value(made, device) == power
    made = world.step(1.0, ordered(order))  # the desk may still name it: it has expired
    assert why(made, device).source == "rules"
    made = settled(world, 200, ordered(order))  # PV limits rise slowly
    assert value(made, device) == pytest.approx(otherwise)


def test_the_levels_in_their_order(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0)
    settled(world)
    orders = [
        build.order(level, "battery", 0.1 * level)
        for level in (
            Level.COMMITTED_TRADES,
            Level.SUPERVISOR,
            Level.LOCAL_OPERATOR,
            Level.GRID_OPERATOR,
        )
    ]
    while orders:
        made = settled(world, 5, ordered(*orders))
        highest = orders.pop()
        assert why(made, "battery").source == highest.level.title
        assert value(made, "battery") == highest.value
        assert len(why(made, "battery").losers) == len(orders) + 1
    assert why(settled(world, 1), "battery").source == "rules"


def test_the_tightest_pv_limit_holds(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=6.0, sun_kw=5.0)
    limits = (
        build.order(Level.GRID_OPERATOR, "roof", upper=4.0),
        build.order(Level.SUPERVISOR, "roof", upper=2.5),
    )
    made = settled(world, orders=ordered(*limits))
    assert value(made, "roof") == 2.5
    assert world.pv_kw == 2.5
    assert why(made, "roof").clips[-1] == "supervisor: an order"


@pytest.mark.parametrize("level", [Level.SUPERVISOR, Level.LOCAL_OPERATOR])
@pytest.mark.parametrize("power_kw", [1.0, 0.0, -1.0])
def test_an_ordered_battery_does_not_make_way_for_pv(
    plant: Any, build: Any, level: Level, power_kw: float
) -> None:
    """An export limit holds PV back. Left to itself the battery charges; ordered, it obeys."""

    class Telling(plant):  # type: ignore[misc]
        def sample(self) -> Sample:
            seen = super().sample()
            state = "throttled" if self.sun_kw > self.limit_kw else "running"
            measured = replace(seen.pv[0], value=InverterMeasurement(self.pv_kw, state=state))
            return replace(seen, pv=(measured,))

    world = Telling(build.site(), load_kw=0.5, sun_kw=6.0)
    assert value(settled(world, 60), "battery") < -2.0
    order = build.order(level, "battery", power_kw)
    for mode in (False, True):
        heard = level is OPERATOR or not mode
        made = settled(world, 60, ordered(order, manual=mode))
        assert value(made, "battery") == pytest.approx(power_kw if heard else 0.0)
        assert world.grid_kw == pytest.approx(-0.97 * 3.0, abs=0.1)
    assert value(settled(world, 90), "battery") < -2.0


# --- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("soc_frac", [0.5, 0.95])
def test_an_ordered_export_limit_holds_and_its_end_lifts_it(
    plant: Any, build: Any, soc_frac: float
) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=soc_frac)
    settled(world, 60)
    assert world.grid_kw < -0.5
    made = settled(world, 5, Orders(export_max_kw=0.0))
    for _ in range(60):
        made = world.step(1.0, Orders(export_max_kw=0.0))
        assert world.grid_kw >= -1e-6
    said = [clip for w in made.command.why for clip in w.clips]
    assert "export limit 0 kW, ordered" in said
    settled(world, 100)
    assert world.grid_kw < -0.5


def test_an_ordered_import_limit_is_served_from_the_battery(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=4.0, sun_kw=0.0, soc_frac=0.24)  # below the reserve
    settled(world)
    assert world.grid_kw == pytest.approx(4.0)
    made = settled(world, orders=Orders(import_max_kw=1.0))
    assert world.grid_kw == pytest.approx(0.97, abs=0.01)
    assert why(made, "battery").clips[-1] == "import limit 1 kW, ordered"
    settled(world)
    assert world.grid_kw == pytest.approx(4.0)


def test_an_operators_setpoint_does_not_break_a_limit_of_his_own(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=1.0, sun_kw=0.0)
    order = build.order(OPERATOR, "battery", 4.0)
    made = settled(world, orders=ordered(order, export_max_kw=0.0))
    assert value(made, "battery") == pytest.approx(1.0)
    assert why(made, "battery").clips[-1] == "export limit 0 kW, ordered"


@settings(max_examples=60, deadline=None)
@given(
    load_kw=st.floats(0.0, 8.0),
    sun_kw=st.floats(0.0, 6.0),
    wanted_kw=st.floats(-8.0, 8.0),
    export_max_kw=st.floats(0.0, 6.0),
    cycles=st.integers(0, 30),
)
def test_an_ordered_setpoint_is_inside_an_ordered_export_limit_in_its_first_cycle(
    plant: Any,
    build: Any,
    load_kw: float,
    sun_kw: float,
    wanted_kw: float,
    export_max_kw: float,
    cycles: int,
) -> None:
    world = plant(build.site(), load_kw=load_kw, sun_kw=sun_kw, soc_frac=0.6)
    settled(world, 1 + cycles)
    order = build.order(OPERATOR, "battery", wanted_kw)
    made = world.step(1.0, ordered(order, export_max_kw=export_max_kw))
    known = made.state.estimate.net_kw
    assert known is not None
    least_kw = -build.site().battery.charge_max_kw
    assert value(made, "battery") <= max(least_kw, known + export_max_kw) + 1e-6


# --- reserve -------------------------------------------------------------------------------


def test_a_reserve_stops_discharge_beside_the_grid_and_only_there(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.5)
    assert value(settled(world), "battery") == pytest.approx(2.0)
    keep = Orders(reserve_soc_frac=0.6)
    assert value(settled(world, orders=keep), "battery") == 0.0
    world.mains = False
    settled(world, orders=keep)
    assert world.battery_kw == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("keeps", "discharges", "heard"),
    [
        (Level.LOCAL_OPERATOR, Level.SUPERVISOR, False),
        (Level.LOCAL_OPERATOR, Level.LOCAL_OPERATOR, False),
        (Level.SUPERVISOR, Level.LOCAL_OPERATOR, True),
        (Level.SAFETY, Level.LOCAL_OPERATOR, False),  # no order speaks for safety
    ],
)
@pytest.mark.parametrize("manual", [True, False])
def test_a_reserve_binds_setpoints_of_its_level_and_below(
    plant: Any, build: Any, keeps: Level, discharges: Level, heard: bool, manual: bool
) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.5)
    order = build.order(discharges, "battery", 1.0)
    orders = ordered(order, reserve_soc_frac=0.6, reserve_level=keeps, manual=manual)
    made = settled(world, orders=orders)
    assert value(made, "battery") == (1.0 if heard else 0.0)
    if discharges is OPERATOR and not heard:
        title = min(keeps, Level.GRID_OPERATOR).title
        assert why(made, "battery").clips == (f"{title}: reserve of 60%, ordered",)


def test_a_reserve_does_not_break_the_import_limit(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=4.0, sun_kw=0.0, soc_frac=0.5)
    settled(world, orders=Orders(reserve_soc_frac=0.9, reserve_level=OPERATOR, import_max_kw=3.0))
    assert world.grid_kw == pytest.approx(0.97 * 3.0)


# --- modes ---------------------------------------------------------------------------------


def test_manual_and_stop_end_with_their_orders(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0)
    settled(world)
    assert world.step(1.0, Orders(manual=True)).state.mode is Mode.MANUAL
    made = world.step(1.0, Orders(manual=True, stop=True))
    assert made.state.mode is Mode.STOPPED
    assert made.command.release
    assert world.step(1.0, Orders(manual=True)).state.mode is Mode.MANUAL
    made = settled(world, 5)
    assert made.state.mode is Mode.AUTO
    assert value(made, "battery") == pytest.approx(2.0)


def test_a_second_acknowledgement_counts_and_one_while_pressed_does_not(
    plant: Any, build: Any
) -> None:
    acknowledge = Orders(acknowledge=True)
    world = plant(build.site())
    settled(world)
    for _ in range(2):
        world.stop_pressed = True
        assert world.step(1.0).state.mode is Mode.SAFE
        assert world.step(1.0, acknowledge).state.mode is Mode.SAFE
        assert world.step(1.0).state.emergency_latched
        world.stop_pressed = False
        assert world.step(1.0).state.mode is Mode.SAFE
        made = world.step(1.0, acknowledge)
        assert made.state.mode is Mode.AUTO
        assert not made.state.emergency_latched


# --- generator -----------------------------------------------------------------------------


def test_an_ordered_run_goes_through_the_whole_sequence(plant: Any, build: Any) -> None:
    set_ = build.generator(min_run_s=300.0, min_rest_s=200.0, warm_up_s=60.0)
    world = plant(build.site(generator=set_, grid=None), mains=False, soc_frac=0.8, load_kw=2.0)
    settled(world)
    begun_s = world.t_s
    start = ordered(build.order(OPERATOR, "genset", 1.0, expires_t_s=world.t_s + 100.0))
    made = world.step(1.0, start)
    assert made.command.generator_relay
    assert world.step(1.0, start).state.estimate.generator_phase == "starting"
    settled(world, 90, start)
    assert world.phase == "running"
    stop = ordered(build.order(OPERATOR, "genset", 0.0))
    made = world.step(1.0, stop)
    assert made.command.generator_relay  # the shortest run holds, whoever wants it off
    assert why(made, "genset").clips[0].startswith("minimum run, ")
    while made.command.generator_relay:
        made = world.step(1.0, stop)
    assert world.t_s - begun_s == pytest.approx(301.0, abs=1.5)
    stopped_s = world.t_s
    again = ordered(build.order(OPERATOR, "genset", 1.0))
    made = world.step(1.0, again)
    assert why(made, "genset").clips[0].startswith("minimum rest, ")
    while not made.command.generator_relay:
        made = world.step(1.0, again)
    assert world.t_s - stopped_s == pytest.approx(200.0, abs=1.5)


def test_an_ordered_run_is_no_longer_than_the_longest(plant: Any, build: Any) -> None:
    site = build.site(generator=build.generator(max_run_s=300.0, min_run_s=60.0))
    world = plant(site, load_kw=2.0)
    start = ordered(build.order(OPERATOR, "genset", 1.0))
    made = settled(world, 290, start)
    assert made.command.generator_relay
    made = settled(world, 20, start)
    assert not made.command.generator_relay


def test_an_ordered_run_ends_with_its_order_after_the_shortest_run(plant: Any, build: Any) -> None:
    world = plant(build.site(generator=build.generator(min_run_s=120.0)), load_kw=2.0)
    settled(world)
    order = build.order(OPERATOR, "genset", 1.0, expires_t_s=world.t_s + 50.0)
    made = settled(world, 100, ordered(order))
    assert made.command.generator_relay
    made = settled(world, 60)
    assert not made.command.generator_relay


# --- whatever is ordered -------------------------------------------------------------------

NUMBER = st.none() | st.floats(-8.0, 8.0) | st.sampled_from([float("nan"), float("inf"), 1e12])
ANY_ORDERS = st.builds(
    Orders,
    manual=st.booleans(),
    proposals=st.lists(
        st.builds(
            Proposal,
            st.sampled_from(Level),
            st.sampled_from(["battery", "roof", "genset"]),
            st.sampled_from(Quantity),
            st.just("an order"),
            NUMBER,
            NUMBER,
            NUMBER,
        ),
        max_size=3,
    ).map(tuple),
    import_max_kw=NUMBER,
    export_max_kw=NUMBER,
    reserve_soc_frac=NUMBER,
    reserve_level=st.sampled_from(Level),
)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(ANY_ORDERS, st.integers(1, 40)), min_size=1, max_size=4),
    st.floats(0.0, 5.0),
    st.floats(0.0, 6.0),
    st.floats(0.1, 1.0),
)
def test_whatever_is_ordered_the_sites_limits_hold(
    build: Any,
    plant: Any,
    given_: list[tuple[Orders, int]],
    load_kw: float,
    sun_kw: float,
    soc_frac: float,
) -> None:
    """Battery and PV can keep these loads inside the connection's limits, so they have to."""
    site = build.site()
    world = plant(site, load_kw=load_kw, sun_kw=sun_kw, soc_frac=soc_frac)
    settled(world, 5)
    for orders, cycles in given_:
        for _ in range(cycles):
            made = world.step(1.0, orders)
            build.check(site, made)
            assert world.grid_kw <= site.grid.import_max_kw + 1e-6
            assert world.grid_kw >= -site.grid.export_max_kw - 1e-6
