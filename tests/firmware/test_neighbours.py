"""What the loop believes of the market: trades on its own clock, nonsense refused."""

import math
from dataclasses import replace
from typing import Any

import pytest

from control.trades import NO_MARKET, Market, Trade
from firmware.config import Site
from firmware.delivery_watch import DeliveryWatch
from firmware.neighbours import Neighbourhood, Said

NOW_UTC_S, NOW_S = 1_760_000_400.0, 5000.0
SLOT_S = 900.0
SOLD = Trade(7, NOW_UTC_S, NOW_UTC_S + SLOT_S, -200, 0.12)
NEXT = Trade(8, NOW_UTC_S + SLOT_S, NOW_UTC_S + 2 * SLOT_S, 300, 0.2)
MARKET = Market(
    NOW_UTC_S + 60.0,
    (SOLD, NEXT),
    interest_frac=0.5,
    prices_from_utc_s=NOW_UTC_S,
    prices_step_s=SLOT_S,
    prices_per_kwh=(0.1, 0.2),
    detail="sells",
    events=("sold",),
)


@pytest.fixture
def held(site: Site) -> Neighbourhood:
    """The example's, told of two trades."""
    made = Neighbourhood(site)
    assert made.take(Said(MARKET, "street"), NOW_UTC_S, NOW_S) == ""
    return made


def latest(held: Neighbourhood, after_s: float, clock_off_s: float = 0.0) -> Any:
    return held.latest(NOW_UTC_S + after_s + clock_off_s, NOW_S + after_s)


def test_trades_stand_on_the_loops_clock_until_they_are_over(held: Neighbourhood) -> None:
    now = latest(held, 1.0)
    assert [(d.from_t_s, d.until_t_s, d.bought_kw) for d in now.deliveries] == [
        (NOW_S, NOW_S + SLOT_S, -0.8),
        (NOW_S + SLOT_S, NOW_S + 2 * SLOT_S, 1.2),
    ]
    assert now.market.trades == (SOLD, NEXT)
    assert now.last == NEXT
    assert (now.bought_wh, now.sold_wh) == (300, 200)
    assert latest(held, SLOT_S).market.trades == (NEXT,)
    assert latest(held, 2 * SLOT_S).deliveries == ()


def test_nothing_new_is_the_same_object(held: Neighbourhood) -> None:
    assert latest(held, 1.0) is latest(held, 2.0)


def test_a_step_of_the_wall_clock_moves_no_delivery(held: Neighbourhood) -> None:
    before = latest(held, 1.0).deliveries
    again = replace(MARKET, expires_utc_s=MARKET.expires_utc_s + 3600.0)
    assert held.take(Said(again), NOW_UTC_S + 3600.0, NOW_S + 2.0) == ""
    assert latest(held, 3.0, clock_off_s=3600.0).deliveries == before


def test_more_of_the_same_slot_replaces_what_was_known_of_it(held: Neighbourhood) -> None:
    more = replace(SOLD, net_wh=-250)
    held.take(Said(replace(MARKET, trades=(more, NEXT))), NOW_UTC_S + 5.0, NOW_S + 5.0)
    now = latest(held, 6.0)
    assert now.market.trades == (more, NEXT)
    assert (now.bought_wh, now.sold_wh) == (300, 250)


@pytest.mark.parametrize("clock_off_s", [0.0, -SLOT_S])
def test_a_trade_that_is_over_stays_over(held: Neighbourhood, clock_off_s: float) -> None:
    """An answer comes late, or the wall clock went back and the market begins the slot again."""
    latest(held, SLOT_S)
    known = replace(MARKET, trades=(SOLD,))
    assert held.take(Said(known), NOW_UTC_S + SLOT_S + clock_off_s, NOW_S + SLOT_S) == ""
    now = latest(held, SLOT_S + 1.0, clock_off_s)
    assert [delivery.from_t_s for delivery in now.deliveries] == [NOW_S + SLOT_S]
    assert (now.bought_wh, now.sold_wh) == (300, 200)
    assert now.last == NEXT


def test_no_more_trades_are_held_than_a_market_may_have(held: Neighbourhood) -> None:
    others = tuple(replace(SOLD, epoch=number) for number in range(20, 28))
    wrong = held.take(Said(replace(MARKET, trades=others)), NOW_UTC_S, NOW_S)
    assert wrong == "too many trades"
    assert len(held.deliveries) == 2


def test_what_is_old_is_not_used_but_trades_are_kept_to(held: Neighbourhood) -> None:
    now = latest(held, 61.0)
    assert now.market.interest_frac == 0.0
    assert now.market.prices_per_kwh == ()
    assert now.market.trades == (SOLD, NEXT)
    held.fail("the trading process died")
    now = latest(held, 62.0)
    assert now.market.problem == "the trading process died"
    assert len(now.deliveries) == 2


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"expires_utc_s": math.inf}, "its expiry"),
        ({"expires_utc_s": math.nan}, "its expiry"),
        ({"interest_frac": 1.5}, "the buyers' interest"),
        ({"interest_frac": math.nan}, "the buyers' interest"),
        ({"prices_per_kwh": (0.1, math.nan)}, "agreed prices"),
        ({"prices_per_kwh": (1e9,)}, "agreed prices"),
        ({"prices_per_kwh": (0.1,) * 5000}, "too much of it"),
        ({"prices_step_s": 0.0}, "the step of agreed prices"),
        ({"prices_from_utc_s": 0.0}, "the time of agreed prices"),
        ({"trades": (replace(SOLD, until_utc_s=SOLD.from_utc_s),)}, "a trade's times"),
        ({"trades": (replace(SOLD, until_utc_s=math.nan),)}, "a trade's times"),
        ({"trades": (replace(SOLD, from_utc_s=0.0, until_utc_s=900.0),)}, "a trade's times"),
        ({"trades": (replace(SOLD, price_per_kwh=math.inf),)}, "a trade's price"),
        ({"trades": (replace(SOLD, net_wh=-90_000),)}, "a trade of -360.00 kW, beyond"),
        ({"trades": (replace(SOLD, net_wh=10**300),)}, "a trade's energy"),
        ({"trades": (replace(SOLD, net_wh=10**400),)}, "a trade's energy"),
        ({"trades": (SOLD,) * 9}, "too much of it"),
    ],
)
def test_nonsense_is_refused(held: Neighbourhood, changes: dict[str, Any], wrong: str) -> None:
    before = latest(held, 1.0)
    assert wrong in held.take(Said(replace(MARKET, **changes)), NOW_UTC_S + 1.0, NOW_S + 1.0)
    assert latest(held, 1.0) is before


def test_a_box_in_no_community_is_no_nonsense(site: Site) -> None:
    held = Neighbourhood(site)
    assert held.take(Said(replace(NO_MARKET, problem="no file")), NOW_UTC_S, NOW_S) == ""
    assert latest(held, 0.0).market.problem == "no file"


# --- what became of it ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid_kw", "said"),
    [
        (-0.8, "slot over: sold 200 Wh; the connection: 200 Wh out"),
        (0.4, "slot over: sold 200 Wh; the connection: -100 Wh out"),
        (None, "slot over: sold 200 Wh, not metered throughout"),
    ],
)
def test_what_became_of_a_slot(held: Neighbourhood, grid_kw: float | None, said: str) -> None:
    watch, deliveries = DeliveryWatch(), latest(held, 1.0).deliveries
    told = [watch.note(deliveries, NOW_S + n, grid_kw) for n in range(0, 905, 5)]
    assert [text for text in told if text] == [said]
