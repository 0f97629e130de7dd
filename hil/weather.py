"""Synthetic weather: clear sky times a seeded cloud process, temperature and wind.

Every quantity is a function of seed and time alone, so that a scenario may start anywhere and
still sees the same weather. Days are counted from solar midnight, where irradiance is 0.
"""

from functools import lru_cache

import numpy as np

from control.sun import clear_sky_ghi_w_m2, extraterrestrial_w_m2, solar_position
from hil.plant_records import Weather
from hil.sources import Floats, WeatherMeans

KINDS = ("clear", "broken", "cloudy", "mixed")
STEP_S = 10.0
DAY_S = 86_400.0
SAMPLES = int(DAY_S / STEP_S)
HIGHEST_CLEARNESS = 1.35  # measured 10 s means at cloud edges go this far over the clear sky
GROUND_ALBEDO = 0.2
SPELL_S = 10_800.0  # mixed weather changes its kind this often


class SyntheticWeather:
    """Weather of one kind at one place."""

    def __init__(
        self,
        kind: str,
        latitude_deg: float,
        longitude_deg: float,
        seed: int,
        tilt_deg: float = 0.0,
        wind_mean_m_s: float = 4.5,
        warmer_k: float = 0.0,
    ) -> None:
        """Arrays face the equator at `tilt_deg`; temperatures are typical of the latitude."""
        if kind not in KINDS:
            raise ValueError(f"weather kind {kind!r}: allowed are {', '.join(KINDS)}")
        self._kind = kind
        self._latitude_deg = latitude_deg
        self._longitude_deg = longitude_deg
        self._seed = seed
        self._tilt_deg = tilt_deg
        self._wind_mean_m_s = wind_mean_m_s
        self._warmer_k = warmer_k
        self._offset_s = longitude_deg / 15.0 * 3600.0  # mean solar time minus UTC
        self._day = lru_cache(maxsize=3)(self._make_day)
        self._number = -1
        self._columns: tuple[list[float], ...] = ()

    def at(self, utc_s: float, grid_present: bool = True) -> Weather:
        """The weather at a time, linear between samples of 10 s."""
        solar_s = utc_s + self._offset_s
        number = int(solar_s // DAY_S)
        if number != self._number:
            self._columns = tuple(column.tolist() for column in self._day(number))
            self._number = number
        place = (solar_s - number * DAY_S) / STEP_S
        i = min(SAMPLES - 1, int(place))
        part = place - i
        ghi, plane, ambient, wind = self._columns
        return Weather(
            ghi[i] + part * (ghi[i + 1] - ghi[i]),
            plane[i] + part * (plane[i + 1] - plane[i]),
            ambient[i] + part * (ambient[i + 1] - ambient[i]),
            wind[i] + part * (wind[i + 1] - wind[i]),
            grid_present,
        )

    def means(self, start_utc_s: float, count: int, step_s: float = 900.0) -> WeatherMeans:
        """Means over intervals; `step_s` a multiple of 10 s."""
        per = round(step_s / STEP_S)
        solar_s = start_utc_s + self._offset_s + (np.arange(count * per) + 0.5) * STEP_S
        numbers = (solar_s // DAY_S).astype(int)
        index = ((solar_s - numbers * DAY_S) / STEP_S).astype(int)
        columns = np.empty((4, count * per))
        for number in np.unique(numbers):
            here = numbers == number
            day = np.stack(self._day(int(number)))
            columns[:, here] = (day[:, index[here]] + day[:, index[here] + 1]) / 2.0
        return WeatherMeans(*columns.reshape(4, count, per).mean(axis=2))

    def _make_day(self, number: int) -> tuple[Floats, Floats, Floats, Floats]:
        """GHI, plane irradiance, temperature and wind at the 8641 sample times of a solar day."""
        day_s = np.arange(SAMPLES + 1, dtype=np.float64) * STEP_S
        utc_s = number * DAY_S + day_s - self._offset_s
        elevation_deg, azimuth_deg = solar_position(utc_s, self._latitude_deg, self._longitude_deg)
        rng = np.random.default_rng([self._seed, number, 1])
        clearness = _clearness(self._kind, day_s, rng)
        ghi = clear_sky_ghi_w_m2(elevation_deg) * clearness
        plane = self._in_plane(ghi, extraterrestrial_w_m2(utc_s), elevation_deg, azimuth_deg)
        ambient = self._ambient_degc(number, day_s)
        return ghi, plane, ambient, self._wind_m_s(number, day_s)

    def _in_plane(
        self, ghi: Floats, top_w_m2: Floats, elevation_deg: Floats, azimuth_deg: Floats
    ) -> Floats:
        """Irradiance on the tilted plane: beam, isotropic diffuse and ground (Liu, Jordan 1963)."""
        if self._tilt_deg == 0.0:
            return ghi
        tilt = np.radians(self._tilt_deg)
        facing = 180.0 if self._latitude_deg >= 0.0 else 0.0
        up = np.sin(np.radians(elevation_deg))
        high = np.maximum(up, 0.05)  # near the horizon a beam share cannot be told
        diffuse = ghi * _diffuse_frac(ghi / (top_w_m2 * high))
        towards = np.cos(np.radians(elevation_deg)) * np.cos(np.radians(azimuth_deg - facing))
        incidence = np.maximum(0.0, up * np.cos(tilt) + towards * np.sin(tilt))
        beam = (ghi - diffuse) * incidence / high
        sky, ground = (1.0 + np.cos(tilt)) / 2.0, (1.0 - np.cos(tilt)) / 2.0
        return np.asarray(beam + diffuse * sky + ghi * GROUND_ALBEDO * ground)

    def _ambient_degc(self, number: int, day_s: Floats) -> Floats:
        """Season and time of day typical of the latitude, and a slow anomaly."""
        far = abs(self._latitude_deg)
        summer = 201.0 if self._latitude_deg >= 0.0 else 18.0  # hottest day of the year
        season = np.cos(2.0 * np.pi * ((number % 365.2425) - summer) / 365.2425)
        daily = 4.5 if self._kind != "cloudy" else 2.0
        warm = daily * np.cos(2.0 * np.pi * (day_s / 3600.0 - 15.0) / 24.0)
        anomaly = self._walk(number, day_s, "temperature", 1) * 2.5
        return np.asarray(27.0 - 0.35 * far + 0.18 * far * season + warm + anomaly + self._warmer_k)

    def _wind_m_s(self, number: int, day_s: Floats) -> Floats:
        """Rayleigh-distributed hours (Weibull shape 2) with gusts of minutes."""
        slow = self._walk(number, day_s, "wind", 24)
        gust = self._walk(number, day_s, "gust", 1440)
        share = 1.0 / (1.0 + np.exp(-1.702 * slow))  # close to the normal distribution function
        rayleigh = np.sqrt(-np.log1p(-np.minimum(share, 1.0 - 1e-9))) / 0.8862
        return np.asarray(self._wind_mean_m_s * rayleigh * np.maximum(0.0, 1.0 + 0.15 * gust))

    def _walk(self, number: int, day_s: Floats, what: str, nodes: int) -> Floats:
        """Normal deviates at the nodes of a day, joined by lines, without a jump at midnight."""
        key = int.from_bytes(what.encode()[:4], "big")

        def drawn(day: int) -> Floats:
            return np.random.default_rng([self._seed, day, key]).normal(size=nodes)

        values = np.append(drawn(number), drawn(number + 1)[0])
        return np.asarray(np.interp(day_s, np.linspace(0.0, DAY_S, nodes + 1), values))


def _diffuse_frac(kt: Floats) -> Floats:
    """Diffuse share of the global irradiance by the clearness index (Erbs et al. 1982)."""
    middle = 0.9511 - 0.1604 * kt + 4.388 * kt**2 - 16.638 * kt**3 + 12.336 * kt**4
    return np.where(kt <= 0.22, 1.0 - 0.09 * kt, np.where(kt <= 0.80, middle, 0.165))


def _clearness(kind: str, day_s: Floats, rng: np.random.Generator) -> Floats:
    """Irradiance relative to the clear sky over one day."""
    if kind == "clear":
        return _haze(day_s, rng)
    if kind == "cloudy":
        return _overcast(day_s, rng)
    if kind == "broken":
        return _broken(day_s, rng)
    spells = [_haze(day_s, rng), _broken(day_s, rng), _overcast(day_s, rng)]
    chosen = rng.choice(3, size=int(DAY_S / SPELL_S) + 1, p=[0.35, 0.4, 0.25])
    return np.asarray(np.choose(chosen[(day_s // SPELL_S).astype(int)], spells))


def _haze(day_s: Floats, rng: np.random.Generator) -> Floats:
    return 1.0 - 0.05 * np.abs(_autoregressive(day_s, rng, 1800.0, 0.7))


def _overcast(day_s: Floats, rng: np.random.Generator) -> Floats:
    return np.clip(0.28 * np.exp(0.45 * _autoregressive(day_s, rng, 600.0, 0.85)), 0.06, 0.9)


def _autoregressive(
    day_s: Floats, rng: np.random.Generator, node_s: float, memory: float
) -> Floats:
    """A first-order autoregressive process of unit variance, joined by lines."""
    nodes = int(DAY_S / node_s) + 2
    values = rng.normal(size=nodes)
    for i in range(1, nodes):
        values[i] = memory * values[i - 1] + np.sqrt(1.0 - memory**2) * values[i]
    return np.asarray(np.interp(day_s, np.arange(nodes) * node_s, values))


def _broken(day_s: Floats, rng: np.random.Generator) -> Floats:
    """Clouds pass: a two-state Markov process with soft edges that are brighter than the sky.

    Sun lasts 6 min and cloud 4 min on average. Beside an edge the sun's disc and the lit side of
    the cloud are seen together, which is where values above the clear sky come from.
    """
    sun = rng.exponential(360.0, size=400)
    cloud = rng.exponential(240.0, size=400)
    edges = np.cumsum(np.column_stack((sun, cloud)).ravel())
    which = np.searchsorted(edges, day_s)
    sunny = which % 2 == 0
    near = np.where(which > 0, day_s - edges[np.maximum(which - 1, 0)], np.inf)
    near = np.minimum(near, edges[which] - day_s)  # seconds to the nearest edge
    bright = 0.05 + 0.30 * rng.random(edges.size + 1)[which]
    dark = 0.25 + 0.35 * rng.random(edges.size + 1)[which]
    lit = 1.0 + bright * np.exp(-near / 45.0)
    shaded = dark + (0.75 - dark) * np.exp(-near / 15.0)
    return np.minimum(HIGHEST_CLEARNESS, np.where(sunny, lit, shaded))
