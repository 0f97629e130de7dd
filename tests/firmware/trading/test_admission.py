"""What others may say: each attack is refused, with its reason, and evidence where there is any."""

import json
from typing import Any

import pytest

from control.trading_records import BookPart, Decision, SignedOrder, Vote
from firmware.trading.admission import (
    MOST_PER_SLOT,
    Admission,
    Admitted,
    Objection,
    Refused,
    Why,
)
from firmware.trading.envelope import Message
from firmware.trading.identity import Identity
from firmware.trading.membership import Membership
from tests.firmware.trading.people import DELIVERY_S, EPOCH, NOW_S, document, entry, order, sealed


def admit(gate: Admission, message: Message, utc_s: float = NOW_S) -> Admitted:
    return gate.admit(message.raw(), utc_s)


def refused(gate: Admission, raw: bytes | Message, utc_s: float = NOW_S) -> Refused:
    with pytest.raises(Refused) as caught:
        gate.admit(raw.raw() if isinstance(raw, Message) else raw, utc_s)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.fixture
def gate(street: Membership) -> Admission:
    return Admission(street)


def book_body(*orders: Message) -> dict[str, Any]:
    return {"root": "ab" * 32, "part": 0, "parts": 1, "orders": [o.fields for o in orders]}


# --- what is believed -------------------------------------------------------------------------


def test_an_order(gate: Admission, ann: Identity) -> None:
    message = order(ann)
    admitted = admit(gate, message)
    assert isinstance(admitted.content, SignedOrder)
    assert (admitted.content.id, admitted.content.peer) == (message.id, ann.peer)
    assert admitted.content.order.steps == ((9_000, 500),)
    assert not admitted.again
    assert admit(gate, message).again
    assert gate.heard == {(ann.peer, "order"): 5}


def test_a_book_with_orders_we_never_saw(gate: Admission, ann: Identity, bob: Identity) -> None:
    message = sealed(bob, "book", book_body(order(ann)))
    content = admit(gate, message, DELIVERY_S - 100).content
    assert isinstance(content, BookPart)
    assert [o.peer for o in content.orders] == [ann.peer]


def test_votes_decisions_and_the_rest(gate: Admission, ann: Identity, bob: Identity) -> None:
    trade, root = "cd" * 32, "ab" * 32
    vote = sealed(ann, "vote", {"book": root, "res": root, "trades": [trade]}, n=1)
    content = admit(gate, vote).content
    assert content == Vote(ann.peer, EPOCH, root, root, (trade,), vote.fields)
    decision = sealed(bob, "decide", {"trade": trade, "commit": True}, n=1)
    assert admit(gate, decision).content == Decision(bob.peer, EPOCH, trade, True, decision.fields)
    own = order(ann)
    objection = sealed(ann, "object", {"book": root, "order": own.fields}, n=9)
    content = admit(gate, objection).content
    assert isinstance(content, Objection)
    assert content.order.id == own.id
    admit(gate, sealed(ann, "want", {}, n=20))
    admit(gate, sealed(ann, "ack", {"trade": trade}, n=30))
    admit(gate, sealed(ann, "head", {"n": 3, "h": root, "commits": []}, n=40))
    admit(gate, sealed(ann, "witness", {"peer": bob.peer, "n": 3, "h": root}, n=50))
    meter = {"imp": 5, "exp": 0, "reg_imp": 99, "reg_exp": 0, "q": "ok"}
    admit(gate, sealed(ann, "meter", meter, n=60), DELIVERY_S + 950)


def test_promises_are_settled_a_week_later_and_under_a_newer_membership(
    gate: Admission, street: Membership, admins: list[Identity], ann: Identity, bob: Identity
) -> None:
    vote = {"book": "ab" * 32, "res": "ab" * 32, "trades": ["cd" * 32]}
    without_ann = document(admins, 2, [entry(bob)], version=2, prev=street.hash)
    gate.set_membership(without_ann)
    admit(gate, sealed(ann, "vote", vote), DELIVERY_S + 6 * 86400)
    assert refused(gate, order(ann, version=2)).why is Why.STRANGER
    late = refused(gate, sealed(ann, "vote", vote, n=9), DELIVERY_S + 8 * 86400)
    assert late.why is Why.EPOCH


# --- attacks ----------------------------------------------------------------------------------


def test_forged(gate: Admission, ann: Identity, bob: Identity) -> None:
    fields = json.loads(order(ann).raw())
    fields["s"] = json.loads(order(bob).raw())["s"]
    assert refused(gate, json.dumps(fields).encode()).why is Why.SIGNATURE


def test_altered(gate: Admission, ann: Identity) -> None:
    raw = order(ann).raw().replace(b'"q":500', b'"q":900')
    assert refused(gate, raw).why is Why.SIGNATURE


def test_strangers(gate: Admission) -> None:
    assert refused(gate, order(Identity.new())).why is Why.STRANGER


def test_a_forged_order_inside_of_a_book(gate: Admission, ann: Identity, bob: Identity) -> None:
    good = order(ann)
    forged = json.loads(good.raw()) | {"n": 6}
    body = book_body() | {"orders": [forged]}
    assert refused(gate, sealed(bob, "book", body)).why is Why.SIGNATURE
    body = book_body(order(Identity.new()))
    assert refused(gate, sealed(bob, "book", body, n=6)).why is Why.STRANGER
    body = book_body(sealed(ann, "want", {}))
    assert refused(gate, sealed(bob, "book", body, n=7)).why is Why.FORM
    body = book_body(order(ann, epoch=EPOCH - 1))
    assert refused(gate, sealed(bob, "book", body, n=8)).why is Why.FORM
    body = book_body(order(ann, version=2))
    assert refused(gate, sealed(bob, "book", body, n=9)).why is Why.MEMBERSHIP
    body = book_body() | {"orders": [{}]}
    assert refused(gate, sealed(bob, "book", body, n=10)).why is Why.FORM


def test_an_order_with_a_broken_signature_is_replaced_by_the_one_we_verified(
    gate: Admission, ann: Identity, bob: Identity
) -> None:
    good = order(ann)
    admit(gate, good)
    broken = json.loads(good.raw()) | {"s": "AAAA"}
    content = admit(gate, sealed(bob, "book", book_body() | {"orders": [broken]})).content
    assert isinstance(content, BookPart)
    assert content.orders[0].message == good.fields


def test_replayed(gate: Admission, street: Membership, ann: Identity) -> None:
    old, new = order(ann, n=5), order(ann, n=7, q=100)
    admit(gate, new)
    assert refused(gate, old).why is Why.REPLAY
    restarted = Admission(street, gate.heard)
    assert refused(restarted, old).why is Why.REPLAY
    assert refused(restarted, old, NOW_S + 900).why is Why.EPOCH
    assert refused(gate, order(ann, n=8, epoch=EPOCH + 1)).why is Why.EPOCH


def test_two_messages_with_one_number_are_evidence(gate: Admission, ann: Identity) -> None:
    one, two = order(ann, q=500), order(ann, q=501)
    admit(gate, one)
    refusal = refused(gate, two)
    assert refusal.why is Why.EQUIVOCATION
    assert {message.id for message in refusal.evidence} == {one.id, two.id}
    assert all(message.is_signed_by(ann.public_key) for message in refusal.evidence)
    assert refused(gate, order(ann, n=9)).why is Why.SUSPENDED
    vote = {"book": "ab" * 32, "res": "ab" * 32, "trades": ["cd" * 32]}
    admit(gate, sealed(ann, "vote", vote, n=30))  # what it promised is still settled


def test_one_proof_is_enough(gate: Admission, ann: Identity) -> None:
    """Who goes on contradicting itself does not fill the ledgers of the others."""
    admit(gate, order(ann, q=500))
    assert refused(gate, order(ann, q=501)).evidence != ()
    vote = {"book": "ab" * 32, "res": "ab" * 32, "trades": ["cd" * 32]}
    again = refused(gate, sealed(ann, "vote", vote))
    assert (again.why, again.evidence) == (Why.EQUIVOCATION, ())


@pytest.mark.parametrize("turned", [False, True])
def test_two_histories_are_evidence(gate: Admission, ann: Identity, turned: bool) -> None:
    first = sealed(ann, "want", {}, n=5)
    second = sealed(ann, "want", {}, n=6, prev="12" * 32)
    messages = [second, first] if turned else [first, second]
    admit(gate, messages[0])
    assert refused(gate, messages[1]).why is Why.EQUIVOCATION


def test_the_administrators_lift_a_suspension(
    gate: Admission, street: Membership, admins: list[Identity], ann: Identity, bob: Identity
) -> None:
    admit(gate, order(ann, q=500))
    refused(gate, order(ann, q=501))
    gate.set_membership(street)
    assert refused(gate, order(ann, n=9)).why is Why.SUSPENDED
    gate.set_membership(document(admins, 2, [entry(ann), entry(bob)], version=2, prev=street.hash))
    admit(gate, order(ann, n=9, version=2))


def test_oversized(gate: Admission, ann: Identity) -> None:
    assert refused(gate, b" " * 200_000).why is Why.SIZE
    many = [{"px": 9_000 - i, "q": 1} for i in range(600)]
    assert refused(gate, sealed(ann, "order", {"side": "buy", "steps": many})).why is Why.SIZE


def test_out_of_band_and_over_cap(gate: Admission, ann: Identity) -> None:
    assert "price 4999: 5000 to 30000 allowed" in str(refused(gate, order(ann, px=4_999)))
    assert "price 30001" in str(refused(gate, order(ann, px=30_001)))
    assert "buy 2001 Wh: at most 2000 allowed" in str(refused(gate, order(ann, q=2001)))
    assert "sell 1001 Wh: at most 1000" in str(refused(gate, order(ann, "sell", q=1001)))
    steps = [{"px": 9_000, "q": 1}, {"px": 9_001, "q": 1}]
    refusal = refused(gate, sealed(ann, "order", {"side": "buy", "steps": steps}))
    assert (refusal.why, "fall strictly" in str(refusal)) == (Why.LIMIT, True)


def test_an_order_can_be_taken_back(gate: Admission, ann: Identity) -> None:
    content = admit(gate, sealed(ann, "order", {"side": "buy", "steps": []})).content
    assert isinstance(content, SignedOrder)
    assert content.order.steps == ()


def test_stale_and_foreign_membership(gate: Admission, ann: Identity) -> None:
    assert "version 2: ours is 1" in str(refused(gate, order(ann, version=2)))
    assert refused(gate, order(ann, community="avenue")).why is Why.COMMUNITY


def test_out_of_time(gate: Admission, ann: Identity) -> None:
    ahead = order(ann, ts_s=int(NOW_S) + 31)
    assert refused(gate, ahead).why is Why.CLOCK
    after_gate = order(ann, ts_s=int(DELIVERY_S) - 119)
    assert refused(gate, after_gate, DELIVERY_S - 118).why is Why.CLOCK
    last_week = order(ann, ts_s=int(NOW_S) - 3600)
    assert refused(gate, last_week).why is Why.CLOCK


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("offer", {}),
        ("order", {}),
        ("order", {"side": "both", "steps": []}),
        ("order", {"side": "buy", "steps": [{"px": 9_000, "q": 0}]}),
        ("order", {"side": "buy", "steps": [{"px": True, "q": 1}]}),
        ("order", {"side": "buy", "steps": [], "zone": "A"}),
        ("vote", {"book": "x", "res": "ab" * 32, "trades": []}),
        ("decide", {"trade": "ab" * 32, "commit": 1}),
        ("book", {"root": "ab" * 32, "part": 0, "parts": 101, "orders": []}),
        ("meter", {"imp": -1, "exp": 0, "reg_imp": 0, "reg_exp": 0, "q": "ok"}),
    ],
)
def test_bodies_that_are_none(
    gate: Admission, ann: Identity, kind: str, body: dict[str, Any]
) -> None:
    assert refused(gate, sealed(ann, kind, body)).why is Why.FORM


def test_an_objection_speaks_for_its_sender_alone(
    gate: Admission, ann: Identity, bob: Identity
) -> None:
    body = {"book": "ab" * 32, "order": order(ann).fields}
    assert refused(gate, sealed(bob, "object", body)).why is Why.FORM


def test_a_flood_is_not_even_verified(gate: Admission, ann: Identity, bob: Identity) -> None:
    for n in range(MOST_PER_SLOT):
        admit(gate, sealed(ann, "want", {}, n=10 * n))
    assert refused(gate, sealed(ann, "want", {}, n=9_999)).why is Why.FLOOD
    admit(gate, order(bob))
    admit(gate, sealed(ann, "want", {}, n=99_999, epoch=EPOCH + 1), NOW_S + 900)


@pytest.mark.parametrize(
    ("w", "sd", "why"),
    [
        (95 * [0] + [8_002], 96 * [0], Why.LIMIT),
        ([-4_002], [0], Why.LIMIT),
        (96 * [0], 95 * [0] + [12_002], Why.LIMIT),
        (96 * [0], 95 * [0], Why.FORM),
        (97 * [0], 97 * [0], Why.FORM),
        ([], [], Why.FORM),
        ([0], [-1], Why.FORM),
    ],
)
def test_a_plan_beyond_limits(
    gate: Admission, ann: Identity, w: list[int], sd: list[int], why: Why
) -> None:
    assert refused(gate, sealed(ann, "plan", {"w": w, "sd": sd})).why is why


def test_a_plan_once_and_no_older_one(gate: Admission, ann: Identity) -> None:
    message = sealed(ann, "plan", {"w": 48 * [8_000, -4_000], "sd": 96 * [500]})
    assert not admit(gate, message).again
    assert admit(gate, message).again
    older = sealed(ann, "plan", {"w": 96 * [0], "sd": 96 * [0]}, n=2)
    assert refused(gate, older).why is Why.REPLAY
