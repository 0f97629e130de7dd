"""Membership documents: who makes one valid, which one follows, and what is refused."""

import json
from typing import Any

import pytest

from control.canonical import canonical
from firmware.trading.identity import Identity
from firmware.trading.membership import (
    Administrators,
    Membership,
    MembershipError,
    Times,
    follow,
    is_rival,
    read_membership,
    require_signed,
)
from tests.firmware.trading.people import EPOCH, document, entry


def successor(
    street: Membership, admins: list[Identity], signers: list[Identity], /, **changes: Any
) -> Membership:
    keys = Administrators(need=2, keys=[admin.public_key.hex() for admin in admins])
    fields = {"version": 2, "prev": street.hash, "admins": keys} | changes
    return document(signers, 1, street.members, **fields)


def test_a_document_comes_back_whole(street: Membership) -> None:
    again = read_membership(street.raw())
    assert again == street
    assert again.hash == street.hash
    require_signed(again, again.admins)


def test_enough_administrators_have_to_sign(street: Membership, admins: list[Identity]) -> None:
    assert follow(street, successor(street, admins, admins[:2])).version == 2
    with pytest.raises(MembershipError, match="version 2: signed by 1 administrators, 2 needed"):
        follow(street, successor(street, admins, admins[:1]))
    strangers = [Identity.new(), Identity.new(), admins[0]]
    with pytest.raises(MembershipError, match="signed by 1 administrators, 2 needed"):
        follow(street, successor(street, admins, strangers))


def test_one_administrator_does_not_count_twice(street: Membership, admins: list[Identity]) -> None:
    made = successor(street, admins, admins[:1])
    doubled = made.model_copy(update={"sigs": made.sigs * 2})
    with pytest.raises(MembershipError, match="signed by 1"):
        follow(street, read_membership(doubled.raw()))


def test_new_administrators_need_the_old_ones_signatures(
    street: Membership, admins: list[Identity]
) -> None:
    new = [Identity.new()]
    keys = Administrators(need=1, keys=[new[0].public_key.hex()])
    with pytest.raises(MembershipError, match="signed by 0"):
        follow(street, successor(street, admins, new, admins=keys))
    taken_over = follow(street, successor(street, admins, admins[1:], admins=keys))
    third = document(new, 1, street.members, version=3, prev=taken_over.hash)
    assert follow(taken_over, third).version == 3


def test_no_way_back_and_one_document_of_a_version(
    street: Membership, admins: list[Identity]
) -> None:
    second = successor(street, admins, admins)
    with pytest.raises(MembershipError, match="version 1: older than ours, 2"):
        follow(second, street)
    assert follow(second, second) == second
    assert not is_rival(second, second)
    other = successor(street, admins, admins, members=[])
    assert is_rival(second, other)
    assert is_rival(other, second)
    holds, gives_way = sorted((second, other), key=lambda document: document.hash)
    assert follow(gives_way, holds) == holds  # whichever came first
    with pytest.raises(MembershipError, match="version 2: another than ours"):
        follow(holds, gives_way)


def test_a_second_document_that_is_not_signed_is_no_rival(
    street: Membership, admins: list[Identity]
) -> None:
    second = successor(street, admins, admins)
    for members in ([], street.members[:1], street.members[1:]):  # of some hash each
        forged = successor(street, admins, admins[:1], members=members)
        assert not is_rival(second, forged)
        with pytest.raises(MembershipError, match="signed by 1"):
            follow(second, forged)


def test_a_box_that_missed_versions_catches_up(street: Membership, admins: list[Identity]) -> None:
    far = successor(street, admins, admins, version=7, prev="12" * 32)
    assert follow(street, far).version == 7


def test_a_box_that_knows_only_the_document_that_gave_way_goes_on_with_the_next(
    street: Membership, admins: list[Identity]
) -> None:
    one = successor(street, admins, admins)
    other = successor(street, admins, admins, members=street.members[:1])
    gave_way, held = sorted((one, other), key=lambda document: document.hash, reverse=True)
    third = successor(held, admins, admins, version=3)
    assert third.prev == held.hash != gave_way.hash
    assert follow(gave_way, third) == third


def test_another_community_is_not_followed(street: Membership, admins: list[Identity]) -> None:
    with pytest.raises(MembershipError, match="community avenue: street allowed"):
        follow(street, successor(street, admins, admins, community="avenue"))


def test_any_change_after_signing_is_noticed(street: Membership) -> None:
    content = json.loads(street.raw())
    content["members"][0]["max_sell_wh"] += 1
    with pytest.raises(MembershipError, match="signed by 0"):
        require_signed(read_membership(canonical(content)), street.admins)


def test_signatures_that_are_none_do_not_count(street: Membership) -> None:
    content = json.loads(street.raw())
    for signature in content["sigs"]:
        signature["sig"] = "?"
    assert read_membership(canonical(content)).signers() == set()


def test_members_trade_within_their_time(admins: list[Identity], ann: Identity) -> None:
    bob, start_s = Identity.new(), EPOCH * 900
    made = document(admins, 2, [entry(ann), entry(bob, valid_from=start_s, valid_to=start_s + 900)])
    assert [bob.peer in made.rules(epoch).members for epoch in (EPOCH - 1, EPOCH, EPOCH + 1)] == [
        False,
        True,
        False,
    ]
    assert made.rules(EPOCH).members == tuple(sorted((ann.peer, bob.peer)))
    assert (made.rules(EPOCH).fee, made.rules(EPOCH).membership) == (200, made.hash)
    member = made.member(ann.peer)
    assert member is not None
    assert member.max_buy_wh == 2000
    assert made.member("nobody") is None


def test_all_times_can_be_set(admins: list[Identity]) -> None:
    times = {name: ms // 90 for name, ms in Times()}
    made = document(admins, 2, [])
    content = json.loads(made.raw())
    content["market"]["times"] = times
    timeline = read_membership(canonical(content)).timeline()
    assert (timeline.slot_s, timeline.gate_s) == (10.0, 1.333)


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        ("version", 0, "version: "),
        ("version", True, "version: "),
        ("community", "Main Street", "community: "),
        ("extra", 1, "extra: no such field"),
        ("members.0.peer", "a" * 16, "members.0: .*peer does not belong to key"),
        ("members.0.max_buy_wh", -1, "members.0.max_buy_wh: "),
        ("members.1", "same", "members: the same box twice"),
        ("admins.need", 4, "admins: .*need: at most the number of keys"),
        ("admins.keys.1", "same", "admins: .*keys: the same key twice"),
        ("market.fee", -1, "market.fee: "),
        ("market.price_ceiling", 1, "market: .*price_ceiling: at least price_floor"),
        ("market.times.decide_ms", 80_000, "market.times: .*abort_s = 70: at least decide_s"),
        ("market.times.slot_ms", 10, "market.times.slot_ms: "),
    ],
)
def test_what_is_no_document(street: Membership, path: str, value: Any, error: str) -> None:
    content = json.loads(street.raw())
    place: Any = content
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in way:
        place = place[part]
    place[last] = place[0] if value == "same" else value
    with pytest.raises(MembershipError, match=error) as caught:
        read_membership(canonical(content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b" " * 1_000_001, b'{"a":1,"a":1}'])
def test_bytes_that_are_no_document(raw: bytes) -> None:
    with pytest.raises(MembershipError):
        read_membership(raw)
