"""Minutes out of cycles, whatever the wall clock does."""

import pytest

from firmware.minutes import Minute, Minutes

START_S = 1_760_000_040  # on a minute


def feed(minutes: Minutes, first_s: float, count: int, step_s: float = 1.0) -> list[Minute]:
    """Cycles with PV 2 kW and load 1 kW; the minutes that came out."""
    found = (minutes.add(first_s + n * step_s, 2.0, 1.0) for n in range(count))
    return [minute for minute in found if minute is not None]


def test_a_minute_comes_out_with_the_first_cycle_of_the_next() -> None:
    minutes = Minutes()
    assert feed(minutes, START_S, 60) == []
    assert minutes.add(START_S + 60.0, 9.0, 9.0) == Minute(START_S, 2.0, 1.0)


def test_means_are_over_what_is_known_and_half_must_be() -> None:
    minutes = Minutes()
    for second in range(60):
        minutes.add(START_S + second, float(second) if second >= 28 else None, None)
    minute = minutes.add(START_S + 60, None, None)
    assert minute == Minute(START_S, pytest.approx((28 + 59) / 2), None)
    for second in range(60):
        minutes.add(START_S + 60 + second, 1.0 if second > 31 else None, 3.0)
    assert minutes.add(START_S + 120, None, None) == Minute(START_S + 60, None, 3.0)


def test_one_cycle_per_minute_is_enough() -> None:
    assert len(feed(Minutes(), START_S, 10, 60.0)) == 9


@pytest.mark.parametrize("back_s", [7, 59, 3600])
def test_a_clock_that_steps_back_drops_the_minute_under_way(back_s: int) -> None:
    minutes = Minutes()
    feed(minutes, START_S, 150)
    again_s = START_S + 150 - back_s
    found = feed(minutes, again_s, 300)
    first = found[0].start_utc_s
    assert first <= again_s < first + 60
    assert [minute.start_utc_s for minute in found] == [first + 60 * n for n in range(len(found))]
    assert all((minute.pv_kw, minute.load_kw) == (2.0, 1.0) for minute in found)


def test_a_clock_that_steps_forward_leaves_a_gap() -> None:
    minutes = Minutes()
    found = feed(minutes, START_S, 130) + feed(minutes, START_S + 86_400, 70)
    assert [minute.start_utc_s - START_S for minute in found] == [0, 60, 120, 86_400]
