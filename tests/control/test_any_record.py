"""Records of any content, for any site: no cycle breaks, and every command holds its limits."""

import math
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.cycle import decide
from control.delivery import Delivery
from control.records import (
    Ack,
    Advice,
    BatteryMeasurement,
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
)
from control.state import State
from tests.control.tiny_fleet import fleet_site

INF = float("inf")

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
    maybe,
    maybe,
    maybe,
    st.sampled_from(Level),
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
traded = some(
    st.builds(Delivery, st.sampled_from([0.0, math.nan]), number | st.just(2e3), number, number)
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 30.0), samples, acks, st.none() | plans, orders_, traded),
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
    for step_s, sample, applied, plan, orders, deliveries in history:
        now_s += step_s
        sample = replace(sample, t_s=now_s)
        advice = Advice(plan=plan)
        given_now = (sample, applied, advice, orders, deliveries)
        made = decide(site, state, *given_now)
        assert repr(made) == repr(decide(site, state, *given_now))
        build.check(site, made)
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
            assert all(math.isfinite(setpoint.value) for setpoint in made.command.setpoints)
            state = made.state


unit_rows = st.lists(columns, max_size=3).map(tuple)
unit_plans = st.builds(
    replace,
    plans,
    battery_units_kw=unit_rows,
    generator_units_on=st.lists(flags, max_size=3).map(tuple),
    generator_units_kw=unit_rows,
)
unit_device = st.sampled_from(
    ["bat-a", "bat-b", "gen-a", "gen-b", "all batteries", "all generators", "roof", "nobody"]
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.0, 30.0), samples, acks, st.none() | unit_plans, orders_),
        min_size=1,
        max_size=6,
    ),
    st.lists(unit_device, min_size=3, max_size=3),
    st.booleans(),
)
def test_no_record_breaks_a_site_with_several_units(
    build: Any, history: list[Any], devices: list[str], with_grid: bool
) -> None:
    site = fleet_site(build, grid=build.grid() if with_grid else None)
    state, now_s = State(), 1000.0
    for step_s, sample, applied, plan, orders in history:
        now_s += step_s
        sample = replace(sample, t_s=now_s)
        named = zip(orders.proposals, devices, strict=False)
        orders = replace(
            orders, proposals=tuple(replace(each, device=name) for each, name in named)
        )
        made = decide(site, state, sample, applied, Advice(plan=plan), orders)
        told = {setpoint.device: setpoint.value for setpoint in made.command.setpoints}
        assert all(math.isfinite(value) for value in told.values())
        for battery in site.batteries if told else ():
            assert -battery.charge_max_kw <= told[battery.name] <= battery.discharge_max_kw
        state = made.state
