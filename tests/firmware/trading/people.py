"""Documents and messages of a small community, with real keys."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware.trading.envelope import NO_MESSAGE, Message, seal
from firmware.trading.identity import Identity
from firmware.trading.membership import Administrators, Market, Member, Membership

EPOCH = 1_969_123
DELIVERY_S = EPOCH * 900
NOW_S = DELIVERY_S - 600.0  # the slot is open for orders
FOREVER_S = 2**40


def known(name: str) -> Identity:
    """The same one in every run."""
    return Identity(Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest()))


def entry(identity: Identity, **changes: Any) -> Member:
    fields = {
        "peer": identity.peer,
        "key": identity.public_key.hex(),
        "name": "",
        "max_buy_wh": 2000,
        "max_sell_wh": 1000,
        "valid_from": 0,
        "valid_to": FOREVER_S,
    }
    return Member.model_validate(fields | changes)


def document(
    signers: list[Identity], need: int, members: list[Member], /, **changes: Any
) -> Membership:
    keys = [who.public_key.hex() for who in signers]
    fields: dict[str, Any] = {
        "community": "street",
        "version": 1,
        "prev": NO_MESSAGE,
        "admins": Administrators(need=need, keys=keys),
        "members": members,
        "market": Market(fee=200, price_floor=5_000, price_ceiling=30_000),
    }
    made = Membership(**(fields | changes))
    for who in signers:
        made = made.signed(who)
    return made


def sealed(who: Identity, kind: str, body: Mapping[str, Any], **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "community": "street",
        "epoch": EPOCH,
        "n": 5,
        "ts_s": int(NOW_S),
        "version": 1,
        "prev": NO_MESSAGE,
    }
    return seal(who, kind, body, **(fields | changes))


def order(
    who: Identity, side: str = "buy", px: int = 9_000, q: int = 500, **changes: Any
) -> Message:
    return sealed(who, "order", {"side": side, "steps": [{"px": px, "q": q}]}, **changes)
