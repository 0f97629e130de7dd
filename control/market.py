"""Clearing one market slot: a uniform-price double auction that every peer recomputes for itself.

Pure and in integers: the same book gives the same result on every machine, in whatever order its
orders stand. The price is the middle of what both sides agree to (k-double auction, Chatterjee and
Samuelson 1983, k = 1/2). Ties fall by a hash that no order can steer: being early gains nothing.
"""

from collections.abc import Collection, Iterator
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

Orders = Collection[Order]
Ranked = tuple[int, int, str, int]  # price, Wh, peer, number of the step
Fill = tuple[str, str, int]  # buyer, seller, Wh
_NONE: Ranked = (0, 0, "", 0)
_PRICE = itemgetter(0)


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
    return Clearing(book.fee, price, tuple(map(Trade._make, _added_up(fills))), rejected)


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


def _sift(book: Book) -> tuple[Orders, Orders, tuple[LeftOut, ...]]:
    """The buy and the sell orders that take part, and why the others do not."""
    buys: dict[str, Order] = {}
    sells: dict[str, Order] = {}
    twice: set[tuple[str, Side]] = set()
    for order in book.orders:
        side = buys if order.side == "buy" else sells
        if order.peer in side:
            twice.add((order.peer, order.side))
        side[order.peer] = order
    rejected = [
        LeftOut(order.peer, order.side, DUPLICATE.format(side=order.side))
        for order in (book.orders if twice else ())
        if (order.peer, order.side) in twice
    ]
    for peer, name in twice:
        del (buys if name == "buy" else sells)[peer]
    floor, ceiling = book.price_floor, book.price_ceiling
    for side in (buys, sells):
        for order in _faulty(side.values(), floor, ceiling):
            del side[order.peer]
            rejected.append(LeftOut(order.peer, order.side, order_fault(order, floor, ceiling)))
    for peer in buys.keys() & sells.keys():
        del sells[peer]
        rejected.append(LeftOut(peer, "sell", BOTH_SIDES))
    rejected.sort(key=lambda r: (r.peer, r.side, r.reason))
    return buys.values(), sells.values(), tuple(rejected)


def _faulty(orders: Orders, price_floor: int, price_ceiling: int) -> list[Order]:
    """Those with an `order_fault`, written out: a book has hundreds of thousands of steps."""
    faulty = []
    for order in orders:
        right = 1 <= len(order.steps) <= MOST_STEPS
        if order.side == "buy":
            bound = price_ceiling + 1
            for px, wh in order.steps:
                right = right and price_floor <= px < bound and wh > 0
                bound = px
        else:
            bound = price_floor - 1
            for px, wh in order.steps:
                right = right and bound < px <= price_ceiling and wh > 0
                bound = px
        if not right:
            faulty.append(order)
    return faulty


def _by_merit(orders: Orders, seed: bytes, *, falling: bool) -> Iterator[Ranked]:
    """All steps, best first. Ties are hashed where the walk gets to, no further."""
    steps = [
        (px, wh, order.peer, index)
        for order in orders
        for index, (px, wh) in enumerate(order.steps)
    ]
    steps.sort(key=_PRICE, reverse=falling)
    prices: list[int | None] = list(map(_PRICE, steps))
    prices.append(None)
    start, count = 0, len(steps)
    while start < count:
        px, end = prices[start], start + 1
        if prices[end] != px:
            yield steps[start]
        else:
            while prices[end] == px:
                end += 1
            level = steps[start:end]
            level.sort(key=lambda step: sha256(seed + step[2].encode() + _INDEX[step[3]]).digest())
            yield from level
        start = end


def _walk(
    bids: Iterator[Ranked], asks: Iterator[Ranked], fee: int
) -> tuple[int | None, list[Fill]]:
    """The price, and what each buyer takes from whom.

    The price lies between what is taken and what is left: low = max(last ask taken, best bid left),
    high = min(last bid taken, best ask left), asks with the fee. The rest of a step that was taken
    in part counts as left.
    """
    fills: list[Fill] = []
    low = high = None
    bid_px, bid_wh, buyer, _ = next(bids, _NONE)
    ask_px, ask_wh, seller, _ = next(asks, _NONE)
    while bid_wh and ask_wh and bid_px >= ask_px + fee:
        low, high = ask_px + fee, bid_px
        if bid_wh < ask_wh:
            fills.append((buyer, seller, bid_wh))
            ask_wh -= bid_wh
            bid_px, bid_wh, buyer, _ = next(bids, _NONE)
        else:
            fills.append((buyer, seller, ask_wh))
            bid_wh -= ask_wh
            ask_px, ask_wh, seller, _ = next(asks, _NONE)
            if not bid_wh:
                bid_px, bid_wh, buyer, _ = next(bids, _NONE)
    if low is None or high is None:
        return None, fills
    low = max(low, bid_px) if bid_wh else low
    high = min(high, ask_px + fee) if ask_wh else high
    return low + (high - low) // 2, fills


def _added_up(fills: list[Fill]) -> list[Fill]:
    """One of each buyer and seller; by buyer, then seller."""
    fills.sort()
    sums: list[Fill] = []
    last_buyer = last_seller = None
    for fill in fills:
        buyer, seller, wh = fill
        if seller == last_seller and buyer == last_buyer:
            sums[-1] = buyer, seller, sums[-1][2] + wh
        else:
            sums.append(fill)
            last_buyer, last_seller = buyer, seller
    return sums
