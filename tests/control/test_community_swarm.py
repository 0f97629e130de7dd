"""Algorithm 1 of Qayyum 2023: the paper's limits always hold, and what can be traded is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.community_swarm import Houses, storage_powers

POWERS = st.floats(0.0, 8.0)
HOUSE = st.tuples(POWERS, POWERS, POWERS, POWERS, st.floats(0.5, 10.0))


def street(rows: list[tuple[float, float, float, float, float]]) -> Houses:
    return Houses(*np.array(rows).T)


@given(st.lists(HOUSE, min_size=2, max_size=8), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_the_papers_limits_hold(
    rows: list[tuple[float, float, float, float, float]], seed: int
) -> None:
    houses = street(rows)
    battery_kw = storage_powers(houses, np.random.default_rng(seed))
    assert np.all(battery_kw <= houses.held_kw + 1e-9)  # never below the floor
    assert np.all(-battery_kw <= houses.room_kw + 1e-9)
    # what is bought is never stored: only an own surplus charges
    assert np.all(-battery_kw <= np.maximum(houses.surplus_kw, 0.0) + 1e-9)
    buys = houses.roles < 0
    own_kw = np.minimum(-houses.surplus_kw, houses.held_kw)
    assert battery_kw[buys] == pytest.approx(own_kw[buys])
    assert np.all(houses.offered_kw(battery_kw)[~buys] >= -1e-9)


@given(st.lists(HOUSE, min_size=2, max_size=8), st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_nearly_all_that_can_be_traded_is(
    rows: list[tuple[float, float, float, float, float]], seed: int
) -> None:
    houses = street(rows)
    _, high = houses.limits_kw()
    battery_kw = storage_powers(houses, np.random.default_rng(seed))
    assert houses.traded_kw(battery_kw) >= 0.99 * houses.traded_kw(high) - 1e-9


def test_a_sellers_battery_helps_when_its_pv_does_not_do() -> None:
    houses = street([(1.0, 2.0, 3.0, 3.0, 10.0), (3.0, 0.0, 3.0, 0.0, 10.0)])
    battery_kw = storage_powers(houses, np.random.default_rng(1))
    assert battery_kw == pytest.approx([2.0, 0.0], abs=0.05)


def test_what_nobody_takes_is_stored() -> None:
    houses = street([(0.0, 4.0, 3.0, 3.0, 10.0), (1.5, 0.0, 3.0, 0.0, 10.0)])
    battery_kw = storage_powers(houses, np.random.default_rng(1))
    assert battery_kw == pytest.approx([-2.5, 0.0], abs=0.05)
    assert houses.roles.tolist() == [1.0, -1.0]


def test_the_same_seed_gives_the_same_powers() -> None:
    houses = street([(1.0, 5.0, 3.0, 3.0, 10.0), (3.0, 1.0, 3.0, 1.0, 10.0)] * 3)
    first, again = (storage_powers(houses, np.random.default_rng(7)) for _ in range(2))
    assert first.tolist() == again.tolist()
