"""Clearing against a second implementation, and what must hold of any book."""

import json
import random
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.canonical import canonical
from control.market import BOTH_SIDES, DUPLICATE, Clearing, Trade, clear
from control.market_book import Book, Order

FLOOR, CEILING = 100, 112
PEERS = ("a", "b", "house-03", "Ж", "鄰", "🏠", "")


@st.composite
def orders(draw: st.DrawFn, most_wh: int = 7) -> Order:
    """Mostly right, sometimes not; prices so close that ties are everywhere."""
    side = draw(st.sampled_from(("buy", "sell")))
    pxs = draw(st.lists(st.integers(FLOOR - 1, CEILING + 1), max_size=9, unique=True))
    if draw(st.integers(0, 9)):
        pxs.sort(reverse=side == "buy")
    steps = tuple((px, draw(st.integers(0 if px % 5 == 0 else 1, most_wh))) for px in pxs)
    return Order(draw(st.sampled_from(PEERS)), side, steps)


@st.composite
def books(draw: st.DrawFn) -> Book:
    return Book(
        epoch=7,
        seed=draw(st.binary(min_size=32, max_size=32)),
        fee=draw(st.integers(0, 4) | st.just(50)),
        price_floor=FLOOR,
        price_ceiling=CEILING,
        orders=tuple(draw(st.lists(orders(), max_size=9))),
    )


# --- a second implementation: slow, obvious, one watt-hour at a time -------------------------


def takes_part(order: Order, book: Book) -> bool:
    """Alone, whatever others of the same peer there are."""
    pxs = [px for px, _ in order.steps]
    falling = pxs if order.side == "buy" else pxs[::-1]
    return (
        1 <= len(pxs) <= 8
        and all(book.price_floor <= px <= book.price_ceiling for px in pxs)
        and all(wh >= 1 for _, wh in order.steps)
        and all(left > right for left, right in pairwise(falling))
    )


def those_in(book: Book) -> list[Order]:
    count = Counter((order.peer, order.side) for order in book.orders)
    good = [o for o in book.orders if count[o.peer, o.side] == 1 and takes_part(o, book)]
    buyers = [order.peer for order in good if order.side == "buy"]
    return [order for order in good if order.side == "buy" or order.peer not in buyers]


def watt_hours(book: Book, side: str) -> list[tuple[int, str]]:
    """Price (asks with the fee) and peer of every single watt-hour, best first."""
    sign, fee = (-1, 0) if side == "buy" else (1, book.fee)
    rows = [
        (sign * px, sha256(book.seed + o.peer.encode() + bytes([0, index])).digest(), o.peer, wh)
        for o in those_in(book)
        if o.side == side
        for index, (px, wh) in enumerate(o.steps)
    ]
    return [(sign * px + fee, peer) for px, _, peer, wh in sorted(rows) for _ in range(wh)]


def slowly(book: Book) -> tuple[int | None, dict[tuple[str, str], int]]:
    """Price and trades."""
    bids, asks = watt_hours(book, "buy"), watt_hours(book, "sell")
    taken = [(bid, ask) for bid, ask in zip(bids, asks, strict=False) if bid[0] >= ask[0]]
    if not taken:
        return None, {}
    n = len(taken)
    low = max([taken[-1][1][0]] + [px for px, _ in bids[n : n + 1]])
    high = min([taken[-1][0][0]] + [px for px, _ in asks[n : n + 1]])
    return low + (high - low) // 2, dict(Counter((bid[1], ask[1]) for bid, ask in taken))


def largest_volume(book: Book) -> int:
    """The most that is bought and sold at any one price, all of which are tried."""
    bids, asks = watt_hours(book, "buy"), watt_hours(book, "sell")
    return max(
        min(sum(px >= price for px, _ in bids), sum(px <= price for px, _ in asks))
        for price in range(FLOOR, CEILING + book.fee + 1)
    )


# --- what must hold ---------------------------------------------------------------------------


@settings(deadline=None)
@given(books())
def test_equals_the_slow_implementation(book: Book) -> None:
    price, trades = slowly(book)
    result = clear(book)
    assert result.price == price
    assert {(t.buyer, t.seller): t.wh for t in result.trades} == trades
    assert list(result.trades) == sorted(result.trades)
    assert len(trades) == len(result.trades)


@settings(deadline=None)
@given(books(), st.randoms())
def test_the_order_of_the_orders_changes_no_byte(book: Book, dice: random.Random) -> None:
    shuffled = list(book.orders)
    dice.shuffle(shuffled)
    again = clear(replace(book, orders=tuple(shuffled)))
    assert canonical(again.to_dict()) == canonical(clear(book).to_dict())


@settings(deadline=None)
@given(books())
def test_nobody_trades_outside_of_limits(book: Book) -> None:
    result = clear(book)
    if result.price is None:
        assert not result.trades
        return
    for order in those_in(book):
        mine = result.price if order.side == "buy" else result.price - book.fee
        bought = sum(t.wh for t in result.trades if t.buyer == order.peer)
        sold = sum(t.wh for t in result.trades if t.seller == order.peer)
        better = (lambda px: px >= mine) if order.side == "buy" else (lambda px: px <= mine)  # noqa: B023
        assert (bought if order.side == "buy" else sold) <= sum(
            wh for px, wh in order.steps if better(px)
        )
        assert (sold if order.side == "buy" else bought) == 0


@settings(deadline=None)
@given(books())
def test_energy_and_money_balance(book: Book) -> None:
    result = clear(book)
    price = result.price or 0
    paid = sum(t.wh * price for t in result.trades)
    received = sum(t.wh * (price - result.fee) for t in result.trades)
    assert paid - received == result.fee * result.volume_wh
    assert all(t.wh >= 1 and t.buyer != t.seller for t in result.trades)


@settings(deadline=None)
@given(books())
def test_the_volume_is_the_largest_at_one_price_and_nobody_better_is_left(book: Book) -> None:
    result = clear(book)
    assert result.volume_wh == largest_volume(book)
    if result.price is None:
        return
    bids, asks = watt_hours(book, "buy"), watt_hours(book, "sell")
    assert all(px <= result.price for px, _ in bids[result.volume_wh :])
    assert all(px >= result.price for px, _ in asks[result.volume_wh :])


@settings(deadline=None)
@given(books())
def test_every_order_takes_part_or_is_listed(book: Book) -> None:
    rejected = clear(book).rejected
    assert all(r.reason for r in rejected)
    assert list(rejected) == sorted(rejected, key=lambda r: (r.peer, r.side, r.reason))
    inside = Counter((order.peer, order.side) for order in those_in(book))
    outside = Counter((r.peer, r.side) for r in rejected)
    assert inside + outside == Counter((order.peer, order.side) for order in book.orders)


@settings(deadline=None)
@given(books(), st.integers(10**30, 10**40))
def test_quantities_have_no_largest(book: Book, factor: int) -> None:
    huge = tuple(
        replace(o, steps=tuple((px, wh * factor) for px, wh in o.steps)) for o in book.orders
    )
    small, large = clear(book), clear(replace(book, orders=huge))
    assert large.price == small.price
    assert large.volume_wh == small.volume_wh * factor


# --- cases ------------------------------------------------------------------------------------

SEED = bytes(range(32))


def book(*orders: Order, fee: int = 200, floor: int = 7000, ceiling: int = 13000) -> Book:
    return Book(1, SEED, fee, floor, ceiling, orders)


def buy(peer: str, *steps: tuple[int, int]) -> Order:
    return Order(peer, "buy", steps)


def sell(peer: str, *steps: tuple[int, int]) -> Order:
    return Order(peer, "sell", steps)


def test_the_contracts_example() -> None:
    result = clear(
        book(buy("house-03", (12500, 1500), (9000, 500)), sell("house-07", (8000, 2000)))
    )
    assert result.price == 8600  # between 8000 + 200 and 9000: nothing was left on either side
    assert result.trades == (Trade("house-03", "house-07", 2000),)
    trades = [{"buyer": "house-03", "q": 2000, "seller": "house-07"}]
    agreed = json.dumps({"fee": 200, "price": 8600, "trades": trades}, separators=(",", ":"))
    assert canonical(result.to_dict()).decode() == (
        f'{{"hash":"{sha256(agreed.encode()).hexdigest()}","price":8600,"rejected":[],'
        '"trades":[{"buyer":"house-03","q":2000,"seller":"house-07"}],"volume":2000}'
    )


def test_the_rest_of_a_step_bounds_the_price() -> None:
    short = clear(book(buy("b", (12000, 1000)), sell("s", (8000, 400))))
    assert short.price == 12000  # the bid that is left over is the best one rejected
    long = clear(book(buy("b", (12000, 400)), sell("s", (8000, 1000))))
    assert long.price == 8200


def test_the_best_left_over_of_both_sides_bound_the_price() -> None:
    result = clear(
        book(
            buy("b1", (12000, 5)),
            buy("b2", (9001, 5)),
            sell("s1", (8000, 5)),
            sell("s2", (9999, 5)),
        )
    )
    assert result.price == 9001 + (10199 - 9001) // 2


@pytest.mark.parametrize(
    "nothing",
    [
        book(),
        book(buy("b", (12000, 5))),
        book(sell("s", (8000, 5))),
        book(buy("b", (8000, 5)), sell("s", (8000, 5))),  # the fee is in between
        book(buy("b", (13000, 5)), sell("s", (7000, 5)), fee=6001),
    ],
    ids=["empty", "bids", "asks", "fee", "fee above the band"],
)
def test_no_trade_no_price(nothing: Book) -> None:
    assert clear(nothing) == Clearing(nothing.fee, None, (), ())
    fields = clear(nothing).to_dict()
    assert (fields["price"], fields["trades"], fields["volume"]) == (None, [], 0)


def test_a_band_of_one_price() -> None:
    result = clear(book(buy("b", (9, 5)), sell("s", (9, 3)), fee=0, floor=9, ceiling=9))
    assert (result.price, result.volume_wh) == (9, 3)


def test_prices_may_be_negative() -> None:
    result = clear(book(buy("b", (-1, 5)), sell("s", (-8, 5)), fee=0, floor=-9, ceiling=9))
    assert result.price == -8 + 7 // 2


def test_ties_fall_by_hash_and_change_with_the_seed() -> None:
    street = [buy(f"b{i}", (9000, 1)) for i in range(40)]
    tied = book(*street, sell("s", (8000, 1)), fee=0)
    first = min(street, key=lambda o: sha256(SEED + o.peer.encode() + b"\0\0").digest()).peer
    assert clear(tied).trades == (Trade(first, "s", 1),)
    winners = {clear(replace(tied, seed=bytes([i]) * 32)).trades[0].buyer for i in range(40)}
    assert len(winners) > 10


def test_eight_steps_on_both_sides_pair_into_one_trade() -> None:
    bids = tuple((9000 - i, 3) for i in range(8))
    asks = tuple((8000 + i, 2) for i in range(8))
    result = clear(book(buy("b", *bids), sell("s", *asks), fee=0))
    assert result.trades == (Trade("b", "s", 16),)


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        (buy("x"), "0 steps: 1 to 8 allowed"),
        (buy("x", *((9000 - i, 1) for i in range(9))), "9 steps: 1 to 8 allowed"),
        (buy("x", (6999, 1)), "price 6999: 7000 to 13000 allowed"),
        (sell("x", (8000, 1), (13001, 1)), "price 13001: 7000 to 13000 allowed"),
        (sell("x", (8000, 0)), "quantity 0: at least 1 Wh allowed"),
        (buy("x", (8000, 1), (8000, 1)), "price 8000 after 8000: buy steps have to fall strictly"),
        (
            sell("x", (8000, 1), (7999, 1)),
            "price 7999 after 8000: sell steps have to rise strictly",
        ),
    ],
)
def test_what_is_left_out_has_a_reason(order: Order, reason: str) -> None:
    result = clear(book(order, buy("b", (9000, 1)), sell("s", (8000, 1))))
    assert [(r.peer, r.side, r.reason) for r in result.rejected] == [("x", order.side, reason)]
    assert result.trades == (Trade("b", "s", 1),)


def test_of_two_orders_on_one_side_neither_counts() -> None:
    result = clear(book(buy("x", (9000, 1)), buy("x"), buy("b", (8500, 1)), sell("s", (8000, 1))))
    assert [r.reason for r in result.rejected] == [DUPLICATE.format(side="buy")] * 2
    assert result.trades == (Trade("b", "s", 1),)


def test_the_same_order_twice_is_two() -> None:
    order = buy("x", (9000, 1))
    assert len(clear(book(order, order)).rejected) == 2


def test_who_buys_does_not_sell() -> None:
    result = clear(book(buy("x", (9000, 1)), sell("x", (8000, 1)), sell("s", (8100, 1))))
    assert [(r.peer, r.side, r.reason) for r in result.rejected] == [("x", "sell", BOTH_SIDES)]
    assert result.trades == (Trade("x", "s", 1),)


def test_a_buy_order_that_does_not_count_leaves_the_sell_order() -> None:
    result = clear(book(buy("x", (1, 1)), sell("x", (8000, 1)), buy("b", (9000, 1))))
    assert result.trades == (Trade("b", "x", 1),)


def test_a_large_book_equals_the_slow_implementation() -> None:
    dice = random.Random(5)
    street: list[Any] = []
    for i in range(400):
        pxs = sorted(dice.sample(range(7000, 7060), dice.randint(1, 8)))
        steps = tuple((px, dice.randint(1, 9)) for px in pxs)
        street.append(sell(f"p{i}", *steps) if i % 2 else buy(f"p{i}", *steps[::-1]))
    large = book(*street, fee=3)
    price, trades = slowly(large)
    result = clear(large)
    assert (result.price, {(t.buyer, t.seller): t.wh for t in result.trades}) == (price, trades)
