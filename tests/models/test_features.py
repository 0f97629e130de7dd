"""The network's inputs: shapes, no NaN whatever the history, the same on every grid."""

from collections.abc import Callable

import numpy as np
import pytest

from models import features
from models.baselines import look_back
from models.history import DAY_S, History, Target

Maker = Callable[..., History]


@pytest.mark.parametrize("step_s", [300, 900, 1800, 3600])
@pytest.mark.parametrize("target", ["pv", "load"])
def test_shapes_on_every_grid(roof: Maker, house: Maker, target: Target, step_s: int) -> None:
    history = (roof if target == "pv" else house)(step_s=step_s)
    origins = history.start_utc_s + np.array([35 * DAY_S, 36 * DAY_S + 7200])
    given = features.inputs(look_back(history, origins, target), target)
    assert given.sequence.shape == (2, features.SEQUENCE_STEPS, features.CHANNELS)
    assert given.flat.shape == (2, features.flat_width(target))
    assert given.base.shape == given.unit.shape == (2, DAY_S // step_s)
    assert given.flat.dtype == given.sequence.dtype == np.float32
    answer = np.zeros((2, len(features.KNOTS), 3))
    for quantile in features.decoded(answer, given):
        assert quantile.shape == given.base.shape


@pytest.mark.parametrize("target", ["pv", "load"])
def test_never_nan(house: Maker, target: Target) -> None:
    history = house(days=40)
    rng = np.random.default_rng(1)
    origins = history.start_utc_s + DAY_S * np.arange(-3, 45, 2)
    for fraction in (0.3, 0.9, 1.0):
        gappy = history.values.copy()
        gappy[rng.random(len(gappy)) < fraction] = np.nan
        past = look_back(History(history.start_utc_s, 900, gappy), origins, target)
        given = features.inputs(past, target)
        for array in (given.sequence, given.flat, given.base, given.unit):
            assert np.isfinite(array).all()


@pytest.mark.parametrize("target", ["pv", "load"])
def test_the_size_of_a_site_does_not_matter(roof: Maker, target: Target) -> None:
    small, origins = roof(), np.array([roof().start_utc_s + 40 * DAY_S + 36_000])
    big = History(small.start_utc_s, small.step_s, small.values * 64.0)
    ours, theirs = (features.inputs(look_back(h, origins, target), target) for h in (small, big))
    np.testing.assert_allclose(ours.flat, theirs.flat, atol=1e-5)
    np.testing.assert_allclose(ours.sequence, theirs.sequence, atol=1e-5)


def test_knots_are_met_and_lines_between() -> None:
    answer = np.zeros((1, len(features.KNOTS), 3))
    answer[0, :, 0] = features.KNOTS
    given = features.Inputs(
        np.zeros((1, 1, 3), np.float32),
        np.zeros((1, 1), np.float32),
        np.zeros((1, 96)),
        np.ones((1, 96)),
    )
    _, middle, _ = features.decoded(answer, given)
    np.testing.assert_allclose(middle[0], np.arange(1, 97))


def test_grids_there_and_back() -> None:
    quarters = np.arange(96.0)[None]
    np.testing.assert_allclose(features.from_quarters(quarters, 24)[0, :2], [1.5, 5.5])
    for per_day in (96, 288):
        there = features.from_quarters(quarters, per_day)
        back = features.to_quarters(there, per_day)
        np.testing.assert_allclose(back[:, 1:-1], quarters[:, 1:-1])
