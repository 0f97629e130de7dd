"""Learning on site: how a site's own past says to correct the network, and how wide the band is.

Practice forecasts are made every quarter of an hour (on coarser grids, every interval) as if it
were then, and compared with what came. Day by day
they teach a correction of the centre (`models/correction.py`), and, after the correction, the two
half-widths of the band are scaled so that a tenth of the outcomes lies beyond each edge (split
conformal: Romano, Patterson, Candes 2019), adapting where it does not. What is learnt for a UTC day
rests on outcomes known at its start.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import baselines
from models.baselines import Past
from models.cleaning import cleaned
from models.clues import clues
from models.correction import Correction, Material, Weights, knot_leads
from models.gru import with_ones
from models.history import DAY_S, Floats, History, Target

Three = tuple[Floats, Floats, Floats]

PRACTICE_EVERY_S = 900  # hourly practice knows nothing of a quarter past
PRACTICES_AT_ONCE = 96  # more only takes memory
KNOWN_AFTER_DAYS = 2  # a day's practice has run its course
PEAKS_DAYS = 28  # before the outcomes, for cleaning to compare with
LEAST_DAYS = 7.0
YOUNG_DAYS = 42.0  # a young record is fitted anew every day ...
REFIT_DAYS = 7  # ... an old one every week
BAND_DAYS = 42
EDGES_S = (900, 1800, 3600, 7200, 14_400, 28_800, 57_600, DAY_S)  # ranges of leads, by their ends
BEYOND_FRAC = 0.1
WIDTH_LIMITS = (0.3, 4.0)
ADAPTATION = 0.03  # of the share beyond, a day: Gibbs, Candes 2021, eq. 2
LEVELS = (0.04, 0.16)
WIDE_FRAC = 0.03  # of the day's widest: at dusk, errors over next to nothing say nothing


@dataclass(frozen=True, slots=True)
class Answer:
    """The network's forecast of B origins, (B, D) each, NaN in rows where it cannot serve."""

    low: Floats
    middle: Floats
    high: Floats
    flat: Floats  # (B, F) its flat inputs
    unit: Floats  # its unit

    def rows(self, rows: NDArray[np.bool_]) -> "Answer":
        """Some of the forecasts."""
        return Answer(
            self.low[rows], self.middle[rows], self.high[rows], self.flat[rows], self.unit[rows]
        )


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What was learnt up to a day: a correction, and factors of half-widths per lead (D,)."""

    weights: Weights
    below: Floats
    above: Floats

    def apply(self, answer: Answer, material: Material) -> Three:
        """Correct and widen; p10, p50, p90 (B, D)."""
        middle = answer.middle + self.weights.apply(material)
        low = middle - self.below * (answer.middle - answer.low)
        return low, middle, middle + self.above * (answer.high - answer.middle)


def material(
    past: Past, target: Target, answer: Answer, leads: NDArray[np.intp]
) -> tuple[Material, Floats]:
    """What the correction is made of at some leads, and the widths of the clues' weights."""
    unit = answer.unit[:, leads]
    found = clues(past, target, answer.middle[:, leads], unit, leads)
    return Material(found.values, with_ones(answer.flat), unit), found.widths


@dataclass(frozen=True, slots=True)
class Practice:
    """Some days of practice forecasts and what came, at the correction's knots."""

    material: Material
    widths: Floats
    half_low: Floats  # (N, K) of the band
    half_high: Floats
    error: Floats  # (N, K) outcome minus centre, NaN where either is unknown


class Learner:
    """Learns on one history, day by day, and remembers what each day was to know."""

    def __init__(
        self,
        history: History,
        target: Target,
        capacity: float | None,
        predict: Callable[[Past], Answer],
    ) -> None:
        self._history, self._target, self._capacity = history, target, capacity
        self._predict = predict
        self._every_s = max(PRACTICE_EVERY_S, history.step_s)
        self._correction: Correction | None = None
        self._band = Band(history.step_s)
        self._block: tuple[int, Practice] | None = None
        self._refit_days = 0
        self._standing: Adjustment | None = None
        self._adjustments: dict[int, Adjustment | None] = {}
        self._next = history.start_utc_s // DAY_S

    def go_on_with(self, history: History, day: int) -> bool:
        """Whether a newer history only adds to the one learnt from; if so, it is used from now on.

        What counts are the weeks up to the eve of the day: the newest values may still settle.
        """
        span = (day - PEAKS_DAYS) * DAY_S, (day - 1) * DAY_S
        shift = history.start_utc_s - self._history.start_utc_s
        if history.step_s != self._history.step_s or shift % history.step_s:
            return False
        old, new = self._history.window(*span), history.window(*span)
        if old.tobytes() != new.tobytes() or day < self._next - 1:
            return False
        self._history, self._block = history, None
        return True

    def adjustment(self, day: int) -> Adjustment | None:
        """What the past of a UTC day (counted from 1970) teaches; None if too little."""
        while self._next <= day:
            self._absorb(self._next - KNOWN_AFTER_DAYS)
            self._adjustments[self._next] = self._standing
            self._next += 1
        return self._adjustments.get(day)

    def _absorb(self, day: int) -> None:
        """Take in the practice of one day."""
        per_day = DAY_S // self._every_s
        block, first = divmod(day * per_day, PRACTICES_AT_ONCE)
        practice = self._practice(block)
        rows = slice(first, first + per_day)
        error = practice.error[rows]
        if not np.isfinite(error).any():
            return
        made = practice.material.rows(rows)
        if self._correction is None:
            flat, step_s = made.flat.shape[1], self._history.step_s
            self._correction = Correction(
                self._target, practice.widths, flat, step_s, self._every_s
            )
        left = self._correction.absorb(made, error)
        half_low, half_high = practice.half_low[rows], practice.half_high[rows]
        self._band.add(left, half_low, half_high, self._correction.leads)
        self._refit_days += 1
        if self._correction.days < YOUNG_DAYS or self._refit_days >= REFIT_DAYS:
            self._correction.refit()
            self._refit_days = 0
            if self._correction.days >= LEAST_DAYS:
                self._standing = Adjustment(self._correction.weights, *self._band.factors())

    def _practice(self, block: int) -> Practice:
        """The practice of a block of days counted from 1970, each made from what came before it."""
        if self._block is None or self._block[0] != block:
            origins = self._origins(block * PRACTICES_AT_ONCE + np.arange(PRACTICES_AT_ONCE))
            past = baselines.look_back(self._history, origins, self._target, self._capacity)
            answer = self._predict(past)
            leads = knot_leads(self._history.step_s)
            low, middle, high = (q[:, leads] for q in (answer.low, answer.middle, answer.high))
            made, widths = material(past, self._target, answer, leads)
            error = self._outcomes(origins)[:, leads] - middle
            practice = Practice(made, widths, middle - low, high - middle, error)
            self._block = (block, practice)
        return self._block[1]

    def _outcomes(self, origins: NDArray[np.int64]) -> Floats:
        """What came in the day after each origin; cleaning never looks ahead."""
        step_s, per_day = self._history.step_s, DAY_S // self._history.step_s
        begin = int(origins[0]) - PEAKS_DAYS * DAY_S
        known = self._history.window(begin, int(origins[-1]) + DAY_S)
        values = cleaned(History(begin, step_s, known), self._target, self._capacity)
        first = (origins - begin) // step_s
        return np.asarray(values[first[:, None] + np.arange(per_day)])

    def _origins(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Times of practice forecasts, counted from 1970, down to the grid."""
        step_s = self._history.step_s
        phase = self._history.start_utc_s % step_s
        return (numbers * self._every_s - phase) // step_s * step_s + phase


class Side:
    """One edge of the band in one range of leads."""

    def __init__(self) -> None:
        self._days: deque[Floats] = deque(maxlen=BAND_DAYS)
        self._level = BEYOND_FRAC
        self.factor = 1.0
        self._fitted = False

    def add(self, ratios: Floats) -> None:
        """Take in a day's errors over half-widths; too many beyond the edge widen it (ACI)."""
        if len(ratios) == 0:
            return
        if self._fitted:
            missed = float(np.mean(ratios > self.factor))
            level = self._level + ADAPTATION * (BEYOND_FRAC - missed)
            self._level = min(max(level, LEVELS[0]), LEVELS[1])
        self._days.append(ratios)

    def fit(self) -> None:
        """The factor that a tenth of the outcomes exceeds, or what it takes for that to hold."""
        if self._days:
            pooled = np.concatenate(list(self._days))
            self._fitted = True
            self.factor = float(np.quantile(pooled, 1.0 - self._level).clip(*WIDTH_LIMITS))


class Band:
    """How far outcomes lay beyond the network's half-widths in the last weeks."""

    def __init__(self, step_s: int) -> None:
        self._bins = np.searchsorted(EDGES_S, (np.arange(DAY_S // step_s) + 1) * step_s)
        self._below, self._above = ([Side() for _ in EDGES_S] for _ in range(2))

    def add(self, left: Floats, low: Floats, high: Floats, leads: NDArray[np.intp]) -> None:
        """Add a day's errors after correction and half-widths, (B, K) each, at these leads."""
        bins = self._bins[leads]
        for index in np.unique(bins):
            at = bins == index
            self._below[index].add(_ratios(-left[:, at], low[:, at]))
            self._above[index].add(_ratios(left[:, at], high[:, at]))

    def factors(self) -> tuple[Floats, Floats]:
        """Factors of the two half-widths, (D,) each, fitted anew."""
        for side in (*self._below, *self._above):
            side.fit()
        below, above = (
            np.array([sides[index].factor for index in self._bins])
            for sides in (self._below, self._above)
        )
        return below, above


def _ratios(beyond: Floats, half: Floats) -> Floats:
    """Errors over half-widths where both are known and there is a band to speak of."""
    wide = np.nan_to_num(half) > WIDE_FRAC * max(float(np.nanmax(half, initial=0.0)), 1e-9)
    known = wide & np.isfinite(beyond)
    return beyond[known] / half[known]
