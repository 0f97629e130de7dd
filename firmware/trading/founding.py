"""A community's first document, and what is in one for each box."""

from collections.abc import Iterable

from firmware.trading.envelope import NO_MESSAGE
from firmware.trading.identity import Identity, peer_id
from firmware.trading.membership import Administrators, Market, Member, Membership, Times

FOREVER_S = 2**40
WH_PER_KW_S = 1000.0 / 3600.0


def first_document(
    name: str, admin: Identity, members: Iterable[Member], market: Market
) -> Membership:
    """Signed by its one administrator."""
    return Membership(
        community=name,
        version=1,
        prev=NO_MESSAGE,
        admins=Administrators(need=1, keys=[admin.public_key.hex()]),
        members=list(members),
        market=market,
    ).signed(admin)


def times_of_slot(slot_s: float) -> Times:
    """The default ones, shrunk or stretched."""
    default, slot_ms = Times(), round(1000.0 * slot_s)
    return Times(**{key: ms * slot_ms // default.slot_ms for key, ms in default})


def member_of(key: str, name: str, most_kw: float, slot_s: float) -> Member:
    """A box that may buy and sell so much, for all time."""
    most_wh = round(WH_PER_KW_S * slot_s * most_kw)
    return Member(
        peer=peer_id(bytes.fromhex(key)),
        key=key,
        name=name,
        max_buy_wh=most_wh,
        max_sell_wh=most_wh,
        valid_from=0,
        valid_to=FOREVER_S,
    )
