"""What the correction is told: never NaN, in the unit of the site, about the site's own week."""

from collections.abc import Callable

import numpy as np
import pytest

from models import features
from models.baselines import look_back
from models.clues import STEPS, TURNS, Clues, _switched, clues
from models.correction import knot_leads
from models.history import DAY_S, Floats, History, Target

Maker = Callable[..., History]


def _clues(history: History, target: Target, days: list[float]) -> tuple[Clues, Floats]:
    origins = history.start_utc_s + (np.array(days) * DAY_S).astype(np.int64)
    past = look_back(history, origins, target)
    given, leads = features.inputs(past, target), knot_leads(history.step_s)
    return clues(past, target, given.base[:, leads], given.unit[:, leads], leads), given.unit


@pytest.mark.parametrize("step_s", [300, 900, 1800, 3600])
@pytest.mark.parametrize("target", ["pv", "load"])
def test_shapes_on_every_grid(roof: Maker, house: Maker, target: Target, step_s: int) -> None:
    history = (roof if target == "pv" else house)(step_s=step_s)
    found, _ = _clues(history, target, [30.0, 35.5])
    assert found.values.shape == (len(found.widths), 2, len(knot_leads(step_s)))
    assert (found.widths > 0).all()
    assert found.values.any(axis=(1, 2)).mean() > 0.8


@pytest.mark.parametrize("target", ["pv", "load"])
def test_never_nan(house: Maker, target: Target) -> None:
    history, rng = house(days=40), np.random.default_rng(1)
    for fraction in (0.3, 0.9, 1.0):
        gappy = history.values.copy()
        gappy[rng.random(len(gappy)) < fraction] = np.nan
        found, _ = _clues(
            History(history.start_utc_s, 900, gappy), target, [-3.0, 0.0, 0.3, 8.1, 40.0, 44.0]
        )
        assert np.isfinite(found.values).all()


@pytest.mark.parametrize("target", ["pv", "load"])
def test_clues_grow_with_the_site(roof: Maker, target: Target) -> None:
    small = roof()
    big = History(small.start_utc_s, small.step_s, small.values * 64.0)
    ours, theirs = (_clues(history, target, [40.4])[0] for history in (small, big))
    np.testing.assert_allclose(64.0 * ours.values, theirs.values, atol=1e-5)


def test_no_departure_from_a_week_that_repeats(house: Maker) -> None:
    """An office: five days of work, two of rest; the mean of 28 days is wrong on all of them."""
    history = house(days=60)
    day = np.arange(len(history.values)) // 96
    values = np.where(day % 7 < 5, 4.0, 1.0) + 0.01 * history.values
    week = History(history.start_utc_s, 900, values)
    past = look_back(week, week.start_utc_s + DAY_S * np.array([56, 57, 59]), "load")
    np.testing.assert_allclose(past.profile, past.fresh_weeks, atol=0.6)
    off = np.abs(past.recent - past.recent_profile).mean()
    assert off < 0.4 * np.abs(past.recent - past.recent_mean).mean()


def test_an_appliance_switched_on_is_a_step_that_a_flicker_is_not() -> None:
    flicker, switched, unknown = (np.array([[0.0, 0.1, last]]) for last in (0.4, 3.2, np.nan))
    assert not np.any(_switched(flicker))
    assert not np.any(_switched(unknown))
    beyond = np.ravel(_switched(switched))
    last, second = beyond[: 2 * len(STEPS) : 2], beyond[1 : 2 * len(STEPS) : 2]
    np.testing.assert_allclose(last, [3.2 - step for step in STEPS])
    assert not second.any()
    up, down = beyond[2 * len(STEPS) :: 2], beyond[2 * len(STEPS) + 1 :: 2]
    np.testing.assert_allclose(up, [3.1 - turn for turn in TURNS])
    assert not down.any()
