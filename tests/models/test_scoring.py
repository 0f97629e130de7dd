"""Scores of live forecasts, and who serves by them."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.challenger import BASELINE, CHALLENGER, CHAMPION, judge
from models.scoring import HORIZONS_S, PERSISTENCE, Band, Scores

STEP_S = 900
FOUR = len(HORIZONS_S)


def _lived(days: float, errors: dict[str, float], scores: Scores | None = None) -> Scores:
    """Every forecaster errs by the same amount all the time; the truth is 1 kW."""
    made = scores or Scores()
    start = 86_400 * 1000
    for step in range(round(days * 96)):
        origin = start + step * STEP_S
        said = {name: (1.0 + error,) * FOUR for name, error in errors.items()}
        made.claim(origin, STEP_S, said, Band((0.5,) * FOUR, (1.5,) * FOUR))
        made.settle(origin - STEP_S, 1.0)
    for step in range(97):
        made.settle(start + (round(days * 96) - 1 + step) * STEP_S, 1.0)
    return made


def test_each_horizon_is_judged_when_its_interval_is_over() -> None:
    scores = Scores()
    said = {CHAMPION: (1.0, 2.0, 3.0, 4.0), PERSISTENCE: (9.0,) * FOUR}
    scores.claim(0, STEP_S, said, Band((0.0,) * FOUR, (3.5,) * FOUR))
    for start in range(0, 86_400, STEP_S):
        scores.settle(start, 1.0)
    ratios = scores.ratios(CHAMPION, PERSISTENCE)
    assert ratios == pytest.approx({"15 min": 0.0, "1 h": 1 / 8, "6 h": 2 / 8, "24 h": 3 / 8})
    assert scores.skill(CHAMPION)["24 h"] == pytest.approx(5 / 8)
    assert scores.coverage() == {"15 min": 1.0, "1 h": 1.0, "6 h": 1.0, "24 h": 1.0}


def test_what_nobody_knows_is_not_judged() -> None:
    scores = Scores()
    scores.claim(0, STEP_S, {CHAMPION: (1.0,) * FOUR}, Band((0.0,) * FOUR, (2.0,) * FOUR))
    scores.settle(0, math.nan)
    scores.forget_before(10**9)
    scores.settle(2700, 1.0)
    assert scores.ratios(CHAMPION, CHAMPION) == {}
    assert scores.days(CHAMPION) == 0.0


def test_a_coarse_grid_has_no_quarter_of_an_hour() -> None:
    scores = Scores()
    scores.claim(0, 3600, {CHAMPION: (1.0,) * FOUR}, Band((0.0,) * FOUR, (2.0,) * FOUR))
    scores.settle(0, 2.0)
    assert set(scores.coverage()) == {"1 h"}


def test_scores_come_back_from_json() -> None:
    scores = _lived(3, {CHAMPION: 0.1, PERSISTENCE: 0.2})
    again = Scores.from_plain(json.loads(json.dumps(scores.plain())))
    assert again.skill(CHAMPION) == scores.skill(CHAMPION)
    assert again.days(CHAMPION) == scores.days(CHAMPION)


def test_what_is_still_open_survives_a_restart_and_is_judged() -> None:
    scores = Scores()
    said = {CHAMPION: (1.0, 2.0, 3.0, 4.0), PERSISTENCE: (9.0,) * FOUR}
    scores.claim(0, STEP_S, said, Band((0.0,) * FOUR, (3.5,) * FOUR))
    again = Scores.from_plain(json.loads(json.dumps(scores.plain())))
    assert again.first_open_utc_s == 0
    for start in range(0, 86_400, STEP_S):
        again.settle(start, 1.0)
    assert again.skill(CHAMPION)["24 h"] == pytest.approx(5 / 8)
    assert again.first_open_utc_s is None


def test_who_takes_a_name_does_not_answer_for_what_was_said_before() -> None:
    scores = Scores()
    scores.claim(0, STEP_S, {CHAMPION: (9.0,) * FOUR}, Band((0.0,) * FOUR, (2.0,) * FOUR))
    scores.forget(CHAMPION)
    for start in range(0, 86_400, STEP_S):
        scores.settle(start, 1.0)
    assert scores.days(CHAMPION) == 0.0
    assert set(scores.coverage().values()) == {1.0}


@pytest.mark.parametrize(
    "claims",
    [
        [],
        {"soon": []},
        {"0": [["15 min", {"champion": "1"}, 0.0, 1.0]]},
        {"0": [["2 h", {"champion": 1.0}, 0.0, 1.0]]},
        {"0": [["1 h", {"champion": math.nan}, 0.0, 1.0]]},
        {"0": [["1 h", {"champion": 10**400}, 0.0, 1.0]]},
        {"0": [["1 h"]]},
    ],
)
def test_claims_that_make_no_sense_are_refused(claims: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Scores.from_plain({**Scores().plain(), "claims": claims})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["format", "sums", "slow", "fast", "1 h", CHAMPION]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=8,
    )
)
def test_anything_else_is_refused_or_a_score(plain: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        Scores.from_plain(plain)
    marked = {"format": "nanogrid-scores-1", "sums": plain}
    try:
        scores = Scores.from_plain(marked)
    except ValueError:
        return
    assert set(scores.plain()["sums"]) == {"slow", "fast"}
    assert Scores.from_plain(json.loads(json.dumps(scores.plain(), allow_nan=False)))


def test_a_better_challenger_takes_over_after_weeks() -> None:
    errors = {CHAMPION: 0.2, CHALLENGER: 0.1, BASELINE: 0.3}
    assert not judge(_lived(10, errors), CHAMPION).promote
    verdict = judge(_lived(20, errors), CHAMPION)
    assert verdict.promote
    assert "takes over" in verdict.reason


@pytest.mark.parametrize("error", [0.2, 0.198, 0.4])
def test_one_that_is_hardly_better_does_not(error: float) -> None:
    errors = {CHAMPION: 0.2, CHALLENGER: error, BASELINE: 0.3}
    assert not judge(_lived(20, errors), CHAMPION).promote


def test_drift_leads_to_the_baseline_and_back() -> None:
    scores = _lived(20, {CHAMPION: 0.2, BASELINE: 0.3})
    assert judge(scores, CHAMPION).serving == CHAMPION
    _lived(4, {CHAMPION: 0.6, BASELINE: 0.3}, scores)
    verdict = judge(scores, CHAMPION)
    assert verdict.serving == BASELINE
    assert "times the baseline" in verdict.reason
    assert judge(scores, BASELINE).reason == ""
    _lived(14, {CHAMPION: 0.2, BASELINE: 0.3}, scores)
    assert judge(scores, BASELINE).serving == CHAMPION


def test_nothing_is_decided_on_a_day() -> None:
    verdict = judge(_lived(1, {CHAMPION: 0.9, BASELINE: 0.3}), CHAMPION)
    assert (verdict.serving, verdict.promote, verdict.reason) == (CHAMPION, False, "")
    assert judge(Scores(), CHAMPION).serving == CHAMPION
