"""A street's forecasts: only from the past, learnt from it, and with their own errors."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.street_forecast import Forecaster
from hil.street_result import Floats

DAY = 24
HOURS = np.arange(40 * DAY)


def sunny(seed: int = 0) -> tuple[Floats, Floats]:
    """Loads and sun of two houses; days are darker or brighter, and loads go with yesterday's."""
    chance = np.random.default_rng(seed)
    level = np.repeat(np.cumsum(chance.normal(0.0, 0.3, 40)), DAY)[:, None]
    evening = np.exp(-(((HOURS % DAY) - 19.0) ** 2) / 8.0)[:, None]
    load_kw = np.maximum(0.1, 2.0 + level + evening * np.array([1.0, 2.0]))
    sun = np.maximum(0.0, np.sin((HOURS % DAY - 6.0) / 12.0 * np.pi))[:, None]
    bright = np.repeat(chance.uniform(0.2, 1.0, 40), DAY)[:, None]
    return load_kw, sun * bright * np.array([4.0, 0.0])


@given(st.integers(3 * DAY, 38 * DAY), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_what_comes_after_a_slot_does_not_change_its_forecast(slot: int, seed: int) -> None:
    load_kw, pv_kw = sunny(seed)
    told = Forecaster(load_kw, pv_kw, 1.0)
    other_load_kw, other_pv_kw = load_kw.copy(), pv_kw.copy()
    other_load_kw[slot:] = 17.0
    other_pv_kw[slot:] = 3.0
    other = Forecaster(other_load_kw, other_pv_kw, 1.0)
    assert np.array_equal(told.net_kw(slot), other.net_kw(slot))
    if slot >= 5 * DAY:
        before, after = told.errors(slot), other.errors(slot)
        assert np.array_equal(before.street_kw(slot), after.street_kw(slot))
        assert np.array_equal(before.house_kw(slot), after.house_kw(slot))


def test_it_learns_what_clock_time_means_do_not_know() -> None:
    load_kw, pv_kw = sunny()
    forecaster = Forecaster(load_kw, pv_kw, 1.0)
    truth_kw = load_kw - pv_kw
    missed, by_means = [], []
    for slot in range(30 * DAY, 38 * DAY, 5):
        ahead = np.arange(slot, slot + DAY)
        days = [truth_kw[ahead - back * DAY] for back in range(1, 29)]
        missed.append(np.square(truth_kw[ahead] - forecaster.net_kw(slot)))
        by_means.append(np.square(truth_kw[ahead] - np.mean(days, axis=0)))
    assert np.mean(missed) < 0.6 * np.mean(by_means)


@given(st.integers(3 * DAY, 40 * DAY - 1), st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_loads_are_not_negative_and_sun_is_not_more_than_was_seen(slot: int, seed: int) -> None:
    load_kw, pv_kw = sunny(seed)
    net_kw = Forecaster(load_kw, pv_kw, 1.0).net_kw(slot)
    assert net_kw.shape == (DAY, 2)
    assert (net_kw[:, 0] >= -pv_kw[:slot, 0].max() - 1e-9).all()
    assert (net_kw[:, 1] >= 0.0).all()  # a house without sun
    assert np.isfinite(net_kw).all()


def test_a_few_days_are_enough_for_a_sane_forecast() -> None:
    load_kw, pv_kw = sunny()
    forecaster = Forecaster(load_kw[: 8 * DAY], pv_kw[: 8 * DAY], 1.0)
    for slot in range(3 * DAY, 8 * DAY):
        assert np.abs(forecaster.net_kw(slot)).max() < 3.0 * np.abs(load_kw[: 8 * DAY]).max()


def test_errors_are_told_by_clock_time() -> None:
    """A street that is off only at noon is in doubt at noon."""
    chance = np.random.default_rng(0)
    noon = (HOURS % DAY == 12)[:, None]
    load_kw = 1.0 + noon * chance.uniform(0.0, 4.0, (len(HOURS), 2))
    forecaster = Forecaster(load_kw, np.zeros_like(load_kw), 1.0)
    errors = forecaster.errors(30 * DAY)
    street_kw = errors.street_kw(30 * DAY)
    assert street_kw[12] > 5.0 * street_kw[3]
    assert (errors.house_kw(30 * DAY + 12) > 5.0 * errors.house_kw(30 * DAY + 3)).all()
