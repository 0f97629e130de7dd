"""Mixing and band width from practice forecasts."""

import numpy as np
import pytest

from models.learning import Adjustment, Practice, learn

N, PER_DAY = 28 * 24, 24


def _practice(seed: int = 0, rows: int = N) -> tuple[Practice, np.ndarray]:
    """Outcomes near the second candidate; the network is noise, the third is useless."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(3.0, 1.0, (rows, PER_DAY))
    network = truth + rng.normal(0, 1.0, truth.shape)
    good = truth + rng.normal(0, 0.1, truth.shape)
    useless = rng.normal(0, 3.0, truth.shape)
    candidates = np.stack([network, good, useless])
    return Practice(candidates, network - 0.1, network + 0.1, truth), truth


def test_the_better_forecast_gets_the_weight() -> None:
    practice, truth = _practice()
    made = learn(practice, 3600)
    assert made is not None
    assert (made.weights[0] > 0.9).all()
    assert (made.weights[1] < 0.05).all()
    assert (made.weights >= 0).all()
    assert (made.weights.sum(axis=0) <= 1 + 1e-9).all()
    _, middle, _ = made.apply(practice.candidates, practice.low, practice.high)
    assert np.std(middle - truth) < 0.3 * np.std(practice.candidates[0] - truth)


def test_the_band_is_scaled_to_hold_four_fifths() -> None:
    practice, _ = _practice()
    made = learn(practice, 3600)
    assert made is not None
    fresh, truth = _practice(seed=1)
    low, _, high = made.apply(fresh.candidates, fresh.low, fresh.high)
    assert 0.75 < np.mean((low <= truth) & (truth <= high)) < 0.85


def test_a_perfect_network_is_left_alone() -> None:
    practice, truth = _practice()
    perfect = Practice(
        np.stack([truth, *practice.candidates[1:]]), practice.low, practice.high, truth
    )
    made = learn(perfect, 3600)
    assert made is not None
    assert made.weights.max() < 1e-3


def test_too_little_practice_teaches_nothing() -> None:
    practice, _ = _practice(rows=6 * 24)
    assert learn(practice, 3600) is None
    practice, truth = _practice()
    unknown = Practice(
        practice.candidates, practice.low, practice.high, np.full_like(truth, np.nan)
    )
    assert learn(unknown, 3600) is None


def test_candidates_that_are_missing_count_as_the_network() -> None:
    made = Adjustment(np.full((1, 2), 0.5), np.ones(2), np.ones(2))
    candidates = np.array([[[1.0, 1.0]], [[3.0, np.nan]]])
    low, middle, high = made.apply(candidates, np.zeros((1, 2)), np.full((1, 2), 4.0))
    assert middle[0].tolist() == pytest.approx([2.0, 1.0])
    assert low[0].tolist() == pytest.approx([1.0, 0.0])
    assert high[0].tolist() == pytest.approx([5.0, 4.0])
