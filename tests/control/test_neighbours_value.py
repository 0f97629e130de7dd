"""What stored energy is worth in a street: convex, exact where prices are sure, little in sun."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.neighbours import Floats, Market, Outlook, Storage
from control.neighbours_value import CELLS, value_of_energy, worth_per_kwh

ETA = float(np.sqrt(0.9))
MANY_KW = 1e4  # so far off balance nobody doubts the price


def battery(usable_kwh: float = 6.4, power_kw: float = 5.0) -> Storage:
    limits = (0.5, 0.5 + usable_kwh, power_kw, power_kw)
    rows = [np.array([limit]) for limit in limits]
    return Storage(rows[0], rows[1], rows[2], rows[3], ETA)


def outlook(buy: Floats, sigma_kw: float = 1.0, energy_value: float = 0.05) -> Outlook:
    steps = len(buy)
    return Outlook(
        step_h=1.0,
        buy_per_kwh=buy,
        sell_per_kwh=np.full(steps, 0.05),
        sigma_kw=np.full(steps, sigma_kw),
        fee_per_kwh=0.0,
        energy_value_per_kwh=energy_value,
    )


def market(look: Outlook, community_kw: Floats, net_kw: Floats, movers: float = 1.0) -> Market:
    return Market(look, community_kw, net_kw, movers)


@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([1.0, 2.5]))
@settings(max_examples=40, deadline=None)
def test_more_stored_never_costs_more_and_each_further_kwh_saves_less(
    seed: int, houses: int, movers: float
) -> None:
    chance = np.random.default_rng(seed)
    steps = 12
    usable_kwh = np.where(chance.random(houses) < 0.8, chance.uniform(0.1, 9.0, houses), 0.0)
    power_kw = chance.uniform(0.0, 5.0, (2, houses))
    storage = Storage(np.full(houses, 0.3), 0.3 + usable_kwh, power_kw[0], power_kw[1], ETA)
    look = outlook(chance.uniform(0.05, 0.6, steps), float(chance.uniform(0.1, 5.0)))
    net_kw = chance.normal(0.0, 2.0, (steps, houses))
    value = value_of_energy(storage, market(look, net_kw.sum(axis=1), net_kw, movers), net_kw)
    assert value.shape == (CELLS + 1, houses)
    saved = -np.diff(value, axis=0)
    assert (saved >= -1e-9).all()
    assert (np.diff(saved, axis=0) <= 1e-9).all()
    most = ETA * 0.6 * usable_kwh / CELLS + 1e-9  # no kWh saves more than the dearest one bought
    assert (saved <= most).all()
    worth = worth_per_kwh(storage, value, storage.lowest_kwh + usable_kwh * 0.4)
    assert (worth[usable_kwh == 0.0] == 0.0).all()


@given(st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_where_prices_are_sure_it_is_the_cheapest_course_of_all(seed: int) -> None:
    chance = np.random.default_rng(seed)
    look, storage = outlook(chance.uniform(0.05, 0.6, 5)), battery(6.4, 1.3)
    net_kw = np.zeros((5, 1))
    value = value_of_energy(storage, market(look, np.full(5, MANY_KW), net_kw), net_kw)[:, 0]
    cell_kwh = 6.4 / CELLS
    most_up, most_down = round(1.3 * ETA / cell_kwh), round(1.3 / ETA / cell_kwh)
    best = -look.energy_value_per_kwh * cell_kwh * np.arange(CELLS + 1)
    for price in look.buy_per_kwh[:0:-1]:
        later, best = best, np.full(CELLS + 1, np.inf)
        for move in range(-most_down, most_up + 1):
            drawn_kwh = move * cell_kwh * (1.0 / ETA if move > 0 else ETA)
            begins = np.arange(max(0, -move), CELLS + 1 - max(0, move))
            best[begins] = np.minimum(best[begins], price * drawn_kwh + later[begins + move])
    assert value == pytest.approx(best - best[0], abs=1e-4)


def test_what_the_sun_will_fill_anyway_is_worth_the_feed_in_price() -> None:
    look, storage = outlook(np.full(8, 0.40), energy_value=0.10), battery()
    net_kw = np.full((8, 1), -4.0)
    value = value_of_energy(storage, market(look, np.full(8, -MANY_KW), net_kw), net_kw)
    worth = worth_per_kwh(storage, value, np.array([3.0]))[0]
    assert worth == pytest.approx(0.05 / ETA, rel=0.01)  # so much less sun is sold


def test_what_will_be_lacking_is_worth_the_retail_price() -> None:
    look, storage = outlook(np.array([0.10, 0.40, 0.40, 0.40]), energy_value=0.0), battery()
    net_kw = np.full((4, 1), 4.0)
    value = value_of_energy(storage, market(look, np.full(4, MANY_KW), net_kw), net_kw)
    worth = worth_per_kwh(storage, value, np.array([3.0]))[0]
    assert worth == pytest.approx(0.40 * ETA, rel=0.01)


def test_a_shortage_that_all_batteries_would_answer_is_no_reason_to_store_more() -> None:
    """Prices by the announced balance alone say that every step may be short, however much is."""
    look = outlook(np.full(12, 0.40), sigma_kw=6.0)
    storage, net_kw = battery(), np.full((12, 1), -0.2)
    alone, alike = (
        worth_per_kwh(
            storage,
            value_of_energy(storage, market(look, np.full(12, -2.0), net_kw, movers), net_kw),
            np.array([5.0]),
        )[0]
        for movers in (1.0, 10.0)
    )
    assert alike < alone
