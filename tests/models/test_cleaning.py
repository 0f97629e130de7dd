"""What is thrown out of a history, and that it never looks ahead."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.cleaning import cleaned
from models.history import History, Target

Maker = Callable[..., History]
ODD = [0.0, -0.01, -5.0, 1e9, 1e300, float("inf"), float("nan"), 0.5, 3.0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9999),
    cut=st.integers(0, 600),
    target=st.sampled_from(["pv", "load"]),
    changes=st.lists(st.sampled_from(ODD), min_size=1, max_size=5),
)
def test_what_comes_later_changes_nothing(
    seed: int, cut: int, target: Target, changes: list[float]
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.choice([*ODD, 1.0, 1.0, 1.0, 2.0], 600)
    before = cleaned(History(0, 900, values), target)
    later = values.copy()
    later[cut:] = np.resize(changes, 600 - cut)
    after = cleaned(History(0, 900, later), target)
    np.testing.assert_array_equal(before[:cut], after[:cut])
    assert not (after < 0).any()
    assert not np.isinf(after).any()


def test_a_good_history_stays_as_it_is(roof: Maker, house: Maker) -> None:
    for history, target in ((roof(), "pv"), (house(), "load")):
        np.testing.assert_array_equal(cleaned(history, target), history.values)


def test_spikes_go_but_a_lasting_change_is_believed(house: Maker) -> None:
    history = house(days=40)
    history.values[30 * 96 + 7] = 500.0
    assert np.isnan(cleaned(history, "load")[30 * 96 + 7])
    history.values[20 * 96 :] *= 20.0
    kept = np.isfinite(cleaned(history, "load"))
    assert kept[20 * 96 : 21 * 96].mean() < 0.9
    assert kept[30 * 96 + 8 :].all()


def test_stuck_values_go_once_they_can_be_known(roof: Maker) -> None:
    history = roof(days=30)
    noon = 20 * 96 + 44
    history.values[noon : noon + 40] = 0.7
    after = cleaned(history, "pv")
    assert np.isfinite(after[noon : noon + 12]).all()
    assert np.isnan(after[noon + 12 : noon + 40]).all()


def test_clipping_at_the_limit_and_nights_are_not_stuck(roof: Maker) -> None:
    history = roof(days=30)
    clipped = History(history.start_utc_s, 900, np.minimum(history.values, 0.9))
    np.testing.assert_array_equal(cleaned(clipped, "pv"), clipped.values)


def test_meter_offsets_at_night_are_nothing_but_consumption_is_missing(roof: Maker) -> None:
    history = roof(days=10)
    history.values[8 * 96] = -0.01
    history.values[8 * 96 + 1] = -0.5
    after = cleaned(history, "pv")
    assert after[8 * 96] == 0.0
    assert np.isnan(after[8 * 96 + 1])


def test_capacity_bounds_pv() -> None:
    values = np.array([1.0, 2.0, 9.0])
    np.testing.assert_array_equal(cleaned(History(0, 900, values), "pv", 5.0), [1, 2, np.nan])


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_histories(count: int) -> None:
    assert len(cleaned(History(0, 900, np.ones(count)), "load")) == count


def test_a_meter_that_shows_a_little_all_night_is_not_stuck(roof: Maker) -> None:
    history = roof(days=20)
    history.values[history.values == 0] = 0.004
    assert np.isfinite(cleaned(history, "pv")[4 * 96 :]).all()
