"""Solar position against published values and against geometry."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.sun import (
    SOLAR_CONSTANT_W_M2,
    clear_sky_ghi_w_m2,
    extraterrestrial_w_m2,
    solar_position,
)

GOLDEN = 39.742476, -105.1786  # the worked example of NREL/TP-560-34302 (SPA), table A5.1


def utc_s(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()  # type: ignore[misc,arg-type]


times = st.floats(utc_s(2000, 1, 1), utc_s(2050, 1, 1))
latitudes = st.floats(-89.0, 89.0)
longitudes = st.floats(-180.0, 180.0)


def test_agrees_with_the_example_of_the_solar_position_algorithm() -> None:
    elevation, azimuth = solar_position(utc_s(2003, 10, 17, 19, 30, 30), *GOLDEN)
    assert elevation == pytest.approx(39.888378, abs=0.02)
    assert azimuth == pytest.approx(194.340241, abs=0.02)


@pytest.mark.parametrize("when", [(2003, 10, 17, 0, 20, 19), (2003, 10, 17, 13, 12, 43)])
def test_sunset_and_sunrise_of_the_same_example(when: tuple[int, ...]) -> None:
    # both of the UTC day: the sunset is that of the evening before in Colorado
    # the centre then stands at -0.8333 deg, lifted by 0.5667 deg of refraction
    elevation, _ = solar_position(utc_s(*when), *GOLDEN)
    assert elevation == pytest.approx(-0.2667, abs=0.1)


@pytest.mark.parametrize(
    ("when", "declination_deg"),
    [
        ((2024, 3, 20, 3, 6), 0.0),
        ((2024, 6, 20, 20, 51), 23.436),
        ((2024, 9, 22, 12, 44), 0.0),
        ((2049, 12, 21, 20, 52), -23.434),
    ],
)
def test_seasons_begin_when_the_almanac_says(when: tuple[int, ...], declination_deg: float) -> None:
    # at the poles the true elevation is the declination; refraction adds up to 0.6 deg to one
    # of them, and the higher pole less than 0.04 deg once the sun stands at 23 deg
    north, _ = solar_position(utc_s(*when), 90.0, 0.0)
    south, _ = solar_position(utc_s(*when), -90.0, 0.0)
    if declination_deg == 0.0:
        assert north == pytest.approx(south, abs=0.04)
        assert 0.4 < north < 0.6
    else:
        assert max(north, south) == pytest.approx(abs(declination_deg), abs=0.05)
        assert (north > south) == (declination_deg > 0)


def test_distance_from_the_sun_over_the_year() -> None:
    perihelion = extraterrestrial_w_m2(utc_s(2024, 1, 3, 0, 38))
    aphelion = extraterrestrial_w_m2(utc_s(2024, 7, 5, 5, 6))
    assert perihelion == pytest.approx(SOLAR_CONSTANT_W_M2 / 0.983307**2, rel=2e-4)
    assert aphelion == pytest.approx(SOLAR_CONSTANT_W_M2 / 1.016725**2, rel=2e-4)


@given(times, latitudes, longitudes)
def test_angles_are_angles_and_fifteen_degrees_east_is_an_hour(
    t: float, latitude: float, longitude: float
) -> None:
    elevation, azimuth = solar_position(t, latitude, longitude)
    assert -90.0 <= elevation <= 90.6
    assert 0.0 <= azimuth <= 360.0
    later, _ = solar_position(t + 3600.0, latitude, longitude - 15.0)
    assert later == pytest.approx(elevation, abs=0.1)  # the declination moves 0.017 deg an hour


@given(times, st.floats(-66.0, 66.0))
def test_the_sun_rises_in_the_east_and_sets_in_the_west(t: float, latitude: float) -> None:
    day = t + np.arange(0.0, 86_400.0, 300.0)
    elevation, azimuth = solar_position(day, latitude, 0.0)
    climbs = np.roll(elevation, -1)[:-1] > elevation[:-1]
    aside = np.abs(np.sin(np.radians(azimuth[:-1]))) > 0.1  # at the meridian the season decides,
    aside &= np.abs(elevation[:-1]) < 45.0  # and near the zenith it is crossed between two times
    assert np.all((azimuth[:-1] < 180.0)[aside & climbs])
    assert np.all((azimuth[:-1] > 180.0)[aside & ~climbs])


@given(st.lists(times, min_size=1, max_size=5), latitudes, longitudes)
def test_arrays_give_what_single_values_give(
    t: list[float], latitude: float, longitude: float
) -> None:
    elevation, azimuth = solar_position(t, latitude, longitude)
    singly = [solar_position(each, latitude, longitude) for each in t]
    assert elevation.tolist() == [float(e) for e, _ in singly]
    assert azimuth.tolist() == [float(a) for _, a in singly]


def test_inputs_broadcast() -> None:
    elevation, azimuth = solar_position(np.zeros((4, 1)), [0.0, 10.0, 20.0], 5.0)
    assert elevation.shape == azimuth.shape == (4, 3)


@given(times, latitudes, longitudes)
def test_a_clear_sky_gives_less_than_there_is_above_it(
    t: float, latitude: float, longitude: float
) -> None:
    elevation, _ = solar_position(t, latitude, longitude)
    above = extraterrestrial_w_m2(t) * np.sin(np.radians(elevation))
    ghi = clear_sky_ghi_w_m2(elevation)
    assert 0.0 <= ghi <= max(0.83 * above, 1e-9)


def test_clear_sky_grows_with_the_sun_and_is_dark_at_night() -> None:
    heights = np.linspace(-90.0, 90.0, 721)
    ghi = clear_sky_ghi_w_m2(heights)
    assert np.all(ghi[heights <= 0.0] == 0.0)
    assert np.all(np.diff(ghi) >= 0.0)
    assert clear_sky_ghi_w_m2(60.0) == pytest.approx(888.0, abs=1.0)
