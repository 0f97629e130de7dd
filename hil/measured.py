"""Replay of measured series out of CSV files.

Format: first column `ts_utc`, ISO-8601, the start of the averaging interval, on a regular grid;
other columns power in kW, irradiance in W/m2, temperature in degC or wind in m/s, as means over
the interval; an empty cell is missing. Files may be gzipped. Nothing in them is trusted: a bad
cell is refused with file, line and column.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite, nan, sqrt
from pathlib import Path

import numpy as np

from hil.plant_inverters import NOCT_AMBIENT_DEGC, NOCT_W_M2, STC_DEGC, STC_W_M2, PvTruth
from hil.plant_records import Weather
from hil.sources import Floats, WeatherMeans

DAY_S = 86_400.0
SEARCH_DAYS = 14  # how far a filled gap may borrow from
BRIGHTEST_W_M2 = 1500.0
Ambient = Callable[[float], float]
"""Temperature in degC or wind speed in m/s at a UTC time."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file; missing cells are NaN."""

    where: str  # file and column, for messages
    start_utc_s: float
    step_s: float
    values: Floats


def read_column(path: Path, name: str) -> Column:
    """Read one column. Raises ValueError with one line naming what is wrong, and where."""
    times: list[float] = []
    values: list[float] = []
    for number, time, cell in _cells(path, name):
        times.append(_utc_s(time, f"{path}:{number}"))
        values.append(_number(cell, f"{path}:{number}: {name}"))
    if len(times) < 2:
        raise ValueError(f"{path}: needs two rows at least")
    steps = np.diff(times)
    odd = np.flatnonzero(np.abs(steps - steps[0]) > 1e-3)
    if odd.size or steps[0] <= 0.0:
        line = (int(odd[0]) if odd.size else 0) + 3
        raise ValueError(f"{path}:{line}: ts_utc leaves the grid of {steps[0]:g} s")
    return Column(f"{path}: {name}", times[0], float(steps[0]), np.array(values))


def _cells(path: Path, name: str) -> Iterator[tuple[int, str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if not header or header[0] != "ts_utc":
                raise ValueError(f"{path}:1: the first column has to be ts_utc")
            if name not in header[1:]:
                raise ValueError(f"{path}: no column {name}; there are {', '.join(header[1:])}")
            place = header.index(name)
            for number, row in enumerate(rows, start=2):
                if len(row) != len(header):
                    raise ValueError(
                        f"{path}:{number}: {len(row)} cells, the header has {len(header)}"
                    )
                yield number, row[0], row[place]
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error


def _utc_s(text: str, where: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{where}: ts_utc {text!r} is not an ISO-8601 time") from None
    return time.replace(tzinfo=time.tzinfo or UTC).timestamp()


def _number(cell: str, where: str) -> float:
    if not cell:
        return nan
    try:
        value = float(cell)
    except ValueError:
        value = nan
    if not isfinite(value):
        raise ValueError(f"{where}: {cell!r} is not a number")
    return value


class MeasuredSeries:
    """A measured column over the time of a scenario, smooth inside the intervals.

    Between measured means runs a parabola per interval that meets its neighbours, keeps the mean
    exactly and, for series that have no negative means, never goes below 0.
    """

    def __init__(
        self,
        column: Column,
        start_utc_s: float,
        end_utc_s: float,
        *,
        shift_s: float = 0.0,
        scale: float = 1.0,
        fill: bool = False,
    ) -> None:
        """The part of `column` from start to end, both in the scenario's own time.

        `shift_s` is what to add to a scenario time to get the file's. Missing means raise
        ValueError unless `fill`, which takes the same time of the nearest day that has it and
        counts those intervals in `filled`.
        """
        self.step_s = column.step_s
        self.where = column.where
        first = int((start_utc_s + shift_s - column.start_utc_s) // column.step_s)
        last = int(-((end_utc_s + shift_s - column.start_utc_s) // -column.step_s))
        if first < 0 or last > column.values.size:
            raise ValueError(f"{column.where}: has {_span(column)}, not all of what is asked for")
        wanted = range(first, last)
        missing = np.flatnonzero(np.isnan(column.values[first:last])) + first
        if missing.size and not fill:
            when = column.start_utc_s + missing[0] * column.step_s
            raise ValueError(
                f"{column.where}: {missing.size} of {len(wanted)} intervals are missing, "
                f"the first at {_iso(when)}"
            )
        self.filled = int(missing.size)
        values = column.values.copy()
        for index in missing:
            values[index] = _borrowed(column, int(index))
        self._begin_s = column.start_utc_s + first * column.step_s - shift_s
        self._means = values[first:last] * scale
        self._pieces = _parabolas(self._means)

    def at(self, utc_s: float) -> float:
        """The value at a time; before and after its span the nearest piece's end."""
        place = (utc_s - self._begin_s) / self.step_s
        i = min(len(self._pieces) - 1, max(0, int(place)))
        part = min(1.0, max(0.0, place - i))
        level, slope, bend = self._pieces[i]
        return level + part * (slope + bend * part)

    def means(self, start_utc_s: float, count: int, step_s: float = 900.0) -> Floats:
        """Means over `count` intervals; exact, whatever the file's own step is."""
        edges = (start_utc_s + np.arange(count + 1) * step_s - self._begin_s) / self.step_s
        if edges[0] < -1e-9 or edges[-1] > len(self._pieces) + 1e-9:
            raise ValueError(f"{self.where}: means wanted outside of what was taken from it")
        index = np.clip(edges.astype(int), 0, len(self._pieces) - 1)
        part = edges - index
        level, slope, bend = np.array(self._pieces).T[:, index]
        whole = np.concatenate(([0.0], np.cumsum(self._means)))[index]
        integral = whole + part * (level + part * (slope / 2.0 + part * bend / 3.0))
        return np.asarray(np.diff(integral) * self.step_s / step_s)


def _borrowed(column: Column, index: int) -> float:
    per_day = round(DAY_S / column.step_s)
    for days in range(1, SEARCH_DAYS + 1):
        for other in (index - days * per_day, index + days * per_day):
            if 0 <= other < column.values.size and not np.isnan(column.values[other]):
                return float(column.values[other])
    when = _iso(column.start_utc_s + index * column.step_s)
    raise ValueError(f"{column.where}: nothing within {SEARCH_DAYS} days to fill {when} with")


def _parabolas(means: Floats) -> list[tuple[float, float, float]]:
    """Level, slope and bend of a + b*x + c*x^2 per interval, x in 0..1, with the given means.

    Neighbours meet at the mean of theirs, but at most at three times either: that is what keeps a
    parabola with a mean >= 0 from going below 0.
    """
    ends = np.concatenate((means[:1], (means[1:] + means[:-1]) / 2.0, means[-1:]))
    if means.min(initial=0.0) >= 0.0:
        ends[:-1] = np.minimum(ends[:-1], 3.0 * means)
        ends[1:] = np.minimum(ends[1:], 3.0 * means)
    left, right = ends[:-1], ends[1:]
    bulge = 6.0 * (means - (left + right) / 2.0)
    return list(zip(left.tolist(), (right - left + bulge).tolist(), (-bulge).tolist(), strict=True))


def _span(column: Column) -> str:
    end = column.start_utc_s + column.values.size * column.step_s
    return f"{_iso(column.start_utc_s)} to {_iso(end)}"


def _iso(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%MZ")


class MeasuredWeather:
    """Measured global irradiance; the arrays lie flat."""

    def __init__(self, ghi: MeasuredSeries, ambient: Ambient, wind: Ambient) -> None:
        self._ghi = ghi
        self._ambient = ambient
        self._wind = wind

    def at(self, utc_s: float, grid_present: bool = True) -> Weather:
        """The weather at a time."""
        ghi = self._irradiance(utc_s)
        return Weather(ghi, ghi, self._ambient(utc_s), self._wind(utc_s), grid_present)

    def means(self, start_utc_s: float, count: int, step_s: float = 900.0) -> WeatherMeans:
        """Means over intervals, of one value a minute."""
        per = max(1, round(step_s / 60.0))
        times = (start_utc_s + (np.arange(count * per) + 0.5) * step_s / per).tolist()
        rows = [self.at(time) for time in times]
        table = np.array(
            [(row.ghi_w_m2, row.plane_w_m2, row.ambient_degc, row.wind_m_s) for row in rows]
        )
        return WeatherMeans(*table.T.reshape(4, count, per).mean(axis=2))

    def _irradiance(self, utc_s: float) -> float:
        return max(0.0, self._ghi.at(utc_s))


class MeasuredPv(MeasuredWeather):
    """Measured AC power of PV, turned into the irradiance under which these arrays make it."""

    def __init__(
        self, power: MeasuredSeries, arrays: Sequence[PvTruth], ambient: Ambient, wind: Ambient
    ) -> None:
        if not arrays:
            raise ValueError(f"{power.where}: the site has no PV to make this power")
        super().__init__(power, ambient, wind)
        self._gains = [_gains(array) for array in arrays]

    def _irradiance(self, utc_s: float) -> float:
        """Inverse of Qian 2024, eq. 1, summed over the arrays: A*G + B*G^2 = P, B < 0."""
        power_kw = self._ghi.at(utc_s)
        if power_kw <= 0.0:
            return 0.0
        cold = self._ambient(utc_s) - STC_DEGC
        a = b = 0.0
        for gain, per_k, rise_k in self._gains:
            a += gain * (1.0 + per_k * cold)
            b += gain * per_k * rise_k
        root = sqrt(max(0.0, a * a + 4.0 * b * power_kw))
        return min(BRIGHTEST_W_M2, 2.0 * power_kw / (a + root))


def _gains(array: PvTruth) -> tuple[float, float, float]:
    """AC kW per W/m2 with cells at 25 degC, change per K, and K of cell warming per W/m2."""
    clean = (1.0 - array.soiling_frac) * (1.0 - array.mismatch_frac)
    gain = array.inverter_efficiency_frac * array.array_kw * clean / STC_W_M2
    return gain, array.temperature_per_k, (array.noct_degc - NOCT_AMBIENT_DEGC) / NOCT_W_M2
