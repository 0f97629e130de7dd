import gzip
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.measured import Column, MeasuredPv, MeasuredSeries, MeasuredWeather, read_column
from hil.plant import Controls, Plant, PlantParameters

DATA = Path(__file__).parents[2].parent / "shared" / "data"
HOUR_S = 3600.0
SITE = {
    "pv": [{"name": "roof", "rated_kw": 3.0}, {"name": "shed", "rated_kw": 2.0}],
    "grid": {"name": "grid", "import_max_kw": 10.0, "export_max_kw": 5.0},
}


def utc(text: str) -> float:
    return datetime.fromisoformat(text + "+00:00").timestamp()


def series(values: list[float], **options: float) -> MeasuredSeries:
    column = Column("file.csv: load_kw", 0.0, HOUR_S, np.array(values))
    return MeasuredSeries(column, 0.0, len(values) * HOUR_S, **options)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=30))
def test_interval_means_are_kept_and_nothing_goes_negative(values: list[float]) -> None:
    s = series(values)
    fine = np.array([s.at((i + 0.5) * 36.0) for i in range(100 * len(values))])
    assert fine.reshape(-1, 100).mean(axis=1) == pytest.approx(values, abs=0.01)
    assert fine.min() >= -1e-12
    assert s.means(0.0, len(values), HOUR_S) == pytest.approx(values, abs=1e-9)
    half = s.means(0.0, 2 * len(values), HOUR_S / 2)
    assert half.reshape(-1, 2).mean(axis=1) == pytest.approx(values, abs=1e-9)


@given(st.lists(st.floats(-20.0, 40.0), min_size=1, max_size=30))
def test_temperatures_may_be_negative(values: list[float]) -> None:
    assert series(values).means(0.0, len(values), HOUR_S) == pytest.approx(values, abs=1e-9)


def test_series_is_continuous() -> None:
    s = series([0.0, 0.2, 3.0, 2.0, 0.0, 1.0])
    for edge in range(1, 6):
        assert s.at(edge * HOUR_S - 0.01) == pytest.approx(s.at(edge * HOUR_S + 0.01), abs=1e-3)


def test_shift_and_scale() -> None:
    column = Column("file.csv: pv_kw", 10 * HOUR_S, HOUR_S, np.array([1.0, 2.0, 3.0, 4.0]))
    s = MeasuredSeries(column, 100 * HOUR_S, 102 * HOUR_S, shift_s=-89 * HOUR_S, scale=10.0)
    assert s.means(100 * HOUR_S, 2, HOUR_S) == pytest.approx([20.0, 30.0])


def test_missing_intervals_are_refused_or_borrowed_and_counted() -> None:
    values = np.tile(np.arange(24.0), 4)
    values[30:33] = np.nan
    column = Column("file.csv: load_kw", 0.0, HOUR_S, values)
    with pytest.raises(ValueError, match=r"3 of 24 intervals are missing, the first at 1970-01-02"):
        MeasuredSeries(column, 24 * HOUR_S, 48 * HOUR_S)
    filled = MeasuredSeries(column, 24 * HOUR_S, 48 * HOUR_S, fill=True)
    assert filled.filled == 3
    assert filled.means(24 * HOUR_S, 24, HOUR_S) == pytest.approx(np.arange(24.0), abs=1e-9)
    assert MeasuredSeries(column, 48 * HOUR_S, 72 * HOUR_S).filled == 0
    with pytest.raises(ValueError, match="nothing within 14 days to fill"):
        MeasuredSeries(Column("f: x", 0.0, HOUR_S, np.full(48, np.nan)), 0.0, HOUR_S, fill=True)


def test_a_span_outside_of_the_file_is_refused() -> None:
    column = Column("file.csv: load_kw", 0.0, HOUR_S, np.ones(24))
    with pytest.raises(ValueError, match="has 1970-01-01T00:00Z to 1970-01-02T00:00Z, not all"):
        MeasuredSeries(column, 0.0, 25 * HOUR_S)
    with pytest.raises(ValueError, match="means wanted outside"):
        MeasuredSeries(column, 0.0, 24 * HOUR_S).means(0.0, 25, HOUR_S)


# --- files -----------------------------------------------------------------------------------

GOOD = (
    "ts_utc,load_kw,pv_kw\n"
    "2020-01-01T00:00:00Z,1.5,0\n"
    "2020-01-01T00:30:00Z,,0.5\n"
    "2020-01-01T01:00:00Z,2.5,1\n"
)


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz"])
def test_file_is_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(GOOD.encode()) if name.endswith("gz") else GOOD.encode())
    column = read_column(path, "load_kw")
    assert (column.start_utc_s, column.step_s) == (utc("2020-01-01"), 1800.0)
    assert column.values.tolist() == pytest.approx([1.5, float("nan"), 2.5], nan_ok=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: the first column has to be ts_utc"),
        ("time,load_kw\n", ":1: the first column has to be ts_utc"),
        ("ts_utc,pv_kw\n", ": no column load_kw; there are pv_kw"),
        ("ts_utc,load_kw\n2020-01-01T00:00:00Z,1\n", ": needs two rows"),
        (GOOD.replace("1.5", "lots"), ":2: load_kw: 'lots' is not a number"),
        (GOOD.replace("2.5", "inf"), ":4: load_kw: 'inf' is not a number"),
        (GOOD.replace("2020-01-01T00:30:00Z", "half past"), ":3: ts_utc 'half past' is not"),
        (GOOD.replace("T01:00", "T01:05"), ":4: ts_utc leaves the grid of 1800 s"),
        (GOOD.replace("T00:30", "T00:00"), "ts_utc leaves the grid"),
        (GOOD.replace(",0.5", ""), ":3: 2 cells, the header has 3"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "day.csv"
    path.write_text(text)
    with pytest.raises(ValueError) as error:  # noqa: PT011 the message is compared below
        read_column(path, "load_kw")
    assert f"{path}" in str(error.value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_and_absent_files_are_refused(tmp_path: Path) -> None:
    packed = gzip.compress(GOOD.encode())
    (tmp_path / "cut.csv.gz").write_bytes(packed[:-9])
    (tmp_path / "bent.csv.gz").write_bytes(packed[:10] + b"\xff" * 9 + packed[19:])
    (tmp_path / "not.csv.gz").write_bytes(b"PK")
    (tmp_path / "latin.csv").write_bytes(b"ts_utc,load_kw\xb5\n")
    for name in ("cut.csv.gz", "bent.csv.gz", "not.csv.gz", "latin.csv", "absent.csv"):
        with pytest.raises(ValueError, match="cannot be read"):
            read_column(tmp_path / name, "load_kw")


# --- weather out of measurements -------------------------------------------------------------


def test_measured_pv_power_is_what_the_plant_delivers() -> None:
    arrays = PlantParameters.from_site(SITE, {"seed": 3}).pv
    power = series([0.0, 0.5, 2.0, 3.5, 1.0, 0.0])
    source = MeasuredPv(power, arrays, ambient=lambda utc_s: 35.0, wind=lambda utc_s: 3.0)
    plant = Plant(PlantParameters.from_site(SITE, {"seed": 3}), source.at(0.0), 0.5)
    for second in range(0, int(6 * HOUR_S), 10):
        state = plant.step(10.0, source.at(second + 5.0), 0.5, Controls())
    assert state.energy.pv_kwh == pytest.approx(7.0, rel=1e-3)


def test_more_power_than_the_arrays_can_make_ends_at_the_brightest() -> None:
    arrays = PlantParameters.from_site(SITE, {}).pv
    source = MeasuredPv(series([500.0, 500.0]), arrays, lambda utc_s: 20.0, lambda utc_s: 0.0)
    assert source.at(HOUR_S).plane_w_m2 <= 1500.0


def test_measured_irradiance_is_the_weather() -> None:
    source = MeasuredWeather(series([0.0, 300.0, 900.0]), lambda utc_s: 12.0, lambda utc_s: 5.0)
    weather = source.at(1.5 * HOUR_S, grid_present=False)
    assert (weather.ambient_degc, weather.wind_m_s, weather.grid_present) == (12.0, 5.0, False)
    assert weather.ghi_w_m2 == weather.plane_w_m2 > 0.0
    means = source.means(0.0, 3, HOUR_S)
    assert means.ghi_w_m2 == pytest.approx([0.0, 300.0, 900.0], abs=1.0)


def test_pv_power_without_pv_is_refused() -> None:
    with pytest.raises(ValueError, match="the site has no PV"):
        MeasuredPv(series([1.0]), [], lambda utc_s: 0.0, lambda utc_s: 0.0)


@pytest.mark.parametrize(
    ("file", "column", "day"),
    [
        ("fontana_5houses_1h.csv.gz", "h01_pv_kw", "2016-09-01T07:00"),
        ("ausgrid_customer12_30min.csv.gz", "load_kw", "2011-12-01T13:00"),
        ("swiss_load_15min.csv.gz", None, "2018-11-05T23:00"),
        ("dtu_lyngby_weather_5min.csv.gz", "ghi_w_m2", "2016-06-05T00:00"),
    ],
)
def test_measured_days_replay_with_their_energy(file: str, column: str | None, day: str) -> None:
    path = DATA / file
    if not path.exists():
        pytest.skip("measured data (shared/data) is not here")
    if column is None:
        with gzip.open(path, "rt") as opened:
            column = opened.readline().strip().split(",")[1]
    read = read_column(path, column)
    start = utc(day)
    s = MeasuredSeries(read, start, start + 86_400.0, fill=True)
    first = round((start - read.start_utc_s) / read.step_s)
    per_day = round(86_400.0 / read.step_s)
    expected = read.values[first : first + per_day].mean()
    assert s.filled == 0
    assert np.mean([s.at(start + i * 10.0 + 5.0) for i in range(8640)]) == pytest.approx(
        expected, rel=1e-3
    )
