"""Clearing one market slot: a uniform-price double auction that every peer recomputes for itself.

Pure and in integers: the same book gives the same result on every machine, in whatever order its
orders stand. The price is the middle of what both sides agree to (k-double auction, Chatterjee and
Samuelson 1983, k = 1/2). Ties fall by a hash that no order can steer: being early gains nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from operator import itemgetter
from typing import Any, NamedTuple

from control.canonical import canonical
from control.market_book import MOST_STEPS, Book, Order, Side

_INDEX = tuple(index.to_bytes(2, "big") for index in range(MOST_STEPS))

DUPLICATE = "more than one {side} order of this peer"
BOTH_SIDES = "this peer buys: its sell order does not count"

Ranked = tuple[int, int, str]  # price, Wh, peer
Fills = defaultdict[str, list[tuple[str, int]]]  # of each buyer: seller, Wh
_NONE: Ranked = (0, 0, "")


class Trade(NamedTuple):
    """One buyer takes energy from one seller."""

    buyer: str
    seller: str
    wh: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An order that did not take part."""

    peer: str
    side: str
    reason: str


@dataclass(frozen=True, slots=True)
class Clearing:
    """What a book comes to: buyers pay `price` per kWh, sellers receive `price - fee`."""

    fee: int
    price: int | None  # None: no trade
    trades: tuple[Trade, ...]  # by buyer, then seller
    rejected: tuple[LeftOut, ...]  # by peer, side, reason

    @property
    def volume_wh(self) -> int:
        """All energy traded."""
        return sum(trade.wh for trade in self.trades)

    def to_dict(self) -> dict[str, Any]:
        """As in the result file, with the hash that peers compare."""
        trades = [{"buyer": t.buyer, "q": t.wh, "seller": t.seller} for t in self.trades]
        agreed = canonical({"fee": self.fee, "price": self.price, "trades": trades})
        return {
            "hash": sha256(agreed).hexdigest(),
            "price": self.price,
            "rejected": [
                {"peer": r.peer, "reason": r.reason, "side": r.side} for r in self.rejected
            ],
            "trades": trades,
            "volume": self.volume_wh,
        }


def clear(book: Book) -> Clearing:
    """Match a book's orders at one price."""
    buys, sells, rejected = _sift(book)
    bids = _by_merit(buys, book.seed, falling=True)
    asks = _by_merit(sells, book.seed, falling=False)
    price, fills = _walk(bids, asks, book.fee)
    return Clearing(book.fee, price, tuple(_added_up(fills)), rejected)


def order_fault(order: Order, price_floor: int, price_ceiling: int) -> str:
    """Why an order cannot take part in any book with this band; empty when it can."""
    steps = order.steps
    if not 1 <= len(steps) <= MOST_STEPS:
        return f"{len(steps)} steps: 1 to {MOST_STEPS} allowed"
    buys = order.side == "buy"
    last_px = inf if buys else -inf
    for px, wh in steps:
        if not price_floor <= px <= price_ceiling:
            return f"price {px}: {price_floor} to {price_ceiling} allowed"
        if wh < 1:
            return f"quantity {wh}: at least 1 Wh allowed"
        if px >= last_px if buys else px <= last_px:
            way = "fall" if buys else "rise"
            return f"price {px} after {last_px}: {order.side} steps have to {way} strictly"
        last_px = px
    return ""


def _sift(book: Book) -> tuple[list[Order], list[Order], tuple[LeftOut, ...]]:
    """The buy and the sell orders that take part, and why the others do not."""
    first: dict[tuple[str, Side], Order] = {}
    twice: set[tuple[str, Side]] = set()
    for order in book.orders:
        owner = order.peer, order.side
        if owner in first:
            twice.add(owner)
        first[owner] = order
    rejected = [
        LeftOut(order.peer, order.side, DUPLICATE.format(side=order.side))
        for order in (book.orders if twice else ())
        if (order.peer, order.side) in twice
    ]
    floor, ceiling = book.price_floor, book.price_ceiling
    buys, sells = [], []
    for owner, order in first.items():
        if owner in twice:
            continue
        reason = order_fault(order, floor, ceiling)
        if reason:
            rejected.append(LeftOut(order.peer, order.side, reason))
        elif order.side == "buy":
            buys.append(order)
        else:
            sells.append(order)
    buyers = {order.peer for order in buys}
    both = [order for order in sells if order.peer in buyers]
    if both:
        sells = [order for order in sells if order.peer not in buyers]
        rejected += [LeftOut(order.peer, order.side, BOTH_SIDES) for order in both]
    rejected.sort(key=lambda r: (r.peer, r.side, r.reason))
    return buys, sells, tuple(rejected)


def _by_merit(orders: Iterable[Order], seed: bytes, *, falling: bool) -> Iterator[Ranked]:
    """All steps, best first. Ties are hashed where the walk gets to, no further."""
    steps = [
        (px, index, order.peer, wh)
        for order in orders
        for index, (px, wh) in enumerate(order.steps)
    ]
    steps.sort(key=itemgetter(0), reverse=falling)
    start = 0
    while start < len(steps):
        px, _, peer, wh = steps[start]
        end = start + 1
        while end < len(steps) and steps[end][0] == px:
            end += 1
        if end == start + 1:
            yield px, wh, peer
        else:
            level = steps[start:end]
            level.sort(key=lambda step: sha256(seed + step[2].encode() + _INDEX[step[1]]).digest())
            for _, _, peer, wh in level:
                yield px, wh, peer
        start = end


def _walk(bids: Iterator[Ranked], asks: Iterator[Ranked], fee: int) -> tuple[int | None, Fills]:
    """The price, and what each buyer takes from whom.

    The price lies between what is taken and what is left: low = max(last ask taken, best bid left),
    high = min(last bid taken, best ask left), asks with the fee. The rest of a step that was taken
    in part counts as left.
    """
    fills: Fills = defaultdict(list)
    low = high = None
    bid_px, bid_wh, buyer = next(bids, _NONE)
    ask_px, ask_wh, seller = next(asks, _NONE)
    while bid_wh and ask_wh and bid_px >= ask_px + fee:
        low, high = ask_px + fee, bid_px
        wh = bid_wh if bid_wh < ask_wh else ask_wh
        fills[buyer].append((seller, wh))
        bid_wh -= wh
        ask_wh -= wh
        if not bid_wh:
            bid_px, bid_wh, buyer = next(bids, _NONE)
        if not ask_wh:
            ask_px, ask_wh, seller = next(asks, _NONE)
    if low is None or high is None:
        return None, fills
    low = max(low, bid_px) if bid_wh else low
    high = min(high, ask_px + fee) if ask_wh else high
    return low + (high - low) // 2, fills


def _added_up(fills: Fills) -> Iterator[Trade]:
    """One trade of each buyer and seller; by buyer, then seller."""
    for buyer in sorted(fills):
        parts = fills[buyer]
        if len(parts) > 1:
            sums: defaultdict[str, int] = defaultdict(int)
            for seller, wh in parts:
                sums[seller] += wh
            parts = sorted(sums.items())
        for seller, wh in parts:
            yield Trade(buyer, seller, wh)
