"""Faults told apart over simulated days under the real sun, and no false alarm on good days."""

import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.records import Observed, Quality
from control.sun import clear_sky_ghi_w_m2, solar_position
from drivers.adc import Adc
from drivers.irradiance import Calibration, Fault, IrradianceSensor
from hil import fake_pi
from hil.fake_pi import FakePi

COPENHAGEN = 55.79, 12.53
EQUATOR = 0.35, 32.6
MIDSUMMER = datetime(2026, 6, 21, tzinfo=UTC).timestamp()
MIDWINTER = datetime(2026, 12, 21, tzinfo=UTC).timestamp()
NOON = MIDSUMMER + 11 * 3600.0  # sun at 57 deg in Copenhagen, 5 min before it culminates
MIDNIGHT = MIDSUMMER + 23 * 3600.0  # sun at -10.7 deg
SENSOR = Calibration(w_m2_per_v=1000.0)

Sky = Callable[[float, float, float], float]  # of UTC, elevation and azimuth: W/m2


def clear(utc_s: float, elevation_deg: float, azimuth_deg: float) -> float:
    twilight = 3.0 * math.exp(min(elevation_deg, 0.0))
    return float(clear_sky_ghi_w_m2(elevation_deg)) + twilight


def overcast(transmission: float) -> Sky:
    return lambda utc_s, e, a: transmission * clear(utc_s, e, a)


def broken_clouds(utc_s: float, elevation_deg: float, azimuth_deg: float) -> float:
    """Sun and shade every few minutes, up to 1.45 of clear sky at the edges for half a minute."""
    phase = utc_s % 420.0
    factor = 1.45 if phase < 30.0 else 0.95 if phase < 240.0 else 0.25
    return factor * clear(utc_s, elevation_deg, azimuth_deg)


def tilted(tilt_deg: float, facing_deg: float) -> Sky:
    """A clear sky on a tilted reference cell, 85 % of it beam."""

    def sky(utc_s: float, elevation_deg: float, azimuth_deg: float) -> float:
        ghi = float(clear_sky_ghi_w_m2(elevation_deg))
        up = math.sin(math.radians(max(elevation_deg, 0.0)))
        away = math.radians(azimuth_deg - facing_deg)
        tilt = math.radians(tilt_deg)
        cosine = up * math.cos(tilt) + math.sqrt(1 - up * up) * math.sin(tilt) * math.cos(away)
        beam = 0.85 * ghi / up if up > 0.01 else 0.0
        diffuse = 0.15 * ghi + 3.0 * math.exp(min(elevation_deg, 0.0))
        return beam * max(cosine, 0.0) + diffuse

    return sky


class Day:
    """A sensor on the bench's Pi, and the days it sees."""

    def __init__(
        self,
        place: tuple[float, float] = COPENHAGEN,
        calibration: Calibration = SENSOR,
        adc: str = "mcp3208",
        noise_v: float = 0.001,
        reference: tuple[int, float] | None = (7, 1.65),
    ) -> None:
        self.place = place
        self.pi = FakePi(adc=adc, noise_v=noise_v, seed=1)
        fake_pi.install(self.pi)
        self.pi.set_voltage(7, 1.65)
        self.calibration = calibration
        self.sensor = IrradianceSensor(Adc(adc, 3.3), 0, calibration, *place, reference)
        self.now_s = 1000.0

    def see(self, utc_s: float | None, w_m2: float, seconds: float = 1.0) -> Observed[float]:
        c = self.calibration
        self.pi.set_voltage(0, w_m2 / (c.gain * c.w_m2_per_v) + c.offset_v)
        self.now_s += seconds
        return self.sensor.read(self.now_s, utc_s)

    def under(
        self, sky: Sky, utc_s: float, duration_s: float = 86_400.0, step_s: float = 40.0
    ) -> Iterator[tuple[float, float, Observed[float]]]:
        """UTC, true irradiance and what the sensor makes of it."""
        times = np.arange(utc_s + step_s, utc_s + duration_s, step_s)
        elevations, azimuths = solar_position(times, *self.place)
        for t, elevation, azimuth in zip(
            times.tolist(), elevations.tolist(), azimuths.tolist(), strict=True
        ):
            truth = sky(t, elevation, azimuth)
            yield t, truth, self.see(t, truth, step_s)


def word(seen: Observed[float]) -> str:
    """The fault's name, empty for a good reading."""
    assert (seen.quality is Quality.GOOD) == (seen.detail == "")
    return seen.detail.split(":")[0]


@pytest.fixture(autouse=True)
def no_bench_left_behind() -> Iterator[None]:
    yield
    fake_pi.uninstall()


# --- good days -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adc", "noise_v"), [("mcp3008", 0.0), ("mcp3208", 0.0), ("mcp3208", 0.001)]
)
@pytest.mark.parametrize(
    ("place", "day", "sky"),
    [
        (COPENHAGEN, MIDSUMMER, clear),
        (COPENHAGEN, MIDWINTER, clear),
        (EQUATOR, MIDSUMMER, clear),
        (COPENHAGEN, MIDSUMMER, overcast(0.08)),
        (COPENHAGEN, MIDWINTER, overcast(0.03)),
        (COPENHAGEN, MIDSUMMER, broken_clouds),
        (COPENHAGEN, MIDWINTER, tilted(60.0, 180.0)),
        (COPENHAGEN, MIDSUMMER, tilted(40.0, 90.0)),
    ],
)
def test_no_false_alarm(
    place: tuple[float, float], day: float, sky: Sky, adc: str, noise_v: float
) -> None:
    bench = Day(place, adc=adc, noise_v=noise_v)
    code_w_m2 = 3300.0 / (1024 if adc == "mcp3008" else 4096)
    for t, truth, seen in bench.under(sky, day):
        assert seen.good == pytest.approx(truth, abs=0.5 * code_w_m2 + 2 * 1000 * noise_v), t


@settings(max_examples=20, deadline=None)
@given(
    adc=st.sampled_from(["mcp3008", "mcp3208"]),
    latitude=st.floats(-66.0, 66.0),
    day=st.integers(0, 364),
    transmission=st.floats(0.04, 1.05),
    tilt=st.floats(0.0, 70.0),
    facing=st.floats(0.0, 360.0),
    dark_w_m2=st.floats(-2.0, 2.0),
    noise_v=st.floats(0.0, 0.003),
)
def test_no_false_alarm_wherever_whenever_however_it_is_mounted(
    adc: str,
    latitude: float,
    day: int,
    transmission: float,
    tilt: float,
    facing: float,
    dark_w_m2: float,
    noise_v: float,
) -> None:
    sunny = tilted(tilt, facing) if transmission > 0.5 else clear  # clouds make light diffuse

    def sky(utc_s: float, elevation_deg: float, azimuth_deg: float) -> float:
        return transmission * sunny(utc_s, elevation_deg, azimuth_deg) + dark_w_m2

    bench = Day((latitude, 15.0), adc=adc, noise_v=noise_v, reference=None)
    start = MIDWINTER + day * 86_400.0
    alarms = [
        (t, seen.detail) for t, _, seen in bench.under(sky, start, step_s=60.0) if seen.detail
    ]
    assert alarms == []


def test_cloud_edges_are_real_and_not_clipped() -> None:
    bench = Day()
    for k in range(50):
        assert bench.see(NOON + k, 1500.0).good == pytest.approx(1500.0, abs=3.0)


@pytest.mark.parametrize(("w_m2", "shown"), [(-15.0, 0.0), (-1.0, 0.0), (0.0, 0.0), (4.0, 4.0)])
def test_small_negatives_are_zero(w_m2: float, shown: float) -> None:
    bench = Day(calibration=Calibration(1000.0, offset_v=0.05), noise_v=0.0)
    assert bench.see(MIDNIGHT, w_m2).good == pytest.approx(shown, abs=0.5)


def test_calibration() -> None:
    # gain and offset off a certificate; at 0.8 V: 1.02 * (0.8 - 0.004) * 1250
    calibration = Calibration(w_m2_per_v=1250.0, gain=1.02, offset_v=0.004)
    bench = Day(calibration=calibration, noise_v=0.0)
    bench.pi.set_voltage(0, 0.8)
    assert bench.sensor.read(1.0, NOON).good == pytest.approx(1014.9, abs=0.6)


# --- each fault by its name ----------------------------------------------------------------


@pytest.mark.parametrize("adc", ["mcp3008", "mcp3208"])
@pytest.mark.parametrize("noise_v", [0.0, 0.001])
@pytest.mark.parametrize(
    ("fault", "channel", "named"),
    [
        ("open", 0, Fault.OPEN),
        ("short", 0, Fault.SHORT),
        ("miso-low", None, Fault.BUS),
        ("miso-high", None, Fault.BUS),
        ("null-bit", None, Fault.BUS),
        ("spi-gone", None, Fault.BUS),
        ("short", 7, Fault.BUS),  # zeros on the reference channel are not the sensor's fault
        ("open", 7, Fault.REFERENCE),
    ],
)
def test_a_broken_wire_is_named_at_once_by_day(
    fault: str, channel: int | None, named: Fault, adc: str, noise_v: float
) -> None:
    bench = Day(adc=adc, noise_v=noise_v)
    assert word(bench.see(NOON, 800.0)) == ""
    bench.pi.inject(fault, channel)
    seen = [bench.see(NOON + k, 800.0) for k in range(1, 2000, 10)]
    assert {word(each) for each in seen} == {named}
    bench.pi.clear()
    bench.now_s += 2.0  # by then the bus is tried again
    assert bench.see(NOON + 2000, 800.0).good == pytest.approx(800.0, abs=5.0)


def test_the_faults_of_a_bus_say_what_happened() -> None:
    bench = Day()
    said = {}
    for fault in ("miso-low", "miso-high", "spi-gone"):
        bench.pi.clear()
        bench.pi.inject(fault)
        said[fault] = bench.see(NOON, 800.0, seconds=10.0).detail
    assert "only zeros" in said["miso-low"]
    assert "null bit" in said["miso-high"]
    assert "Input/output error" in said["spi-gone"]


def test_a_dead_bus_is_not_hammered() -> None:
    bench = Day()
    bench.pi.inject("spi-gone")
    assert word(bench.see(NOON, 800.0)) == Fault.BUS
    bench.pi.clear()
    assert word(bench.see(NOON, 800.0, seconds=1.0)) == Fault.BUS
    assert word(bench.see(NOON, 800.0, seconds=1.5)) == ""


def test_a_short_at_night_is_the_truth_until_the_morning() -> None:
    bench = Day(noise_v=0.0)
    bench.pi.inject("short", 0)
    found = [
        (t, word(seen)) for t, _, seen in bench.under(clear, MIDNIGHT, 8 * 3600.0) if word(seen)
    ]
    assert {name for _, name in found} == {Fault.SHORT}
    elevation, _ = solar_position(found[0][0], *COPENHAGEN)
    assert 8.0 < elevation < 11.0


def test_open_shows_at_night() -> None:
    bench = Day()
    bench.pi.inject("open", 0)
    assert word(bench.see(MIDNIGHT, 0.0)) == Fault.OPEN


def test_a_live_zero_tells_a_broken_wire_at_night() -> None:
    # 0 to 1 V for -200 to 2000 W/m2
    bench = Day(calibration=Calibration(w_m2_per_v=2200.0, offset_v=200.0 / 2200.0))
    assert word(bench.see(MIDNIGHT, 0.0)) == ""
    bench.pi.inject("short", 0)
    assert word(bench.see(MIDNIGHT, 0.0)) == Fault.SHORT


@pytest.mark.parametrize(
    ("utc_s", "w_m2", "named"),
    [
        (NOON, 1699.0, ""),
        (NOON, 1702.0, Fault.RANGE),
        (NOON, 2900.0, Fault.RANGE),
        (NOON, -23.0, Fault.RANGE),
        (MIDNIGHT, -23.0, Fault.RANGE),
        (MIDNIGHT, -18.0, ""),
        (MIDNIGHT, 18.0, ""),
        (MIDNIGHT, 23.0, Fault.NIGHT),
        (MIDNIGHT, 900.0, Fault.NIGHT),
    ],
)
def test_limits(utc_s: float, w_m2: float, named: str) -> None:
    bench = Day(calibration=Calibration(1000.0, offset_v=0.1), noise_v=0.0)
    assert word(bench.see(utc_s, w_m2)) == named


def test_a_sensor_whose_range_ends_at_the_rail_is_open_at_the_rail_only() -> None:
    bench = Day(calibration=Calibration(w_m2_per_v=1600.0 / 3.3), noise_v=0.0)
    assert bench.see(NOON, 1590.0).good == pytest.approx(1590.0, abs=1.0)
    assert word(bench.see(NOON, 1600.0)) == Fault.OPEN


def first(bench: Day, sky: Sky, start: float, duration_s: float) -> tuple[float, str]:
    """Seconds until the first alarm, and its name."""
    for t, _, seen in bench.under(sky, start, duration_s, step_s=1.0):
        if word(seen):
            return t - start, word(seen)
    return math.inf, ""


def test_far_too_bright_for_over_a_minute() -> None:
    evening = MIDSUMMER + 19.5 * 3600.0  # sun at 2.4 deg
    bench = Day()
    after_s, named = first(bench, lambda *_: 600.0, evening, 120.0)
    assert named == Fault.BRIGHT
    assert 60.0 <= after_s <= 65.0


def test_covered_sensor_is_dark() -> None:
    bench = Day()
    after_s, named = first(bench, overcast(0.004), NOON, 1800.0)
    assert named == Fault.DARK
    assert 1200.0 <= after_s <= 1205.0


def test_a_thunderstorm_is_not_a_covered_sensor() -> None:
    bench = Day()
    assert first(bench, overcast(0.004), NOON, 900.0)[1] == ""
    assert first(bench, overcast(0.03), NOON + 900.0, 2400.0)[1] == ""


@pytest.mark.parametrize("hour", [6.0, 8.0, 11.0, 16.0])
def test_a_noisy_sensor_that_falls_silent_is_stuck_after_five_minutes(hour: float) -> None:
    bench = Day(noise_v=0.001)
    start = MIDSUMMER + hour * 3600.0
    assert first(bench, clear, start, 120.0)[1] == ""
    bench.pi.inject("frozen", 0)
    after_s, named = first(bench, clear, start + 120.0, 900.0)
    assert named == Fault.STUCK
    assert 300.0 <= after_s <= 305.0


def test_a_silent_sensor_is_stuck_once_the_sun_has_moved_on() -> None:
    bench = Day(noise_v=0.0)
    assert first(bench, clear, NOON, 600.0)[1] == ""
    bench.pi.inject("frozen", 0)
    after_s, named = first(bench, clear, NOON + 600.0, 7200.0)
    assert named == Fault.STUCK
    assert 300.0 < after_s < 2400.0
    # through the night and until the value moves
    later = list(bench.under(clear, NOON + 600.0 + after_s, 20 * 3600.0))
    assert {word(seen) for _, _, seen in later} == {Fault.STUCK}
    bench.pi.clear()
    assert word(bench.see(NOON + 86_400.0, 700.0)) == ""


def test_a_pause_in_reading_is_not_a_standstill() -> None:
    bench = Day(noise_v=0.001)
    for _, _, seen in bench.under(clear, NOON, 120.0, step_s=1.0):
        assert word(seen) == ""
    bench.pi.inject("spi-gone")
    assert word(bench.see(NOON + 121.0, 800.0)) == Fault.BUS
    bench.pi.clear()
    bench.pi.set_voltage(0, 0.8)
    bench.pi.inject("frozen", 0)  # long ago or just now: not to be known
    bench.now_s += 1000.0
    assert first(bench, clear, NOON + 1121.0, 290.0)[1] == ""


def test_without_a_wall_clock_the_sun_accuses_nobody() -> None:
    bench = Day(noise_v=0.0)
    for k in range(4000):
        w_m2 = 900.0 if k < 2000 else 0.0
        assert bench.see(None, w_m2).good == pytest.approx(w_m2, abs=0.5)
    bench.pi.inject("open", 0)
    assert word(bench.see(None, 0.0)) == Fault.OPEN


def test_bad_readings_have_no_good_value_but_show_their_number() -> None:
    bench = Day(noise_v=0.0)
    seen: Any = bench.see(NOON, 1800.0)
    assert seen.good is None
    assert seen.value == pytest.approx(1800.0, abs=0.5)
