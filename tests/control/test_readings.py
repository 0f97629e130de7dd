"""Single readings: plausibility, standing in, smoothing, and limits that a device stops telling."""

import math

import pytest

from control.readings import Holder, at, plausible
from control.records import Observed
from control.state import Held


def holder(now_s: float = 100.0, **old: tuple[float, float]) -> Holder:
    return Holder(now_s, 10.0, {key: Held(*held) for key, held in old.items()})


def test_an_observation_that_the_sample_leaves_out_was_never_read() -> None:
    one: Observed[float] = Observed(1.0)
    assert at((one,), 0) is one
    assert at((one,), 1).value is None


@pytest.mark.parametrize(
    ("value", "result"),
    [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5), (1.01, None), (-0.01, None), (None, None)]
    + [(absurd, None) for absurd in (math.nan, math.inf, -math.inf, 1e300)],
)
def test_plausible(value: float | None, result: float | None) -> None:
    assert plausible(value, 0.0, 1.0) == result


@pytest.mark.parametrize(("age_s", "result"), [(0.0, 5.0), (10.0, 5.0), (10.1, None)])
def test_the_last_good_value_stands_in_for_a_while(age_s: float, result: float | None) -> None:
    hold = holder(x=(5.0, 100.0 - age_s))
    assert hold.value("x", None) == result
    assert ("x" in hold.new) == (result is not None)


def test_standing_in_does_not_make_it_younger() -> None:
    hold = holder(x=(5.0, 95.0))
    hold.value("x", None)
    assert hold.new["x"] == Held(5.0, 95.0)
    hold.value("x", 6.0)
    assert hold.new["x"] == Held(6.0, 100.0)


def test_a_reading_says_whether_it_is_fresh() -> None:
    hold = holder(x=(5.0, 95.0))
    assert (made := hold.reading("x", 7.0, 0.4)).fresh
    assert (made.kw, made.age_s) == (7.0, 0.4)
    assert not (made := holder(x=(5.0, 95.0)).reading("x", None, 0.4)).fresh
    assert (made.kw, made.age_s) == (5.0, None)
    assert holder().reading("x", 7.0, math.nan).age_s == 10.0


@pytest.mark.parametrize(("weight", "result"), [(1.0, 9.0), (0.25, 6.0), (0.0, 5.0)])
def test_smoothing_moves_by_its_weight(weight: float, result: float) -> None:
    assert holder(x=(5.0, 99.0)).smoothed("x", 9.0, weight) == result


def test_smoothing_begins_with_the_first_value_and_holds_without_one() -> None:
    assert holder().smoothed("x", 9.0, 0.1) == 9.0
    assert holder(x=(5.0, 80.0)).smoothed("x", 9.0, 0.1) == 9.0  # too old to go on from
    assert holder(x=(5.0, 99.0)).smoothed("x", None, 0.1) == 5.0
    assert holder().smoothed("x", None, 0.1) is None


@pytest.mark.parametrize(
    ("told_s_ago", "live", "result"),
    [
        (None, None, 4.0),  # this device tells no limits: the nameplate
        (None, math.nan, None),  # it should tell one, and does not
        (None, 2.0, 2.0),
        (None, 9.0, 4.0),
        (None, -1.0, 0.0),
        (None, math.inf, None),
        (4.0, None, 1.5),  # told 1.5 kW lately
        (4.0, math.nan, 1.5),
        (5.0, None, 1.5),
        (5.1, None, None),
        (1e6, None, None),  # never the nameplate again
        (1e6, 3.0, 3.0),
    ],
)
def test_a_limit(told_s_ago: float | None, live: float | None, result: float | None) -> None:
    old = {} if told_s_ago is None else {"x": (1.5, 100.0 - told_s_ago)}
    assert holder(**old).limit("x", live, 4.0, 5.0) == result


def test_a_limit_once_told_is_remembered() -> None:
    hold = holder(x=(1.5, 0.0))
    hold.limit("x", None, 4.0, 5.0)
    assert hold.new["x"] == Held(1.5, 0.0)
