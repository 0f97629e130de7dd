"""Learning on site: how the last four weeks say to mix forecasts, and how wide the band is.

Practice forecasts are made every hour as if it were then, and compared with what came. Per
range of leads, weights that move the network's centre towards simple forecasts are fitted by least
squares, drawn to zero and never negative (plain ridge per site can go badly wrong); then the two
half-widths of the band are scaled so that a tenth of the outcomes lies beyond each edge (split
conformal: Romano, Patterson, Candes 2019). Only outcomes known at the start of the day count.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import baselines
from models.baselines import Past
from models.cleaning import cleaned
from models.history import DAY_S, Floats, History, Target

Three = tuple[Floats, Floats, Floats]

PRACTICE_DAYS = 28
PRACTICE_EVERY_S = 3600
PRACTICES_PER_DAY = DAY_S // PRACTICE_EVERY_S
PRACTICES_PER_WEEK = 7 * PRACTICES_PER_DAY
LEAST_DAYS = 7.0
EDGES_S = (900, 1800, 3600, 7200, 14_400, 28_800, 57_600, DAY_S)  # ranges of leads, by their ends
PRIOR_STD = 0.2
INDEPENDENT_S = 43_200.0  # errors of a lead are worth so many seconds / lead a day
BEYOND_FRAC = 0.1
WIDTH_LIMITS = (0.3, 4.0)


@dataclass(frozen=True, slots=True)
class Practice:
    """N practice forecasts: candidates (J, N, D), the network's first; band; outcomes (N, D)."""

    candidates: Floats
    low: Floats
    high: Floats
    outcome: Floats


@dataclass(frozen=True, slots=True)
class Adjustment:
    """Per lead of the grid: weights (J - 1, D) of the simple forecasts, factors of half-widths."""

    weights: Floats
    below: Floats  # (D,)
    above: Floats  # (D,)

    def apply(self, candidates: Floats, low: Floats, high: Floats) -> Three:
        """Mix and widen; shapes (J, B, D) and (B, D)."""
        first = candidates[0]
        others = np.where(np.isfinite(candidates[1:]), candidates[1:], first)
        middle = first + np.einsum("jd,jbd->bd", self.weights, others - first)
        return middle - self.below * (first - low), middle, middle + self.above * (high - first)


def candidates(past: Past, target: Target, network: Floats) -> Floats:
    """The network's centre and the simple forecasts to mix it with, shape (J, B, D)."""
    simple = [past.mean, baselines.yesterday(past)]
    if target == "pv":
        now = baselines.clearness(past, past.step_s)
        simple += [baselines.clear_sky_persistence(past), past.top * now[:, None]]
    else:
        simple += [baselines.persistence(past), past.last_week, past.week]
    return np.stack([network, *simple])


class Learner:
    """Learns on one history, day by day, and remembers what it has worked out.

    `predict` makes the network's p10, p50, p90 (B, D), NaN in rows where it cannot serve.
    """

    def __init__(
        self,
        history: History,
        target: Target,
        capacity: float | None,
        predict: Callable[[Past], Three],
    ) -> None:
        self._history, self._target, self._capacity = history, target, capacity
        self._predict = predict
        self._weeks: dict[int, Three] = {}
        self._adjustments: dict[int, Adjustment | None] = {}

    def adjustment(self, day: int) -> Adjustment | None:
        """What the four weeks before a UTC day (counted from 1970) teach; None if too little."""
        if day not in self._adjustments:
            last = day * PRACTICES_PER_DAY
            numbers = np.arange(last - PRACTICE_DAYS * PRACTICES_PER_DAY, last)
            self._adjustments[day] = learn(self._practice(numbers), self._history.step_s)
        return self._adjustments[day]

    def _practice(self, numbers: NDArray[np.int64]) -> Practice:
        """Practice forecasts by number, counted from 1970, and what is known before the next."""
        weeks = range(numbers[0] // PRACTICES_PER_WEEK, numbers[-1] // PRACTICES_PER_WEEK + 1)
        made = [self._week(week) for week in weeks]
        at = numbers - weeks.start * PRACTICES_PER_WEEK
        mixed, low, high = (np.concatenate(part, axis=-2) for part in zip(*made, strict=True))
        origins = self._origins(numbers)
        end = int(self._origins(numbers[-1:] + 1)[0])
        return Practice(mixed[:, at], low[at], high[at], self._outcomes(origins, end))

    def _outcomes(self, origins: NDArray[np.int64], end_utc_s: int) -> Floats:
        """What came in the day after each origin, NaN from `end` on."""
        step_s, per_day = self._history.step_s, DAY_S // self._history.step_s
        begin = int(origins[0]) - PRACTICE_DAYS * DAY_S  # for the peaks that cleaning compares with
        known = self._history.window(begin, end_utc_s)
        values = cleaned(History(begin, step_s, known), self._target, self._capacity)
        values = np.concatenate([values, np.full(per_day, np.nan)])
        first = (origins - begin) // step_s
        return np.asarray(values[first[:, None] + np.arange(per_day)])

    def _week(self, week: int) -> Three:
        """Candidates, low and high of a week's practice, each made from what came before it."""
        if week not in self._weeks:
            origins = self._origins(week * PRACTICES_PER_WEEK + np.arange(PRACTICES_PER_WEEK))
            past = baselines.look_back(self._history, origins, self._target, self._capacity)
            low, middle, high = self._predict(past)
            self._weeks[week] = (candidates(past, self._target, middle), low, high)
        return self._weeks[week]

    def _origins(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of practice forecasts, down to the grid."""
        step_s = self._history.step_s
        phase = self._history.start_utc_s % step_s
        return (numbers * PRACTICE_EVERY_S - phase) // step_s * step_s + phase


def newest_s(history: History, day: int) -> tuple[int, int]:
    """The span of history by which to tell whether what was learnt for a day still holds."""
    phase = history.start_utc_s % history.step_s
    end = (day * DAY_S - phase) // history.step_s * history.step_s + phase
    return end - 2 * DAY_S, end


def learn(practice: Practice, step_s: int) -> Adjustment | None:
    """Fit one adjustment; None while there is less than a week of practice."""
    leads_per_day = practice.outcome.shape[1]
    least = LEAST_DAYS * PRACTICES_PER_DAY
    weights = np.zeros((len(practice.candidates) - 1, leads_per_day))
    below, above = np.ones(leads_per_day), np.ones(leads_per_day)
    ends = (np.arange(leads_per_day) + 1) * step_s
    bins = np.searchsorted(EDGES_S, ends)
    for index in np.unique(bins):
        leads = np.flatnonzero(bins == index)
        first = practice.candidates[0][:, leads]
        known = np.isfinite(practice.outcome[:, leads]) & np.isfinite(first)
        if known.any(axis=1).sum() < least:
            return None
        error = practice.outcome[:, leads][known] - first[known]
        others = practice.candidates[1:][:, :, leads][:, known]
        offsets = np.where(np.isfinite(others), others - first[known], 0.0)
        rows = known.any(axis=1).sum()
        per_day = min(max(INDEPENDENT_S / EDGES_S[index], 1.0), PRACTICES_PER_DAY)
        independent = per_day * rows / PRACTICES_PER_DAY
        mix = _shrunk(offsets, error, independent)
        weights[:, leads] = mix[:, None]
        left = error - mix @ offsets
        low, high = practice.low[:, leads][known], practice.high[:, leads][known]
        below[leads] = _width(-left, first[known] - low)
        above[leads] = _width(left, high - first[known])
    return Adjustment(weights, below, above)


def _shrunk(offsets: Floats, error: Floats, independent: float) -> Floats:
    """Weights between 0 and 1 that explain the error (n,) by offsets (J - 1, n).

    Bayesian least squares with prior weights of 0 +- 0.2 and as many independent errors as given,
    for neighbouring forecasts err alike; negative weights are left out, a sum above 1 is scaled.
    """
    gram, moment = offsets @ offsets.T, offsets @ error
    faint = 1e-9 * np.trace(gram) + 1e-12
    mix = _non_negative(gram, moment, faint)
    noise = float(np.sum((error - mix @ offsets) ** 2)) / independent
    return _non_negative(gram, moment, noise / PRIOR_STD**2 + faint)


def _non_negative(gram: Floats, moment: Floats, penalty: float) -> Floats:
    size = len(moment)
    full = gram + penalty * np.eye(size)
    active = np.ones(size, dtype=bool)
    mix = np.zeros(size)
    while active.any():
        mix[:] = 0.0
        mix[active] = np.linalg.solve(full[np.ix_(active, active)], moment[active])
        if (mix >= 0).all():
            break
        active &= mix > 0
    else:
        mix[:] = 0.0
    return mix / max(1.0, float(mix.sum()))


def _width(beyond: Floats, half: Floats) -> float:
    """The factor of the half-width that a tenth of the outcomes exceeds."""
    lit = half > 1e-3 * max(float(half.max(initial=0.0)), 1e-9)
    if not lit.any():
        return 1.0
    factor = float(np.quantile(beyond[lit] / half[lit], 1.0 - BEYOND_FRAC))
    return min(max(factor, WIDTH_LIMITS[0]), WIDTH_LIMITS[1])
