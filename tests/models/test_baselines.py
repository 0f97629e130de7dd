"""Same-clock statistics and simple forecasts against plain loops."""

from collections.abc import Callable

import numpy as np
import pytest

from models import baselines
from models.history import DAY_S, History

Maker = Callable[..., History]


@pytest.mark.parametrize("step_s", [300, 900, 1800, 3600])
def test_same_clock_statistics(house: Maker, step_s: int) -> None:
    history = house(days=40, step_s=step_s)
    per_day = DAY_S // step_s
    history.values[::5] = np.nan
    origin = history.start_utc_s + 35 * DAY_S + 5 * step_s
    past = baselines.look_back(history, np.array([origin]), "load")
    now = 35 * per_day + 5
    for ahead in (0, 1, per_day - 1):
        lags = history.values[now + ahead - per_day * np.arange(1, 29)]
        known = lags[np.isfinite(lags)]
        assert past.mean[0, ahead] == pytest.approx(known.mean())
        assert past.spread[0, ahead] == pytest.approx(known.std())
        assert past.top[0, ahead] == pytest.approx(np.sort(known)[-3:].mean())
        weeks = lags[[6, 13, 20, 27]]
        assert past.week[0, ahead] == pytest.approx(np.nanmean(weeks))
        inside = (past.low[0, ahead] <= known) & (known <= past.high[0, ahead])
        assert 0.7 <= inside.mean() <= 0.95
    np.testing.assert_array_equal(past.recent[0], history.values[now - 2 * per_day : now])
    assert past.days[0] == pytest.approx(28 * 4 / 5, abs=0.05)


def test_simple_forecasts(roof: Maker) -> None:
    history = roof(days=40)
    noon = history.start_utc_s + 38 * DAY_S + DAY_S // 2
    now = 38 * 96 + 48
    past = baselines.look_back(history, np.array([noon]), "pv")
    assert (baselines.persistence(past)[0] == history.values[now - 1]).all()
    np.testing.assert_array_equal(baselines.yesterday(past)[0], history.values[now - 96 : now])
    k = baselines.clearness(past)[0]
    hour = history.values[now - 4 : now].sum() / past.recent_top[0, -4:].sum()
    assert k == pytest.approx(hour, abs=0.15)
    np.testing.assert_allclose(baselines.clear_sky_persistence(past), past.top * k)
    for low, middle, high in (baselines.envelope_blend(past), baselines.mean_blend(past)):
        assert (low <= middle).all()
        assert (middle <= high).all()


def test_gaps_are_bridged_round_the_clock() -> None:
    days = np.array([[np.nan, 2.0, np.nan, 4.0], [np.nan] * 4])
    filled = baselines._filled(days, 900)
    np.testing.assert_array_equal(filled[0], [3, 2, 3, 4])
    assert np.isnan(filled[1]).all()


def test_smoothing_keeps_the_mean_and_goes_round_the_clock() -> None:
    days = np.zeros((1, 96))
    days[0, 0] = 1.0
    out = baselines.smoothed(days, 900, 3600.0)
    assert out.sum() == pytest.approx(1.0)
    assert out[0, -1] == out[0, 1] > 0
    assert baselines.smoothed(days[:, :24], 3600, 1800.0) is not None


def test_neighbours_cover_all_origins_in_groups_near_in_time() -> None:
    rng = np.random.default_rng(0)
    origins = rng.integers(0, 400 * DAY_S, 900)
    groups = baselines.neighbours(origins)
    assert sorted(np.concatenate(groups)) == list(range(900))
    for group in groups:
        assert np.ptp(origins[group]) <= baselines.GROUP_S
