"""Synthetic load at one-minute resolution: home, clinic or workshop.

A day is made of a base, cycling cold appliances, lighting when it is dark and somebody is there,
and seeded events (kettle, cooker, washing, autoclave, machines), then scaled to the wanted energy
per day. As with the weather, every minute is a function of seed and local date alone.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from control.sun import solar_position
from hil.sources import Floats

MINUTES = 1440
DAY_S = 86_400.0
REFERENCE = range(20_000, 20_364, 13)  # days since 1970 for the mean: all seasons and weekdays
EPOCH_ORDINAL = datetime.fromtimestamp(0, UTC).toordinal()
DARK_DEG = 2.0  # lights go on below this elevation of the sun


class SyntheticLoad:
    """The load of one building."""

    def __init__(
        self,
        kind: str,
        kwh_per_day: float,
        latitude_deg: float,
        longitude_deg: float,
        timezone: str,
        seed: int,
    ) -> None:
        """`kwh_per_day` is the mean over a year; days differ, weekends and seasons too."""
        if kind not in KINDS:
            raise ValueError(f"load kind {kind!r}: allowed are {', '.join(KINDS)}")
        if not kwh_per_day > 0.0:
            raise ValueError(f"load kwh_per_day {kwh_per_day!r}: must be above 0")
        self._make = KINDS[kind]
        self._kwh_per_day = kwh_per_day
        self._place = (latitude_deg, longitude_deg)
        self._zone = ZoneInfo(timezone)
        self._seed = seed
        self._scale = lru_cache(maxsize=1)(self._find_scale)
        self._local_day = lru_cache(maxsize=64)(self._make_local_day)
        self._day = lru_cache(maxsize=64)(self._make_day)
        self._number = -1
        self._minutes: list[float] = []

    def at(self, utc_s: float) -> float:
        """The load at a time, kW; constant over a minute."""
        number = int(utc_s // DAY_S)
        if number != self._number:
            self._minutes = self._day(number).tolist()
            self._number = number
        return self._minutes[int((utc_s - number * DAY_S) // 60.0)]

    def means(self, start_utc_s: float, count: int, step_s: float = 900.0) -> Floats:
        """Means over intervals, kW; start and step in whole minutes."""
        per = round(step_s / 60.0)
        minute = int(start_utc_s // 60.0) + np.arange(count * per)
        numbers = minute // MINUTES
        values = np.empty(count * per)
        for number in np.unique(numbers):
            here = numbers == number
            values[here] = self._day(int(number))[minute[here] - number * MINUTES]
        return np.asarray(values.reshape(count, per).mean(axis=1))

    def _make_day(self, number: int) -> Floats:
        """One UTC day, put together from the local days it overlaps."""
        hours = []
        for hour in range(24):
            local = datetime.fromtimestamp(number * DAY_S + hour * 3600.0, self._zone)
            first = local.hour * 60 + local.minute
            minutes = self._local_day(local.date().toordinal() - EPOCH_ORDINAL)
            following = self._local_day(local.date().toordinal() - EPOCH_ORDINAL + 1)
            hours.append(np.concatenate((minutes, following))[first : first + 60])
        return np.asarray(np.concatenate(hours) * self._scale())

    def _find_scale(self) -> float:
        raw = [self._make_local_day(number).mean() for number in REFERENCE]
        return self._kwh_per_day / 24.0 / float(np.mean(raw))

    def _make_local_day(self, number: int) -> Floats:
        """Unscaled kW for the 1440 minutes of a local date (days since 1970)."""
        rng = np.random.default_rng([self._seed, number, 7])
        minute = np.arange(MINUTES, dtype=np.float64)
        date = datetime.fromordinal(number + EPOCH_ORDINAL)
        midnight = date.replace(tzinfo=self._zone).timestamp()
        elevation_deg, _ = solar_position(midnight + minute * 60.0, *self._place)
        return self._make(minute / 60.0, elevation_deg < DARK_DEG, date.weekday() >= 5, rng)


def _home(hour: Floats, dark: np.ndarray, weekend: bool, rng: np.random.Generator) -> Floats:
    up = rng.normal(8.3 if weekend else 6.7, 0.4)
    bed = rng.normal(23.0, 0.5)
    awake = (hour > up) & (hour < bed)
    away = (hour > up + 1.8) & (hour < rng.normal(16.5, 0.8)) & (not weekend)
    there = awake & ~away
    load = 0.07 + _cycling(rng, 0.09, 16.0, 34.0) + 0.16 * (there & dark) + 0.07 * there
    load += 0.13 * ((hour > 18.5) & (hour < bed))  # television and computers
    _pulses(load, rng, up + 0.3, 1.0, 2.0, 3.0, 2)  # kettle
    _pulses(load, rng, up + 0.5, 0.6, 0.9, 4.0, 1)  # toaster
    if weekend or rng.random() < 0.3:
        _cook(load, rng, rng.normal(12.5, 0.5), 20.0)
    _cook(load, rng, rng.normal(18.3, 0.6), 38.0)
    _pulses(load, rng, 16.0, 6.0, 2.0, 3.0, 2)
    if rng.random() < 0.4:
        _wash(load, rng, rng.normal(10.5 if weekend else 17.5, 1.2))
    if rng.random() < 0.5:
        _wash(load, rng, rng.normal(20.2, 0.5))
    return np.asarray(load)


def _clinic(hour: Floats, dark: np.ndarray, weekend: bool, rng: np.random.Generator) -> Floats:
    opens, closes = rng.normal(7.7, 0.1), rng.normal(16.3, 0.3)
    staffed = (hour > opens) & (hour < closes) & (not weekend)
    load = 0.22 + _cycling(rng, 0.18, 14.0, 22.0) + _cycling(rng, 0.12, 20.0, 40.0)
    load += 0.35 * staffed + 0.25 * (staffed & dark) + 0.10 * dark  # night light
    if weekend:
        return np.asarray(load)
    midday = np.exp(-(((hour - 13.5) / 2.8) ** 2))
    load += 0.9 * midday * staffed * _cycling(rng, 1.0, 9.0, 6.0)  # air conditioning
    for _ in range(rng.integers(2, 5)):
        _pulses(load, rng, opens + 0.5, closes - opens - 1.5, 2.2, 24.0, 1)  # autoclave
    _pulses(load, rng, opens, closes - opens, 1.5, 4.0, 6)  # laboratory, kettle
    return np.asarray(load)


def _workshop(hour: Floats, dark: np.ndarray, weekend: bool, rng: np.random.Generator) -> Floats:
    opens, closes = rng.normal(7.2, 0.15), rng.normal(16.4, 0.3)
    lunch = (hour > 12.0) & (hour < 12.6)
    open_today = not weekend or rng.random() < 0.15
    staffed = (hour > opens) & (hour < closes) & ~lunch & open_today
    load = 0.08 + _cycling(rng, 0.08, 15.0, 40.0) + 0.06 * dark
    load += 0.30 * staffed + 0.20 * (staffed & dark)
    load += staffed * _cycling(rng, 1.8, 3.0, 11.0)  # compressor
    machines = np.zeros(MINUTES)
    for power_kw, minutes, count in ((2.6, 6.0, 14), (3.8, 3.0, 9), (1.2, 15.0, 6)):
        _pulses(machines, rng, opens, closes - opens, power_kw, minutes, count)
    load += machines * staffed
    return np.asarray(load)


KINDS: dict[str, Callable[[Floats, np.ndarray, bool, np.random.Generator], Floats]] = {
    "home": _home,
    "clinic": _clinic,
    "workshop": _workshop,
}


def _cycling(rng: np.random.Generator, power_kw: float, on_min: float, off_min: float) -> Floats:
    """A thermostat: on and off in turn, each a little different every time."""
    turns = int(2 * MINUTES / (on_min + off_min)) + 2
    lengths = np.column_stack((np.full(turns, on_min), np.full(turns, off_min))).ravel()
    edges = np.cumsum(lengths * rng.uniform(0.8, 1.2, size=lengths.size))
    start = rng.uniform(0.0, on_min + off_min)
    on = np.searchsorted(edges, np.arange(MINUTES) + start) % 2 == 0
    return np.asarray(power_kw * on)


def _pulses(
    load: Floats,
    rng: np.random.Generator,
    from_hour: float,
    span_h: float,
    power_kw: float,
    minutes: float,
    count: int,
) -> None:
    """Add `count` runs of an appliance at random times inside a span."""
    for hour in rng.uniform(from_hour, from_hour + span_h, size=count):
        length = max(1, round(minutes * rng.uniform(0.6, 1.5)))
        first = min(MINUTES - 1, max(0, int(hour * 60)))
        load[first : first + length] += power_kw * rng.uniform(0.85, 1.1)


def _cook(load: Floats, rng: np.random.Generator, hour: float, minutes: float) -> None:
    """Hobs heat up and then cycle."""
    first = int(np.clip(hour * 60, 0, MINUTES - 1))
    length = max(8, round(minutes * rng.uniform(0.7, 1.4)))
    load[first : first + 6] += rng.uniform(1.6, 2.4)
    simmer = load[first + 6 : first + length]
    simmer += rng.uniform(1.2, 1.8) * (rng.random(simmer.size) < 0.45)


def _wash(load: Floats, rng: np.random.Generator, hour: float) -> None:
    """Heating the water, then an hour of drum or pump."""
    first = int(np.clip(hour * 60, 0, MINUTES - 1))
    heats = int(rng.integers(14, 24))
    load[first : first + heats] += 2.0
    load[first + heats : first + heats + 55] += 0.25
