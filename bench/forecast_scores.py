"""Sums of errors of one series at the judged horizons, for our forecast and for simple ones."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models import baselines
from models.forecaster import Forecasts
from models.history import DAY_S, Floats, History, Target

HORIZONS_S = {"15 min": 900, "1 h": 3600, "6 h": 21_600, "24 h": 86_400}
TAUS = (0.1, 0.5, 0.9)


@dataclass
class Score:
    """Sums over the origins of one series; arrays hold one value per horizon."""

    squares: dict[str, Floats] = field(default_factory=dict)
    counts: Floats = field(default_factory=lambda: np.zeros(len(HORIZONS_S)))
    inside: Floats = field(default_factory=lambda: np.zeros(len(HORIZONS_S)))
    lit: Floats = field(default_factory=lambda: np.zeros(len(HORIZONS_S)))
    pinball: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    origins: int = 0
    rivals: set[str] = field(default_factory=set)

    def ratios(self, name: str = "forecast") -> Floats:
        """RMSE over that of the best simple forecast, per horizon; NaN off the grid."""
        simple = [v for key, v in self.squares.items() if key not in {"forecast", *self.rivals}]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.sqrt(self.squares[name] / np.min(simple, axis=0)))

    def pinball_ratio(self) -> float:
        """Pinball loss of p10, p50, p90 over that of the 28-day climatology."""
        return self.pinball["forecast"] / self.pinball["climate"]


def columns(step_s: int) -> NDArray[np.intp]:
    """Index of each horizon's interval (the one that ends then); -1 where the grid is coarser."""
    return np.array([horizon // step_s - 1 for horizon in HORIZONS_S.values()])


def score(
    history: History,
    origins: NDArray[np.int64],
    target: Target,
    made: Forecasts,
    rivals: dict[str, Floats],
) -> Score:
    """Judge one series; everything is judged on the same outcomes, missing ones left out.

    `made` has a row per origin, in the order given, for a day; a rival (B, horizons).
    """
    result, at = Score(origins=len(origins), rivals=set(rivals)), columns(history.step_s)
    result.squares = {name: np.zeros(len(at)) for name in ("forecast", *rivals)}
    for group in baselines.neighbours(origins):
        moments = origins[group]
        past = baselines.look_back(history, moments, target)
        truth = np.stack([history.window(int(o), int(o) + DAY_S) for o in moments])[:, at]
        simple = {name: days[:, at] for name, days in _simple(past, target)}
        known = (at >= 0) & np.isfinite(truth)
        for days in simple.values():
            known &= np.isfinite(days)
        three = [quantile[group][:, at] for quantile in (made.p10, made.p50, made.p90)]
        others = {name: days[group] for name, days in rivals.items()}
        for name, days in {"forecast": three[1], **others, **simple}.items():
            errors = np.where(known, days - np.where(known, truth, 0.0), 0.0)
            result.squares[name] = result.squares.get(name, 0.0) + (errors**2).sum(axis=0)
        lit = known & (three[2] > 0)
        result.counts += known.sum(axis=0)
        result.lit += lit.sum(axis=0)
        result.inside += (lit & (three[0] <= truth) & (truth <= three[2])).sum(axis=0)
        climate = [days[:, at] for days in (past.low, past.mean, past.high)]
        for name, quantiles in (("forecast", three), ("climate", climate)):
            loss = sum(
                _pinball(truth, q, tau)[known].sum() for q, tau in zip(quantiles, TAUS, strict=True)
            )
            result.pinball[name] = result.pinball.get(name, 0.0) + float(loss)
    return result


def _pinball(truth: Floats, quantile: Floats, tau: float) -> Floats:
    gap = truth - quantile
    return np.asarray(np.maximum(tau * gap, (tau - 1) * gap))


def _simple(past: baselines.Past, target: Target) -> Iterator[tuple[str, Floats]]:
    yield "persistence", baselines.persistence(past)
    yield "yesterday", baselines.yesterday(past)
    yield "28-day mean", past.mean
    if target == "pv":
        yield "clear-sky persistence", baselines.clear_sky_persistence(past)
    else:
        yield "last week", past.last_week
