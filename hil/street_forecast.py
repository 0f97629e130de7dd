"""What each house of a street expects of the next day: clock-time means, corrected by regression.

The mean of a clock time counts recent days most. How far load and sun will be off their means is
learnt from how far they were off in the last slot, hours, day and week: a ridge regression for each
house and each slot of the coming day, fitted anew every day on the weeks before, towards a rule of
thumb for as long as there is little to learn from.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hil.street_result import Floats

DAILY_KEEP_FRAC = 0.9  # a day counts so much less in the mean than the day after it
LEARNT_DAYS = 28  # from which the regression is fitted ...
ERROR_DAYS = 14  # ... and errors are learnt
RULE_ORIGINS = 48  # forecasts that the rule of thumb counts as much as
LOAD_FADES_PER_H = 0.5
PV_FADES_PER_H = 0.85
HOURS = 3.0  # "the last hours"
MOST_RATIO = 2.0  # of sun to its mean
LEAST_WINDOW_KWH = 0.05
LEAST_ERROR_KW = 0.1
NOTHING_KW2 = 1e-6

Slots = NDArray[np.int64]


@dataclass(frozen=True)
class Errors:
    """Root mean squares of earlier forecasts' errors of load less PV."""

    by_lead_kw: Floats  # (slots of a day,): of the whole street, by how far ahead
    by_clock_kw: Floats  # (slots of a day,): of the whole street, by clock time
    houses_kw: Floats  # (slots of a day, houses): of the next slot, by clock time

    def street_kw(self, slot: int) -> Floats:
        """Of the street's balance in each slot of the coming day, (slots of a day,)."""
        day = len(self.by_lead_kw)
        clock = self.by_clock_kw[(slot + np.arange(day)) % day]
        mean = np.sqrt(np.mean(np.square(self.by_clock_kw)))
        return np.asarray(np.maximum(LEAST_ERROR_KW, self.by_lead_kw * clock / max(mean, 1e-9)))

    def house_kw(self, slot: int) -> Floats:
        """Of each house's next slot, (houses,)."""
        return np.asarray(self.houses_kw[slot % len(self.houses_kw)])


class Forecaster:
    """Forecasts from what is known when a slot begins; series are (slots, houses)."""

    def __init__(self, load_kw: Floats, pv_kw: Floats, step_h: float) -> None:
        self._slots, self._day = len(load_kw), round(24.0 / step_h)
        to_come = np.zeros((self._day, load_kw.shape[1]))  # the last forecasts reach beyond the end
        self._load_kw, self._pv_kw = np.vstack([load_kw, to_come]), np.vstack([pv_kw, to_come])
        self._mean_load_kw = _means(self._load_kw, self._day)
        self._mean_pv_kw = _means(self._pv_kw, self._day)
        self._most_pv_kw = _most(self._pv_kw, self._day)
        hour, hours = max(1, round(1.0 / step_h)), max(1, round(HOURS / step_h))
        off_kw = self._load_kw - self._mean_load_kw
        self._load_off_kw = [_before(off_kw, slots) for slots in (1, hours, self._day)]
        self._pv_off = [self._ratio(slots, step_h) - 1.0 for slots in (hour, hours, self._day)]
        ahead_h = (np.arange(self._day) + 1) * step_h
        self._load_rule, self._pv_rule = np.zeros((self._day, 1, 6)), np.zeros((self._day, 1, 5))
        self._load_rule[:, 0, 0] = LOAD_FADES_PER_H**ahead_h
        self._pv_rule[:, 0, 1] = PV_FADES_PER_H**ahead_h
        self._fits: dict[int, tuple[Floats, Floats]] = {}  # by day

    def net_kw(self, slot: int) -> Floats:
        """Load less PV of the coming day, (slots of a day, houses), from what was before `slot`."""
        today = slot // self._day
        if today not in self._fits:
            self._fits[today] = self._fitted(today * self._day)
        load_fit, pv_fit = self._fits[today]
        begun = np.array([slot])
        ahead = slice(slot, slot + self._day)
        load_kw = self._mean_load_kw[ahead] + (self._load_features(begun)[0] * load_fit).sum(axis=2)
        pv_kw = self._mean_pv_kw[ahead] + (self._pv_features(begun)[0] * pv_fit).sum(axis=2)
        return np.asarray(np.maximum(0.0, load_kw) - np.clip(pv_kw, 0.0, self._most_pv_kw[ahead]))

    def errors(self, slot: int) -> Errors:
        """How far off earlier forecasts were, as seen before `slot`."""
        day, truth_kw = self._day, self._load_kw - self._pv_kw
        begun = self._begun(slot, ERROR_DAYS)
        off_kw = np.array([truth_kw[t : t + day] - self.net_kw(t) for t in begun])
        clock = (begun[:, None] + np.arange(day)) % day
        together = np.square(off_kw.sum(axis=2, keepdims=True))  # origin, step
        hour = max(1, day // 24)
        next_hour = _by_clock(clock[:, :hour], np.square(off_kw[:, :hour]), day)
        return Errors(
            by_lead_kw=np.sqrt(together[:, :, 0].mean(axis=0)),
            by_clock_kw=np.sqrt(_by_clock(clock, together, day)[:, 0]),
            houses_kw=np.sqrt(next_hour),
        )

    def _begun(self, slot: int, days: int) -> Slots:
        """When forecasts of the last days began that are over before `slot`: one an hour."""
        day = self._day
        return np.arange(max(3 * day, slot - days * day), slot - day + 1, max(1, day // 24))

    def _fitted(self, slot: int) -> tuple[Floats, Floats]:
        """What the features count for load and PV, (slots of a day, houses, features) each."""
        begun = self._begun(slot, LEARNT_DAYS)
        ahead = begun[:, None] + np.arange(self._day)
        load_off_kw = (self._load_kw - self._mean_load_kw)[ahead]
        pv_off_kw = (self._pv_kw - self._mean_pv_kw)[ahead]
        return (
            _ridge(self._load_features(begun), load_off_kw, self._load_rule),
            _ridge(self._pv_features(begun), pv_off_kw, self._pv_rule),
        )

    def _load_features(self, begun: Slots) -> Floats:
        """(origins, slots of a day, houses, 6), each in kW."""
        ahead = begun[:, None] + np.arange(self._day)
        mean_kw = self._mean_load_kw[ahead]
        yesterday_kw = (self._load_kw - self._mean_load_kw)[ahead - self._day]
        week = 7 * self._day
        known = (ahead >= week + self._day)[:, :, None]
        last_week_kw = np.where(known, self._load_kw[np.maximum(0, ahead - week)] - mean_kw, 0.0)
        now_kw = [np.broadcast_to(off[begun][:, None], mean_kw.shape) for off in self._load_off_kw]
        return np.stack([*now_kw, yesterday_kw, last_week_kw, np.ones_like(mean_kw)], axis=3)

    def _pv_features(self, begun: Slots) -> Floats:
        """(origins, slots of a day, houses, 5), each in kW: nothing at night."""
        ahead = begun[:, None] + np.arange(self._day)
        mean_kw = self._mean_pv_kw[ahead]
        now_kw = [mean_kw * off[begun][:, None] for off in self._pv_off]
        yesterday_kw = self._pv_kw[ahead - self._day] - mean_kw
        return np.stack([*now_kw, yesterday_kw, mean_kw], axis=3)

    def _ratio(self, slots: int, step_h: float) -> Floats:
        """Sun of so many slots before each slot over its mean there, 1 where there is none."""
        mean_kw = _before(self._mean_pv_kw, slots)
        ratio = np.minimum(_before(self._pv_kw, slots) / np.maximum(mean_kw, 1e-9), MOST_RATIO)
        return np.where(mean_kw * slots * step_h < LEAST_WINDOW_KWH, 1.0, ratio)


def _ridge(features: Floats, off_kw: Floats, rule: Floats) -> Floats:
    """Least squares over the origins, drawn towards `rule`: (slots of a day, houses, features)."""
    rows = features.transpose(1, 2, 0, 3)
    left_kw = off_kw.transpose(1, 2, 0) - (rows @ rule[..., None])[..., 0]
    squares = rows.swapaxes(2, 3) @ rows
    size = np.einsum("khff->khf", squares)
    held = RULE_ORIGINS * (size / max(1, len(off_kw)) + NOTHING_KW2)
    squares = squares + held[..., None] * np.eye(rule.shape[2])
    moments = rows.swapaxes(2, 3) @ left_kw[..., None]
    return np.asarray(rule + np.linalg.solve(squares, moments)[..., 0])


def _by_clock(clock: Slots, squares: Floats, day: int) -> Floats:
    """Mean of squares (origins, steps, n) at each clock time and an hour around it, (day, n)."""
    total, count = np.zeros((day, squares.shape[2])), np.zeros((day, 1))
    np.add.at(total, clock.ravel(), squares.reshape(-1, squares.shape[2]))
    np.add.at(count, clock.ravel(), 1.0)
    hour = max(1, day // 24)
    around = range(-hour, hour + 1)
    wide = sum((np.roll(total, by, axis=0) for by in around), np.zeros_like(total))
    many = sum((np.roll(count, by, axis=0) for by in around), np.zeros_like(count))
    return np.asarray(wide / np.maximum(many, 1.0))


def _means(series_kw: Floats, day: int) -> Floats:
    """For each slot the mean of the same clock time on the days before, recent days first."""
    means = np.zeros_like(series_kw)
    total, weight = np.zeros((day, series_kw.shape[1])), 0.0
    for slot in range(day, len(series_kw), day):
        total = DAILY_KEEP_FRAC * total + series_kw[slot - day : slot]
        weight = DAILY_KEEP_FRAC * weight + 1.0
        means[slot : slot + day] = (total / weight)[: len(series_kw) - slot]
    return means


def _most(series_kw: Floats, day: int) -> Floats:
    """For each slot the most at the same clock time on the days before."""
    most = np.zeros_like(series_kw)
    for slot in range(day, len(series_kw)):
        most[slot] = series_kw[slot % day : slot : day][-LEARNT_DAYS:].max(axis=0)
    return most


def _before(series: Floats, slots: int) -> Floats:
    """Mean of so many slots before each, fewer at the beginning."""
    sums = np.vstack([np.zeros_like(series[:1]), np.cumsum(series, axis=0)])
    last = np.arange(len(series))
    first = np.maximum(0, last - slots)
    return np.asarray((sums[last] - sums[first]) / np.maximum(1, last - first)[:, None])
