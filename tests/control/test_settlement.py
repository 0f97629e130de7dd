"""Settlement: what every account comes to, and that nothing is lost or made."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.market import clear
from control.market_book import Book, Order
from control.settlement import Deal, Metered, Settlement, correction, settle

RETAIL, FEED_IN = 30_000, 5_000
PEERS = ("a", "b", "c", "d")

readings = st.none() | st.builds(Metered, st.integers(0, 5000), st.integers(0, 5000))
deals = st.lists(
    st.builds(
        Deal,
        st.sampled_from(PEERS),
        st.sampled_from(PEERS),
        st.integers(1, 3000),
        st.integers(-50_000, 50_000),
        st.integers(0, 500),
    ),
    max_size=8,
)
meters = st.fixed_dictionaries(dict.fromkeys(PEERS, readings))


@settings(deadline=None)
@given(deals, meters, st.integers(-9_000, 9_000), st.integers(0, 40_000))
def test_money_adds_up_to_zero(
    deals: list[Deal], meters: dict[str, Metered | None], feed_in: int, margin: int
) -> None:
    result = settle(deals, meters, feed_in + margin, feed_in)
    assert sum(result.accounts().values()) == 0
    assert result.fee_money == sum(deal.wh * deal.fee for deal in deals)


@settings(deadline=None)
@given(deals, meters)
def test_energy_is_all_accounted_for(deals: list[Deal], meters: dict[str, Metered | None]) -> None:
    for line in settle(deals, meters, RETAIL, FEED_IN).lines:
        meter = meters[line.peer]
        if meter is not None:
            net_wh = meter.import_wh - meter.export_wh
            assert line.bought_wh - line.sold_wh + line.deviation_wh == net_wh
        assert line.provisional == (meter is None)


@settings(deadline=None)
@given(deals, meters, st.integers(1, 1000))
def test_the_grid_loses_nothing_on_deviations(
    deals: list[Deal], meters: dict[str, Metered | None], fee: int
) -> None:
    """It buys at the feed-in price and sells at retail: never worse than both being one price."""
    result = settle(deals, meters, RETAIL, FEED_IN)
    net_wh = sum(line.deviation_wh for line in result.lines)
    assert result.grid_money >= net_wh * FEED_IN
    assert result.grid_money >= net_wh * RETAIL


@st.composite
def streets(draw: st.DrawFn) -> tuple[Book, dict[str, Metered]]:
    """Houses that order within the grid's prices just what they then need or have."""
    orders, meters = [], {}
    for number in range(draw(st.integers(2, 6))):
        wh = draw(st.integers(1, 3000))
        side = draw(st.sampled_from(("buy", "sell")))
        px = draw(st.integers(FEED_IN, RETAIL))
        orders.append(Order(f"h{number}", side, ((px, wh),)))
        meters[f"h{number}"] = Metered(wh, 0) if side == "buy" else Metered(0, wh)
    fee = draw(st.integers(0, 2000))
    return Book(
        1, draw(st.binary(min_size=32, max_size=32)), fee, FEED_IN, RETAIL, tuple(orders)
    ), meters


def deals_of(book: Book) -> list[Deal]:
    result = clear(book)
    return [
        Deal(t.buyer, t.seller, t.wh, result.price, result.fee)
        for t in result.trades
        if result.price is not None
    ]


@settings(deadline=None)
@given(streets())
def test_who_keeps_to_its_word_is_never_worse_off_than_alone(
    street: tuple[Book, dict[str, Metered]],
) -> None:
    book, meters = street
    alone = settle([], meters, RETAIL, FEED_IN)
    together = settle(deals_of(book), meters, RETAIL, FEED_IN)
    for before, after in zip(alone.lines, together.lines, strict=True):
        assert after.money >= before.money


@settings(deadline=None)
@given(deals, meters, meters)
def test_corrections_add_up_to_zero_and_lead_from_one_to_the_other(
    deals: list[Deal], first: dict[str, Metered | None], later: dict[str, Metered | None]
) -> None:
    before, after = settle(deals, first, RETAIL, FEED_IN), settle(deals, later, RETAIL, FEED_IN)
    changes = correction(before, after)
    assert sum(changes.values()) == 0
    paid = {key: money + changes.get(key, 0) for key, money in before.accounts().items()}
    assert paid == after.accounts()


DEAL = Deal("a", "b", 1000, 18_000, 200)


def settled(a: Metered | None, b: Metered | None) -> Settlement:
    return settle([DEAL], {"a": a, "b": b}, RETAIL, FEED_IN)


def test_a_slot_by_hand() -> None:
    result = settled(Metered(1500, 0), Metered(0, 900))
    a, b = result.lines
    # a bought 1000 Wh and took 1500; b sold 1000 and gave 900: the grid gives 500 and 100.
    assert (a.trade_money, a.grid_money) == (-18_000_000, -15_000_000)
    assert (b.trade_money, b.grid_money) == (17_800_000, -3_000_000)
    assert (result.grid_money, result.fee_money) == (18_000_000, 200_000)


def test_too_little_taken_goes_back_at_the_feed_in_price() -> None:
    a, b = settled(Metered(600, 0), Metered(0, 1200)).lines
    assert (a.deviation_wh, a.grid_money) == (-400, 2_000_000)
    assert (b.deviation_wh, b.grid_money) == (-200, 1_000_000)


def test_without_a_reading_trades_count_until_it_comes() -> None:
    before, after = settled(None, Metered(0, 1000)), settled(Metered(1100, 0), Metered(0, 1000))
    assert [line.provisional for line in before.lines] == [True, False]
    assert correction(before, after) == {("grid", ""): 3_000_000, ("peer", "a"): -3_000_000}


@pytest.mark.parametrize(
    ("deals", "meters", "feed_in", "error"),
    [
        ([DEAL], {"a": None}, 0, "b traded but is not settled"),
        ([], {"a": Metered(-1, 0)}, 0, "meter of a: energies of at least 0 Wh allowed"),
        ([], {}, RETAIL + 1, "feed-in price 30001: at most retail = 30000 allowed"),
        ([replace(DEAL, wh=0)], {"a": None, "b": None}, 0, "deal of 0 Wh, fee 200"),
        ([replace(DEAL, fee=-1)], {"a": None, "b": None}, 0, "deal of 1000 Wh, fee -1"),
    ],
)
def test_nonsense_is_refused(
    deals: list[Deal], meters: dict[str, Metered | None], feed_in: int, error: str
) -> None:
    with pytest.raises(ValueError, match=error):
        settle(deals, meters, RETAIL, feed_in)
