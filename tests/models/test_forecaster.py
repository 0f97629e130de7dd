"""The forecaster as its users see it: leakage, hostile histories, fallbacks, nights, clocks."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.sun import solar_position
from models import features
from models.forecaster import Forecaster, Forecasts
from models.history import DAY_S, History, HistoryError, Target, read_history

Maker = Callable[..., History]
KNOTS = len(features.KNOTS)
ODD = [0.0, -1.0, 1e6, 1e308, float("inf"), float("-inf"), float("nan"), 0.3]
TARGETS: tuple[Target, ...] = ("pv", "load")


def _check(made: Forecasts) -> None:
    for quantile in (made.p10, made.p50, made.p90):
        assert np.isfinite(quantile).all()
        assert (quantile >= 0).all()
    assert (made.p10 <= made.p50).all()
    assert (made.p50 <= made.p90).all()
    assert all(made.sources)


def _same(one: Forecasts, other: Forecasts) -> bool:
    pairs = ((one.p10, other.p10), (one.p50, other.p50), (one.p90, other.p90))
    return all(a.tobytes() == b.tobytes() for a, b in pairs) and one.sources == other.sources


# --- nothing from the future ---------------------------------------------------------------


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("target", TARGETS)
@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    at=st.integers(0, 44 * 96),
    late_s=st.sampled_from([0, 1, 899]),
    later=st.lists(st.sampled_from(ODD), min_size=1, max_size=4),
)
def test_the_future_changes_no_bit(
    roof: Maker, target: Target, learning: bool, at: int, late_s: int, later: list[float]
) -> None:
    history = roof(days=45)
    origin = history.start_utc_s + at * 900 + late_s
    changed = history.values.copy()
    changed[at:] = np.resize(later, len(changed) - at)
    forecaster = Forecaster(target, learning=learning)
    before = forecaster.forecast_many(history, [origin], 96)
    after = forecaster.forecast_many(History(history.start_utc_s, 900, changed), [origin], 96)
    cut = History(history.start_utc_s, 900, history.values[:at])
    assert _same(before, after)
    assert _same(before, forecaster.forecast_many(cut, [origin], 96))
    _check(before)


@pytest.mark.parametrize("target", TARGETS)
def test_origins_do_not_influence_each_other(roof: Maker, target: Target) -> None:
    history = roof(days=32)
    rng = np.random.default_rng(3)
    origins = (history.start_utc_s + rng.integers(0, 32 * 96, 40) * 900).tolist()
    forecaster = Forecaster(target)
    together = forecaster.forecast_many(history, origins, 96)
    for position in (7, 39):
        alone = forecaster.forecast_many(history, [origins[position]], 96)
        assert alone.p50[0].tobytes() == together.p50[position].tobytes()
        series = forecaster.forecast(history, origins[position], 96)
        assert series.p50_kw == tuple(together.p50[position])
        assert series.source == together.sources[position]


def test_what_is_long_past_hardly_matters(house: Maker) -> None:
    history = house(days=130)
    origin = history.end_utc_s
    recent = History(origin - 100 * DAY_S, 900, history.values[-100 * 96 :])
    one, other = (Forecaster("load").forecast(h, origin, 96) for h in (history, recent))
    assert one.p50_kw == pytest.approx(other.p50_kw, rel=0.3, abs=0.1)


# --- whatever the history ------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.sampled_from([0, 1, 2, 50, 96, 700, 1500, 4000]),
    target=st.sampled_from(TARGETS),
    step_s=st.sampled_from([300, 900, 1800, 3600]),
    offset=st.integers(-200, 4200),
    place=st.sampled_from([(None, None), (48.0, 11.0), (-80.0, 170.0)]),
    odd=st.sampled_from([0.0, 0.1, 0.9]),
)
def test_never_negative_never_nan(
    seed: int,
    length: int,
    target: Target,
    step_s: int,
    offset: int,
    place: tuple[float | None, float | None],
    odd: float,
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.gamma(1.0, 2.0, length)
    values[rng.random(length) < odd] = rng.choice(ODD)
    history = History(1_700_000_000 // step_s * step_s, step_s, values)
    forecaster = Forecaster(target, *place, capacity_kw=rng.choice([None, 5.0]))
    origin = history.start_utc_s + offset * step_s
    made = forecaster.forecast_many(history, [origin, origin + 7], 36 * 3600 // step_s)
    _check(made)
    assert made.start_utc_s.tolist() == [origin, origin + step_s]


@pytest.mark.parametrize("target", TARGETS)
def test_a_constant_and_a_dead_site(target: Target) -> None:
    for value in (0.0, 2.0):
        history = History(0, 900, np.full(40 * 96, value))
        made = Forecaster(target).forecast_many(history, [history.end_utc_s], 96)
        _check(made)
        assert made.p50.max() <= 2.5


# --- how good it is ------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [300, 900, 1800, 3600])
def test_better_than_yesterday_on_made_up_sites(roof: Maker, house: Maker, step_s: int) -> None:
    for target, history in (("pv", roof(60, step_s)), ("load", house(60, step_s))):
        per_day = DAY_S // step_s
        at = 45 * per_day + np.arange(0, 13 * per_day, per_day // 4)
        forecaster = Forecaster(target)  # type: ignore[arg-type]
        made = forecaster.forecast_many(history, history.start_utc_s + at * step_s, per_day)
        truth = history.values[at[:, None] + np.arange(per_day)]
        before = history.values[at[:, None] + np.arange(per_day) - per_day]
        assert np.std(made.p50 - truth) < 0.9 * np.std(before - truth)
        lit = made.p90 > 0
        assert 0.65 < np.mean(((made.p10 <= truth) & (truth <= made.p90))[lit]) < 0.95
        assert all("adjusted on site" in source for source in made.sources)


def test_measured_roofs_and_houses(measured: Path) -> None:
    for target, file, column in (
        ("pv", "ucsd_pv_15min", "bsb_library_pv_kw"),
        ("load", "nsw_sgsc_load_30min", "nsw00_load_kw"),
    ):
        history, _ = read_history(measured / f"{file}.csv.gz", target, column)  # type: ignore[arg-type]
        per_day = DAY_S // history.step_s
        history = History(history.start_utc_s, history.step_s, history.values[: 130 * per_day])
        at = 60 * per_day + np.arange(0, 60 * per_day, per_day // 3)
        forecaster = Forecaster(target)  # type: ignore[arg-type]
        made = forecaster.forecast_many(history, history.start_utc_s + at * history.step_s, per_day)
        truth = history.values[at[:, None] + np.arange(per_day)]
        lags = [at[:, None] + np.arange(per_day) - k * per_day for k in range(1, 29)]
        mean = np.nanmean(history.values[np.stack(lags)], axis=0)
        ours, simple = np.nanmean((made.p50 - truth) ** 2), np.nanmean((mean - truth) ** 2)
        assert ours < simple


# --- young sites and missing things --------------------------------------------------------


def test_a_site_grows_up_step_by_step(roof: Maker, place: tuple[float, float]) -> None:
    history = roof(days=40)
    forecaster = Forecaster("pv", *place, capacity_kw=5.0)
    said = {}
    for days in (0, 0.5, 3, 10, 20, 39):
        origin = history.start_utc_s + round(days * DAY_S)
        series = forecaster.forecast(history, origin, 96)
        said[days] = series.source
        assert max(series.p50_kw) > 0.5
        assert max(series.p90_kw) < 9.0
    assert said[0] == "half of the clear sky: 0.0 days of history"
    assert said[0.5].startswith("clear sky as seen so far: 0.5 days")
    assert said[3] == "envelope and same-clock mean of 3.0 days: 3.0 days of history, " + (
        "the network needs 7"
    )
    assert "on 10.0 of 28 days" in said[10]
    assert "on 20.0 of 28 days, adjusted on site" in said[20]
    assert said[39].endswith("adjusted on site")
    assert "days" not in said[39]


def test_without_history_a_house_is_ordinary_and_a_roof_unknown() -> None:
    nothing = History(0, 900, np.empty(0))
    load = Forecaster("load").forecast(nothing, 0, 96)
    assert set(load.p50_kw) == {0.4}
    assert "no history" in load.source
    for place in ((None, None), (10.0, 10.0)):
        roof = Forecaster("pv", *place).forecast(nothing, 0, 96)
        assert set(roof.p90_kw) == {0.0}
        assert "nothing is known" in roof.source


@pytest.mark.parametrize("target", TARGETS)
def test_a_missing_or_broken_model_leaves_the_baselines(
    roof: Maker, tmp_path: Path, target: Target
) -> None:
    history = roof(days=40)
    forecaster = Forecaster(target, weights=tmp_path / "none.tflite")
    assert forecaster.problem is not None
    made = forecaster.forecast_many(history, [history.end_utc_s], 96)
    _check(made)
    assert "same-clock mean of 28.0 days" in made.sources[0]
    assert "none.tflite" in made.sources[0]
    assert made.p50.max() > 0.5


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
def test_nonsense_from_the_network_is_refused(
    roof: Maker, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    history = roof(days=40)
    forecaster = Forecaster("pv", learning=False)
    usual = Forecaster("pv", weights=Path("none")).forecast(history, history.end_utc_s, 96)
    monkeypatch.setattr(
        forecaster._network, "run", lambda given: np.full((len(given.flat), KNOTS, 3), value)
    )
    made = forecaster.forecast(history, history.end_utc_s, 96)
    assert made.p50_kw == usual.p50_kw
    assert made.source.endswith("nonsensical network output")


def test_a_dead_meter_leads_to_the_baselines(house: Maker) -> None:
    history = house(days=40)
    history.values[-60:] = np.nan
    series = Forecaster("load").forecast(history, history.end_utc_s, 96)
    assert "38% of the last 24 h known" in series.source


# --- clocks and grids ----------------------------------------------------------------------


@pytest.mark.parametrize("located", [True, False])
def test_dark_at_night(roof: Maker, place: tuple[float, float], located: bool) -> None:
    history = roof(days=40)
    history.values[history.values == 0] = 0.004  # a meter's offset
    forecaster = Forecaster("pv", *(place if located else (None, None)))
    origins = history.start_utc_s + np.arange(30, 40) * DAY_S + 36_000
    made = forecaster.forecast_many(history, origins, 96)
    marks = made.start_utc_s[:, None] + np.arange(97) * 900
    elevation, _ = solar_position(marks, *place)
    highest = np.maximum(elevation[:, 1:], elevation[:, :-1])
    assert (made.p90[highest < -1.0] == 0).all()
    assert (made.p50[highest > 10.0] > 0).all()


def test_minutes_make_quarter_hours(house: Maker) -> None:
    minutes = house(days=20, step_s=60)
    forecaster = Forecaster("load")
    origin = minutes.end_utc_s
    fine, coarse = (forecaster.forecast(h, origin, 96) for h in (minutes, minutes.resampled(900)))
    assert fine == coarse
    with pytest.raises(HistoryError, match="5, 15, 30 or 60 min"):
        forecaster.forecast(History(0, 7200, np.ones(4)), 0, 4)


def test_an_origin_between_two_marks_starts_at_the_next(house: Maker) -> None:
    history = house(days=40)
    at, between = history.end_utc_s, history.end_utc_s + 420
    forecaster = Forecaster("load")
    aligned = forecaster.forecast_many(history, [at], 97)
    late = forecaster.forecast_many(history, [between], 96)
    assert late.start_utc_s[0] == at + 900
    np.testing.assert_array_equal(late.p50[0], aligned.p50[0, 1:])


def test_beyond_a_day_the_day_repeats(house: Maker) -> None:
    history = house(days=40, step_s=3600)
    series = Forecaster("load").forecast(history, history.end_utc_s, 36)
    assert series.p50_kw[24:] == series.p50_kw[:12]


def test_light_enough_for_a_pi() -> None:
    """Import and one forecast of each kind: memory, and nothing heavy loaded."""
    code = """
import sys
import numpy as np
from models import features
from models.forecaster import Forecaster
from models.history import History
history = History(0, 900, np.abs(np.sin(np.arange(96 * 60) / 15.3)))
for target in ("pv", "load"):
    Forecaster(target, 48.0, 11.0).forecast(history, history.end_utc_s, 96)
heavy = {"pandas", "scipy", "tensorflow", "matplotlib"} & set(sys.modules)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, *heavy)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    peak_mb, *heavy = done.stdout.split()
    assert not heavy
    assert int(peak_mb) < 90
    assert done.stderr == ""
