"""The book of one market slot: what buyers and sellers have bound themselves to.

Prices are integers of 1e-5 currency per kWh, energies integers of Wh, so their product is money in
1e-8 currency without any rounding: peers who recompute a market agree to the last digit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Side = Literal["buy", "sell"]
Step = tuple[int, int]  # price per kWh, Wh

VERSION = 1
MOST_STEPS = 8
_SEED = re.compile(r"[0-9a-fA-F]{64}")
_BOOK_KEYS = ("version", "epoch", "seed", "fee", "price_floor", "price_ceiling", "orders")
_ORDER_KEYS = ("peer", "side", "steps")
_STEP_KEYS = ("px", "q")


@dataclass(frozen=True, slots=True)
class Order:
    """What one peer wants to buy or sell: at each step's price, or a better one, so much."""

    peer: str
    side: Side
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Book:
    """All orders of one slot, with what decides ties and the band that prices must lie in."""

    epoch: int
    seed: bytes  # 32 bytes
    fee: int  # per kWh, on top of what the seller asks
    price_floor: int
    price_ceiling: int
    orders: tuple[Order, ...]

    @classmethod
    def from_dict(cls, content: Any) -> "Book":
        """The book in parsed JSON. Raises ValueError that names the key and what is allowed."""
        _object(content, "", _BOOK_KEYS)
        if _integer(content, "", "version") != VERSION:
            raise ValueError(f"version = {content['version']}: {VERSION} allowed")
        seed = _text(content, "", "seed")
        if not _SEED.fullmatch(seed):
            raise ValueError(f"seed = {_shown(seed)}: 64 hex digits allowed")
        floor = _integer(content, "", "price_floor")
        ceiling = _integer(content, "", "price_ceiling")
        if ceiling < floor:
            raise ValueError(f"price_ceiling = {ceiling}: at least price_floor = {floor} allowed")
        return cls(
            epoch=_integer(content, "", "epoch", at_least=0),
            seed=bytes.fromhex(seed),
            fee=_integer(content, "", "fee", at_least=0),
            price_floor=floor,
            price_ceiling=ceiling,
            orders=tuple(
                order_from_dict(order, f"orders[{index}]")
                for index, order in enumerate(_list(content, "", "orders"))
            ),
        )


def order_from_dict(content: Any, where: str) -> Order:
    """One order of a book; `where` names it in errors. Raises ValueError."""
    _object(content, where, _ORDER_KEYS)
    side = content["side"]
    if side not in ("buy", "sell"):
        raise ValueError(f'{where}.side = {_shown(side)}: "buy" or "sell" allowed')
    peer = _text(content, where, "peer")
    steps = _list(content, where, "steps")
    return Order(peer, side, tuple(_step(step, where, i) for i, step in enumerate(steps)))


def _step(content: Any, order: str, index: int) -> Step:
    # Written out: a book has hundreds of thousands of steps.
    if isinstance(content, dict) and len(content) == len(_STEP_KEYS):
        px, q = content.get("px"), content.get("q")
        if type(px) is int and type(q) is int:
            return px, q
    where = f"{order}.steps[{index}]"
    _object(content, where, _STEP_KEYS)
    return _integer(content, where, "px"), _integer(content, where, "q")


def _object(content: Any, where: str, keys: tuple[str, ...]) -> None:
    if not isinstance(content, dict):
        name = where or "book"
        raise ValueError(f"{name} = {_shown(content)}: an object allowed")
    for key in keys:
        if key not in content:
            raise ValueError(f"{_path(where, key)}: missing")
    if len(content) > len(keys):
        unknown = min(set(content) - set(keys))
        raise ValueError(f"{_path(where, _shown(unknown))}: no such key; {', '.join(keys)} allowed")


def _integer(content: Mapping[str, Any], where: str, key: str, at_least: int | None = None) -> int:
    value = content[key]
    if type(value) is not int:  # a bool is an int to isinstance
        raise ValueError(f"{_path(where, key)} = {_shown(value)}: an integer allowed")
    if at_least is not None and value < at_least:
        raise ValueError(f"{_path(where, key)} = {_shown(value)}: at least {at_least} allowed")
    return value


def _text(content: Mapping[str, Any], where: str, key: str) -> str:
    value = content[key]
    if not isinstance(value, str):
        raise ValueError(f"{_path(where, key)} = {_shown(value)}: a text allowed")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"{_path(where, key)} = {_shown(value)}: Unicode text allowed, no lone surrogates"
            ) from None
    return value


def _list(content: Mapping[str, Any], where: str, key: str) -> list[Any]:
    value = content[key]
    if not isinstance(value, list):
        raise ValueError(f"{_path(where, key)} = {_shown(value)}: a list allowed")
    return value


def _path(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _shown(value: Any) -> str:
    """A value on one line, cut where it is long; any text comes out as ASCII."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
