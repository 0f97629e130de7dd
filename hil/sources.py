"""What drives the plant from outside, synthetic or measured, behind one interface.

Time is UTC in seconds since 1970 throughout; `at` is cheap enough to be called in every step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hil.plant_inverters import PvTruth, pv_ac_kw
from hil.plant_records import Weather

Floats = NDArray[np.float64]


class LoadSource(Protocol):
    """A load in kW."""

    def at(self, utc_s: float) -> float:
        """The load at a time, kW."""

    def means(self, start_utc_s: float, count: int, step_s: float = 900.0) -> Floats:
        """Means over `count` intervals from a time on, kW."""


@dataclass(frozen=True, slots=True)
class WeatherMeans:
    """Interval means, one array per quantity."""

    ghi_w_m2: Floats
    plane_w_m2: Floats
    ambient_degc: Floats
    wind_m_s: Floats


class WeatherSource(Protocol):
    """The weather at the site."""

    def at(self, utc_s: float, grid_present: bool = True) -> Weather:
        """The weather at a time; whether the grid is there is the scenario's to say."""

    def means(self, start_utc_s: float, count: int, step_s: float = 900.0) -> WeatherMeans:
        """Means over `count` intervals from a time on."""


def pv_means_kw(arrays: Sequence[PvTruth], weather: WeatherMeans) -> Floats:
    """AC power that the arrays together would have made of past weather, unlimited, kW."""
    return np.array(
        [
            sum(pv_ac_kw(array, plane, ambient) for array in arrays)
            for plane, ambient in zip(
                weather.plane_w_m2.tolist(), weather.ambient_degc.tolist(), strict=True
            )
        ],
        dtype=np.float64,
    )
