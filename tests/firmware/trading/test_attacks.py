"""What an insider and a lying broker can do to a street, message by message over a real broker."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from control.canonical import canonical
from firmware.trading.admission import Why
from firmware.trading.envelope import unwrap
from firmware.trading.member import Outgoing
from firmware.trading.membership import MembershipError, read_membership
from tests.firmware.mqtt.conftest import Broker, wait_for
from tests.firmware.trading.broker_street import HOUSES, BrokerStreet, follow_all, successor
from tests.firmware.trading.people import sealed

Make = Callable[..., BrokerStreet]
WHOLE_WH = 510 + 510  # what two buyers and two sellers trade


@pytest.fixture
def make(broker: Broker, tmp_path: Path) -> Iterator[Make]:
    """Streets on a broker, closed and judged at the end."""
    broker.start()
    made: list[BrokerStreet] = []

    def start(first_proposer: str = "ann") -> BrokerStreet:
        made.append(BrokerStreet(tmp_path, broker.port, first_proposer))
        return made[-1]

    yield start
    for street in made:
        street.close()
        street.assert_sound()


def altered(raw: bytes, **changes: Any) -> bytes:
    """The same signature under something else."""
    return canonical(json.loads(raw) | changes)


def everybody(*whys: Why) -> dict[str, list[Why]]:
    return {name: list(whys) for name in HOUSES}


def test_nobody_lies(make: Make) -> None:
    street = make()
    for _ in range(2):
        street.trade()
        assert street.traded_wh() == WHOLE_WH
        assert street.in_doubt() == 0
        street.next_slot()
    assert street.refusals == []


def test_messages_that_are_refused(make: Make) -> None:
    """Forged, altered, replayed, too large, out of the limits, out of date: all in one slot."""
    street = make()
    body, ann = street.order_body, street.people["ann"].peer
    order = street.seal("order", body())
    street.say("order", order.raw())
    assert street.refused() == everybody()
    cases: list[tuple[bytes, Why]] = [
        (b"", Why.FORM),
        (b'{"v":1}', Why.FORM),
        (canonical(dict(order.fields) | {"x": 1}), Why.FORM),
        (altered(order.raw(), p=ann), Why.SIGNATURE),  # forged: in Ann's name
        (altered(order.raw(), b=body(wh=301)), Why.SIGNATURE),  # altered
        (altered(order.raw(), n=900), Why.SIGNATURE),
        (altered(order.raw(), t="head"), Why.SIGNATURE),  # an order's signature is no head's
        (street.seal("order", body(px=4_999)).raw(), Why.LIMIT),  # out of the band
        (street.seal("order", body(px=30_001)).raw(), Why.LIMIT),
        (street.seal("order", body(wh=2_001)).raw(), Why.LIMIT),  # over the cap
        (street.seal("order", body(wh=1_001, side="sell")).raw(), Why.LIMIT),
        (street.seal("order", body(), version=2).raw(), Why.MEMBERSHIP),
        (street.seal("order", body(), community="elsewhere").raw(), Why.COMMUNITY),
        (street.seal("order", body(), epoch=street.epoch - 1).raw(), Why.EPOCH),
        (street.seal("order", body(), epoch=street.epoch + 2).raw(), Why.EPOCH),
        (street.seal("order", body(), ts_s=int(street.now_s) + 40).raw(), Why.CLOCK),
        (altered(order.raw(), b={"steps": ["x" * 9_000]}), Why.SIZE),
        (b"[%s1]" % (b"1," * 100_000), Why.SIZE),
    ]
    for number, (raw, why) in enumerate(cases):
        street.say("order", raw)
        assert street.refused() == everybody(why), (number, why)
    street.say("order", street.seal("order", {"side": "buy", "steps": []}).raw())  # taken back
    street.trade()
    assert street.traded_wh(*HOUSES) == WHOLE_WH


def test_what_is_too_large_for_the_connection_never_comes(make: Make) -> None:
    street = make()
    street.carriers["eve"].send(Outgoing("order", "", bytes(5_000_000)))
    street.settle()
    assert street.refused() == everybody()
    assert all(carrier.status.connected for carrier in street.carriers.values())


def test_old_orders_do_not_come_back(make: Make) -> None:
    """A broker, or a member, that repeats what was replaced, also after a restart."""
    street = make()
    first = street.seal("order", street.order_body(wh=2_000))
    street.say("order", first.raw())
    for _ in range(20):  # more than is remembered whole
        street.say("order", street.seal("order", street.order_body(wh=50)).raw())
    street.say("order", first.raw())
    assert street.refused() == everybody(Why.REPLAY)
    street.order_all()
    street.members["bob"]._ledger.close()
    street.start("bob")
    street.say("order", first.raw())
    assert street.refused() == everybody(Why.REPLAY)


def test_who_contradicts_itself_is_suspended_and_proven(make: Make) -> None:
    street = make()
    one = street.seal("order", street.order_body(wh=100))
    two = sealed(
        street.eve, "order", street.order_body(wh=900), n=one.n, epoch=street.epoch, ts_s=one.ts_s
    )
    street.say("order", one.raw())
    street.say("order", two.raw())
    assert street.refused() == everybody(Why.EQUIVOCATION)
    street.say("order", street.seal("order", street.order_body()).raw())
    assert street.refused() == everybody(Why.SUSPENDED)
    for name in HOUSES:
        assert street.evidence(name) == [
            f"equivocation: {street.eve.peer}, {one.n}: two messages with one number"
        ]
    street.trade()
    assert street.traded_wh() >= WHOLE_WH - 100  # its first order took part, and nobody answers
    follow_all(street, successor(street, *(street.people[name] for name in HOUSES)))
    street.say("order", street.seal("order", street.order_body(), version=2).raw())
    assert street.refused() == everybody(Why.STRANGER)


def test_different_orders_to_different_houses(make: Make) -> None:
    """Eve's broker gives one half of the street one order, the other half another."""
    street = make()
    one = street.seal("order", street.order_body(wh=400))
    two = sealed(
        street.eve, "order", street.order_body(wh=900), n=one.n, epoch=street.epoch, ts_s=one.ts_s
    )
    for name, message in zip(HOUSES, (one, one, two, two), strict=True):
        street._take(name, message.raw())
    street.trade()
    assert street.in_doubt() <= 2  # of trades with Eve, who answers nothing
    assert street.traded_wh(*HOUSES) <= WHOLE_WH


def test_a_stale_membership(make: Make) -> None:
    """Who is left out cannot order, and nobody goes back to the document that had it."""
    street = make()
    second = successor(street, *(street.people[name] for name in HOUSES))
    follow_all(street, second)
    street.say("order", street.seal("order", street.order_body()).raw())
    assert street.refused() == everybody(Why.MEMBERSHIP)
    street.carriers["eve"].publish_document(street.document.raw())
    for name, member in street.members.items():
        raw = b""

        def came(name: str = name) -> bool:
            nonlocal raw
            raw = raw or street.carriers[name].document()
            return bool(raw)

        wait_for(came)
        with pytest.raises(MembershipError, match="older than ours"):
            member.follow(read_membership(raw), street.now_s)
    forged = second.model_copy(update={"version": 3, "prev": second.hash}).signed(street.eve)
    for member in street.members.values():
        with pytest.raises(MembershipError, match="signed by 0 administrators, 1 needed"):
            member.follow(read_membership(forged.raw()), street.now_s)
    street.trade()
    assert street.traded_wh() == WHOLE_WH


def test_a_flood_of_one_member_costs_the_others_nothing(make: Make) -> None:
    street = make()
    for _ in range(520):
        street.carriers["eve"].send(Outgoing("want", "", street.seal("want", {}).raw()))
    street.settle()
    assert street.refused() == everybody(*[Why.FLOOD] * 20)
    street.trade()
    assert street.traded_wh() == WHOLE_WH


# --- a proposer that lies ------------------------------------------------------------------------


def eves_book(street: BrokerStreet, *names: str) -> bytes:
    """A book of these houses' orders, as Eve heard them."""
    orders = {}
    for raw in street.heard:
        fields = json.loads(raw)
        if fields["t"] == "order" and street.names[fields["p"]] in names:
            orders[fields["p"]] = fields
    ids = {peer: unwrap(fields).id for peer, fields in orders.items()}
    rows = sorted(orders.values(), key=lambda fields: ids[fields["p"]])
    root = street.document.rules(street.epoch).root(street.epoch, ids.values())
    return street.seal("book", {"root": root, "part": 0, "parts": 1, "orders": rows}).raw()


def test_a_proposer_that_censors(make: Make) -> None:
    """The one that it leaves out objects, and the next book has everybody."""
    street = make("eve")
    street.order_all()
    street.until(110)
    street.say("book", eves_book(street, "bob", "cat", "dan"))
    street.until(1)
    assert street.refused() == everybody()
    assert street.traded_wh("ann") == 500
    assert street.traded_wh() == WHOLE_WH


def test_a_proposer_that_waits_and_then_censors(make: Make) -> None:
    """The book with more orders counts."""
    street = make("eve")
    street.order_all()
    street.until(92)
    street.say("book", eves_book(street, "bob", "cat", "dan"))
    street.until(1)
    assert street.traded_wh() == WHOLE_WH


def test_a_proposer_with_two_books(make: Make) -> None:
    """Neither counts, the next proposer's does, and it is written down."""
    street = make("eve")
    street.order_all()
    street.until(110)
    street.say("book", eves_book(street, *HOUSES))
    street.say("book", eves_book(street, "bob", "cat", "dan"))
    street.until(1)
    assert street.traded_wh() == WHOLE_WH
    for name in HOUSES:
        assert street.evidence(name) == ["two books"]


def test_a_proposer_with_two_books_for_two_halves_of_the_street(make: Make) -> None:
    """Who is bound to one book has no trade with who is bound to the other: none by half."""
    street = make("eve")
    street.order_all()
    others = [who.peer for name, who in street.people.items() if name != "eve"]
    for name in HOUSES:
        street.wires[name].loses = lambda topic: (
            "/book/" in topic and any(f"/{peer}/" in topic for peer in others)
        )
    street.until(110)
    whole, part = eves_book(street, *HOUSES), eves_book(street, "ann", "bob", "cat")
    for name, raw in zip(HOUSES, (whole, part, part, whole), strict=True):
        street._take(name, raw)
    street.until(1)
    assert street.in_doubt() == 0
    assert street.traded_wh() < WHOLE_WH


def test_a_book_with_orders_that_nobody_signed(make: Make) -> None:
    street = make("eve")
    street.order_all()
    street.until(110)
    book = json.loads(eves_book(street, *HOUSES))
    for changes, why in (
        (
            {"orders": [*book["b"]["orders"][:-1], {**book["b"]["orders"][-1], "n": 7}]},
            Why.SIGNATURE,
        ),
        ({"orders": [{**one, "m": 9} for one in book["b"]["orders"]]}, Why.MEMBERSHIP),
        ({"orders": [{"p": "ann"}]}, Why.FORM),
        ({"part": 0, "parts": 0}, Why.FORM),
    ):
        street.say("book", street.seal("book", book["b"] | changes).raw())
        assert street.refused() == everybody(why)
    street.say("book", street.seal("book", book["b"] | {"root": "0" * 64}).raw())
    street.until(1)
    assert street.traded_wh() == WHOLE_WH  # the next proposer's


# --- a broker that lies --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["decide", "ack", "head", "want", "object"])
def test_a_broker_that_loses_one_kind(make: Make, kind: str) -> None:
    """At worst the voters are in doubt, until it passes messages again."""
    street = make()
    for wire in street.wires.values():
        wire.loses = lambda topic: f"/{kind}/" in topic and topic.count("/") > 5
    street.trade()
    if kind == "decide":
        assert street.in_doubt() > 0
        for wire in street.wires.values():
            wire.loses = lambda _topic: False
        street.now_s += 60
        street.until(-200)
    assert street.in_doubt() == 0
    assert street.traded_wh() == WHOLE_WH


def test_a_broker_that_loses_all_orders(make: Make) -> None:
    """Who misses its order in the first book says so, with the order: the next book has it."""
    street = make()
    for wire in street.wires.values():
        wire.loses = lambda topic: "/order/" in topic
    street.trade()
    assert street.traded_wh() == WHOLE_WH


@pytest.mark.parametrize("kind", ["book", "vote"])
def test_a_broker_that_keeps_the_market_from_happening(make: Make, kind: str) -> None:
    """Fewer trades or none, and no doubt that lasts; in the next slot all is well."""
    street = make()
    for wire in street.wires.values():
        wire.loses = lambda topic: f"/{kind}/" in topic
    street.trade()
    assert street.traded_wh() <= (0 if kind == "vote" else WHOLE_WH / 2)
    for wire in street.wires.values():
        wire.loses = lambda _topic: False
    street.next_slot()
    street.trade()
    assert street.traded_wh() == WHOLE_WH
    assert street.in_doubt() == 0


def test_a_broker_that_keeps_one_house_out(make: Make) -> None:
    """It has no trades; the others have theirs."""
    street = make()
    bob = street.people["bob"].peer
    for wire in street.wires.values():
        wire.loses = lambda topic: f"/{bob}" in topic and "/ack/" not in topic
    street.trade()
    assert street.traded_wh("bob") == 0
    assert street.traded_wh() > 0
    assert street.in_doubt() == 0


def test_a_broker_that_repeats_everything_it_ever_had(make: Make) -> None:
    """As if all had been retained: nothing of it counts twice, now or in the next slot."""
    street = make()
    street.trade()
    traded = {name: member.committed(street.epoch) for name, member in street.members.items()}
    epoch = street.epoch

    def repeat() -> None:
        for name in HOUSES:
            wire = street.wires[name]
            for topic, payload in list(wire.seen):
                if not payload.startswith(b"marker"):
                    wire.say(topic, payload)
        street.settle()

    repeat()
    street.next_slot()
    repeat()
    street.order_all()
    repeat()
    street.until(1)
    assert street.traded_wh() == WHOLE_WH
    assert traded == {name: member.committed(epoch) for name, member in street.members.items()}
    assert {why for _, why in street.refusals} <= {Why.EPOCH, Why.REPLAY, Why.FLOOD}
