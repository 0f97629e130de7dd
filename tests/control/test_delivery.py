"""Committed trades in the loop: what they leave of the net load, who decides, in which words."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.cycle import Decision, decide
from control.delivery import Delivery, due
from control.records import Advice, BatteryMeasurement, GridMeasurement, Level, Orders
from control.state import State

QUARTER_S = 900.0
SOLD = Delivery(900.0, 900.0 + QUARTER_S, -0.8, 0.12)
BOUGHT = replace(SOLD, bought_kw=0.8)
KEEP = "keep the energy for later"
power = st.floats(-50.0, 50.0)


def battery(made: Decision) -> tuple[float, str, str]:
    value = next(s.value for s in made.command.setpoints if s.device == "battery")
    why = next(w for w in made.command.why if w.device == "battery")
    return round(value, 6), why.source, why.reason


def decided(build: Any, *deliveries: Delivery, **more: Any) -> Decision:
    """One cycle in the middle of the quarter; load 2 kW, PV 1 kW."""
    site = build.site(battery=build.battery(ramp_kw_per_s=100.0), generator=None)
    advice, orders = more.pop("advice", Advice()), more.pop("orders", Orders())
    before = State()
    for cycle in range(2):
        sample = replace(build.sample(1000.0 + cycle, **more), generators=())
        made = decide(site, before, sample, (), advice, orders, deliveries)
        before = made.state
    return made


# --- the net load that is left --------------------------------------------------------------


loads = st.none() | st.floats(0.0, 50.0)


@given(net_kw=power, sold_kw=st.floats(0.0, 50.0), load_kw=loads)
def test_what_is_sold_counts_as_load(net_kw: float, sold_kw: float, load_kw: float | None) -> None:
    assert replace(SOLD, bought_kw=-sold_kw).left_kw(net_kw, load_kw) == net_kw + sold_kw


@given(pv_kw=st.floats(0.0, 50.0), load_kw=st.floats(0.0, 50.0), bought_kw=st.floats(0.0, 50.0))
def test_what_is_bought_serves_load_and_is_not_stored(
    pv_kw: float, load_kw: float, bought_kw: float
) -> None:
    net_kw = load_kw - pv_kw
    left_kw = replace(SOLD, bought_kw=bought_kw).left_kw(net_kw, load_kw)
    assert left_kw == pytest.approx(max(net_kw - bought_kw, -pv_kw))  # no more than the own sun


@given(net_kw=power, bought_kw=st.floats(0.0, 50.0))
def test_with_an_unknown_load_what_is_bought_serves_the_net_load(
    net_kw: float, bought_kw: float
) -> None:
    left_kw = replace(SOLD, bought_kw=bought_kw).left_kw(net_kw, None)
    assert left_kw == pytest.approx(max(net_kw - bought_kw, min(net_kw, 0.0)))


def test_a_trade_is_delivered_in_its_slot_only() -> None:
    later = replace(SOLD, from_t_s=1800.0, until_t_s=2700.0)
    assert due((later, SOLD), 899.9) is None
    assert due((later, SOLD), 900.0) is SOLD
    assert due((later, SOLD), 1799.9) is SOLD
    assert due((later, SOLD), 1800.0) is later
    assert due((later, SOLD), 2700.0) is None
    assert due((replace(SOLD, bought_kw=math.nan),), 1000.0) is None


@pytest.mark.parametrize(
    ("delivery", "now_s", "hour", "said"),
    [
        (SOLD, 900.0, 12.0, "0.80 kW sold to neighbours until 12:15"),
        (SOLD, 1300.0, 23.9, "0.80 kW sold to neighbours until 00:02"),
        (BOUGHT, 1200.2, 12.0 + 299.9 / 3600, "0.80 kW bought from neighbours until 12:15"),
        (replace(SOLD, until_t_s=910.0), 905.0, 6.0, "0.80 kW sold to neighbours until 06:00:05"),
        (SOLD, 900.0, math.nan, "0.80 kW sold to neighbours"),
    ],
)  # fmt: skip
def test_words(delivery: Delivery, now_s: float, hour: float, said: str) -> None:
    assert delivery.words(now_s, hour) == said


# --- in the cycle ---------------------------------------------------------------------------


def test_the_battery_serves_what_is_sold(build: Any) -> None:
    assert battery(decided(build)) == (1.0, "rules", "self-consumption")
    value, source, reason = battery(decided(build, SOLD))
    assert (value, source) == (1.8, "committed trades")
    assert reason == "0.80 kW sold to neighbours until 12:13; self-consumption"


def test_the_battery_leaves_to_neighbours_what_they_sell(build: Any) -> None:
    assert battery(decided(build, BOUGHT))[:2] == (0.2, "committed trades")
    more = replace(BOUGHT, bought_kw=1.7)
    # 1.7 of the 2 kW of load are bought: of the own sun 0.3 kW serve load, 0.7 kW are a surplus,
    # which the rules split.
    value, source, reason = battery(decided(build, more))
    assert -0.7 <= value < 0.0
    assert source == "committed trades"
    assert "of the surplus" in reason
    most, _, _ = battery(decided(build, replace(BOUGHT, bought_kw=5.0)))
    assert -1.0 <= most < value  # no more than the sun


def test_a_trade_that_is_over_is_not_kept_to(build: Any) -> None:
    over = replace(SOLD, until_t_s=1000.5)
    assert battery(decided(build, over)) == (1.0, "rules", "self-consumption")


@pytest.mark.parametrize(
    ("planned", "delivery", "value", "reason"),
    [
        # A plan of before the trade, and one that knows of it.
        ({"battery_kw": (2.0, 0.0), "grid_kw": (-1.0, 0.0)}, SOLD, 2.0, "export from the battery"),
        ({"battery_kw": (1.8, 0), "grid_kw": (-0.8, 0), "traded_kw": (-0.8, 0)}, SOLD, 1.8, KEEP),
        ({"cover_deficit": (True, True)}, SOLD, 1.8, "the battery covers the load"),
        ({"grid_kw": (1.0, 1.0)}, BOUGHT, 0.0, KEEP),
        # What is sold does not make a plan that stores sun buy from the grid.
        ({"battery_kw": (-1.5, 0), "grid_kw": (-0.2, 0)}, SOLD, 0.0, KEEP),
    ],
)  # fmt: skip
def test_the_plan_is_followed_in_what_the_trade_leaves(
    build: Any, planned: dict[str, Any], delivery: Delivery, value: float, reason: str
) -> None:
    made = decided(build, delivery, advice=Advice(plan=build.plan(**planned)))
    got, source, said = battery(made)
    assert (got, source) == (value, "committed trades")
    assert said.endswith(f"; plan: {reason}")


def test_orders_come_before_trades(build: Any) -> None:
    orders = Orders(proposals=(build.order(Level.SUPERVISOR, "battery", -1.0),))
    assert battery(decided(build, SOLD, orders=orders))[:2] == (-1.0, "supervisor")


def test_an_island_delivers_nothing(build: Any) -> None:
    dark = build.sample().grid
    made = decided(build, SOLD, grid=replace(dark, value=GridMeasurement(0.0, 0.0, 0.0)))
    assert not made.state.estimate.grid_present
    assert battery(made)[1:] == ("rules", "island: the battery forms the grid")


def test_what_is_sold_keeps_to_the_export_limit(build: Any) -> None:
    made = decided(build, replace(SOLD, bought_kw=-5.0))
    value, source, _ = battery(made)
    assert source == "committed trades"
    assert 3.5 < value <= 4.0  # 3 kW may leave beside 1 kW of load that PV does not serve
    why = next(w for w in made.command.why if w.device == "battery")
    assert (why.wanted, why.clips) == (6.0, ("export limit 3 kW", "rating")[: len(why.clips)])


def test_the_reserve_is_not_sold(build: Any) -> None:
    empty = build.sample().batteries[0]
    low = (replace(empty, value=BatteryMeasurement(0.0, 0.15, 4.0, 4.0)),)
    plan = build.plan(cover_deficit=(True, True))
    made = decided(build, SOLD, advice=Advice(plan=plan), batteries=low)
    assert battery(made)[:2] == (0.0, "committed trades")
    why = next(w for w in made.command.why if w.device == "battery")
    assert why.clips[0].startswith("committed trades: reserve of ")
