"""Agents of a street in virtual time: they trade, stand back when they have to, and keep bills."""

from collections import Counter
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
from firmware.trading.ledger_check import check, disagreements
from firmware.trading.wall_clock import WallClock
from tests.firmware.trading import agent_street as agent_street_module
from tests.firmware.trading.agent_street import (
    BUY,
    DAY_S,
    NO_BATTERY,
    SELL,
    SLOT_S,
    START_S,
    AgentStreet,
    House,
    agent_street,
)

NOON_S = START_S + 12 * 3600.0
EPOCH = int(NOON_S // SLOT_S) + 1  # the first that is traded


def three() -> list[House]:
    return [
        House(0, pv_kw=4.0, load_kw=0.5),
        House(1, pv_kw=0.0, load_kw=1.0, store=NO_BATTERY),
        House(2, pv_kw=0.0, load_kw=0.8),
    ]


def assert_sound(street: AgentStreet) -> None:
    paths = [street.path(who) for who in street.people]
    for path in paths:
        assert check(path).fault == ""
    assert list(disagreements(paths)) == []


def traded_wh(street: AgentStreet, number: int, epoch: int = EPOCH) -> int:
    agent = street.agent(number)
    me = agent.member.identity.peer
    return sum(p.wh if p.buyer == me else -p.wh for p in agent.member.scheduled(epoch))


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


# --- after delivery ---------------------------------------------------------------------------


def statements(street: AgentStreet, number: int, kind: str = "statement") -> list[dict[str, Any]]:
    return [dict(body) for body in street.agent(number).member.kept(kind)]


def test_each_traded_slot_is_metered_and_billed(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(2.2 * SLOT_S)
        kinds = Counter(kind for _, kind in street.sent)
        assert kinds["meter"] == 3
        bills = [statements(street, number) for number in range(3)]
        for number, (bill,) in enumerate(bills):
            assert bill["e"] == EPOCH
            assert bill["bought"] - bill["sold"] == traded_wh(street, number)
            metered_wh = 1000 * street.houses[number].delivered[EPOCH]
            assert bill["imp"] - bill["exp"] == pytest.approx(metered_wh, abs=20)
            assert bill["deviation"] == bill["imp"] - bill["exp"] - traded_wh(street, number)
            price = bill["retail"] if bill["deviation"] > 0 else bill["feed_in"]
            assert bill["grid_money"] == -price * bill["deviation"]
        sold_wh = bills[0][0]["sold"]
        assert sum(bill["trade_money"] for (bill,) in bills) == -1_000 * sold_wh  # the fee


def test_a_decision_that_comes_late_is_settled_and_not_delivered(tmp_path: Path) -> None:
    houses = three()[:2]
    with agent_street(tmp_path, houses, start_s=NOON_S) as street:
        street.drops = lambda _sender, _to, kind: kind == "decide"
        street.run(2.2 * SLOT_S)
        voter = next(n for n in (0, 1) if street.agent(n).member.committed(EPOCH) == [])
        assert street.agent(voter).member.trader.commitments.in_doubt() != []
        assert traded_wh(street, voter) == 0  # in doubt is not delivered ...
        assert statements(street, voter) == []
        assert len(statements(street, 1 - voter)) == 1
        street.drops = lambda _sender, _to, _kind: False
        street.run(2 * SLOT_S)
        (bill,) = (b for b in statements(street, voter) if b["e"] == EPOCH)
        assert abs(bill["bought"] - bill["sold"]) == abs(traded_wh(street, 1 - voter))
        assert traded_wh(street, voter) == 0  # ... also when it turns out committed
        assert_sound(street)


def test_after_a_restart_it_goes_on_and_tells_and_bills_nothing_twice(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(1.3 * SLOT_S)
        before = street.market(0).trades
        assert before != ()
        street.agent(0).member._ledger.close()
        street.start(0)
        street.run(5.0)
        assert street.market(0).trades == before
        street.run(0.9 * SLOT_S)
        assert len(statements(street, 0)) == 1
        street.agent(0).member._ledger.close()
        street.start(0)
        street.run(SLOT_S)
        told = [t for t in street.events[street.people[0].peer] if t.startswith("sold ")]
        pacts = [p for e in range(EPOCH, EPOCH + 3) for p in street.agent(0).member.committed(e)]
        assert len(told) == len(set(told)) == len(pacts)
        assert [bill["e"] for bill in statements(street, 0)] == [EPOCH, EPOCH + 1]
        assert statements(street, 0, "correct") == []


def test_a_slot_that_ended_while_the_box_was_off_is_billed_all_the_same(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(1.3 * SLOT_S)
        assert street.market(0).trades != ()
        street.agent(0).member._ledger.close()
        street.now_s += 4 * SLOT_S
        street.start(0)
        street.run(0.2 * SLOT_S)
        (bill,) = statements(street, 0)
        assert (bill["e"], bill["q"]) == (EPOCH, "missing")


@pytest.mark.parametrize("slots", [0.99, 1.3])  # committed and not begun yet; running
def test_a_slot_is_billed_by_its_own_prices_also_after_a_time_without_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slots: float
) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(slots * SLOT_S)
        assert traded_wh(street, 0) != 0
        street.agent(0).member._ledger.close()
        street.now_s += 4 * SLOT_S
        monkeypatch.setattr(agent_street_module, "BUY", 2 * BUY)
        monkeypatch.setattr(agent_street_module, "SELL", 2 * SELL)
        street.start(0)
        street.run(0.2 * SLOT_S)
        (bill,) = statements(street, 0)
        assert (bill["e"], bill["retail"], bill["feed_in"]) == (EPOCH, 30_000, 5_000)


def test_bills_go_on_when_a_clock_that_was_ahead_goes_back(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.houses[0].clock_off_s = 40 * SLOT_S
        street.run(0.5 * SLOT_S)
        street.houses[0].clock_off_s = 0.0
        street.run(3.7 * SLOT_S)
        assert [bill["e"] for bill in statements(street, 0)] == [EPOCH + 1, EPOCH + 2]


def money(street: AgentStreet, number: int, epoch: int) -> int:
    """What a slot came to, with everything that was corrected."""
    bills = [b for b in statements(street, number) if b["e"] == epoch]
    assert len(bills) == 1
    changes = [b["money"] for b in statements(street, number, "correct") if b["e"] == epoch]
    return int(bills[0]["trade_money"] + bills[0]["grid_money"] + sum(changes))


@pytest.mark.parametrize("slots_ahead", [1, 3, 300])
def test_a_slot_that_is_billed_too_early_is_corrected_by_its_reading(
    tmp_path: Path, slots_ahead: int
) -> None:
    """As by a clock that is ahead for a while in the middle of the slot."""
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(1.3 * SLOT_S)
        street.houses[0].clock_off_s = slots_ahead * SLOT_S
        street.run(0.3 * SLOT_S)
        street.houses[0].clock_off_s = 0.0
        street.run(0.6 * SLOT_S)
        metered_wh = 1000 * street.houses[0].delivered[EPOCH]
        pacts = street.agent(0).member.committed(EPOCH)
        traded = sum(pact.wh * (pact.price - pact.fee) for pact in pacts)
        deviation_wh = metered_wh - traded_wh(street, 0)
        price = 30_000 if deviation_wh > 0 else 5_000
        expected = traded - price * deviation_wh
        assert money(street, 0, EPOCH) == pytest.approx(expected, abs=20 * 30_000)


@pytest.mark.parametrize("slots_ahead", [1, 300, 800])
@pytest.mark.parametrize("restart", [False, True])
def test_a_slot_is_billed_once_whatever_the_clock_was_when_it_ended(
    tmp_path: Path, slots_ahead: int, restart: bool
) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(2.4 * SLOT_S)
        (before,) = statements(street, 0)
        street.houses[0].clock_off_s = slots_ahead * SLOT_S
        street.run(0.3 * SLOT_S)
        if restart:
            street.agent(0).member._ledger.close()
            street.start(0)
        street.run(0.5 * SLOT_S)
        street.houses[0].clock_off_s = 0.0
        street.run(2.0 * SLOT_S)
        bills = statements(street, 0)
        assert bills[0] == before
        traded = [e for e in range(EPOCH, EPOCH + 4) if street.agent(0).member.committed(e)]
        assert {EPOCH, EPOCH + 1} <= set(traded)
        assert sorted(bill["e"] for bill in bills) == traded
        assert [b for b in statements(street, 0, "correct") if b["e"] == EPOCH] == []


@pytest.mark.parametrize("step_s", [20.0, -20.0, 3600.0, -3600.0])
def test_a_step_of_the_clock_bills_no_energy_twice(tmp_path: Path, step_s: float) -> None:
    """In the middle of a slot that is being delivered."""
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(2.3 * SLOT_S)
        (before,) = statements(street, 0)
        street.houses[0].clock_off_s = step_s
        street.run(6 * SLOT_S)
        bills = statements(street, 0)
        assert bills[0] == before
        assert EPOCH + 1 in {bill["e"] for bill in bills}  # the slot that was delivered
        assert len({bill["e"] for bill in bills}) == len(bills)
        assert statements(street, 0, "correct") == []
        most_wh = max(abs(1000 * kwh) for kwh in street.houses[0].delivered.values())
        assert all(bill["exp"] <= 1.1 * most_wh for bill in bills)


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
