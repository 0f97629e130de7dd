"""Ticks on a clock that the test moves."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.pace import LONGEST_NAP_S, Pace, Tick


class FakeClock:
    """Sleeps as long as it is told, plus what the test adds to the first nap."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.naps: list[float] = []
        self.oversleep_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def utc(self) -> float:
        raise AssertionError("pace must not follow the wall clock")

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now_s += seconds + self.oversleep_s
        self.oversleep_s = 0.0


def running() -> bool:
    return False


def ticks(pace: Pace) -> Iterator[Tick]:
    while (tick := pace.wait(running)) is not None:
        yield tick


def test_ticks_lie_on_absolute_deadlines_whatever_a_cycle_takes() -> None:
    clock = FakeClock()
    pace = Pace(clock, 1.0)
    due = []
    for work_s in (0.1, 0.9, 0.3, 0.0, 0.99):
        tick = pace.wait(running)
        assert tick is not None
        assert tick.missed == 0
        due.append(tick.due_s - 1000.0)
        clock.now_s += work_s
    assert due == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_a_late_cycle_skips_to_the_newest_tick_and_counts_the_others() -> None:
    clock = FakeClock()
    found = ticks(Pace(clock, 1.0))
    next(found)
    clock.now_s += 3.4
    assert next(found) == Tick(1003.0, pytest.approx(0.4), 2)
    assert next(found) == Tick(1004.0, 0.0, 0)


def test_sleeping_too_long_is_no_burst_either() -> None:
    clock = FakeClock()
    found = ticks(Pace(clock, 1.0))
    next(found)
    clock.oversleep_s = 2.5
    assert next(found).missed == 1
    started = [clock.now_s]
    for _ in range(3):
        next(found)
        started.append(clock.now_s)
    gaps = [after - before for before, after in pairwise(started)]
    assert min(gaps) > 0.2
    assert clock.now_s == pytest.approx(1005.0)


def test_the_first_tick_may_be_put_off() -> None:
    clock = FakeClock()
    assert next(ticks(Pace(clock, 1.0, 0.25))).due_s == 1000.25


def test_a_stop_request_is_seen_within_a_nap() -> None:
    clock = FakeClock()
    pace = Pace(clock, 60.0)
    asked: list[Callable[[], bool]] = [running, running]

    def stopping() -> bool:
        return not asked or asked.pop()()

    assert pace.wait(running) is not None
    assert pace.wait(stopping) is None
    assert clock.naps == [LONGEST_NAP_S] * 2


@given(
    st.floats(0.05, 60.0),
    st.lists(st.floats(0.0, 300.0), min_size=1, max_size=30),
)
def test_every_tick_is_taken_or_missed_once(period_s: float, work: list[float]) -> None:
    clock = FakeClock()
    pace = Pace(clock, period_s)
    seen = -1
    for work_s in work:
        tick = pace.wait(running)
        assert tick is not None
        assert 0.0 <= tick.lateness_s < period_s + 1e-6
        number = round((tick.due_s - 1000.0) / period_s)
        assert number == seen + tick.missed + 1
        seen = number
        clock.now_s += work_s
