"""The next minutes of sunshine from the last ones: how clear it stays, and how deep it may dip.

The clear-sky index (irradiance over clear sky) is expected to fall back from its last value to its
mean of the last hours, exponentially; the decay is learnt from how minutes a few minutes apart have
been alike. The band is made of the changes that the site has seen over as many minutes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MINUTES = 15  # ahead at most
LEAST_MINUTES = 30  # of light, to learn from
LEAST_SKY_W_M2 = 50.0  # below, an index says little
INDEX_CLIP = 1.5  # edges of clouds gather light
DECAY_LAG = 5  # minutes
DECAY_LIMITS = (0.2, 0.999)  # likeness at that lag
USUAL_LIKENESS, USUAL_BAND = 0.9, 0.3  # of the index, while too little has been seen


@dataclass(frozen=True, slots=True)
class Band:
    """Three quantiles in W/m2 for 1, 2 ... 15 minutes ahead, (15,) each."""

    p10_w_m2: Floats
    p50_w_m2: Floats
    p90_w_m2: Floats


@dataclass(frozen=True, slots=True)
class Nowcast:
    """Irradiance of the next minutes, and of the means over minutes 1 to 1, 1 to 2 ... 1 to 15.

    The band of the means is narrower: clouds come and go.
    """

    minutes: Band
    means: Band
    learnt: bool  # from this site's own minutes; else usual values


def nowcast(measured_w_m2: Floats, clear_sky_w_m2: Floats, ahead_w_m2: Floats) -> Nowcast | None:
    """Forecast from minute means; None at night or without a value for the last minute.

    `measured` and `clear_sky` (n,) are of the last minutes, NaN where missing, best of some hours;
    `ahead` (15,) is the clear sky of the minutes to come.
    """
    index = _index(measured_w_m2, clear_sky_w_m2)
    if len(index) == 0 or not np.isfinite(index[-1]):
        return None
    known = np.isfinite(index)
    usual = float(np.mean(index[known]))
    learnt = int(known.sum()) >= LEAST_MINUTES
    likeness = _likeness(index - usual) if learnt else USUAL_LIKENESS
    minutes = np.arange(1, MINUTES + 1)
    keeps = likeness ** (minutes / DECAY_LAG)
    sky = np.maximum(ahead_w_m2, 0.0)

    def band(kept: Floats, light: Floats, of_means: bool) -> Band:
        middle = usual + kept * (index[-1] - usual)
        below, above = _changes(index, usual, kept, of_means) if learnt else _usual(minutes)
        parts = (middle + below, middle, middle + above)
        p10, p50, p90 = (np.clip(part, 0.0, INDEX_CLIP) * light for part in parts)
        return Band(p10, p50, p90)

    means = band(np.cumsum(keeps) / minutes, np.cumsum(sky) / minutes, of_means=True)
    return Nowcast(band(keeps, sky, of_means=False), means, learnt)


def _index(measured_w_m2: Floats, clear_sky_w_m2: Floats) -> Floats:
    lit = np.isfinite(measured_w_m2) & (clear_sky_w_m2 >= LEAST_SKY_W_M2)
    index = np.where(lit, measured_w_m2 / np.maximum(clear_sky_w_m2, LEAST_SKY_W_M2), np.nan)
    return np.asarray(np.clip(index, 0.0, INDEX_CLIP))


def _likeness(departure: Floats) -> float:
    """Autocorrelation at the lag; values close to 1 where there is nothing to compare."""
    before, after = departure[:-DECAY_LAG], departure[DECAY_LAG:]
    both = np.isfinite(before) & np.isfinite(after)
    power = float(np.sum(before[both] ** 2))
    if power < 1e-6:
        return DECAY_LIMITS[1]
    return float(np.clip(np.sum((before * after)[both]) / power, *DECAY_LIMITS))


def _changes(index: Floats, usual: float, keeps: Floats, of_means: bool) -> tuple[Floats, Floats]:
    """p10 and p90 of what came minus what would have been said, per minute ahead."""
    came = np.full((MINUTES, len(index)), np.nan)
    for ahead in range(1, min(MINUTES, len(index) - 1) + 1):
        came[ahead - 1, :-ahead] = index[ahead:]
    if of_means:
        came = np.cumsum(came, axis=0) / np.arange(1, MINUTES + 1)[:, None]
    wrong = np.sort(came - (usual + keeps[:, None] * (index - usual)), axis=1)  # NaN last
    count = np.isfinite(wrong).sum(axis=1)
    rows = np.arange(MINUTES)
    below, above = (
        np.where(count, wrong[rows, np.maximum(np.rint(q * (count - 1)), 0).astype(int)], 0.0)
        for q in (0.1, 0.9)
    )
    if of_means:
        return np.minimum(below, 0.0), np.maximum(above, 0.0)
    return (
        np.minimum.accumulate(np.minimum(below, 0.0)),
        np.maximum.accumulate(np.maximum(above, 0.0)),
    )


def _usual(minutes: NDArray[np.int64]) -> tuple[Floats, Floats]:
    width = USUAL_BAND * np.sqrt(minutes / MINUTES)
    return -width, width
