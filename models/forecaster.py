"""The forecaster of one quantity of one site: the network if it can be trusted, else baselines."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from control.records import Series
from control.sun import solar_position
from models import baselines, features, priors
from models import learning as on_site
from models.baselines import Past
from models.gru import WEIGHTS, ModelError, Network
from models.history import DAY_S, GRID_STEPS_S, Floats, History, HistoryError, Target
from models.learning import Answer, Learner, Three

NETWORK_DAYS = 7.0  # younger sites get their same-clock statistics only
FULL_DAYS = 27.0
KNOWN_FRAC = 0.5  # of the last 24 h, for the network to have something to go by
DEFAULT_STEP_S = 900
NIGHT_DEG = -0.9  # sun's centre, refraction included: its rim is below the horizon
TWILIGHT_FRAC = 0.02  # of the envelope's peak: at dawn and dusk the band reaches down to 0
DARK_FRAC = 0.005  # of the envelope's peak: meters have offsets


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Forecasts of B origins in the unit of the history; `start_utc_s`: start of the first step."""

    start_utc_s: NDArray[np.int64]  # (B,)
    step_s: int
    p10: Floats  # (B, steps)
    p50: Floats
    p90: Floats
    sources: tuple[str, ...]


class Forecaster:
    """Forecasts PV (or irradiance) or load of one site from its own history.

    Place and capacity help and may be None. `weights` names a .tflite with its .json; the default
    is what ships. A model that cannot be used is no error: `problem` says why, baselines serve.
    `capacity_kw` is in the unit of the history (1000 for W/m2).
    """

    def __init__(
        self,
        target: Target,
        latitude_deg: float | None = None,
        longitude_deg: float | None = None,
        capacity_kw: float | None = None,
        weights: Path | None = None,
        learning: bool = True,
    ) -> None:
        self.target = target
        self.problem: str | None = None
        self._place = None
        if latitude_deg is not None and longitude_deg is not None:
            self._place = (latitude_deg, longitude_deg)
        self._capacity = capacity_kw
        self._network: Network | None = None
        self._learns = learning
        self._learner: Learner | None = None
        try:
            self._network = Network(weights or WEIGHTS / f"{target}.tflite", target)
        except ModelError as error:
            self.problem = str(error)

    @property
    def network_name(self) -> str:
        """What sources call the network; empty without one."""
        return self._network.name if self._network else ""

    def forecast(self, history: History, origin_utc_s: float, steps: int) -> Series:
        """Forecast the first `steps` full intervals at or after the origin, on the history's grid.

        A history finer than 5 min is averaged to 15 min. Only intervals that ended by the origin
        are used. What earlier calls learnt is kept while the history only grows.
        """
        history = self._usable(history)
        day = int(origin_utc_s) // DAY_S
        if self._learner is None or not self._learner.go_on_with(history, day):
            self._learner = self._fresh(history)
        found = self._forecasts(history, [origin_utc_s], steps, self._learner)
        low, middle, high = (tuple(q[0].tolist()) for q in (found.p10, found.p50, found.p90))
        return Series(low, middle, high, found.sources[0])

    def forecast_many(
        self,
        history: History,
        origins_utc_s: Sequence[float],
        steps: int,
        advance: Callable[[int], None] = lambda count: None,
    ) -> Forecasts:
        """Forecast many origins, results in the order given; each as if it were the only one.

        `advance` is told how many more are done.
        """
        history = self._usable(history)
        return self._forecasts(history, origins_utc_s, steps, self._fresh(history), advance)

    def _usable(self, history: History) -> History:
        if history.step_s < GRID_STEPS_S[0]:
            history = history.resampled(DEFAULT_STEP_S)
        if history.step_s not in GRID_STEPS_S:
            raise HistoryError(f"step_s = {history.step_s}: 5, 15, 30 or 60 min needed")
        return history

    def _forecasts(
        self,
        history: History,
        origins_utc_s: Sequence[float],
        steps: int,
        learner: Learner,
        advance: Callable[[int], None] = lambda count: None,
    ) -> Forecasts:
        step_s = history.step_s
        phase = history.start_utc_s % step_s
        moments = np.asarray(origins_utc_s, dtype=float)
        known_to = (np.floor((moments - phase) / step_s) * step_s + phase).astype(np.int64)
        late = (moments > known_to).astype(int)
        out = np.empty((3, len(moments), steps))
        sources = [""] * len(moments)
        for chunk in baselines.neighbours(known_to):
            three, said = self._chunk(history, known_to[chunk], learner)
            ahead = np.arange(steps) + late[chunk, None]
            for quantile in range(3):
                columns = ahead % three[quantile].shape[1]
                out[quantile, chunk] = np.take_along_axis(three[quantile], columns, axis=1)
            if self.target == "pv" and self._place:
                out[:, chunk] *= ~self._night(known_to[chunk, None] + ahead * step_s, step_s)
            for row, source in zip(chunk, said, strict=True):
                sources[row] = source
            advance(len(chunk))
        starts = known_to + late * step_s
        return Forecasts(starts, step_s, out[0], out[1], out[2], tuple(sources))

    # --- one chunk of neighbouring origins -------------------------------------------------

    def _chunk(
        self, history: History, origins: NDArray[np.int64], learner: Learner
    ) -> tuple[Three, list[str]]:
        """A day ahead per origin, (B, D) each; later steps repeat it."""
        past = baselines.look_back(history, origins, self.target, self._capacity)
        reasons = [self._reason(past, row) for row in range(len(past))]
        three = self._baseline(past)
        sources = [f"{self._baseline_name(past, row)}: {reasons[row]}" for row in range(len(past))]
        for row in np.flatnonzero(past.days < 1):
            made = priors.guess(
                past, int(row), int(origins[row]), self.target, self._place, self._capacity
            )
            if made is not None:
                for quantile, day in zip(three, made.quantiles, strict=True):
                    quantile[row] = day
                sources[row] = made.source
        rows = np.array([row for row, reason in enumerate(reasons) if not reason], dtype=int)
        if len(rows) and self._network:
            served = _rows(past, rows)
            own = self._answer(served)
            answer: Three = (own.low, own.middle, own.high)
            names = [self._network.name + _age(days) for days in served.days]
            if self._learns:
                answer, adjusted = self._adjusted(learner, origins[rows], served, own)
                for row in np.flatnonzero(adjusted):
                    names[row] += ", adjusted on site"
            sane = _sane(answer, served)
            for mine, theirs in zip(three, answer, strict=True):
                mine[rows[sane]] = theirs[sane]
            for row, good, name in zip(rows, sane, names, strict=True):
                sources[row] = name if good else sources[row] + "nonsensical network output"
        return self._physical(past, three), sources

    def _answer(self, past: Past) -> Answer:
        """The network's own forecast."""
        assert self._network is not None
        given = features.inputs(past, self.target)
        low, middle, high = features.decoded(self._network.run(given), given)
        return Answer(low, middle, high, given.flat.astype(float), given.unit)

    def _predict(self, past: Past) -> Answer:
        """The network's own forecast, NaN where it cannot serve."""
        unfit = np.array([bool(self._reason(past, row)) for row in range(len(past))])
        if unfit.all():
            nothing = np.full((len(past), past.per_day), np.nan)
            flat = np.zeros((len(past), features.flat_width(self.target)))
            return Answer(nothing, nothing, nothing, flat, np.zeros_like(nothing))
        answer = self._answer(past)
        for quantile in (answer.low, answer.middle, answer.high):
            quantile[unfit] = np.nan
        return answer

    def _adjusted(
        self, learner: Learner, origins: NDArray[np.int64], past: Past, answer: Answer
    ) -> tuple[Three, NDArray[np.bool_]]:
        """The network's forecast, adjusted by what was learnt up to the start of each UTC day.

        Also says which rows were adjusted.
        """
        out = np.stack([answer.low, answer.middle, answer.high])
        made, _ = on_site.material(past, self.target, answer, np.arange(past.per_day))
        adjusted = np.zeros(len(origins), dtype=bool)
        days = origins // DAY_S
        for day in np.unique(days):
            adjustment = learner.adjustment(int(day))
            if adjustment is None:
                continue
            rows = days == day
            out[:, rows] = adjustment.apply(answer.rows(rows), made.rows(rows))
            adjusted[rows] = True
        return (out[0], out[1], out[2]), adjusted

    def _fresh(self, history: History) -> Learner:
        return Learner(history, self.target, self._capacity, self._predict)

    def _reason(self, past: Past, row: int) -> str:
        """Why the network cannot serve this origin; empty when it can."""
        if self._network is None:
            return self.problem or "no model"
        if past.days[row] < NETWORK_DAYS:
            return f"{past.days[row]:.1f} days of history, the network needs {NETWORK_DAYS:.0f}"
        known = np.isfinite(past.recent[row, -past.per_day :]).mean()
        if known < KNOWN_FRAC:
            return f"{known:.0%} of the last 24 h known, the network needs {KNOWN_FRAC:.0%}"
        return ""

    def _baseline(self, past: Past) -> Three:
        blend = baselines.envelope_blend if self.target == "pv" else baselines.mean_blend
        return blend(past)

    def _baseline_name(self, past: Past, row: int) -> str:
        name = "envelope and same-clock mean" if self.target == "pv" else "same-clock mean"
        return f"{name} of {min(past.days[row], 28):.1f} days"

    def _physical(self, past: Past, three: Three) -> Three:
        """Never negative, in order, within the capacity, dark at night as far as history tells."""
        low, middle, high = (np.maximum(quantile, 0.0) for quantile in three)
        low, high = np.minimum(low, middle), np.maximum(high, middle)
        if self.target == "pv":
            if self._capacity is not None:
                low, middle, high = (
                    np.minimum(q, 1.5 * self._capacity) for q in (low, middle, high)
                )
            peak = np.nan_to_num(past.top.max(axis=1, keepdims=True))
            low = np.where(middle < TWILIGHT_FRAC * peak, 0.0, low)
            if self._place is None:
                dark = DARK_FRAC * np.nan_to_num(past.top.max(axis=1, keepdims=True))
                night = (past.lit <= dark) & (past.mean <= 4 * dark)
                low, middle, high = (np.where(night, 0.0, q) for q in (low, middle, high))
        return low, middle, high

    def _night(self, starts_utc_s: NDArray[np.int64], step_s: int) -> NDArray[np.bool_]:
        """Whether the sun is below the horizon at the start, middle and end of each interval."""
        assert self._place is not None
        below = np.ones(starts_utc_s.shape, dtype=bool)
        for offset in (0.0, 0.5, 1.0):
            elevation, _ = solar_position(starts_utc_s + offset * step_s, *self._place)
            below &= elevation < NIGHT_DEG
        return below


def _age(days: float) -> str:
    return "" if days > FULL_DAYS else f" on {days:.1f} of 28 days"


def _rows(past: Past, rows: NDArray[np.intp]) -> Past:
    """The past of some of the origins."""
    arrays = {name: getattr(past, name)[rows] for name in Past.__slots__ if name != "step_s"}
    return Past(step_s=past.step_s, **arrays)


def _sane(three: Three, past: Past) -> NDArray[np.bool_]:
    """Rows that are finite and not far beyond anything that the site has done in four weeks."""
    finite = np.all([np.isfinite(quantile).all(axis=1) for quantile in three], axis=0)
    ceiling = 3.0 * np.nan_to_num(past.top.max(axis=1)) + 1e-6
    return np.asarray(finite & (np.abs(three[1]).max(axis=1) <= ceiling))
