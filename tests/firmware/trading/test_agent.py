"""Agents of a street in virtual time: they trade, and stand back when they have to."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.market import order_fault
from control.market_book import Order
from control.trades import Position, Quantiles
from firmware.trading.admission import Why
from firmware.trading.agent import FRESH_S
from firmware.trading.wall_clock import WallClock
from tests.firmware.trading.agent_street import (
    BUY,
    DAY_S,
    EPOCH,
    NO_BATTERY,
    NOON_S,
    SELL,
    SLOT_S,
    START_S,
    AgentStreet,
    House,
    agent_street,
    assert_sound,
    statements,
    three,
    traded_wh,
)

# --- trading ----------------------------------------------------------------------------------


def test_surplus_is_sold_to_who_lacks(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(0.95 * SLOT_S)
        assert [street.market(number).role for number in range(3)] == [1, -1, -1]
        assert street.market(0).detail.startswith("sells up to ")
        street.run(0.55 * SLOT_S)
        (sold,), (bought,) = street.market(0).trades, street.market(1).trades
        assert sold.net_wh < 0 < bought.net_wh
        assert (bought.from_utc_s, bought.until_utc_s) == (NOON_S + SLOT_S, NOON_S + 2 * SLOT_S)
        assert SELL <= sold.price_per_kwh <= bought.price_per_kwh <= BUY
        assert street.market(0).problem == ""
        assert any(event.startswith("sold ") for event in street.events[street.people[0].peer])
        assert_sound(street)


def test_houses_agree_on_the_prices_of_the_day(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(SLOT_S)
        markets = [street.market(number) for number in range(3)]
        for market in markets:
            assert market.prices_from_utc_s == NOON_S + SLOT_S
            assert (len(market.prices_per_kwh), market.prices_step_s) == (96, 900.0)
            assert all(SELL <= price <= BUY for price in market.prices_per_kwh)
            assert len(market.stored_kwh) == 97
        first, second = markets[0].prices_per_kwh, markets[1].prices_per_kwh
        assert max(abs(a - b) for a, b in zip(first, second, strict=True)) < 0.05
        assert markets[1].stored_value_per_kwh is None  # no battery
        assert all(0.5 <= kwh <= 5.0 for kwh in markets[0].stored_kwh[1:])
        assert street.agent(0)._rounds.detail == "plans with 2 of 2 neighbours"


def test_interest_is_the_share_of_neighbours_that_ask(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(SLOT_S)
        assert street.market(0).interest_frac == 1.0
        assert street.market(1).interest_frac == 0.5


def test_a_house_whose_neighbours_are_not_heard_plans_alone_and_trades(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.drops = lambda _sender, _to, kind: kind == "plan"
        street.run(SLOT_S)
        assert street.market(0).prices_per_kwh == ()
        assert street.agent(0)._rounds.detail == "plans alone: 0 of 2 neighbours heard"
        assert traded_wh(street, 0) < 0


def test_a_trade_in_doubt_and_refused_messages_are_told(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.drops = lambda _sender, _to, kind: kind == "decide"
        agent = street.agent(1)
        agent.refused[Why.SIGNATURE] += 2
        agent.refused[Why.REPLAY] += 5  # which the network does by itself
        street.run(1.5 * SLOT_S)
        told = [event for people in street.people for event in street.events[people.peer]]
        assert "refused messages: signature 2" in told
        doubts = [event for event in told if event.startswith("in doubt, so not delivered: ")]
        assert len(doubts) == len(set(doubts)) > 0


def test_lost_messages_cost_trades_and_nothing_else(tmp_path: Path) -> None:
    houses = [*three(), House(3, 3.0, 0.4), House(4, 0.0, 0.9, store=NO_BATTERY)]
    with agent_street(tmp_path, houses, start_s=NOON_S, loss_frac=0.3) as street:
        street.run(4 * SLOT_S)
        total = sum(abs(traded_wh(street, n, EPOCH + k)) for n in range(5) for k in range(3))
        assert total > 0
        street.loss_frac = 0.0
        street.run(SLOT_S)
        assert_sound(street)


# --- standing back ----------------------------------------------------------------------------


def test_a_clock_that_is_not_trusted(tmp_path: Path) -> None:
    houses = three()
    houses[0].clock_problem = "the wall clock is not synchronised"
    houses.append(House(3, pv_kw=3.0, load_kw=0.4))
    with agent_street(tmp_path, houses, start_s=NOON_S) as street:
        street.run(SLOT_S)
        assert street.market(0).problem == "the wall clock is not synchronised"
        assert traded_wh(street, 0) == 0
        assert traded_wh(street, 3) < 0  # the others trade
        houses[0].clock_problem = ""
        street.run(SLOT_S)
        assert street.market(0).problem == ""
        assert (street.people[0].peer, "order") in street.sent


def test_a_clock_that_is_wrong_unnoticed_harms_only_its_own_trades(tmp_path: Path) -> None:
    houses = [*three(), House(3, pv_kw=3.0, load_kw=0.4)]
    houses[0].clock_off_s = 200.0
    with agent_street(tmp_path, houses, start_s=NOON_S) as street:
        street.run(3 * SLOT_S)
        assert traded_wh(street, 3) < 0
        assert_sound(street)


@pytest.mark.parametrize("left_s", [400.0, 100.0])
def test_a_step_of_the_clock_costs_its_slot(tmp_path: Path, left_s: float) -> None:
    """Before the gate there is no order; after it the member binds itself to nothing."""
    houses = three()
    with agent_street(tmp_path, houses, start_s=NOON_S) as street:
        street.run(SLOT_S - left_s)
        houses[0].clock_off_s = 3.0
        street.run(left_s)
        assert traded_wh(street, 0) == 0
        street.run(SLOT_S)
        assert street.market(0).problem == ""
        assert traded_wh(street, 0, EPOCH + 1) < 0


def test_switched_off_the_order_is_taken_back(tmp_path: Path) -> None:
    houses = three()
    with agent_street(tmp_path, houses, start_s=NOON_S) as street:
        street.run(0.8 * SLOT_S)
        houses[0].trading = False
        street.run(0.2 * SLOT_S)
        assert street.market(0).problem == "trading is switched off"
        assert [traded_wh(street, number) for number in range(3)] == [0, 0, 0]
        assert street.market(1).interest_frac == 0.5
        houses[0].trading = True
        street.run(SLOT_S)
        assert traded_wh(street, 0, EPOCH + 1) < 0


def test_without_a_fresh_position_there_is_no_order(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        agent = street.agent(0)
        assert agent.market(NOON_S).problem == "no position of the house yet"
        street.run(10.0)
        late_s = NOON_S + 800.0
        agent.tick(late_s, late_s)
        assert agent.market(late_s).problem.startswith("no position of the house for ")
        agent.tick(NOON_S + 10.0 + FRESH_S, NOON_S + 10.0 + FRESH_S)
        assert agent.market(late_s).problem == ""


def test_a_ledger_that_takes_nothing_ends_trading(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(100.0)
        street.agent(0).member._ledger._db.execute("PRAGMA query_only = ON")
        street.run(2 * SLOT_S)
        assert "readonly" in street.market(0).problem
        assert street.market(0).trades == ()
        assert street.market(1).problem == ""


def test_an_order_needs_a_forecast_and_prices(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        agent, position = street.agent(0), street.houses[0].position(NOON_S, NOON_S)
        for less, word in (({"load_kw": Quantiles()}, "forecast"), ({"buy_per_kwh": ()}, "prices")):
            intention = agent.intention(replace(position, **less), EPOCH)
            assert (intention.role, intention.steps) == (0, ())
            assert word in intention.detail


# --- whatever the position is -------------------------------------------------------------------

number = st.one_of(st.floats(-12, 12), st.floats(allow_nan=True, allow_infinity=True))
series = st.one_of(
    st.just(()), number.map(lambda x: 97 * (x,)), st.lists(number, max_size=5).map(tuple)
)
maybe = st.one_of(st.none(), st.floats(0, 1), number)
quantiles = st.builds(Quantiles, series, series, series)
positions = st.builds(
    Position,
    utc_s=st.just(NOON_S + 750.0),
    t_s=st.just(NOON_S + 750.0),
    clock_problem=st.just(""),
    trading=st.just(True),
    from_utc_s=st.one_of(st.just(NOON_S), number),
    step_s=st.one_of(st.just(900.0), number),
    load_kw=quantiles,
    generation_kw=quantiles,
    grid_kw=series,
    battery_kw=series,
    buy_per_kwh=st.one_of(st.just(97 * (0.3,)), series),
    sell_per_kwh=st.one_of(st.just(97 * (0.05,)), series),
    soc_frac=maybe,
    soc_min_frac=st.one_of(st.just(0.1), number),
    soc_max_frac=st.one_of(st.just(0.9), number),
    stored_value_per_kwh=st.one_of(st.none(), number),
    import_max_kw=st.one_of(st.just(8.0), number),
    export_max_kw=st.one_of(st.just(6.0), number),
    p2p_share_frac=maybe,
    import_kwh=maybe,
    export_kwh=maybe,
)


@pytest.fixture(scope="module")
def lone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with agent_street(tmp_path_factory.mktemp("lone"), three(), start_s=NOON_S) as street:
        yield street


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=positions)
def test_any_position_gives_an_order_within_all_limits_or_none(
    lone: AgentStreet, position: Position
) -> None:
    agent, house = lone.agent(0), lone.houses[0]
    agent._ordered.clear()
    agent.step(position)
    market = agent.market(position.utc_s)
    intention = agent._ordered.get(EPOCH)
    if intention is None:
        assert market.problem != ""
        return
    if not intention.steps:
        assert intention.role == 0
        return
    side = "sell" if intention.role > 0 else "buy"
    assert order_fault(Order("me", side, intention.steps), 5_000, 30_000) == ""  # type: ignore[arg-type]
    total_wh = sum(wh for _, wh in intention.steps)
    limit_kw = position.export_max_kw if intention.role > 0 else position.import_max_kw
    assert total_wh <= min(2_500, 250 * limit_kw)
    if intention.role > 0:
        surplus_kw = position.generation_kw.p50_kw[1] - position.load_kw.p50_kw[1]
        stored_kwh = max(0.0, (position.soc_frac or 0.0) - position.soc_min_frac) * 5.0
        assert total_wh <= 250 * (surplus_kw + house.store.discharge_max_kw) + 1
        assert position.battery_kw or total_wh <= 250 * surplus_kw + 1000 * stored_kwh + 1
    else:
        assert total_wh <= 250 * position.load_kw.p50_kw[1] + 1


# --- what it is worth -------------------------------------------------------------------------


def test_no_house_is_worse_off_than_alone_over_a_week(tmp_path: Path) -> None:
    """Settled bills against the same houses with the same batteries and no market."""
    houses = [
        House(0, pv_kw=4.0, load_kw=0.5),
        House(1, pv_kw=0.0, load_kw=0.9, store=NO_BATTERY),
        House(2, pv_kw=0.0, load_kw=0.7),
    ]
    alone = [replace(house, delivered={}) for house in houses]
    slot_s, tick_s = 7200.0, 300.0
    with agent_street(tmp_path, houses, slot_s=slot_s) as street:
        street.run(7 * DAY_S)
        gains = []
        for number, house in enumerate(houses):
            for tick in range(int(7 * DAY_S / tick_s)):
                at_s = START_S + tick * tick_s
                kwh = alone[number].live(at_s, tick_s, 0.0)
                delivered, epoch = alone[number].delivered, int(at_s // slot_s)
                delivered[epoch] = delivered.get(epoch, 0.0) + kwh
            before = sum(_grid_bill(kwh) for kwh in alone[number].delivered.values())
            stored_kwh = house.stored_kwh - alone[number].stored_kwh
            gains.append(before - _bill(street, number) + SELL * stored_kwh)
        assert min(gains) >= 0.0
        assert sum(gains) > 1.0
        assert_sound(street)


def _grid_bill(kwh: float) -> float:
    return BUY * max(0.0, kwh) - SELL * max(0.0, -kwh)


def _bill(street: AgentStreet, number: int) -> float:
    """Statements of the slots it traded in, the grid's prices for the others."""
    kept = {bill["e"]: bill for bill in statements(street, number)}
    total = 0.0
    for epoch, kwh in street.houses[number].delivered.items():
        bill = kept.get(epoch)
        money = (bill["trade_money"] + bill["grid_money"]) / 1e8 if bill else -_grid_bill(kwh)
        total -= money
    return total


# --- the clock --------------------------------------------------------------------------------


@settings(deadline=None)
@given(drift=st.floats(-5e-4, 5e-4), start=st.floats(0, 900))
def test_slewing_is_no_step(drift: float, start: float) -> None:
    clock = WallClock()
    for second in range(0, 7200, 60):
        utc_s = 1e9 + start + second * (1 + drift)
        clock.note(int(utc_s // 900), utc_s, second)
        assert clock.problem(int(utc_s // 900)) == ""


@settings(deadline=None)
@given(step=st.one_of(st.floats(2.1, 1e6), st.floats(-1e6, -2.1)), at=st.integers(0, 899))
def test_a_step_is_noticed_in_the_slot_that_it_leads_to(step: float, at: int) -> None:
    clock = WallClock()
    for second in range(0, at + 1, 10):
        clock.note(1000, 900_000.0 + second, second)
    utc_s = 900_000.0 + at + 1 + step
    epoch = int(utc_s // 900)
    clock.note(epoch, utc_s, at + 1)
    assert "stepped" in clock.problem(epoch)
