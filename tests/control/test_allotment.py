"""Sharing one power among batteries: sums, boxes, charge, plan, orders, what is lost."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.allotment import Box, allot, taken_over
from control.records import Advice, Level, Orders, Proposal, Quantity
from control.site import SiteParameters
from tests.control.tiny_fleet import TinyFleet, fleet_site

boxes_ = st.lists(
    st.tuples(st.floats(-5.0, 5.0), st.floats(0.0, 5.0)).map(lambda p: Box(p[0], p[0] + p[1])),
    min_size=1,
    max_size=5,
)


@given(boxes_, st.data())
def test_shares_stay_in_their_boxes_and_add_up_wherever_they_can(
    boxes: list[Box], data: Any
) -> None:
    total_kw = data.draw(st.floats(-20.0, 20.0))
    weights = [data.draw(st.floats(0.0, 10.0)) for _ in boxes]
    shares = allot(total_kw, boxes, weights)
    low_kw, high_kw = sum(box.low_kw for box in boxes), sum(box.high_kw for box in boxes)
    for share, box in zip(shares, boxes, strict=True):
        assert box.low_kw <= share <= box.high_kw
    nearest_kw = min(high_kw, max(low_kw, total_kw))
    assert math.isclose(sum(shares), nearest_kw, rel_tol=1e-9, abs_tol=1e-8)


@given(
    st.floats(-4.0, 4.0), st.floats(1e-3, 0.1), st.lists(st.floats(0.1, 9), min_size=2, max_size=4)
)
def test_a_little_more_in_all_is_a_little_more_for_each(
    total_kw: float, more_kw: float, weights: list[float]
) -> None:
    boxes = [Box(-2.0, 2.0)] * len(weights)
    before, after = allot(total_kw, boxes, weights), allot(total_kw + more_kw, boxes, weights)
    for was, now in zip(before, after, strict=True):
        assert -1e-9 <= now - was <= more_kw * len(weights)


def test_what_does_not_fit_is_taken_over() -> None:
    assert allot(3.0, [Box(-1.0, 1.0), Box(-4.0, 4.0)], [1.0, 1.0]) == (1.0, 2.0)
    assert allot(-3.0, [Box(-1.0, 1.0), Box(-4.0, 4.0)], [1.0, 1.0]) == (-1.0, -2.0)
    assert allot(1.0, [Box(0.5, 2.0), Box(-4.0, 4.0)], [0.0, 1.0]) == (0.5, 0.5)
    assert allot(9.0, [Box(-1.0, 1.0), Box(-4.0, 4.0)], [1.0, 0.0]) == (1.0, 4.0)
    assert taken_over(0.5, (1.0, 1.0), [Box(0.0, 1.0), Box(-1.0, 1.0)]) == (0.5, 0.0)


# --- in the cycle --------------------------------------------------------------------------


@pytest.fixture
def site(build: Any) -> SiteParameters:
    return fleet_site(build, grid=build.grid(), generator=None, generators=())


@pytest.fixture
def fleet(site: SiteParameters) -> TinyFleet:
    return TinyFleet(site, load_kw=3.0, mains=True)


def test_fuller_batteries_give_more_and_emptier_ones_take_more(fleet: TinyFleet) -> None:
    fleet["bat-a"].soc_frac, fleet["bat-b"].soc_frac = 0.35, 0.75
    gives = fleet.told(fleet.run(20.0))
    assert gives["bat-a"] + gives["bat-b"] == pytest.approx(3.0, abs=1e-6)
    assert gives["bat-a"] == pytest.approx(3.0 * 2.0 / 5.0, abs=0.02)  # 2 and 3 kWh above floors
    fleet.load_kw, fleet.sun_kw = 0.5, 3.5
    takes = fleet.told(fleet.run(30.0))
    assert takes["bat-b"] < 0.0
    assert takes["bat-a"] == pytest.approx(6.0 * takes["bat-b"], rel=0.02)  # 6 and 1 kWh below


def test_charges_come_together_by_day_and_by_night(fleet: TinyFleet) -> None:
    fleet["bat-a"].soc_frac, fleet["bat-b"].soc_frac = 0.30, 0.90
    apart = [0.6]
    for load_kw, sun_kw in ((2.0, 0.0), (0.2, 2.0)) * 3:
        fleet.load_kw, fleet.sun_kw = load_kw, sun_kw
        fleet.run(5400.0, 10.0)
        apart.append(abs(fleet["bat-a"].soc_frac - fleet["bat-b"].soc_frac))
    assert all(later < earlier for earlier, later in pairwise(apart))
    assert apart[-1] < 0.1


def test_a_battery_at_its_floor_gives_nothing_and_the_other_serves(fleet: TinyFleet) -> None:
    fleet["bat-b"].soc_frac = 0.15
    told = fleet.told(fleet.run(20.0))
    assert told["bat-b"] == 0.0
    assert told["bat-a"] == pytest.approx(3.0, abs=1e-6)
    fleet["bat-b"].soc_frac = 0.10  # below: it is charged as soon as there is anything
    assert fleet.told(fleet.run(5.0))["bat-b"] == 0.0
    fleet.sun_kw = 5.0
    assert fleet.told(fleet.run(30.0))["bat-b"] < -0.5


def test_what_is_lost_goes_to_the_others(fleet: TinyFleet) -> None:
    before = fleet.told(fleet.run(20.0))
    assert before["bat-b"] > 0.9
    fleet.silent = {"bat-b"}
    made = fleet.run(15.0)  # its last value has held until now
    told = fleet.told(made)
    assert told["bat-b"] == 0.0
    why = {item.device: item for item in made.command.why}
    assert "does not answer" in why["bat-b"].clips[-1]
    fleet["bat-b"].kw = fleet["bat-b"].told_kw = 0.0  # its lease is over
    assert fleet.told(fleet.run(10.0))["bat-a"] == pytest.approx(3.0, abs=0.05)
    fleet.silent = set()
    again = fleet.told(fleet.run(15.0))
    assert again["bat-b"] == pytest.approx(before["bat-b"], abs=0.05)


def test_the_plan_s_shares_where_all_go_its_way(build: Any, fleet: TinyFleet) -> None:
    plan = build.plan(
        battery_kw=(2.0,) * 2,
        cover_deficit=(True, True),
        battery_units_kw=((0.0, 0.0), (2.0, 2.0)),
    )
    fleet.load_kw = 1.5
    made = fleet.run(20.0, advice=Advice(plan=plan))
    assert fleet.told(made)["bat-a"] == 0.0
    assert fleet.told(made)["bat-b"] == pytest.approx(1.5, abs=1e-6)
    assert any("by the plan" in clip for item in made.command.why for clip in item.clips)
    fleet.load_kw = 4.0  # more than the planned one can give: the other helps
    told = fleet.told(fleet.run(20.0, advice=Advice(plan=plan)))
    assert told["bat-b"] == pytest.approx(2.5)
    assert told["bat-a"] == pytest.approx(1.5, abs=1e-6)
    opposed = replace(plan, battery_units_kw=((-2.0, -2.0), (4.0, 4.0)))
    by_charge = fleet.told(fleet.run(20.0, advice=Advice(plan=opposed)))
    assert by_charge["bat-a"] > by_charge["bat-b"] > 0.0


def order(device: str, value: float, level: Level = Level.LOCAL_OPERATOR) -> Orders:
    return Orders(proposals=(Proposal(level, device, Quantity.POWER_KW, "an order", value),))


def test_an_order_for_one_battery_leaves_the_rest_to_the_other(fleet: TinyFleet) -> None:
    made = fleet.run(20.0, orders=order("bat-b", 2.0))
    assert fleet.told(made) | {"roof": 0.0} == {
        "bat-a": pytest.approx(1.0, abs=1e-6),
        "bat-b": 2.0,
        "roof": 0.0,
    }
    why = {item.device: item for item in made.command.why}
    assert (why["bat-b"].source, why["bat-b"].reason) == ("local operator", "an order")
    assert why["bat-a"].source == "rules"


def test_one_battery_does_not_feed_another_that_is_ordered_to_charge(fleet: TinyFleet) -> None:
    told = fleet.told(fleet.run(20.0, orders=order("bat-b", -2.0)))
    assert told["bat-b"] == -2.0
    assert told["bat-a"] == pytest.approx(3.0, abs=1e-6)


def test_an_order_for_all_is_shared(fleet: TinyFleet) -> None:
    told = fleet.told(fleet.run(20.0, orders=order("all batteries", -2.0)))
    assert told["bat-a"] + told["bat-b"] == pytest.approx(-2.0)
    assert told["bat-a"] == pytest.approx(2.0 * told["bat-b"], rel=0.01)


def test_ramps_hold_for_each(build: Any, site: SiteParameters) -> None:
    slow = tuple(replace(each, ramp_kw_per_s=0.1) for each in site.batteries)
    fleet = TinyFleet(
        replace(site, batteries=slow, battery=replace(site.battery, ramp_kw_per_s=0.2)),
        load_kw=3.0,
        mains=True,
    )
    before: dict[str, float] = {}
    for _ in range(60):
        told = fleet.told(fleet.step())
        for name in ("bat-a", "bat-b"):
            assert abs(told[name] - before.get(name, 0.0)) <= 0.1 + 1e-9
        before = told
    assert before["bat-a"] + before["bat-b"] == pytest.approx(3.0, abs=1e-6)


@pytest.mark.parametrize(
    ("load_kw", "sun_kw", "soc_frac", "mains"),
    [(3.0, 0.0, 0.6, True), (0.5, 6.0, 0.5, True), (0.5, 6.0, 0.94, True), (2.0, 0.5, 0.16, False)],
)
def test_nothing_hunts_while_nothing_changes(
    build: Any, load_kw: float, sun_kw: float, soc_frac: float, mains: bool
) -> None:
    fleet = TinyFleet(fleet_site(build, grid=build.grid()), load_kw, sun_kw, mains)
    fleet["bat-a"].soc_frac, fleet["bat-b"].soc_frac = soc_frac, soc_frac - 0.01
    fleet.run(240.0)
    before = fleet.told(fleet.step())
    turns = dict.fromkeys(before, 0)
    steps_kw = dict.fromkeys(before, 0.0)
    for _ in range(120):
        now = fleet.told(fleet.step())
        assert fleet.grid_kw >= -3.05
        for name, value in now.items():
            step_kw = value - before[name]
            assert abs(step_kw) < 0.05, name
            if abs(step_kw) > 1e-6:
                turns[name] += step_kw * steps_kw[name] < 0.0
                steps_kw[name] = step_kw
        before = now
    assert max(turns.values()) <= 2, turns
