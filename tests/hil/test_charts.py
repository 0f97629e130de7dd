import math
import re
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.charts import WIDTH, Chart, Mark, TimeAxis, polyline, ribbon, staircase
from hil.report_series import extremes, mean_of_bins, spans, step_means
from hil.report_ticks import ValueScale, local, round_step, time_ticks

MADRID = ZoneInfo("Europe/Madrid")
MAY_13 = 1_778_623_200.0  # 2026-05-13, midnight in Madrid
NAN = math.nan

finite = st.floats(-1e9, 1e9)
gappy = st.lists(st.one_of(finite, st.just(NAN)), min_size=1, max_size=300)
zones = st.sampled_from(
    ["UTC", "Europe/Madrid", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"]
)


@given(st.lists(st.one_of(finite, st.just(NAN), st.just(math.inf)), max_size=20))
def test_a_scale_holds_all_finite_values_between_a_few_round_ticks(values: list[float]) -> None:
    scale = ValueScale.of(values)
    slack = 1e-6 * scale.step
    for value in values:
        if math.isfinite(value):
            assert -slack <= scale.share(value) <= 1.0 + slack
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= 7
    assert ticks[0] == pytest.approx(scale.low, abs=slack)
    assert ticks[-1] == pytest.approx(scale.high, abs=slack)


@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5))
def test_labels_of_ticks_are_exact(first: float, second: float) -> None:
    scale = ValueScale.of([first, second])
    for tick in scale.ticks():
        read = float(scale.label(tick).replace("\N{MINUS SIGN}", "-"))
        assert read == pytest.approx(tick, abs=1e-9 * scale.step + 1e-12 * abs(tick))


@given(st.floats(1e-9, 1e9))
def test_steps_are_1_2_or_5(rough: float) -> None:
    step = round_step(rough)
    assert rough * (1 - 1e-6) <= step <= 2.5 * rough * (1 + 1e-6)
    mantissa = step / 10.0 ** math.floor(math.log10(step) + 1e-9)
    assert min(abs(mantissa - factor) for factor in (1.0, 2.0, 5.0)) < 1e-6


def test_there_is_no_negative_zero() -> None:
    assert ValueScale(-0.3, 0.3, 0.1).label(-0.0) == "0.0"
    assert ValueScale(-0.3, 0.3, 0.1).label(-0.1) == "\N{MINUS SIGN}0.1"


@given(st.floats(0.0, 4e9), st.floats(1.0, 3e7), zones)
@settings(max_examples=60, deadline=None)
def test_time_ticks_lie_inside_in_order_and_are_few(start: float, span: float, name: str) -> None:
    ticks = time_ticks(start, start + span, ZoneInfo(name))
    assert len(ticks) <= 16
    assert all(start <= tick.utc_s <= start + span for tick in ticks)
    assert all(first.utc_s < second.utc_s for first, second in pairwise(ticks))


@given(st.floats(0.0, 4e9), st.floats(1.5e4, 1e6), zones)
def test_time_ticks_are_round_on_the_clock_of_the_site(
    start: float, span: float, name: str
) -> None:
    zone = ZoneInfo(name)
    for tick in time_ticks(start, start + span, zone):
        moment = local(tick.utc_s, zone)
        assert moment.second == 0
        assert moment.minute in (0, 30)
        assert tick.text in (f"{moment:%H:%M}", f"{moment.day} {moment:%b}")


def test_a_day_is_ticked_every_two_hours_with_its_dates() -> None:
    ticks = time_ticks(MAY_13, MAY_13 + 86_400, MADRID)
    assert [tick.text for tick in ticks][:4] == ["00:00", "02:00", "04:00", "06:00"]
    assert [tick.date for tick in ticks if tick.date] == ["13 May", "14 May"]
    assert [tick.text for tick in ticks if tick.major][:3] == ["00:00", "04:00", "08:00"]


def test_the_day_of_the_clock_change_has_23_hours() -> None:
    start = 1_774_738_800.0  # 2026-03-29, midnight in Madrid
    ticks = time_ticks(start, start + 23 * 3600, MADRID)
    assert [tick.text for tick in ticks][:3] == ["00:00", "03:00", "04:00"]
    assert ticks[-1].date == "30 Mar"


@given(gappy, st.integers(2, 60))
def test_thinning_keeps_the_extremes(values: list[float], most: int) -> None:
    array = np.array(values)
    times, kept = extremes(np.arange(len(array), dtype=float), array, most)
    assert len(times) == len(kept) <= max(most, 2)
    assert (np.diff(times) >= 0).all()
    if np.isfinite(array).any():
        assert np.nanmin(kept) == np.nanmin(array)
        assert np.nanmax(kept) == np.nanmax(array)
    else:
        assert np.isnan(kept).all()


@given(gappy, st.integers(1, 60))
def test_means_of_bins_stay_within_what_they_are_means_of(values: list[float], most: int) -> None:
    array = np.array(values)
    means = mean_of_bins(array, most)
    assert len(means) <= max(most, 1)
    known = means[np.isfinite(means)]
    if len(known):
        slack = 1e-6 * max(1.0, float(np.nanmax(np.abs(array))))
        assert known.min() >= np.nanmin(array) - slack
        assert known.max() <= np.nanmax(array) + slack
    assert np.isfinite(means).any() == np.isfinite(array).any()


def test_step_means_leave_gaps_where_nothing_is_known() -> None:
    times = np.array([0.0, 5.0, 10.0, 15.0, 20.0, 35.0])
    values = np.array([1.0, 3.0, NAN, NAN, 7.0, 9.0])
    means = step_means(times, values, 0.0, 10.0, 3)
    assert means == pytest.approx([2.0, NAN, 7.0], nan_ok=True)


def test_spans_end_where_the_condition_or_the_run_ends() -> None:
    times = np.array([0.0, 1.0, 2.0, 3.0])
    assert spans(times, np.array([True, False, True, True]), 4.0) == [(0.0, 1.0), (2.0, 4.0)]
    assert spans(times, np.array([False] * 4), 4.0) == []


def test_lines_break_at_gaps_and_lone_points_are_dots() -> None:
    x = np.arange(6, dtype=float)
    assert polyline(x, np.array([1.0, 2.0, NAN, 5.0, NAN, NAN])) == "M0 1 1 2M3.0 5.0h0"
    assert polyline(x, np.full(6, 4.0)) == "M0 4 5 4"
    assert polyline(x, np.full(6, NAN)) == ""


def test_steps_hold_until_the_next_point_and_the_last_until_the_end() -> None:
    x = np.array([0.0, 10.0, 20.0, 30.0])
    assert staircase(x, np.array([1.0, 1.0, 2.0, NAN]), 40.0) == "M0.0 1H20.0V2H30.0"
    assert staircase(x, np.array([NAN, 3.0, 3.0, 3.0]), 40.0) == "M10.0 3H40.0"


def test_a_ribbon_goes_there_and_back() -> None:
    x = np.array([0.0, 1.0, 2.0])
    path = ribbon(x, np.array([0.0, 0.0, NAN]), np.array([1.0, 2.0, 3.0]))
    assert path == "M0 1 1 2L1 0 0 0Z"


@given(st.lists(st.one_of(st.floats(-1e4, 1e4), st.just(NAN)), min_size=1, max_size=80))
def test_drawings_stay_inside_the_chart(values: list[float]) -> None:
    array = np.array(values)
    times = MAY_13 + 60.0 * np.arange(len(array))
    axis = TimeAxis(times, float(times[-1]) + 60.0, MADRID)
    chart = Chart("c", axis, ValueScale.of([*values, 0.0]), "kW", 100)
    chart.line(array, "a").steps(array, "b").stack([(array, "c", "C")])
    for path in re.findall(r' d="([^"]*)"', chart.svg("t", "d")):
        for x, y in re.findall(r"(-?[\d.e+-]+) (-?[\d.e+-]+)", path):
            assert -0.1 <= float(x) <= WIDTH + 0.1
            assert -0.1 <= float(y) <= 100.1


def test_stacks_pile_up_on_either_side_of_zero() -> None:
    axis = TimeAxis(np.array([0.0, 1.0]), 2.0, MADRID)
    chart = Chart("c", axis, ValueScale(-10.0, 10.0, 5.0), "kW", 200)
    two, minus, three = np.full(2, 2.0), np.full(2, -4.0), np.full(2, 3.0)
    chart.stack([(two, "one", ""), (minus, "down", ""), (three, "on-top", "")])
    svg = chart.svg("", "")
    assert '"area on-top" d="M0 50 750 50L750 80 0 80Z"' in svg  # from 2 to 5 kW
    assert '"area down" d="M0 140 750 140L750 100 0 100Z"' in svg


def test_marks_beyond_the_run_are_not_drawn_and_texts_are_escaped() -> None:
    times = np.arange(10, dtype=float)
    marks = [Mark(5.0, 1, "a < b"), Mark(5.1, 2, "close by"), Mark(99.0, 3, "later")]
    chart = Chart("c", TimeAxis(times, 10.0, MADRID, marks), ValueScale(0.0, 1.0, 0.5), "")
    svg = chart.line(times / 10.0, "load").svg("<T>", "a & b")
    assert svg.count('class="mark"') == 2
    assert svg.count("<circle") == 1  # no room for the second number
    assert "a &lt; b" in svg
    assert "&lt;T&gt;" in svg
    assert "later" not in svg
