"""When a forecast is off by more than its band, and that the answer does not change in turn."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.off_band import AVERAGED_S, OffBand, watch
from control.records import Forecast, Series

CYCLE_S = 10.0


def flat(p10: float, p50: float, p90: float) -> Series:
    return Series((p10,) * 96, (p50,) * 96, (p90,) * 96, "a test")


FORECAST = Forecast(0.0, 0.0, 900.0, pv=flat(1.0, 1.6, 2.0), load=flat(0.2, 1.0, 1.8))
QUIET = OffBand()
MORE_KW, LESS_KW = math.hypot(0.8, 0.6), math.hypot(0.8, 0.4)


def after(minutes: float, net_kw: float, before: OffBand = QUIET, t_s: float = 0.0) -> OffBand:
    """The judgement after so long at a net load that is off by `net_kw`."""
    state = before
    for cycle in range(int(minutes * 60 / CYCLE_S)):
        state = watch(state, FORECAST, t_s + cycle * CYCLE_S, 1.0 + net_kw, 1.6)
    return state


def test_inside_the_band_nothing_is_due() -> None:
    assert not after(60.0, 0.95 * MORE_KW).off
    assert not after(60.0, -0.95 * LESS_KW).off


def test_beyond_either_end_it_is_off_when_that_has_lasted() -> None:
    for net_kw in (1.05 * MORE_KW, -1.05 * LESS_KW):
        assert not after(4.0, net_kw).off
        assert after(6.0, net_kw).off


def test_a_kettle_is_no_reason() -> None:
    quiet = after(10.0, 0.0)
    boiling = after(2.0, 2.0, quiet, 600.0)
    assert not boiling.off


def test_it_is_on_again_well_inside_only() -> None:
    off = after(10.0, 1.1 * MORE_KW)
    assert after(60.0, 0.6 * MORE_KW, off, 600.0).off
    assert not after(60.0, 0.4 * MORE_KW, off, 600.0).off


@pytest.mark.parametrize("kw", [math.nan, math.inf, -math.inf])
def test_one_measurement_that_is_no_number_leaves_no_trace(kw: float) -> None:
    quiet = after(10.0, 0.0)
    broken = replace(FORECAST, load=flat(0.2, kw, 1.8))
    for state in (
        watch(quiet, FORECAST, 600.0, kw, 1.6),
        watch(quiet, FORECAST, 600.0, 1.0, kw),
        watch(quiet, broken, 600.0, 1.0, 1.6),
    ):
        assert state == quiet
        assert after(30.0, 1.05 * MORE_KW, state, 610.0).off


def test_without_a_measurement_or_a_forecast_it_stays_as_it_was() -> None:
    off = after(10.0, 1.1 * MORE_KW)
    assert watch(off, None, 610.0, 1.0, 1.6) == off
    assert watch(off, FORECAST, 610.0, None, 1.6) == off
    assert watch(off, FORECAST, 610.0, 1.0, None) == off
    assert watch(off, FORECAST, 1e6, 1.0, 1.6) == off


def test_after_a_gap_the_mean_begins_anew() -> None:
    off = after(10.0, 1.1 * MORE_KW)
    again = watch(off, FORECAST, 3600.0, 1.0, 1.6)
    assert (again.error_kw, again.known_s) == (0.0, 0.0)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-4.0, 4.0), min_size=1, max_size=60),
    st.floats(10.0, 600.0),
)
def test_whatever_the_load_does_the_judgement_does_not_hunt(
    levels_kw: list[float], each_s: float
) -> None:
    """From on to off and back takes the mean across half a band: that bounds the plans."""
    state, changes, t_s = QUIET, 0, 0.0
    for level_kw in levels_kw:
        for _ in range(max(1, int(each_s / CYCLE_S))):
            before, state = state, watch(state, FORECAST, t_s % 80_000.0, 1.0 + level_kw, 1.6)
            changes += before.off != state.off
            t_s += CYCLE_S
    half_band_kw = 0.5 * min(MORE_KW, LESS_KW)
    fastest_s = AVERAGED_S * half_band_kw / (4.0 + MORE_KW)
    assert changes <= 1 + t_s / fastest_s
