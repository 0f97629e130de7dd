"""PV of the next minutes from the irradiance sensor: how clear it stays, and how deep it may dip.

The clear-sky index (irradiance over clear sky) is expected to fall back from its last value to its
mean of the last hours, exponentially; the decay is learnt from how minutes a few minutes apart have
been alike. The band is made of the changes that the site has seen over as many minutes. Pure: the
caller keeps the minutes.
"""

from dataclasses import dataclass

import numpy as np

from models.history import Floats

MINUTES = 15  # ahead at most
LEAST_MINUTES = 30  # of light, to learn from
LEAST_SKY_W_M2 = 50.0  # below, an index says little
INDEX_CLIP = 1.5  # edges of clouds gather light
DECAY_LAG = 5  # minutes
DECAY_LIMITS = (0.2, 0.999)  # likeness at that lag
USUAL_BAND = 0.3  # of the index, while too little has been seen


@dataclass(frozen=True, slots=True)
class Nowcast:
    """Irradiance of the next minutes in W/m2: three quantiles, each for minute 1, 2 ..., (15,)."""

    p10_w_m2: Floats
    p50_w_m2: Floats
    p90_w_m2: Floats
    learnt: bool  # from this site's own minutes; else usual values

    def ramp_down_frac(self, minutes: int) -> float:
        """The share of the power now expected that may be missing within so many minutes (p10)."""
        now = max(float(self.p50_w_m2[0]), 1e-9)
        return min(max(1.0 - float(self.p10_w_m2[:minutes].min()) / now, 0.0), 1.0)


def nowcast(measured_w_m2: Floats, clear_sky_w_m2: Floats, ahead_w_m2: Floats) -> Nowcast | None:
    """Forecast from minute means; None at night or without a value for the last minute.

    `measured` and `clear_sky` (n,) are of the last minutes, NaN where missing, best of some hours;
    `ahead` (15,) is the clear sky of the minutes to come.
    """
    index = _index(measured_w_m2, clear_sky_w_m2)
    if len(index) == 0 or not np.isfinite(index[-1]):
        return None
    usual = float(np.nanmean(index))
    learnt = int(np.isfinite(index).sum()) >= LEAST_MINUTES
    likeness = _likeness(index - usual) if learnt else 0.9
    minutes = np.arange(1, MINUTES + 1)
    keeps = likeness ** (minutes / DECAY_LAG)
    middle = usual + keeps * (index[-1] - usual)
    below, above = _changes(index, usual, keeps) if learnt else _usual_changes(minutes)
    low, high = middle + below, middle + above
    sky = np.maximum(ahead_w_m2, 0.0)
    p10, p50, p90 = (np.clip(part, 0.0, INDEX_CLIP) * sky for part in (low, middle, high))
    return Nowcast(p10, p50, p90, learnt)


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


def _changes(index: Floats, usual: float, keeps: Floats) -> tuple[Floats, Floats]:
    """p10 and p90 of what came minus what would have been said, per minute ahead."""
    below, above = np.zeros(MINUTES), np.zeros(MINUTES)
    for ahead, keep in enumerate(keeps, start=1):
        wrong = index[ahead:] - (usual + keep * (index[:-ahead] - usual))
        wrong = wrong[np.isfinite(wrong)]
        if len(wrong):
            below[ahead - 1], above[ahead - 1] = np.quantile(wrong, (0.1, 0.9))
    return (
        np.minimum.accumulate(np.minimum(below, 0.0)),
        np.maximum.accumulate(np.maximum(above, 0.0)),
    )


def _usual_changes(minutes: np.ndarray) -> tuple[Floats, Floats]:
    width = USUAL_BAND * np.sqrt(minutes / MINUTES)
    return -width, width
