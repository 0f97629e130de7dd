"""The correction learnt on site, its guard, and the width of the band."""

from collections.abc import Callable

import numpy as np
import pytest

from models.baselines import Past
from models.correction import Correction, Material, knot_leads
from models.forecaster import Forecaster
from models.gru import with_ones
from models.history import DAY_S, Floats, History
from models.learning import Answer, Band

HOURS, PER_DAY = 24, 24


def _day(rng: np.random.Generator, good_std: float) -> tuple[Material, Floats]:
    """A day of practice: the first simple forecast is near the truth, the second is useless."""
    truth = rng.gamma(3.0, 1.0, (HOURS, PER_DAY))
    network = truth + rng.normal(0, 1.0, truth.shape)
    good = truth + rng.normal(0, good_std, truth.shape)
    useless = rng.normal(0, 3.0, truth.shape)
    clues = np.stack([good, useless]) - network
    flat = with_ones(rng.normal(0, 1.0, (HOURS, 3)))
    return Material(clues, flat, np.ones(truth.shape)), truth - network


def _at_knots(material: Material, error: Floats) -> tuple[Material, Floats]:
    leads = knot_leads(3600)
    clues, unit = material.clues[:, :, leads], material.unit[:, leads]
    return Material(clues, material.flat, unit), error[:, leads]


def _taught(days: int, good_std: float = 0.1) -> tuple[Correction, np.random.Generator]:
    rng = np.random.default_rng(0)
    correction = Correction("load", np.full(2, 0.3), flat=4, step_s=3600, every_s=3600)
    for _ in range(days):
        correction.absorb(*_at_knots(*_day(rng, good_std)))
        correction.refit()
    return correction, rng


def test_the_better_forecast_gets_the_weight() -> None:
    correction, rng = _taught(28)
    weights = correction.weights.rows
    assert (weights[:, 0] > 0.7).all()
    assert (np.abs(weights[:, 1:]) < 0.15).all()
    material, error = _day(rng, 0.1)
    left = error - correction.weights.apply(material)
    assert np.std(left) < 0.4 * np.std(error)


def test_a_perfect_network_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    correction = Correction("pv", np.full(2, 0.2), flat=4, step_s=3600, every_s=3600)
    for _ in range(20):
        material, error = _day(rng, 0.1)
        correction.absorb(*_at_knots(material, 0.0 * error))
        correction.refit()
    assert np.abs(correction.weights.rows).max() < 1e-9


def test_a_correction_that_does_not_pay_is_taken_back() -> None:
    correction, rng = _taught(56)
    assert (correction.share > 0.8).all()
    for _ in range(40):  # from now on the truth goes against what was learnt
        material, error = _day(rng, 0.1)
        correction.absorb(*_at_knots(material, -0.5 * error))
    assert (correction.share < 0.5).all()
    assert (correction.share >= 0.0).all()


def test_too_little_practice_teaches_nothing() -> None:
    correction, rng = _taught(3)
    assert not correction.weights.rows.any()
    material, error = _day(rng, 0.1)
    correction.absorb(*_at_knots(material, np.full_like(error, np.nan)))
    assert correction.days == pytest.approx(3.0, abs=0.1)


def test_what_is_left_is_judged_with_what_was_known_before() -> None:
    correction, rng = _taught(10)
    before = correction.weights
    material, error = _day(rng, 0.1)
    left = correction.absorb(*_at_knots(material, error))
    leads = knot_leads(3600)
    expected = (error - before.apply(material))[:, leads]
    np.testing.assert_allclose(left, expected, atol=1e-12)


@pytest.mark.parametrize(("step_s", "first"), [(300, 2), (900, 0), (1800, 0), (3600, 0)])
def test_weights_are_fitted_at_the_same_leads_on_every_grid(step_s: int, first: int) -> None:
    leads = knot_leads(step_s)
    assert leads[0] == first
    assert leads[-1] == 86_400 // step_s - 1
    assert (np.diff(leads) > 0).all()


def test_a_row_does_not_depend_on_the_rows_beside_it() -> None:
    correction, rng = _taught(20)
    material, _ = _day(rng, 0.1)
    together = correction.weights.apply(material)
    for row in (0, 5, 23):
        alone = correction.weights.apply(material.rows(slice(row, row + 1)))
        assert alone[0].tobytes() == together[row].tobytes()


def test_the_band_is_scaled_to_hold_four_fifths() -> None:
    rng = np.random.default_rng(0)
    band, leads = Band(3600), knot_leads(3600)
    half = np.full((HOURS, len(leads)), 0.3)
    for _ in range(42):
        band.add(rng.normal(0, 1.0, half.shape), half, 2 * half, leads)
        below, above = band.factors()
    assert 0.3 * below == pytest.approx(np.full(PER_DAY, 1.28), rel=0.1)
    assert 0.6 * above == pytest.approx(np.full(PER_DAY, 1.28), rel=0.1)


def test_without_any_outcome_the_band_stays() -> None:
    band, leads = Band(900), knot_leads(900)
    nothing = np.full((HOURS, len(leads)), np.nan)
    band.add(nothing, nothing, nothing, leads)
    assert all((factors == 1.0).all() for factors in band.factors())


def test_some_rows_of_an_answer() -> None:
    values = np.arange(6.0).reshape(3, 2)
    answer = Answer(values, values, values, values, values)
    some = answer.rows(np.array([True, False, True]))
    assert some.middle.tolist() == [[0.0, 1.0], [4.0, 5.0]]


@pytest.mark.parametrize(("step_s", "every_s"), [(300, 900), (900, 900), (1800, 1800)])
def test_practice_is_at_every_quarter_of_an_hour_and_only_once(
    house: Callable[..., History], monkeypatch: pytest.MonkeyPatch, step_s: int, every_s: int
) -> None:
    history, forecaster = house(days=12, step_s=step_s), Forecaster("load")
    practised: list[int] = []
    predict = forecaster._predict

    def listening(past: Past) -> Answer:
        practised.extend(past.origin_utc_s.tolist())
        return predict(past)

    monkeypatch.setattr(forecaster, "_predict", listening)
    forecaster.forecast(history, history.end_utc_s, 1)
    first, last = history.start_utc_s, history.end_utc_s - 2 * DAY_S
    wanted = range(first, last, every_s)
    assert [origin for origin in practised if first <= origin < last] == list(wanted)


def test_a_lead_without_outcomes_learns_nothing_and_the_others_all_the_same() -> None:
    rng = np.random.default_rng(0)
    whole, gappy = (Correction("load", np.full(2, 0.3), 4, 3600, 3600) for _ in range(2))
    for _ in range(10):
        material, error = _at_knots(*_day(rng, 0.1))
        whole.absorb(material, error)
        error[:, 0] = np.nan
        gappy.absorb(material, error)
    for correction in (whole, gappy):
        correction.refit()
    assert not gappy.weights.rows[0].any()
    np.testing.assert_array_equal(gappy.weights.rows[1:], whole.weights.rows[1:])
