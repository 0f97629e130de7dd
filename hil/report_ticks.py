"""Scales of a chart: round numbers for values, local clock times for time."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

DAY_S = 86_400
TIME_STEPS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10_800, 21_600, 43_200),
    *(DAY_S, 2 * DAY_S, 3 * DAY_S, 7 * DAY_S, 14 * DAY_S, 28 * DAY_S),
)
MONDAY_S = 3 * DAY_S  # 1970-01-01 was a Thursday
SEARCH_S = 900  # offsets of time zones, and their changes, are multiples of this


@dataclass(frozen=True, slots=True)
class ValueScale:
    """From `low` to `high`, both multiples of `step`, a round number."""

    low: float
    high: float
    step: float

    @classmethod
    def of(cls, values: Iterable[float], count: int = 4) -> "ValueScale":
        """The smallest that holds all finite values, with about `count` steps."""
        finite = [value for value in values if math.isfinite(value)]
        low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
        least = 1e-6 * max(abs(low), abs(high), 1e-3)
        if high - low < least:  # constant: put it between two ticks
            around = abs(low) * 0.1 or 1.0
            low, high = low - around, high + around
        step = round_step((high - low) / count)
        slack = 1e-9 * step
        low = math.floor((low + slack) / step) * step
        high = math.ceil((high - slack) / step) * step
        return cls(low, high, step)

    def share(self, value: float) -> float:
        """Where a value lies: 0 at `low`, 1 at `high`."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Multiples of the step from low to high."""
        first = round(self.low / self.step)
        last = round(self.high / self.step)
        return [index * self.step for index in range(first, last + 1)]

    def label(self, value: float) -> str:
        """A tick's text, with the decimals that the step needs."""
        decimals = max(0, -math.floor(math.log10(self.step) + 1e-9))
        text = f"{value:.{decimals}f}"
        return text.replace("-", "\N{MINUS SIGN}") if float(text) else text.lstrip("-")


def round_step(rough: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below `rough` (> 0)."""
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1.0, 2.0, 5.0):
        if factor * power >= rough * (1.0 - 1e-9):
            return factor * power
    return 10.0 * power


@dataclass(frozen=True, slots=True)
class TimeTick:
    """A moment that the time axis names; `date` where a day begins, else empty."""

    utc_s: float
    text: str
    date: str
    major: bool  # stays when there is room for half of them only


def time_ticks(start_s: float, end_s: float, zone: ZoneInfo, count: int = 13) -> list[TimeTick]:
    """At most about `count` round local times from start to end (UTC seconds)."""
    span_s = max(end_s - start_s, 1.0)
    fits = (step for step in TIME_STEPS_S if span_s / step <= count)
    step_s = next(fits, TIME_STEPS_S[-1])
    ticks: list[TimeTick] = []
    search_s = min(step_s, SEARCH_S)
    utc_s = math.floor(start_s / search_s) * search_s
    passed = _local_count(utc_s - search_s, step_s, zone)
    while utc_s <= end_s:
        index = _local_count(utc_s, step_s, zone)
        if index > passed:  # also where a clock change skips the round time itself
            passed = index
            if utc_s >= start_s:
                ticks.append(_tick(utc_s, step_s, index % 2 == 0, zone))
        utc_s += search_s
    return ticks


def _local_count(utc_s: float, step_s: int, zone: ZoneInfo) -> int:
    offset_s = (local(utc_s, zone).utcoffset() or timedelta()).total_seconds()
    return math.floor((utc_s + offset_s + MONDAY_S) / step_s)


def _tick(utc_s: float, step_s: int, major: bool, zone: ZoneInfo) -> TimeTick:
    moment = local(utc_s, zone)
    date = f"{moment.day} {moment:%b}"
    if step_s >= DAY_S:
        return TimeTick(utc_s, date, "", major)
    text = f"{moment:%H:%M:%S}" if step_s < 60 else f"{moment:%H:%M}"
    first = moment.hour * 3600 + moment.minute * 60 + moment.second < step_s
    return TimeTick(utc_s, text, date if first else "", major)


def local(utc_s: float, zone: ZoneInfo) -> datetime:
    """The moment on the clocks of the zone."""
    return datetime.fromtimestamp(utc_s, UTC).astimezone(zone)
