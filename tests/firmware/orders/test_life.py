"""A command from its acceptance to its end: done, failed, expired, superseded; and what is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.records import Level, Sample
from control.site import SiteParameters
from control.state import Mode
from firmware.orders.standing import LIMITS, Order, Standing, expired, orders_for, placed
from tests.firmware.orders.conftest import Office, battery, genset, good

PRICES = [
    {"from": 1_760_000_000, "buy": 0.9, "sell": 0.1},
    {"from": 1_760_000_900, "buy": 0.2, "sell": 0},
]


def last(office: Office) -> tuple[str, str]:
    return office.told[-1]["status"], office.told[-1]["reason"]


# --- done, and what for --------------------------------------------------------------------


def test_a_setpoint_is_done_when_the_device_has_it_and_expires(office: Office) -> None:
    said = office.order("battery.setpoint", p_w=-2000, ttl_s=60)
    assert office.statuses(said["id"]) == ["received", "accepted"]
    office.step(4)
    assert last(office) == ("done", "-2000 W")
    assert office.value("battery") == -2.0
    assert office.clerk.orders.active == (
        "battery.setpoint -2000 W, by supervisor (supervisor), until 2025-10-09 08:54:23Z",
    )
    office.step(60)
    assert office.statuses(said["id"]) == ["received", "accepted", "done", "expired"]
    assert last(office)[1] == "its time is over; the site decides by itself again"
    assert office.value("battery") != -2.0
    assert office.clerk.standing == ()
    texts = [event.text for event in office.events if event.key == "command"]
    assert [text.split(": ")[1] for text in texts] == ["accepted", "done", "expired"]


def test_what_clipped_a_setpoint_is_named(office: Office) -> None:
    office.order("battery.setpoint", p_w=4000, ttl_s=600)
    office.seen["batteries"] = battery(discharge_limit_kw=1.5)
    office.step(5)
    assert last(office) == ("done", "1500 W: the battery's own limit")


def test_a_slow_ramp_is_good_enough(
    parameters: SiteParameters, make_sample: Callable[..., Sample]
) -> None:
    assert parameters.battery
    slow = replace(parameters, battery=replace(parameters.battery, ramp_kw_per_s=0.01))
    office = Office(slow, make_sample)
    office.step(3)
    office.order("battery.setpoint", p_w=4000, ttl_s=600)
    office.step(20)
    assert last(office)[0] == "accepted"
    office.step(20)
    assert last(office)[0] == "done"
    assert last(office)[1].endswith("W, on its way")


def test_a_device_that_does_not_answer_fails_the_order(office: Office) -> None:
    office.deaf = ("battery",)
    said = office.order("battery.setpoint", p_w=2000, ttl_s=600)
    office.step(40)
    assert office.statuses(said["id"]) == ["received", "accepted", "failed"]
    assert last(office)[1] == "battery has not acknowledged it"
    assert office.clerk.standing == ()  # it does not come into force later


def test_overruled(office: Office) -> None:
    office.order("battery.setpoint", "operator", p_w=1000, ttl_s=600)
    office.step(4)
    said = office.order("battery.setpoint", p_w=2000, ttl_s=600)
    assert said["status"] == "accepted"
    held = "battery.setpoint 1000 W, by local operator (operator), holds until"
    assert said["reason"].startswith(held)
    office.step(40)
    assert last(office)[0] == "failed"
    assert last(office)[1].startswith("overruled by local operator: battery.setpoint 1000 W")


def test_safety_overrules(office: Office) -> None:
    office.order("battery.setpoint", p_w=1000, ttl_s=600)
    office.seen["emergency_stop"] = good(True)
    office.step(40)
    assert last(office) == ("failed", "overruled by safety: safe: emergency stop")


def test_a_lower_order_takes_over_when_the_higher_ends(office: Office) -> None:
    office.order("battery.setpoint", p_w=2000, ttl_s=600)
    office.step(4)
    office.order("battery.setpoint", "operator", p_w=1000, ttl_s=10)
    office.step(5)
    assert office.value("battery") == 1.0
    office.step(10)
    assert office.value("battery") == 2.0


def test_the_newer_order_of_a_level_supersedes(office: Office) -> None:
    first = office.order("battery.setpoint", p_w=2000, ttl_s=600)
    second = office.order("battery.setpoint", p_w=-1000, ttl_s=600)
    assert office.told[-1] == {**office.told[-1], "id": first["id"], "status": "superseded"}
    assert "by battery.setpoint -1000 W" in office.told[-1]["reason"]
    office.step(4)
    assert office.statuses(second["id"])[-1] == "done"
    assert office.value("battery") == -1.0


def test_modes(office: Office) -> None:
    office.order("mode.set", "operator", mode="manual", ttl_s=60)
    office.step()
    assert last(office) == ("done", "mode manual: ordered to manual")
    office.order("mode.set", "operator", mode="auto")
    assert office.told[-1]["status"] == "superseded"
    office.step()
    assert last(office) == ("done", "mode auto: all devices answer")
    assert office.clerk.standing == ()
    office.order("mode.set", mode="stopped", ttl_s=60)
    office.step(2)
    assert office.state.mode is Mode.STOPPED
    office.step(60)
    assert office.state.mode is Mode.AUTO


def test_a_mode_that_is_not_reached(office: Office) -> None:
    office.locally("mode.set", mode="manual")
    said = office.order("mode.set", mode="auto")
    assert said["reason"].startswith("mode.set manual, by local operator (anna, on site), holds")
    office.step(40)
    assert last(office) == ("failed", "mode manual: ordered to manual")


def test_a_generator_is_done_when_it_carries(office: Office) -> None:
    said = office.order("generator.start", ttl_s=7200)
    office.seen["generators"] = genset("warming")
    office.step(60)
    assert office.statuses(said["id"]) == ["received", "accepted"]
    office.seen["generators"] = genset("running", 2.0)
    office.step(2)
    assert last(office) == ("done", "it carries load")
    office.step(40, 50.0)
    assert office.order("generator.stop", ttl_s=600)["status"] == "accepted"
    office.seen["generators"] = genset("cooling")
    office.step(2)
    assert last(office) == ("done", "the set is cooling")


def test_a_generator_that_does_not_start(office: Office) -> None:
    office.order("generator.start", ttl_s=86400)
    office.seen["generators"] = genset("starting")
    office.step(250)
    assert last(office)[0] == "failed"
    assert "start 1 of 3 failed" in last(office)[1]


def test_limits_prices_trade_reserve(office: Office) -> None:
    for op, args in (
        ("grid.export_limit", {"p_w": 500}),
        ("grid.import_limit", {"p_w": 5000, "ttl_s": 60}),
        ("pv.limit", {"p_w": 1500, "ttl_s": 60}),
        ("battery.reserve", {"soc_frac": 0.6, "ttl_s": 60}),
        ("trade.set", {"on": False}),
        ("price.set", {"prices": PRICES, "ttl_s": 3600}),
        ("plan.replan", {}),
    ):
        office.order(op, **args)
        office.step(3)
        assert last(office)[0] == "done", op
    orders = office.clerk.orders
    assert (orders.export_max_kw, orders.import_max_kw) == (0.5, 5.0)
    assert (orders.reserve_soc_frac, orders.reserve_level) == (0.6, Level.SUPERVISOR)
    assert (orders.trading, orders.replans) == (False, 1)
    assert [p.until_utc_s - p.from_utc_s for p in orders.prices] == [
        900.0,
        pytest.approx(2700.0, abs=60.0),
    ]
    assert office.value("roof") <= 1.5
    office.order("trade.set", on=True)
    assert office.clerk.orders.trading
    office.step(2, 3600.0)
    orders = office.clerk.orders
    assert (orders.import_max_kw, orders.reserve_soc_frac, orders.prices) == (None, None, ())
    assert orders.export_max_kw == 0.5


def test_a_reserve_is_taken_back_by_its_level_or_a_higher_one(office: Office) -> None:
    office.order("battery.reserve", "operator", soc_frac=0.6)
    office.order("battery.reserve", soc_frac=0.9)
    office.order("battery.reserve", soc_frac=None)
    assert office.clerk.orders.reserve_soc_frac == 0.6
    office.order("battery.reserve", soc_frac=0.9)
    office.order("battery.reserve", "operator", soc_frac=None)
    assert office.clerk.orders.reserve_soc_frac is None
    office.step(3)
    assert last(office)[0] == "done"
    assert office.clerk.orders.active == ()


def test_alarms_are_acknowledged_one_by_one(office: Office) -> None:
    for _ in range(3):
        office.locally("alarm.acknowledge")
        office.step(3)
        assert last(office) == ("done", "nothing was latched")
        assert not office.clerk.orders.acknowledge
    ids = [office.locally("alarm.acknowledge")["id"] for _ in range(3)]  # between two cycles
    office.step(10)
    assert [office.statuses(id)[-1] for id in ids] == 3 * ["done"]


# --- the same again ------------------------------------------------------------------------


def test_a_repeated_command_gets_the_same_answer_and_does_nothing(office: Office) -> None:
    envelope = office.envelope("battery.setpoint", p_w=1000, ttl_s=20)
    accepted = office.send(envelope)
    standing = office.clerk.standing
    assert office.send(envelope) == accepted
    assert office.clerk.standing is standing
    office.step(25)
    assert office.send(envelope)["status"] == "expired"
    assert office.clerk.standing == ()
    assert accepted["gen"] == office.told[-1]["gen"] == 1


def test_a_refusal_is_repeated_too(office: Office) -> None:
    envelope = office.envelope("battery.setpoint", p_w=9000, ttl_s=20)
    assert office.send(envelope) == office.send(envelope)
    assert office.order("plan.replan")["gen"] == 1


# --- preconditions -------------------------------------------------------------------------


def test_a_precondition_that_holds(office: Office) -> None:
    office.order("plan.replan")
    envelope = office.envelope("plan.replan") | {"if": {"mode": "auto", "gen": 1}}
    assert office.send(envelope)["status"] == "accepted"
    again = office.envelope("plan.replan") | {"if": {"mode": "auto", "gen": 1}}
    assert office.send(again)["status"] == "rejected"


# --- what must always hold -----------------------------------------------------------------

OPS = st.one_of(
    st.tuples(
        st.sampled_from(["grid.export_limit", "grid.import_limit"]),
        st.fixed_dictionaries(
            {"p_w": st.none() | st.integers(0, 12000)}, optional={"ttl_s": st.integers(1, 400)}
        ),
    ),
    st.tuples(
        st.just("pv.limit"),
        st.fixed_dictionaries({"p_w": st.integers(0, 5500), "ttl_s": st.integers(1, 400)}),
    ),
    st.tuples(
        st.just("mode.set"),
        st.fixed_dictionaries(
            {"mode": st.sampled_from(["auto", "manual", "stopped"])},
            optional={"ttl_s": st.integers(1, 400)},
        ),
    ),
)
SENDERS = st.sampled_from(["operator", "supervisor", "grid-operator", "installer"])


def limits_at(standing: Standing, site: SiteParameters, t_s: float) -> list[float]:
    """Import, export and PV as they will be at a time if nothing else happens."""
    orders = orders_for(expired(standing, t_s)[0], site)
    infinite = float("inf")
    pv = [p.upper for p in orders.proposals if p.upper is not None]
    return [
        infinite if orders.import_max_kw is None else orders.import_max_kw,
        infinite if orders.export_max_kw is None else orders.export_max_kw,
        min(pv, default=infinite),
    ]


@settings(max_examples=40)
@given(commands=st.lists(st.tuples(OPS, SENDERS, st.integers(0, 60)), max_size=25))
def test_nothing_from_elsewhere_loosens_a_limit_now_or_later(
    parameters: SiteParameters, make_sample: Callable[..., Sample], commands: Any
) -> None:
    office = Office(parameters, make_sample)
    for (op, args), src, pause_s in commands:
        office.clock.sleep(pause_s)
        office.clerk.tick()
        before, now_s = office.clerk.standing, office.clock.t_s
        orders = office.clerk.orders
        said = office.order(op, src, **args)
        after = office.clerk.standing
        if said["status"] == "rejected":
            assert (after, office.clerk.orders) == (before, orders)
        for t_s in [now_s + 1.0, *(order.expires_t_s + 0.5 for order in (*before, *after))]:
            for was, will in zip(
                limits_at(before, parameters, t_s), limits_at(after, parameters, t_s), strict=True
            ):
                assert will <= was


ORDERS = st.builds(
    Order,
    id=st.uuids().map(str),
    op=st.sampled_from([*LIMITS, "battery.setpoint", "mode.set", "trade.set"]),
    src=st.sampled_from(["a", "b"]),
    level=st.sampled_from([Level.COMMITTED_TRADES, Level.SUPERVISOR, Level.LOCAL_OPERATOR]),
    local=st.booleans(),
    args=st.fixed_dictionaries(
        {
            "p_w": st.integers(0, 100),
            "mode": st.sampled_from(["auto", "manual", "stopped"]),
            "on": st.booleans(),
            "ttl_s": st.just(60),
        }
    ),
    accepted_utc_s=st.just(0.0),
    accepted_t_s=st.just(0.0),
    expires_t_s=st.floats(1, 100),
)


@settings(max_examples=60)
@given(given=st.lists(ORDERS, max_size=12))
def test_each_order_stands_or_has_ended_once(given: list[Order]) -> None:
    standing: Standing = ()
    over: list[str] = []
    for order in given:
        standing, ended = placed(standing, order)
        over += [old.id for old in ended]
    ids = [order.id for order in standing]
    assert sorted(ids + over) == sorted(order.id for order in given)
