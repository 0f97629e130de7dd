"""After delivery: each traded slot is metered and billed once, whatever clock and power do."""

from collections import Counter
from pathlib import Path

import pytest

from tests.firmware.trading import agent_street as agent_street_module
from tests.firmware.trading.agent_street import (
    BUY,
    EPOCH,
    NOON_S,
    SELL,
    SLOT_S,
    AgentStreet,
    agent_street,
    assert_sound,
    statements,
    three,
    traded_wh,
)


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


@pytest.mark.parametrize("slots_off", [4, 300, 3000])
def test_a_slot_that_ended_while_the_box_was_off_is_billed_all_the_same(
    tmp_path: Path, slots_off: int
) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(1.3 * SLOT_S)
        assert street.market(0).trades != ()
        street.agent(0).member._ledger.close()
        street.now_s += slots_off * SLOT_S
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


def test_a_clock_that_is_not_set_yet_reads_no_slot(tmp_path: Path) -> None:
    """A box without a clock of its own goes on, after a cut, with the time that it had before."""
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(1.97 * SLOT_S)
        bound = {e for e in (EPOCH, EPOCH + 1) if street.agent(0).member.committed(e)}
        assert EPOCH + 1 in bound
        street.agent(0).member._ledger.close()
        street.now_s += 4 * SLOT_S
        house = street.houses[0]
        house.clock_off_s, house.clock_problem = -4 * SLOT_S, "not synchronised yet"
        street.start(0)
        street.run(1.2 * SLOT_S)
        house.clock_off_s, house.clock_problem = 0.0, ""
        street.run(1.2 * SLOT_S)
        quality = {bill["e"]: bill["q"] for bill in statements(street, 0)}
        assert quality[EPOCH + 1] == "missing"
        assert statements(street, 0, "correct") == []


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
