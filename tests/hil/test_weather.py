import numpy as np
import pytest

from control.sun import clear_sky_ghi_w_m2, solar_position
from hil.plant import PlantParameters
from hil.sources import WeatherMeans, pv_means_kw
from hil.weather import KINDS, SyntheticWeather

COPENHAGEN = (55.79, 12.53)
JUNE = 1_781_481_600.0  # 2026-06-15T00:00Z
WEEK = 7 * 96


def clear_sky(start_utc_s: float, count: int, place: tuple[float, float]) -> np.ndarray:
    times = start_utc_s + (np.arange(count * 90) + 0.5) * 10.0
    return clear_sky_ghi_w_m2(solar_position(times, *place)[0]).reshape(count, 90).mean(axis=1)


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [("clear", 0.92, 1.0), ("broken", 0.70, 0.95), ("cloudy", 0.2, 0.45), ("mixed", 0.45, 0.9)],
)
def test_energy_under_each_kind_of_sky(kind: str, lowest: float, highest: float) -> None:
    means = SyntheticWeather(kind, *COPENHAGEN, seed=3).means(JUNE, 4 * WEEK)
    share = means.ghi_w_m2.sum() / clear_sky(JUNE, 4 * WEEK, COPENHAGEN).sum()
    assert lowest < share < highest


def test_cloud_edges_exceed_the_clear_sky_but_stay_possible() -> None:
    weather = SyntheticWeather("broken", -10.0, 30.0, seed=1)  # the sun is nearly overhead
    start = 1_770_000_000.0  # February
    brightest = max(weather.at(start + i * 10.0).ghi_w_m2 for i in range(3 * 8640))
    assert 1200.0 < brightest < 1450.0


def test_broken_clouds_move_faster_than_overcast() -> None:
    def jumps(kind: str) -> float:
        weather = SyntheticWeather(kind, *COPENHAGEN, seed=2)
        ghi = np.array([weather.at(JUNE + 36_000 + i * 10.0).ghi_w_m2 for i in range(1440)])
        return float(np.abs(np.diff(ghi)).mean())

    assert jumps("broken") > 3.0 * jumps("cloudy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [COPENHAGEN, (34.1, -117.4), (-33.9, 151.2), (78.0, 16.0)])
def test_nights_are_dark_and_everything_is_finite(kind: str, place: tuple[float, float]) -> None:
    means = SyntheticWeather(kind, *place, seed=5, tilt_deg=35.0).means(JUNE, 2 * 96)
    night = clear_sky(JUNE, 2 * 96, place) <= 0.0
    assert not means.ghi_w_m2[night].any()
    assert not means.plane_w_m2[night].any()
    for column in (means.ghi_w_m2, means.plane_w_m2, means.wind_m_s):
        assert np.isfinite(column).all()
        assert (column >= 0.0).all()
    assert (np.abs(means.ambient_degc) < 50.0).all()


def test_weather_depends_on_seed_and_time_alone() -> None:
    late = SyntheticWeather("mixed", *COPENHAGEN, seed=7)
    early = SyntheticWeather("mixed", *COPENHAGEN, seed=7)
    early.means(JUNE - 28 * 86_400.0, 28 * 96)
    times = [JUNE + i * 997.0 for i in range(200)]
    assert [late.at(time) for time in times] == [early.at(time) for time in times]
    other = SyntheticWeather("mixed", *COPENHAGEN, seed=8)
    assert [late.at(time) for time in times] != [other.at(time) for time in times]


def test_no_jump_at_midnight() -> None:
    weather = SyntheticWeather("mixed", 34.1, -117.4, seed=7)
    midnight = JUNE + 117.4 / 15.0 * 3600.0  # mean solar
    before, after = weather.at(midnight - 1.0), weather.at(midnight + 1.0)
    assert after.ambient_degc == pytest.approx(before.ambient_degc, abs=0.1)
    assert after.wind_m_s == pytest.approx(before.wind_m_s, abs=0.3)


def test_means_are_the_means_of_what_is_seen() -> None:
    weather = SyntheticWeather("broken", *COPENHAGEN, seed=4)
    means = weather.means(JUNE + 43_200.0, 4)
    seen = [weather.at(JUNE + 43_200.0 + i).ghi_w_m2 for i in range(3600)]
    assert means.ghi_w_m2 == pytest.approx(np.reshape(seen, (4, 900)).mean(axis=1), rel=0.01)


def test_wind_has_the_wanted_mean_and_a_long_tail() -> None:
    wind = SyntheticWeather("clear", *COPENHAGEN, seed=1, wind_mean_m_s=6.0)
    means = wind.means(JUNE, 60 * 24, step_s=3600.0).wind_m_s
    assert means.mean() == pytest.approx(6.0, rel=0.1)
    assert means.max() > 12.0


def test_tilted_arrays_gain_in_winter() -> None:
    december = 1_797_292_800.0
    flat = SyntheticWeather("clear", *COPENHAGEN, seed=1).means(december, 96)
    tilted = SyntheticWeather("clear", *COPENHAGEN, seed=1, tilt_deg=45.0).means(december, 96)
    assert tilted.ghi_w_m2 == pytest.approx(flat.ghi_w_m2)
    assert 1.5 < tilted.plane_w_m2.sum() / flat.plane_w_m2.sum() < 4.0
    assert tilted.plane_w_m2.max() < 1100.0


def test_pv_of_past_weather() -> None:
    site = {"pv": [{"name": "roof", "rated_kw": 5.0}, {"name": "shed", "rated_kw": 2.0}]}
    arrays = PlantParameters.from_site(site, {"exact": True}).pv
    weather = WeatherMeans(*(np.array(values) for values in ([0, 9], [0, 1300], [20, 20], [0, 0])))
    assert pv_means_kw(arrays, weather).tolist() == [0.0, 7.0]


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="weather kind 'sunny': allowed are clear, broken"):
        SyntheticWeather("sunny", *COPENHAGEN, seed=1)
