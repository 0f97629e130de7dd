"""Orders from what energy is worth: merit order, band, caps, what is physically there."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.market import order_fault
from control.market_book import MOST_STEPS, Order, Side
from control.order_pricing import Band, Means, Need, order_steps

BAND = Band(5_000, 30_000, 10_000, 10_000)


def sure(kwh: float) -> Need:
    return Need(kwh, kwh, kwh)


def can(**changes: float) -> Means:
    numbers = {
        "load_kwh": 0.5,
        "charge_kwh": 0.0,
        "discharge_kwh": 0.0,
        "import_kwh": 5.0,
        "export_kwh": 5.0,
        "buy_per_kwh": 0.30,
        "sell_per_kwh": 0.05,
        "charging_per_kwh": 0.12,
        "discharging_per_kwh": 0.18,
    }
    return Means(**(numbers | changes))


def test_what_must_be_drawn_is_worth_the_retail_price() -> None:
    assert order_steps("buy", sure(0.5), can(), BAND) == ((30_000, 500),)


def test_what_would_be_fed_is_worth_the_feed_in_price() -> None:
    assert order_steps("sell", sure(-0.5), can(), BAND) == ((5_000, 500),)


def test_a_surplus_that_could_be_stored_costs_what_storing_it_is_worth() -> None:
    steps = order_steps("sell", sure(-0.5), can(charge_kwh=0.2), BAND)
    assert steps == ((5_000, 300), (12_000, 200))


def test_own_sun_is_stored_while_bought_energy_serves_the_load() -> None:
    steps = order_steps("buy", sure(-0.1), can(charge_kwh=1.0, load_kwh=0.3), BAND)
    assert steps == ((12_000, 300),)


def test_the_battery_sells_after_the_surplus() -> None:
    steps = order_steps("sell", sure(-0.5), can(discharge_kwh=0.4), BAND)
    assert steps == ((5_000, 500), (18_000, 400))


def test_a_deficit_that_the_battery_would_cover_is_worth_what_is_stored() -> None:
    steps = order_steps("buy", sure(0.5), can(discharge_kwh=0.2), BAND)
    assert steps == ((30_000, 300), (18_000, 200))


def test_what_may_turn_out_too_much_is_bid_at_less() -> None:
    steps = order_steps("buy", Need(0.2, 0.5, 0.8), can(), BAND)
    assert steps[0][0] == 30_000
    assert all(first[0] > later[0] for first, later in pairwise(steps))
    assert sum(wh for _, wh in steps) == 500
    assert steps[-1][0] >= 17_500  # at the median: short and long are equally likely


def test_what_may_not_be_there_is_asked_for_at_more() -> None:
    steps = order_steps("sell", Need(-0.8, -0.5, -0.2), can(), BAND)
    assert steps[0][0] == 5_000
    assert steps[-1][0] > 15_000
    assert sum(wh for _, wh in steps) == 500


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_nothing_where_there_is_nothing(side: Side) -> None:
    assert order_steps(side, sure(0.0), can(load_kwh=0.0), BAND) == ()
    assert order_steps(side, sure(0.5), can(load_kwh=0.0), BAND) == ()
    assert order_steps(side, Need(0.1, float("nan"), 0.2), can(), BAND) == ()


def test_prices_outside_of_the_band() -> None:
    dear, cheap = can(buy_per_kwh=0.50), can(sell_per_kwh=0.01)
    assert order_steps("buy", sure(0.5), dear, BAND) == ((30_000, 500),)
    assert order_steps("sell", sure(-0.5), cheap, BAND) == ((5_000, 500),)
    assert order_steps("buy", sure(0.5), can(buy_per_kwh=0.04, sell_per_kwh=0.0), BAND) == ()
    assert order_steps("sell", sure(-0.5), can(sell_per_kwh=0.4, buy_per_kwh=0.5), BAND) == ()


anything = st.floats(allow_nan=True, allow_infinity=True)
energy = st.one_of(st.floats(-20, 20), anything)
price = st.one_of(st.floats(-0.5, 1.0), anything)
room = st.one_of(st.floats(0, 20), anything)


@settings(deadline=None)
@given(
    side=st.sampled_from(["buy", "sell"]),
    need=st.builds(Need, energy, energy, energy),
    means=st.builds(Means, room, room, room, room, room, price, price, price, price),
    floor=st.integers(-10_000, 20_000),
    width=st.integers(0, 50_000),
    caps=st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)),
)
def test_orders_keep_to_band_caps_and_physics(
    side: Side,
    need: Need,
    means: Means,
    floor: int,
    width: int,
    caps: tuple[int, int],
) -> None:
    steps = order_steps(side, need, means, Band(floor, floor + width, *caps))
    if not steps:
        return
    assert len(steps) <= MOST_STEPS
    assert order_fault(Order("a", side, steps), floor, floor + width) == ""
    kwh = sum(wh for _, wh in steps) / 1000.0 - 1e-6
    if side == "buy":
        assert kwh <= min(caps[0] / 1000.0, means.import_kwh, means.load_kwh)
    else:
        assert kwh <= min(caps[1] / 1000.0, means.export_kwh, means.discharge_kwh - need.p50_kwh)


@settings(deadline=None)
@given(need=st.floats(-3, 3), wide=st.floats(0, 2), charge=st.floats(0, 2), give=st.floats(0, 2))
def test_nobody_pays_more_than_energy_is_worth(
    need: float, wide: float, charge: float, give: float
) -> None:
    band = Need(need - wide, need, need + wide)
    means = can(charge_kwh=charge, discharge_kwh=give)
    cases = band.cases()

    def cost(lacks: float) -> float:  # of covering what is lacking, by hand
        stored = min(max(-lacks, 0.0), charge)
        drawn = min(max(lacks, 0.0), give)
        fed = max(-lacks - charge, 0.0)
        bought = max(lacks - give, 0.0)
        return 0.30 * bought - 0.05 * fed + 0.18 * drawn - 0.12 * stored

    for side, sign in (("buy", -1.0), ("sell", 1.0)):
        traded = 0.0
        for px, wh in order_steps(side, band, means, BAND):  # type: ignore[arg-type]
            before = sum(cost(case + sign * traded) for case in cases) / len(cases)
            traded += wh / 1000.0
            after = sum(cost(case + sign * traded) for case in cases) / len(cases)
            paid = -sign * px / 100_000 * wh / 1000.0
            assert after + paid <= before + 1e-4
