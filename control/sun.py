"""Where the sun stands and what it gives at most: pure functions over arrays of UTC seconds.

Position: low-precision almanac series as in Michalsky 1988 (Solar Energy 40:3), within 0.02 deg
from 1950 to 2050. Latitude is positive north, longitude positive east; azimuth runs clockwise from
north.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SOLAR_CONSTANT_W_M2 = 1361.1  # at the mean distance; Gueymard 2018
_J2000_UTC_S = 946_728_000.0  # 2000-01-01 12:00
_DAY_S = 86_400.0


def solar_position(
    utc_s: ArrayLike, latitude_deg: ArrayLike, longitude_deg: ArrayLike
) -> tuple[Floats, Floats]:
    """Apparent elevation and azimuth of the sun's centre, degrees; inputs broadcast.

    The elevation includes refraction in a standard atmosphere (up to 0.57 deg at the horizon).
    """
    days = _days(utc_s)
    latitude = np.radians(np.asarray(latitude_deg, dtype=np.float64))
    declination, right_ascension = _equatorial(days)
    sidereal = np.radians(280.46062 + 360.98564737 * days + np.asarray(longitude_deg, np.float64))
    hour_angle = sidereal - right_ascension
    east = -np.cos(declination) * np.sin(hour_angle)
    north = np.cos(latitude) * np.sin(declination) - (
        np.sin(latitude) * np.cos(declination) * np.cos(hour_angle)
    )
    up = np.sin(latitude) * np.sin(declination) + (
        np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    )
    true_deg = np.degrees(np.arcsin(np.clip(up, -1.0, 1.0)))
    azimuth_deg = np.degrees(np.arctan2(east, north)) % 360.0
    return true_deg + _refraction_deg(true_deg), azimuth_deg


def extraterrestrial_w_m2(utc_s: ArrayLike) -> Floats:
    """Irradiance on a surface facing the sun above the atmosphere, W/m2."""
    anomaly = _mean_anomaly(_days(utc_s))
    distance_au = 1.00014 - 0.01671 * np.cos(anomaly) - 0.00014 * np.cos(2 * anomaly)
    return np.asarray(SOLAR_CONSTANT_W_M2 / distance_au**2, dtype=np.float64)


def clear_sky_ghi_w_m2(elevation_deg: ArrayLike) -> Floats:
    """Global horizontal irradiance under a clear sky, W/m2; 0 with the sun below the horizon.

    Haurwitz 1945, from the elevation alone: knows neither turbidity nor the site's height, so a
    very clean or a hazy day is off by some 10 %.
    """
    up = np.sin(np.radians(np.asarray(elevation_deg, dtype=np.float64)))
    up = np.maximum(up, 1e-9)  # keeps the quotient finite; the exponential makes it 0
    return np.asarray(1098.0 * up * np.exp(-0.059 / up), dtype=np.float64)


def _days(utc_s: ArrayLike) -> Floats:
    """Days since 2000-01-01 12:00."""
    return np.asarray((np.asarray(utc_s, dtype=np.float64) - _J2000_UTC_S) / _DAY_S)


def _mean_anomaly(days: Floats) -> Floats:
    return np.asarray(np.radians(357.528 + 0.9856003 * days))


def _equatorial(days: Floats) -> tuple[Floats, Floats]:
    """Declination and right ascension, radians."""
    anomaly = _mean_anomaly(days)
    longitude = np.radians(
        280.460 + 0.9856474 * days + 1.915 * np.sin(anomaly) + 0.020 * np.sin(2 * anomaly)
    )
    obliquity = np.radians(23.439 - 4e-7 * days)
    declination = np.arcsin(np.sin(obliquity) * np.sin(longitude))
    right_ascension = np.arctan2(np.cos(obliquity) * np.sin(longitude), np.cos(longitude))
    return declination, right_ascension


def _refraction_deg(true_deg: Floats) -> Floats:
    """Refraction at 1010 hPa and 10 degC, degrees (Saemundsson 1986), fading out below -1 deg."""
    h = np.maximum(true_deg, -1.0)
    minutes = 1.02 / np.tan(np.radians(h + 10.3 / (h + 5.11)))
    fade = np.exp(np.minimum(true_deg + 1.0, 0.0))  # a sun below the horizon is not seen anyway
    return np.asarray(minutes / 60.0 * fade)
