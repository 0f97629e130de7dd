"""Forecasts for sites that have been measured for less than a day, or not at all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from control.sun import clear_sky_ghi_w_m2, solar_position
from models.baselines import Past
from models.history import Floats, Target

# Shares of the clear sky, and kW of a house, for p10, p50, p90 when nothing is known of the site.
CLEARNESS = (0.1, 0.5, 0.95)
HOUSE_KW = (0.1, 0.4, 1.2)
SEEN_SHARES = (0.2, 1.0, 1.2)  # of the mean yield that a young roof has shown
LEAST_SUN = 0.05  # kW/m2 of clear sky; below, a ratio to it says little


@dataclass(frozen=True, slots=True)
class Guess:
    """p10, p50, p90 of a day (3, D) and what they rest on."""

    quantiles: Floats
    source: str


def guess(
    past: Past,
    row: int,
    origin_utc_s: int,
    target: Target,
    place: tuple[float, float] | None,
    capacity: float | None,
) -> Guess | None:
    """Guess the day from an origin; None where a day's worth of history says more."""
    days = past.days[row]
    if target == "load":
        if days > 0:
            return None
        flat = np.repeat(np.array(HOUSE_KW)[:, None], past.per_day, axis=1)
        return Guess(flat, "an ordinary house: no history in the last 28 days")
    if days >= 1:
        return None
    if place is None:
        if days > 0:
            return None
        return Guess(np.zeros((3, past.per_day)), "0 where nothing is known: no history, no place")
    sky = _clear_sky(origin_utc_s + np.arange(past.per_day) * past.step_s, past.step_s, place)
    seen = _yields(past, row, origin_utc_s, place)
    if len(seen):
        shares = np.mean(seen) * np.array(SEEN_SHARES)
        shares[2] = max(shares[2], np.max(seen))
        return Guess(np.outer(shares, sky), f"clear sky as seen so far: {days:.1f} days of history")
    if capacity is None:
        return Guess(
            0.0 * np.outer(CLEARNESS, sky), "0 where nothing is known: no history, no size"
        )
    return Guess(
        np.outer(CLEARNESS, sky) * capacity, f"half of the clear sky: {days:.1f} days of history"
    )


def _yields(
    past: Past, row: int, origin_utc_s: int, place: tuple[float, float]
) -> NDArray[np.float64]:
    """What the roof gave per clear-sky irradiance, in the intervals with enough sun."""
    values = past.recent[row]
    starts = origin_utc_s - np.arange(len(values), 0, -1) * past.step_s
    sky = _clear_sky(starts, past.step_s, place)
    seen = np.isfinite(values) & (sky > LEAST_SUN)
    return np.asarray(values[seen] / sky[seen])


def _clear_sky(starts_utc_s: NDArray[np.int64], step_s: int, place: tuple[float, float]) -> Floats:
    """Clear-sky irradiance in kW/m2 at the middle of each interval."""
    elevation, _ = solar_position(starts_utc_s + step_s / 2, *place)
    return clear_sky_ghi_w_m2(elevation) / 1000.0
