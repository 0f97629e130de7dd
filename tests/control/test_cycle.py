"""Whole cycles: scenarios with a small plant, and what must hold whatever comes in."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from control.cycle import Decision, decide
from control.records import (
    Ack,
    Advice,
    BatteryMeasurement,
    Command,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Level,
    Observed,
    Orders,
    Plan,
    Proposal,
    Quality,
    Quantity,
    Sample,
    Severity,
)
from control.state import GeneratorState, Mode, State

INF = float("inf")


def values(made: Decision) -> dict[str, float]:
    return {setpoint.device: setpoint.value for setpoint in made.command.setpoints}


def texts(made: Decision) -> list[str]:
    return [f"{event.key}: {event.text}" for event in made.events]


# --- the first cycles ----------------------------------------------------------------------


def test_the_first_cycle_acts_when_every_device_answers(build: Any) -> None:
    made = decide(build.site(), State(), build.sample(), (), Advice(), Orders())
    assert made.state.mode is Mode.AUTO
    assert values(made) == {"genset": 0.0, "battery": 0.0, "roof": pytest.approx(4.91)}
    assert {setpoint.lease_s for setpoint in made.command.setpoints} == {30.0}
    assert [(w.device, w.source) for w in made.command.why] == [
        ("genset", "rules"),
        ("battery", "rules"),
        ("roof", "rules"),
    ]
    assert made.command.generator_relay is False
    assert texts(made) == ["mode: auto: all devices answer"]
    assert (made.state.t_s, made.state.started_s) == (1000.0, 1000.0)


def test_start_up_touches_nothing(build: Any) -> None:
    sample = build.sample(batteries=(build.silent,))
    made = decide(build.site(), State(), sample, (), Advice(), Orders())
    assert made.state.mode is Mode.STARTING
    assert made.command == Command((), (), generator_relay=False)
    by_bus = build.site(generator=build.generator(by_relay=False))
    made = decide(by_bus, State(), sample, (), Advice(), Orders())
    assert made.command.generator_relay is None


def test_a_set_that_runs_when_the_process_starts_on_an_empty_island_runs_on(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.2, phase="running")
    made = world.step()  # its contact has dropped with the last process: it cools down
    assert world.phase == "cooling"
    assert made.command.generator_relay is True
    world.step()
    assert world.step().state.generator.carried


def test_a_set_that_runs_for_nothing_when_the_process_starts_is_stopped(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), mains=True, phase="running")
    made = world.step()
    assert made.command.generator_relay is False
    assert world.step(599.0).state.generator.since_s == 1001.0


# --- an outage, from beginning to end ------------------------------------------------------


def test_an_outage(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.3, limit_kw=6.0)
    for _ in range(30):
        made = world.step()
    assert world.battery_kw == pytest.approx(2.0)  # above the reserve: self-consumption
    world.mains = False
    made = world.step()
    assert "supply: grid lost: running as an island" in texts(made)
    assert world.battery_kw == pytest.approx(2.0)
    while not made.command.generator_relay:  # the rule's start, 8 % above the floor
        made = world.step(10.0)
        assert world.soc_frac > 0.22
    assert any(text.startswith("generator: start: state of charge") for text in texts(made))
    for _ in range(12):  # warming: the battery forms the grid and carries the load
        made = world.step(10.0)
        if world.phase != "running":
            assert world.battery_kw == pytest.approx(2.0)
            assert values(made)["battery"] == pytest.approx(2.0)
    made = world.step(10.0)
    assert world.phase == "running"
    assert world.generator_kw == pytest.approx(3.75)
    assert world.battery_kw == pytest.approx(-1.75)
    world.mains = True
    for _ in range(4):
        made = world.step()
        assert not made.state.estimate.grid_present
    made = world.step(2.0)
    assert "supply: grid is back" in texts(made)
    assert made.command.generator_relay is True  # its minimum run
    while made.command.generator_relay:
        made = world.step(10.0)
    assert world.t_s - made.state.generator.since_s < 10.0
    assert texts(made) == ["generator: stop: the grid serves"]


def test_a_blink_of_the_grid_starts_no_generator(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=1.0, sun_kw=0.0, soc_frac=0.16)
    for second in range(120):
        world.mains = second % 20 not in (5, 6, 7)
        assert not world.step().command.generator_relay


def test_a_set_that_saves_an_empty_island_outlasts_the_grids_first_minute(
    plant: Any, build: Any
) -> None:
    generator = build.generator(min_run_s=60.0)
    world = plant(build.site(generator=generator), mains=False, soc_frac=0.16, sun_kw=0.0)
    for _ in range(60):
        made = world.step(2.0)
    assert made.state.generator.low_soc
    world.mains = True
    for _ in range(59):
        assert world.step().command.generator_relay
    for _ in range(3):
        made = world.step()
    assert made.command.generator_relay is False


def test_a_meter_that_dies_with_its_grid_does_not_leave_the_island_dark(
    plant: Any, build: Any
) -> None:
    """Meters often hang on the grid that they measure."""
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.30)
    for _ in range(10):
        world.step()
    world.mains = False
    world.silent = {"grid"}
    started_at = None
    for _ in range(3600):
        made = world.step()
        if made.command.generator_relay and started_at is None:
            started_at = world.soc_frac
    assert started_at is not None
    assert started_at > 0.2  # by the rule, well before it is empty
    assert world.soc_frac > 0.2


def test_a_light_load_behind_a_dead_meter_still_gets_its_generator(plant: Any, build: Any) -> None:
    """Too little to be told from rest: then the charge tells, when it sinks below its floor."""
    world = plant(build.site(), load_kw=0.25, sun_kw=0.0, soc_frac=0.16)
    world.step()
    world.mains, world.silent = False, {"grid"}
    for _ in range(1000):
        made = world.step(5.0)
        assert world.soc_frac > 0.14
        if made.command.generator_relay:
            break
    else:
        pytest.fail("it never started")


def test_a_dead_meter_beside_a_live_grid_starts_no_generator(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.16)
    world.step()
    world.silent = {"grid"}
    for _ in range(600):
        made = world.step()
        assert not made.command.generator_relay
    assert made.state.mode is Mode.DEGRADED
    assert world.battery_kw == 0.0


def test_an_island_whose_battery_is_lost_gets_its_generator(plant: Any, build: Any) -> None:
    for grid in (build.grid(), None):
        world = plant(build.site(grid=grid), load_kw=2.0, sun_kw=1.0, mains=False)
        for _ in range(20):
            made = world.step()
        assert not made.command.generator_relay
        world.silent = {"battery"}
        for _ in range(30):
            made = world.step()
        assert made.command.generator_relay
        assert made.command.alarm


def test_a_generator_that_cannot_be_seen_goes_on_carrying(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, mains=False, soc_frac=0.16, sun_kw=5.0)
    for _ in range(300):
        world.step()
    assert world.phase == "running"
    world.silent = {"genset"}
    for _ in range(600):
        made = world.step()
    assert made.command.generator_relay
    assert world.limit_kw == 0.0  # no sun may push power into it
    assert world.generator_kw >= 0.0


def test_a_set_that_will_not_start_is_tried_three_times_and_then_locked(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.16, sun_kw=0.0, load_kw=0.1, cranks=False)
    starts, before = 0, False
    for _ in range(400):
        made = world.step(10.0)
        run = bool(made.command.generator_relay)
        starts += run and not before
        before = run
    assert starts == 3
    assert made.state.generator.locked == "3 failed starts"
    assert made.command.alarm
    world.cranks = True
    made = world.step(10.0, Orders(acknowledge=True))
    assert made.command.generator_relay
    assert made.state.generator.locked == ""


def test_a_set_that_is_stopped_at_its_panel_is_locked(plant: Any, build: Any) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.16, sun_kw=0.0)
    for _ in range(100):
        world.step(2.0)
    assert world.phase == "running"
    world.phase, world.cranks = "stopped", False
    heard = [text for _ in range(12) for text in texts(world.step())]
    assert "generator: locked: the set stopped by itself" in heard
    assert world.step().command.generator_relay is False


# --- sun -----------------------------------------------------------------------------------


def test_the_export_limit_holds_when_the_battery_is_full(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.94)
    exported = [(-world.grid_kw, world.step())[0] for _ in range(900)]
    assert world.soc_frac < 0.96
    assert max(exported[20:]) <= 3.0
    assert world.pv_kw == pytest.approx(0.5 + 2.91 - world.battery_kw, abs=0.05)


def test_a_battery_that_ignores_its_setpoint_does_not_break_the_export_limit(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.5, stubborn={"battery"})
    exported = [(-world.grid_kw, world.step())[0] for _ in range(60)]
    assert max(exported[15:]) <= 3.0
    assert world.state.obedience[1].status == "disobeyed"


def test_an_island_in_the_sun_does_not_overcharge(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.93, mains=False)
    for _ in range(3600):
        world.step()
        assert world.soc_frac < 0.955
    assert world.throttled_kw == pytest.approx(0.0, abs=0.01)
    assert world.pv_kw == pytest.approx(0.5, abs=0.1)


def test_the_bms_takes_the_charge_away_and_the_sun_is_held_back(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.5, mains=False)
    for _ in range(30):
        world.step()
    world.charge_limit_kw = 0.3
    world.step()
    world.step()
    assert world.pv_kw <= 0.8 + 1e-6


def test_stale_limits_take_the_battery_back_without_a_jump(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=3.0, sun_kw=0.0, soc_frac=0.5)
    for _ in range(20):
        world.step()
    world.silent = {"battery"}
    sent = [values(world.step())["battery"] for _ in range(30)]
    assert sent[0] == pytest.approx(3.0)
    assert all(after <= before for before, after in pairwise(sent))
    assert max(before - after for before, after in pairwise(sent)) <= 2.0
    assert sent[-1] == 0.0


# --- stops and orders ----------------------------------------------------------------------


@pytest.mark.parametrize("mains", [True, False])
@pytest.mark.parametrize("mode", ["auto", "manual", "stopped"])
def test_an_emergency_stop(plant: Any, build: Any, mains: bool, mode: str) -> None:
    orders = Orders(manual=mode == "manual", stop=mode == "stopped")
    world = plant(build.site(), mains=mains, soc_frac=0.16, load_kw=2.0)
    for _ in range(200):
        world.step(1.0, orders)
    world.stop_pressed = True
    made = world.step(1.0, orders)
    assert values(made) == {"genset": 0.0, "battery": 0.0, "roof": 0.0}
    assert made.command.generator_relay is False
    assert made.command.alarm
    assert [event.severity for event in made.events if event.key == "mode"] == [Severity.ALARM]
    world.stop_pressed = False
    for _ in range(50):
        made = world.step(1.0, orders)
        assert values(made) == {"genset": 0.0, "battery": 0.0, "roof": 0.0}
    made = world.step(1.0, replace(orders, acknowledge=True))
    assert made.state.mode.value == ("degraded" if mode == "auto" and made.state.absent else mode)


def test_stopping_gives_every_device_back_and_forgets_setpoints(plant: Any, build: Any) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.16)
    for _ in range(200):
        world.step()
    made = world.step(1.0, Orders(stop=True))
    assert made.command == Command((), (), generator_relay=False, release=True)
    assert (made.state.battery_kw, made.state.pv_limit_kw) == (None, None)
    assert "generator: stop: nobody asks for it" in texts(made)
    assert "mode: stopped: ordered to stop" in texts(made)
    made = world.step()  # and back: the set rests first
    assert made.state.mode is Mode.AUTO
    assert not made.command.generator_relay


def test_an_order_wins_over_the_rules_and_says_what_it_would_have_been(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0)
    order = build.order(Level.LOCAL_OPERATOR, "battery", -9.0, expires_t_s=1100.0)
    for _ in range(10):
        made = world.step(1.0, Orders(proposals=(order,)))
    why = next(why for why in made.command.why if why.device == "battery")
    assert (why.source, why.wanted) == ("local operator", -9.0)
    assert why.clips[-1] == "import limit 6 kW"
    assert why.losers == ("rules 2.00: self-consumption",)
    for _ in range(100):
        made = world.step(1.0, Orders(proposals=(order,)))
    assert values(made)["battery"] == pytest.approx(2.0)


def test_a_manual_site_still_saves_its_island(plant: Any, build: Any) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.20, sun_kw=0.0, load_kw=3.0)
    for _ in range(400):
        made = world.step(1.0, Orders(manual=True))
    assert made.state.mode is Mode.MANUAL
    assert made.command.generator_relay


# --- events and alarms ---------------------------------------------------------------------


def test_disobedience_is_told_once_and_so_is_its_end(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=3.0, sun_kw=0.0, stubborn={"battery"})
    heard = [text for _ in range(40) for text in texts(world.step())]
    assert [text for text in heard if text.startswith("obedience")] == [
        "obedience: battery power_kw is disobeyed"
    ]
    assert world.step().command.alarm
    world.stubborn = set()
    heard = [text for _ in range(40) for text in texts(world.step())]
    assert heard == ["obedience: battery power_kw is obeyed again"]
    assert not world.step().command.alarm


def test_a_device_that_comes_and_goes_is_told_once(plant: Any, build: Any) -> None:
    world, heard = plant(build.site(hold_s=2.0)), []
    for second in range(120):
        world.silent = {"battery"} if 20 < second < 80 and second % 6 < 4 else set()
        heard += [text for text in texts(world.step()) if text.startswith("mode")]
    assert heard == [
        "mode: auto: all devices answer",
        "mode: degraded: nothing usable from battery",
        "mode: auto: all devices answer",
    ]


# --- time ----------------------------------------------------------------------------------


def test_a_step_of_the_wall_clock_moves_no_setpoint(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0)
    for _ in range(20):
        world.step()
    sample = replace(world.sample(), t_s=world.t_s + 1.0)
    plan = build.plan(battery_kw=(1.0, 1.0))
    later = [replace(sample, utc_s=utc_s) for utc_s in (sample.utc_s, 0.0, -1e9, 4e9)]
    given_ = (world.acks, Advice(plan=plan), Orders())
    made = [decide(world.site, world.state, each, *given_) for each in later]
    assert all(each == made[0] for each in made)


def test_the_same_time_twice_moves_nothing(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=3.0, sun_kw=0.0)
    made = [world.step(dt_s) for dt_s in (1.0, 1.0, 0.0, 0.0)]
    assert values(made[3]) == values(made[2]) == values(made[1])


# --- whatever comes in ---------------------------------------------------------------------

odd = st.sampled_from([math.nan, INF, -INF, 1e12, -1e12, 0.0, -0.0, 1.5, -3.0, 60.0])
number = odd | st.floats(-10.0, 10.0)
maybe = st.none() | number
word = st.sampled_from(["stopped", "starting", "warming", "running", "cooling", "unknown", "", "x"])
quality = st.sampled_from([Quality.GOOD] * 3 + [Quality.STALE, Quality.BAD])


def observed(values_: Any) -> Any:
    return st.builds(Observed, st.none() | values_, number, quality, st.just(""))


inverters = observed(st.builds(InverterMeasurement, maybe, maybe, maybe, word, maybe))
batteries = observed(
    st.builds(
        BatteryMeasurement,
        maybe,
        st.none() | st.floats(-0.5, 1.5) | odd,
        maybe,
        maybe,
        maybe,
        maybe,
        st.sampled_from(["running", "fault", "off", "unknown"]),
    )
)
generators = observed(
    st.builds(GeneratorMeasurement, maybe, word, word, st.booleans(), maybe, maybe)
)
meters = observed(
    st.builds(
        GridMeasurement,
        maybe,
        st.none() | st.sampled_from([230.0, 0.0, 180.0, math.nan]),
        st.none() | st.sampled_from([50.0, 0.0, 53.0, math.nan]),
        maybe,
        maybe,
    )
)


def some(items: Any) -> Any:
    return st.lists(items, max_size=2).map(tuple)


samples = st.builds(
    Sample,
    cycle=st.integers(0, 9),
    t_s=st.just(0.0),
    utc_s=number,
    irradiance_w_m2=st.none() | observed(number),
    emergency_stop=st.none() | observed(st.sampled_from([False, False, False, True])),
    pv=some(inverters),
    wind=some(inverters),
    batteries=some(batteries),
    generators=some(generators),
    grid=st.none() | meters,
    sun_elevation_deg=number,
    hour_local=number,
    price_buy_per_kwh=number,
    price_sell_per_kwh=number,
    interest_frac=number,
    temperature_degc=maybe,
)
device = st.sampled_from(["battery", "roof", "genset", "grid", "nobody"])
proposals = st.builds(
    Proposal,
    st.sampled_from(Level),
    device,
    st.sampled_from(Quantity),
    st.just("an order"),
    maybe,
    maybe,
    maybe,
    number.map(lambda n: 1000.0 + n),
)
orders_ = st.builds(
    Orders,
    st.sampled_from([False, False, False, True]),
    st.booleans(),
    st.booleans(),
    st.lists(proposals, max_size=3).map(tuple),
)
acks = st.lists(
    st.builds(Ack, device, st.sampled_from(Quantity), number, maybe, number, word), max_size=4
).map(tuple)
columns = st.lists(number, max_size=3).map(tuple)
flags = st.lists(st.booleans(), max_size=3).map(tuple)
plans = st.builds(
    Plan,
    number,
    st.sampled_from([1000.0, 999.0, math.nan, -INF]),
    st.sampled_from([900.0, 0.0, -1.0, math.nan, INF, 1e-9]),
    st.sampled_from([INF, 2000.0, 0.0, math.nan]),
    columns,
    flags,
    columns,
    columns,
    columns,
    columns,
    flags,
    flags,
    number,
    st.just("odd"),
)


def check(build: Any, site: Any, made: Decision) -> None:
    """What holds for every command."""
    state, command, plant = made.state, made.command, made.state.estimate
    for setpoint in command.setpoints:
        assert math.isfinite(setpoint.value)
        assert setpoint.lease_s == site.lease_s
    given_ = {(s.device, s.quantity): s.value for s in command.setpoints}
    if state.mode in (Mode.STARTING, Mode.STOPPED):
        assert given_ == {}
        assert not command.generator_relay
        assert command.release == (state.mode is Mode.STOPPED)
        return
    targets = [
        ("genset", Quantity.RUN),
        ("battery", Quantity.POWER_KW),
        ("roof", Quantity.LIMIT_KW),
    ]
    assert list(given_) == targets
    assert [(why.device, why.quantity) for why in command.why] == targets
    run, battery_kw, limit_kw = (given_[target] for target in targets)
    assert run in (0.0, 1.0)
    assert command.generator_relay == bool(run) == state.generator.run
    battery = site.battery
    assert -battery.charge_max_kw <= battery_kw <= battery.discharge_max_kw
    assert 0.0 <= limit_kw <= 6.0
    if plant.charge_limit_kw is not None:
        assert battery_kw >= -plant.charge_limit_kw
    if plant.discharge_limit_kw is not None:
        assert battery_kw <= plant.discharge_limit_kw
    if plant.soc_frac is not None:
        assert plant.soc_frac > battery.soc_min_frac or battery_kw <= 0.0
        assert plant.soc_frac < battery.soc_max_frac or battery_kw >= 0.0
    if plant.emergency_stop or state.emergency_latched:
        assert (run, battery_kw, limit_kw) == (0.0, 0.0, 0.0)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 30.0), samples, acks, st.none() | plans, orders_),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
)
def test_no_record_whatever_it_says_breaks_a_cycle(
    build: Any, history: list[Any], with_grid: bool
) -> None:
    site = build.site() if with_grid else build.site(grid=None)
    state, now_s = State(), 1000.0
    for step_s, sample, applied, plan, orders in history:
        now_s += step_s
        sample = replace(sample, t_s=now_s)
        advice = Advice(plan=plan)
        made = decide(site, state, sample, applied, advice, orders)
        assert repr(made) == repr(decide(site, state, sample, applied, advice, orders))
        check(build, site, made)
        state = made.state


@given(samples, st.none() | plans, orders_)
def test_no_site_whatever_it_lacks_breaks_a_cycle(
    build: Any, sample: Sample, plan: Plan | None, orders: Orders
) -> None:
    for lacking in (
        {"battery": None},
        {"generator": None},
        {"pv": ()},
        {"battery": None, "grid": None},
    ):
        site, state = build.site(emergency_stop=False, **lacking), State()
        for step in range(3):
            late = replace(sample, t_s=1000.0 + 20.0 * step)
            made = decide(site, state, late, (), Advice(plan=plan), orders)
            names = {setpoint.device for setpoint in made.command.setpoints}
            assert all(math.isfinite(value) for value in values(made).values())
            assert not names & {key[:-1] for key in ("batteryx",) if site.battery is None}
            state = made.state


# --- long random lives of a plant that obeys -----------------------------------------------


class Lives(RuleBasedStateMachine):
    """Sun, load, outages, silent and stubborn devices, orders and stops, in any order."""

    build: Any
    plant: Any

    @initialize(soc_frac=st.floats(0.05, 1.0), mains=st.booleans(), from_grid=st.booleans())
    def begin(self, soc_frac: float, mains: bool, from_grid: bool) -> None:
        battery = self.build.battery(charge_from_grid=from_grid)
        self.site = self.build.site(battery=battery)
        self.world = self.plant(self.site, soc_frac=soc_frac, mains=mains)
        self.orders = Orders()
        self.advice = Advice()
        self.changes: list[tuple[float, bool]] = []
        self.broken_s: dict[str, float] = {}
        self.made: Decision | None = None

    @rule(load_kw=st.floats(0.0, 7.0), sun_kw=st.floats(0.0, 6.0))
    def weather(self, load_kw: float, sun_kw: float) -> None:
        self.world.load_kw, self.world.sun_kw = load_kw, sun_kw

    @rule(mains=st.booleans())
    def grid(self, mains: bool) -> None:
        self.world.mains = mains

    @rule(charge_kw=st.sampled_from([4.0, 1.0, 0.0]), discharge_kw=st.sampled_from([4.0, 1.0, 0.0]))
    def bms(self, charge_kw: float, discharge_kw: float) -> None:
        self.world.charge_limit_kw, self.world.discharge_limit_kw = charge_kw, discharge_kw

    @rule(names=st.sets(st.sampled_from(["roof", "battery", "genset", "grid", "sun", "stop"])))
    def silence(self, names: set[str]) -> None:
        self.world.silent = names

    @rule(names=st.sets(st.sampled_from(["roof", "battery"])), cranks=st.booleans())
    def trouble(self, names: set[str], cranks: bool) -> None:
        self.world.stubborn, self.world.cranks = names, cranks

    @rule(pressed=st.booleans())
    def button(self, pressed: bool) -> None:
        self.world.stop_pressed = pressed

    @rule(orders=orders_)
    def order(self, orders: Orders) -> None:
        self.orders = orders

    @rule(on=st.booleans(), battery_kw=st.floats(-4.0, 4.0), grid_kw=st.floats(-3.0, 6.0))
    def plan(self, on: bool, battery_kw: float, grid_kw: float) -> None:
        plan = self.build.plan(
            start_t_s=self.world.t_s,
            expires_t_s=self.world.t_s + 1000.0,
            generator_on=(on, on),
            generator_kw=(3.0 * on, 3.0 * on),
            battery_kw=(battery_kw, battery_kw),
            grid_kw=(grid_kw, grid_kw),
        )
        self.advice = Advice(plan=plan)

    @rule(step_s=st.sampled_from([0.0, 0.1, 1.0, 5.0, 60.0]), count=st.integers(1, 40))
    def live(self, step_s: float, count: int) -> None:
        for _ in range(count):
            before = self.world.state
            self.made = self.world.step(step_s, self.orders, self.advice)
            check(self.build, self.site, self.made)
            self.check_moves(before, self.made)
            self.check_generator(before, self.made)
            self.check_plant(step_s)

    def check_plant(self, step_s: float) -> None:
        """With every device answering and obeying, limits are left behind within seconds."""
        world, mode = self.world, self.world.state.mode
        calm = not (world.silent or world.stubborn) and step_s <= 5.0
        calm = calm and mode not in (Mode.STARTING, Mode.STOPPED)
        for name, broken in (
            ("export", world.mains and world.grid_kw < -3.05),
            ("reverse power", world.generator_kw < -0.05 and not world.mains),
        ):
            self.broken_s[name] = self.broken_s.get(name, 0.0) + step_s if calm and broken else 0.0
            assert self.broken_s[name] <= 15.0, name

    def check_moves(self, before: State, made: Decision) -> None:
        """Faster than its ramp only where a limit says why."""
        state = made.state
        if before.battery_kw is None or state.battery_kw is None or before.t_s is None:
            return
        step_kw = 2.0 * (self.world.t_s - before.t_s)
        why = next(why for why in made.command.why if why.device == "battery")
        if abs(state.battery_kw - before.battery_kw) > step_kw + 1e-9:
            assert why.clips
            assert why.clips[-1] != "ramp"

    def check_generator(self, before: State, made: Decision) -> None:
        """Minimum run and rest, longest run: only stops, faults and orders to stop interrupt."""
        was, now = before.generator, made.state.generator
        if was.run == now.run:
            if now.run:
                assert self.world.t_s - now.since_s < 36000.0
            return
        stopped = made.state.emergency_latched or made.state.estimate.emergency_stop
        excused = stopped or now.locked or now.attempts > was.attempts
        excused = excused or made.state.mode in (Mode.STOPPED, Mode.STARTING)
        if now.run:
            assert not stopped
            if self.changes:
                assert self.world.t_s - self.changes[-1][0] >= 600.0
        elif not excused:
            assert self.world.t_s - was.since_s >= 1800.0
        self.changes.append((self.world.t_s, now.run))

    @precondition(lambda self: self.made is not None)
    @invariant()
    def what_is_latched_stays(self) -> None:
        state = self.world.state
        assert self.made is not None
        if state.emergency_latched:
            assert state.mode is Mode.SAFE
        if state.mode is Mode.SAFE or state.generator.locked:
            assert self.made.command.alarm


def test_long_random_lives(build: Any, plant: Any) -> None:
    Lives.build, Lives.plant = build, plant
    run_state_machine_as_test(
        Lives, settings=settings(max_examples=60, stateful_step_count=25, deadline=None)
    )


def test_the_generator_state_of_a_fresh_process() -> None:
    assert GeneratorState() == GeneratorState(run=False, since_s=-INF)
