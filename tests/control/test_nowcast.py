"""The next minutes from the irradiance sensor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.nowcast import INDEX_CLIP, MINUTES, nowcast

SKY = np.full(240, 800.0)
AHEAD = np.full(MINUTES, 800.0)


def _clouds(seed: int, count: int = 240) -> np.ndarray:
    """Clouds that pass: an index that is now 1, now 0.4, for some minutes each."""
    rng = np.random.default_rng(seed)
    switches = rng.random(count) < 0.1
    return np.where(np.cumsum(switches) % 2, 0.4, 1.0) * 800.0


def test_a_clear_sky_stays_clear() -> None:
    made = nowcast(0.95 * SKY, SKY, AHEAD)
    assert made is not None
    assert made.learnt
    np.testing.assert_allclose(made.minutes.p50_w_m2, 760.0)
    np.testing.assert_allclose(made.minutes.p10_w_m2, 760.0)


def test_passing_clouds_widen_the_band_and_the_last_value_fades() -> None:
    measured = _clouds(3)
    measured[-1] = 800.0
    made = nowcast(measured, SKY, AHEAD)
    assert made is not None
    assert (np.diff(made.minutes.p50_w_m2) <= 0).all()
    assert made.minutes.p50_w_m2[-1] > measured.mean() - 50
    assert made.minutes.p10_w_m2[9] < 0.8 * made.minutes.p50_w_m2[0]
    assert made.means.p10_w_m2[9] > made.minutes.p10_w_m2[9]


def test_better_than_persistence_and_the_band_holds_on_fresh_days() -> None:
    ours, simple, inside, means_inside = [], [], [], []
    for seed in range(120):
        measured = _clouds(seed, 240 + MINUTES)
        made = nowcast(measured[:240], SKY, AHEAD)
        assert made is not None
        truth = measured[240:]
        ours.append(made.minutes.p50_w_m2 - truth)
        simple.append(measured[239] - truth)
        means = np.cumsum(truth) / np.arange(1, MINUTES + 1)
        low, high = made.means.p10_w_m2 - 1e-9, made.means.p90_w_m2 + 1e-9
        means_inside.append((low <= means) & (means <= high))
        inside.append(
            (made.minutes.p10_w_m2 <= truth + 1e-9) & (truth <= made.minutes.p90_w_m2 + 1e-9)
        )
    assert np.std(ours) < 0.9 * np.std(simple)
    assert 0.75 < np.mean(inside) < 0.99
    assert 0.70 < np.mean(means_inside) < 0.95


def test_a_few_minutes_are_enough_to_begin_with() -> None:
    made = nowcast(np.full(5, 600.0), SKY[:5], AHEAD)
    assert made is not None
    assert not made.learnt
    assert made.minutes.p50_w_m2[0] == pytest.approx(600.0)
    assert made.minutes.p10_w_m2[-1] < made.minutes.p10_w_m2[0]


def test_nothing_is_said_at_night_or_without_the_last_minute() -> None:
    assert nowcast(np.zeros(60), np.zeros(60), np.zeros(MINUTES)) is None
    assert nowcast(np.empty(0), np.empty(0), AHEAD) is None
    gone = 0.9 * SKY
    gone[-1] = np.nan
    assert nowcast(gone, SKY, AHEAD) is None


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=1, max_size=100),
    sky_w_m2=st.floats(0.0, 1200.0),
)
def test_always_in_order_and_never_absurd(values: list[float], sky_w_m2: float) -> None:
    measured = np.array(values)
    ahead = np.linspace(sky_w_m2, 0.0, MINUTES)
    made = nowcast(measured, np.full(len(measured), sky_w_m2), ahead)
    if made is None:
        return
    assert (made.minutes.p10_w_m2 >= 0).all()
    assert (made.minutes.p10_w_m2 <= made.minutes.p50_w_m2).all()
    assert (made.minutes.p50_w_m2 <= made.minutes.p90_w_m2).all()
    assert (made.minutes.p90_w_m2 <= INDEX_CLIP * ahead).all()
    assert (made.means.p10_w_m2 <= made.means.p50_w_m2).all()
    assert (made.means.p50_w_m2 <= made.means.p90_w_m2).all()
