"""The trading protocol message by message: who does what when, and what is refused."""

from collections.abc import Iterable

import pytest

from control import trading_commitments
from control.market_book import Order, Side
from control.trading import Trader
from control.trading_commitments import State
from control.trading_gathering import ORDERS_PER_PART
from control.trading_records import (
    BookPart,
    Decision,
    Effects,
    Pact,
    Rules,
    Send,
    SignedOrder,
    Timeline,
    Vote,
)

LINE = Timeline()
EPOCH = 100
DELIVERY_S = EPOCH * LINE.slot_s
NAMES = ("ann", "bob", "cat", "dan")
RULES = Rules("street", "ab" * 32, NAMES, fee=200, price_floor=5_000, price_ceiling=30_000)
FIRST, SECOND, THIRD = RULES.proposers(EPOCH)
OTHER = next(name for name in NAMES if name not in RULES.proposers(EPOCH))


def signed(peer: str, side: Side, px: int, wh: int = 1000, n: int = 1) -> SignedOrder:
    name = f"{peer}/{n}"
    return SignedOrder(name, EPOCH, n, Order(peer, side, ((px, wh),)), {"id": name})


ORDERS = {name: signed(name, "buy", 20_000 + 100 * i) for i, name in enumerate(NAMES[:2])}
ORDERS |= {name: signed(name, "sell", 8_000 + 100 * i) for i, name in enumerate(NAMES[2:])}


def kinds(sends: Iterable[Send]) -> list[str]:
    return [send.kind for send in sends]


def saved(effects: Effects) -> list[str]:
    return [entry.kind for entry in effects.saves]


def trader(me: str, *, ordered: bool = True) -> Trader:
    machine = Trader(me, RULES, LINE)
    if ordered:
        machine.place(ORDERS[me], DELIVERY_S - 600, 0)
    return machine


def tick(machine: Trader, left_s: float) -> Effects:
    return machine.tick(DELIVERY_S - left_s, 1000 - left_s)


def book(proposer: str, orders: Iterable[SignedOrder] = tuple(ORDERS.values())) -> BookPart:
    orders = tuple(sorted(orders, key=lambda order: order.id))
    root = RULES.root(EPOCH, (order.id for order in orders))
    return BookPart(proposer, EPOCH, root, 0, 1, orders)


def locked(me: str) -> tuple[Trader, Effects, Pact]:
    """A member that voted, what it sent, and its trade."""
    machine = trader(me)
    machine.on_book(book(FIRST), DELIVERY_S - 109)
    effects = tick(machine, 89)
    (pact,) = machine.commitments.of_epoch(EPOCH)
    return machine, effects, pact


def pair() -> tuple[str, str]:
    """Decider and voter of one trade."""
    _, _, pact = locked("ann")
    return pact.decider, pact.voter


def vote_of(effects: Effects, voter: str) -> Vote:
    (send,) = [send for send in effects.sends if send.kind == "vote"]
    body = send.body
    return Vote(voter, send.epoch, body["book"], body["res"], tuple(body["trades"]), {"s": "sig"})


# --- orders and books -------------------------------------------------------------------------


def test_an_order_is_saved_before_it_is_sent_and_repeated_until_the_gate() -> None:
    machine = Trader("ann", RULES, LINE)
    effects = machine.place(ORDERS["ann"], DELIVERY_S - 600, 0)
    assert (saved(effects), kinds(effects.sends)) == (["order"], ["order"])
    sent = [t for t in range(600) if tick_at(machine, t)]
    assert sent == [2, 10, 42, 170]


def tick_at(machine: Trader, t_s: float) -> bool:
    effects = machine.tick(DELIVERY_S - 600 + t_s, t_s)
    return "order" in kinds(effects.sends)


@pytest.mark.parametrize("left_s", [119.0, 1801.0, -5.0])
def test_no_order_out_of_time(left_s: float) -> None:
    machine = Trader("ann", RULES, LINE)
    with pytest.raises(ValueError, match=r"epoch 100: (the gate is closed|not open for orders)"):
        machine.place(ORDERS["ann"], DELIVERY_S - left_s, 0)


def test_proposers_take_turns() -> None:
    first, second = trader(FIRST), trader(SECOND)
    for machine in (first, second):
        for order in ORDERS.values():
            machine.on_order(order, DELIVERY_S - 500)
    assert kinds(tick(first, 110.5).sends) == []
    effects = tick(first, 109.5)
    assert (saved(effects), kinds(effects.sends)) == (["book"], ["book"])
    assert kinds(tick(first, 109.0).sends) == []
    second.on_book(book(FIRST), DELIVERY_S - 109)
    assert "book" not in kinds(tick(second, 104).sends)


def test_the_next_proposer_stands_in_for_one_that_is_silent() -> None:
    second = trader(SECOND)
    effects = tick(second, 104.5)
    assert "book" in kinds(effects.sends)


def test_the_next_proposer_stands_in_for_one_that_censors() -> None:
    second = trader(SECOND)
    for order in ORDERS.values():
        second.on_order(order, DELIVERY_S - 500)
    censored = [order for order in ORDERS.values() if order.peer != OTHER]
    second.on_book(book(FIRST, censored), DELIVERY_S - 109)
    (send,) = [send for send in tick(second, 104.5).sends if send.kind == "book"]
    assert send.body["root"] == book(SECOND).root


def test_the_censored_object_and_others_prefer_the_fuller_book() -> None:
    victim, third = trader(OTHER), trader(THIRD)
    thin = book(FIRST, [order for order in ORDERS.values() if order.peer != OTHER])
    (objection,) = victim.on_book(thin, DELIVERY_S - 109).sends
    assert (objection.kind, objection.body["book"]) == ("object", thin.root)
    assert objection.body["order"] == ORDERS[OTHER].message
    third.on_book(thin, DELIVERY_S - 109)
    third.on_book(book(SECOND), DELIVERY_S - 104)
    (lock,) = tick(third, 89).saves
    assert lock.body["root"] == book(SECOND).root


def test_an_objection_brings_the_order_to_the_next_proposer() -> None:
    second = trader(SECOND)
    thin = book(FIRST, [order for order in ORDERS.values() if order.peer != OTHER])
    for order in thin.orders:
        second.on_order(order, DELIVERY_S - 500)
    second.on_book(thin, DELIVERY_S - 109)
    second.on_objection(FIRST, ORDERS[OTHER], DELIVERY_S - 108)  # not its own
    assert "book" not in kinds(tick(second, 104.9).sends)
    second.on_objection(OTHER, ORDERS[OTHER], DELIVERY_S - 104)
    (send,) = [send for send in tick(second, 104).sends if send.kind == "book"]
    assert send.body["root"] == book(SECOND).root


def test_of_books_of_one_size_the_first_proposers_counts() -> None:
    third = trader(THIRD)
    few = [ORDERS[THIRD], ORDERS[FIRST]], [ORDERS[THIRD], ORDERS[SECOND]]
    third.on_book(book(SECOND, few[1]), DELIVERY_S - 104)
    third.on_book(book(FIRST, few[0]), DELIVERY_S - 103)
    (lock,) = tick(third, 89).saves
    assert lock.body["root"] == book(FIRST, few[0]).root


def test_nobody_votes_for_a_book_without_its_own_order_as_signed() -> None:
    for machine_book in (
        book(FIRST, [order for order in ORDERS.values() if order.peer != OTHER]),
        book(
            FIRST, [o for o in ORDERS.values() if o.peer != OTHER] + [signed(OTHER, "sell", 1, n=9)]
        ),
    ):
        machine = trader(OTHER)
        machine.on_book(machine_book, DELIVERY_S - 109)
        assert not tick(machine, 89).saves


def test_who_ordered_nothing_votes_for_nothing() -> None:
    machine = trader(OTHER, ordered=False)
    machine.on_book(book(FIRST), DELIVERY_S - 109)
    assert not tick(machine, 89).saves


def test_who_abstains_does_not_vote() -> None:
    machine = trader(OTHER)
    machine.abstain(EPOCH)
    machine.on_book(book(FIRST), DELIVERY_S - 109)
    assert tick(machine, 89) == Effects()


def test_a_proposer_with_two_books_has_none() -> None:
    machine = trader(OTHER)
    machine.on_book(book(FIRST), DELIVERY_S - 109)
    effects = machine.on_book(book(FIRST, [ORDERS[OTHER], ORDERS[FIRST]]), DELIVERY_S - 108)
    assert [(e.kind, e.body["peer"], e.body["what"]) for e in effects.saves] == [
        ("evidence", FIRST, "two books")
    ]
    assert not tick(machine, 89).saves
    machine.on_book(book(SECOND), DELIVERY_S - 88)
    assert saved(tick(machine, 87)) == ["lock"]


def test_books_that_are_none() -> None:
    whole = book(FIRST)
    stranger = signed("eve", "sell", 5_000)
    bad = [
        book(OTHER),  # not a proposer
        book(FIRST, [*ORDERS.values(), stranger]),
        book(FIRST, [*ORDERS.values(), signed(FIRST, "sell", 9_000, n=7)]),  # two of one peer
        BookPart(FIRST, EPOCH, "cd" * 32, 0, 1, whole.orders),  # another root
        BookPart(FIRST, EPOCH, whole.root, 0, 2, whole.orders),  # more parts than members fill
        BookPart(FIRST, EPOCH, whole.root, 1, 1, whole.orders),
        BookPart(FIRST, EPOCH + 9, whole.root, 0, 1, whole.orders),
    ]
    for part in bad:
        machine = trader(OTHER)
        machine.on_book(part, DELIVERY_S - 109)
        assert not tick(machine, 89).saves


def test_a_large_book_comes_in_parts() -> None:
    names = tuple(f"h{number:03}" for number in range(ORDERS_PER_PART + 30))
    rules = Rules("street", "cd" * 32, names, 0, 0, 9)
    first = rules.proposers(EPOCH)[0]
    proposer, other = Trader(first, rules, LINE), Trader(names[0], rules, LINE)
    if first == names[0]:
        other = Trader(names[1], rules, LINE)
    orders = {name: signed(name, "buy" if i % 2 else "sell", 5) for i, name in enumerate(names)}
    proposer.place(orders[first], DELIVERY_S - 500, 0)
    other.place(orders[other.me], DELIVERY_S - 500, 0)
    for order in orders.values():
        proposer.on_order(order, DELIVERY_S - 400)
    parts = [send.body for send in tick(proposer, 109).sends if send.kind == "book"]
    assert [(len(body["orders"]), body["parts"]) for body in parts] == [(100, 2), (30, 2)]
    for body in reversed(parts):
        inside = tuple(orders[message["id"].split("/")[0]] for message in body["orders"])
        assert not tick(other, 89).saves
        other.on_book(
            BookPart(first, EPOCH, body["root"], body["part"], 2, inside), DELIVERY_S - 90
        )
    assert saved(tick(other, 89)) == ["lock"]


def test_who_has_no_book_asks_and_its_proposer_repeats_it() -> None:
    first, other = trader(FIRST), trader(OTHER)
    (own,) = [send for send in tick(first, 109).sends if send.kind == "book"]
    assert kinds(tick(other, 104).sends)[-1] == "want"
    assert "want" not in kinds(tick(other, 103).sends)
    assert "want" in kinds(tick(other, 101).sends)
    (again,) = first.on_want(EPOCH, DELIVERY_S - 101, 899).sends
    assert again == own
    assert first.on_want(EPOCH, DELIVERY_S - 101, 900) == Effects()
    assert first.on_want(EPOCH, DELIVERY_S - 60, 990) == Effects()
    assert first.on_want(EPOCH + 5, DELIVERY_S - 60, 990) == Effects()


def test_a_large_book_is_asked_for_more_slowly() -> None:
    """By everybody, every 2 s, a thousand copies of 300 KB would never arrive."""
    names = (*NAMES, *(f"member {number}" for number in range(10 * ORDERS_PER_PART - 4)))
    rules = Rules("street", "ab" * 32, names, fee=200, price_floor=5_000, price_ceiling=30_000)
    machine = Trader("ann", rules, LINE)
    machine.place(ORDERS["ann"], DELIVERY_S - 600, 0)
    asked = [left for left in range(110, 60, -1) if "want" in kinds(tick(machine, left).sends)]
    assert asked == [90]
    proposer = Trader(rules.proposers(EPOCH)[0], rules, LINE)
    for name in NAMES:
        proposer.on_order(ORDERS[name], DELIVERY_S - 500)
    assert kinds(tick(proposer, 109).sends) == ["book"]
    answers = [
        kinds(proposer.on_want(EPOCH, DELIVERY_S - left, 1000 - left).sends)
        for left in (90, 85, 71, 70)
    ]
    assert answers == [["book"], [], [], ["book"]]


def test_a_new_membership_voids_what_was_gathered() -> None:
    machine = trader(OTHER)
    machine.on_book(book(FIRST), DELIVERY_S - 109)
    machine.set_rules(Rules("street", "cd" * 32, NAMES, 200, 5_000, 30_000))
    assert not tick(machine, 89).saves


def test_one_member_may_always_propose_first() -> None:
    rules = Rules("street", "ab" * 32, NAMES, 200, 5_000, 30_000, first_proposer=OTHER)
    assert [rules.proposers(epoch)[0] for epoch in range(5)] == [OTHER] * 5
    assert len({RULES.proposers(epoch)[0] for epoch in range(50)}) == len(NAMES)


# --- votes and decisions ----------------------------------------------------------------------


def test_vote_commit_acknowledgement() -> None:
    decider, voter = pair()
    d, _, pact = locked(decider)
    v, sent, same = locked(voter)
    assert same == pact
    assert v.commitments.in_doubt() == [pact]
    effects = d.on_vote(vote_of(sent, voter), DELIVERY_S - 80, 920)
    assert (saved(effects), kinds(effects.sends)) == (["decide"], ["decide"])
    assert effects.saves[0].body["vote"] == {"s": "sig"}  # evidence of the voter's promise
    effects = v.on_decision(Decision(decider, EPOCH, pact.id, True, {}))
    assert (saved(effects), kinds(effects.sends)) == (["decision"], ["ack"])
    assert d.committed(EPOCH) == v.committed(EPOCH) == [pact]
    assert v.commitments.in_doubt() == []
    assert "decide" in kinds(tick(d, 70).sends)
    d.on_ack(voter, pact.id)
    assert "decide" not in kinds(tick(d, 58).sends)


def test_a_vote_is_repeated_until_it_is_answered() -> None:
    _, voter = pair()
    v, _, _ = locked(voter)
    times = [left for left in range(88, -200, -1) if "vote" in kinds(tick(v, left).sends)]
    assert times[:5] == [87, 85, 83, 81, 79]
    assert times[-1] - times[-2] == -32


def test_nobody_votes_after_the_last_moment() -> None:
    machine = trader(OTHER)
    tick(machine, 89)
    machine.on_book(book(FIRST), DELIVERY_S - 69)
    assert not tick(machine, 69).saves


def test_who_is_asked_too_late_has_aborted_and_says_so_for_ever() -> None:
    decider, voter = pair()
    d, _, pact = locked(decider)
    _, sent, _ = locked(voter)
    effects = tick(d, 59.9)
    assert (saved(effects), effects.saves[0].body["commit"]) == (["decide"], False)
    for left_s in (59, -5, -90_000):
        effects = d.on_vote(vote_of(sent, voter), DELIVERY_S - left_s, 1000 - left_s)
        assert not effects.saves
        assert [(s.kind, s.body) for s in effects.sends] == [
            ("decide", {"trade": pact.id, "commit": False})
        ]


def test_a_vote_that_comes_too_late_aborts_even_before_the_clock_said_so() -> None:
    decider, voter = pair()
    d, _, pact = locked(decider)
    _, sent, _ = locked(voter)
    (entry,) = d.on_vote(vote_of(sent, voter), DELIVERY_S - 59.9, 940.1).saves
    assert (entry.kind, entry.body["commit"]) == ("decide", False)
    assert d.commitments.of_epoch(EPOCH) == {pact: State.ABORTED}


def test_a_vote_that_overtakes_the_book_waits_for_it() -> None:
    decider, voter = pair()
    _, sent, _ = locked(voter)
    d = trader(decider)
    assert d.on_vote(vote_of(sent, voter), DELIVERY_S - 89, 911) == Effects()
    d.on_book(book(FIRST), DELIVERY_S - 85)
    effects = tick(d, 84)
    assert saved(effects) == ["lock", "decide"]
    assert len(d.committed(EPOCH)) == 1


def test_who_never_got_the_book_binds_itself_to_none_before_it_declines() -> None:
    decider, voter = pair()
    _, sent, pact = locked(voter)
    d = trader(decider)
    effects = d.on_vote(vote_of(sent, voter), DELIVERY_S - 50, 950)
    assert [(e.kind, e.body["root"]) for e in effects.saves] == [("lock", "")]
    assert effects.sends[0].body == {"trade": pact.id, "commit": False}
    d.on_book(book(FIRST), DELIVERY_S - 89)  # its clock was put back
    assert not tick(d, 89).saves
    assert not d.on_vote(vote_of(sent, voter), DELIVERY_S - 89, 950).saves


def test_votes_under_another_book_are_declined() -> None:
    decider, voter = pair()
    d, _, _ = locked(decider)
    vote = Vote(voter, EPOCH, "cd" * 32, "ef" * 32, ("12" * 32,), {})
    effects = d.on_vote(vote, DELIVERY_S - 80, 920)
    assert not effects.saves
    assert effects.sends[0].body == {"trade": "12" * 32, "commit": False}


def test_another_result_of_the_same_book_aborts() -> None:
    decider, voter = pair()
    d, _, pact = locked(decider)
    _, sent, _ = locked(voter)
    good = vote_of(sent, voter)
    vote = Vote(voter, EPOCH, good.root, "ef" * 32, good.trades, {})
    d.on_vote(vote, DELIVERY_S - 80, 920)
    assert d.commitments.of_epoch(EPOCH) == {pact: State.ABORTED}


def test_strangers_to_a_trade_are_not_heard() -> None:
    decider, voter = pair()
    d, _, pact = locked(decider)
    v, sent, _ = locked(voter)
    good = vote_of(sent, voter)
    stranger = next(name for name in NAMES if name not in (decider, voter))
    assert (
        d.on_vote(Vote(stranger, EPOCH, good.root, good.result, good.trades, {}), 0, 0) == Effects()
    )
    assert v.on_decision(Decision(stranger, EPOCH, pact.id, True, {})) == Effects()
    assert d.on_decision(Decision(voter, EPOCH, pact.id, True, {})) == Effects()
    assert v.on_decision(Decision(decider, EPOCH, "34" * 32, True, {})) == Effects()
    d.on_ack(stranger, pact.id)
    assert d.commitments.of_epoch(EPOCH) == {pact: State.OPEN}


def test_a_second_decision_is_evidence_and_the_first_counts() -> None:
    decider, voter = pair()
    v, _, pact = locked(voter)
    v.on_decision(Decision(decider, EPOCH, pact.id, False, {}))
    effects = v.on_decision(Decision(decider, EPOCH, pact.id, True, {"s": "sig"}))
    assert [(e.kind, e.body["what"], e.body["peer"]) for e in effects.saves] == [
        ("evidence", "two decisions", decider)
    ]
    assert v.commitments.of_epoch(EPOCH) == {pact: State.ABORTED}
    assert kinds(v.on_decision(Decision(decider, EPOCH, pact.id, False, {})).sends) == ["ack"]
    assert v.on_decision(Decision(decider, EPOCH, pact.id, True, {"s": "other"})) == Effects()


def test_a_decider_lists_what_it_committed_and_later_ones_are_evidence() -> None:
    decider, voter = pair()
    d, _, pact = locked(decider)
    v, sent, _ = locked(voter)
    d.on_vote(vote_of(sent, voter), DELIVERY_S - 80, 920)
    (head,) = [send for send in tick(d, 54).sends if send.kind == "head"]
    assert (head.to, head.body["commits"]) == (voter, [pact.id])
    assert "head" not in kinds(tick(d, 53).sends)
    v.on_head(decider, EPOCH, [])
    effects = v.on_decision(Decision(decider, EPOCH, pact.id, True, {}))
    assert saved(effects) == ["decision", "evidence"]
    assert v.committed(EPOCH) == [pact]  # a voter has promised: it may not take it back


def test_restored_from_what_was_saved() -> None:
    _, voter = pair()
    _, sent, pact = locked(voter)
    again = Trader(voter, RULES, LINE)
    again.restore("order", {"e": EPOCH, "id": "", "message": {}}, ORDERS[voter])
    for entry in sent.saves:
        again.restore(entry.kind, entry.body)
    assert again.commitments.in_doubt() == [pact]
    assert "vote" in kinds(tick(again, 80).sends)
    again.restore("decision", {"e": EPOCH, "trades": [pact.id], "commit": True})
    assert again.committed(EPOCH) == [pact]
    assert "vote" not in kinds(tick(again, 78).sends)


def test_a_restarted_proposer_does_not_propose_again() -> None:
    first = trader(FIRST)
    (entry,) = tick(first, 109).saves
    again = Trader(FIRST, RULES, LINE)
    again.restore(entry.kind, entry.body)
    again.restore("order", {"e": EPOCH}, ORDERS[FIRST])
    assert "book" not in kinds(tick(again, 108).sends)


def test_old_trades_are_forgotten_but_not_the_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading_commitments, "KEPT_EPOCHS", 2)
    decider, voter = pair()
    d, _, _ = locked(decider)
    v, _, pact = locked(voter)
    for machine in (d, v):
        tick(machine, 50)
        for later in (1, 2):
            assert machine.commitments.of_epoch(EPOCH)
            machine.commitments.lock(EPOCH + later, "", "", (), 0.0, DELIVERY_S)
            tick(machine, -900.0 * later)
    assert d.commitments.of_epoch(EPOCH) == {}
    assert v.commitments.in_doubt() == [pact]
    late = Vote(voter, EPOCH, "", "", (pact.id,), {})
    assert d.on_vote(late, DELIVERY_S, 0) == Effects()
    assert d.commitments.is_locked(EPOCH)  # nothing can be promised for it any more


def test_a_clock_that_was_ahead_costs_no_promise() -> None:
    decider, voter = pair()
    d, _, pact = locked(decider)
    _, sent, _ = locked(voter)
    vote = vote_of(sent, voter)
    d.on_vote(vote, DELIVERY_S - 80, 920)
    assert d.committed(EPOCH) == [pact]
    tick(d, -30 * 86400)
    assert d.commitments.is_locked(EPOCH)
    answers = d.on_vote(vote, DELIVERY_S - 75, 925).sends
    assert [send.body["commit"] for send in answers if send.kind == "decide"] == [True]


# --- the timeline -----------------------------------------------------------------------------


def test_a_timeline_shrinks_with_its_slot() -> None:
    short = Timeline.of_slot(9.0)
    assert (short.gate_s, short.decide_s) == (pytest.approx(1.2), pytest.approx(0.6))
    assert Timeline.of_slot(900.0) == Timeline()
    assert (short.trading(0.0), short.trading(8.9), short.trading(9.0)) == (1, 1, 2)


@pytest.mark.parametrize(
    ("times", "error"),
    [
        ({"gate_s": 901.0}, "slot_s = 900: at least gate_s allowed"),
        ({"grace_s": 20.0}, "gate_s - grace_s = 100: at least book_s allowed"),
        ({"rank_step_s": 15.0}, r"book_s - 2 \* rank_step_s = 80: at least vote_s allowed"),
        ({"decide_s": 80.0}, "abort_s = 70: at least decide_s allowed"),
        ({"schedule_s": -1.0}, "schedule_s = -1: at least 0 allowed"),
        ({"retry_s": 0.0}, "times above 0"),
    ],
)
def test_a_timeline_in_the_wrong_order_is_refused(times: dict[str, float], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        Timeline(**times)
