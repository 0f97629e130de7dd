"""The irradiance sensor's minutes in the state, and what they say of PV in the next ones."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.propose import propose
from control.records import Advice, Level, Orders
from control.sky import KEPT_MINUTES, NO_SKY, PvAhead, Sky, free_pv_kw, looked_at
from control.state import State
from control.strain import ramp_ahead

RATED_KW = 6.0
CLEAR_KW_PER_W_M2 = 0.005


def watched(
    build: Any, sun_w_m2: list[float | None], begin_s: float = 6000.0, **changes: Any
) -> Sky:
    """Two cycles a minute; PV follows the sun."""
    sky = NO_SKY
    for half, value in enumerate([value for value in sun_w_m2 for _ in range(2)]):
        seen = build.silent if value is None else build.seen(value)
        known = {"irradiance_w_m2": seen, "sun_elevation_deg": 40.0 + half * 0.05, **changes}
        sample = build.sample(begin_s + 30.0 * half, **known)
        pv_kw = None if value is None else CLEAR_KW_PER_W_M2 * value
        sky = looked_at(sky, sample, pv_kw, RATED_KW)
    return sky


def ahead(sky: Sky) -> PvAhead:
    assert sky.ahead is not None
    return sky.ahead


def test_a_minute_is_enough_to_begin_with(build: Any) -> None:
    assert watched(build, [600.0]).ahead is None
    made = ahead(watched(build, [600.0, 600.0]))
    assert not made.learnt
    assert made.t_s == 6060.0
    assert made.minutes.p50_kw[0] == pytest.approx(3.0, rel=0.02)
    assert made.minutes.p10_kw[14] < made.minutes.p10_kw[0] < 3.0
    assert (made.is_fresh(6100.0), made.is_fresh(6300.0), made.is_fresh(6000.0)) == (1, 0, 0)


def test_the_sun_goes_on_rising(build: Any) -> None:
    made = ahead(watched(build, [650.0] * 40))
    assert made.learnt
    assert made.minutes.p50_kw[14] > made.minutes.p50_kw[0]


def test_without_sensor_light_or_pv_nothing_is_foreseen(build: Any) -> None:
    assert watched(build, [600.0] * 5, irradiance_w_m2=None) == NO_SKY
    assert watched(build, [2.0] * 5, sun_elevation_deg=-3.0).ahead is None
    assert watched(build, [600.0] * 5 + [None] * 2).ahead is None
    assert watched(build, [600.0] * 5 + [None] * 2 + [600.0] * 2).ahead is not None
    assert looked_at(NO_SKY, build.sample(), 1.0, 0.0) == NO_SKY  # no PV
    assert watched(build, [float("nan")] * 5).ahead is None


def test_clouds_that_come_and_go_are_expected_to_come(build: Any) -> None:
    clouds = [1000.0 if (n // 4) % 2 else 300.0 for n in range(100)]
    made = ahead(watched(build, clouds))
    assert made.lowest_kw(5) < 0.5 * made.minutes.p50_kw[0]
    assert made.means.p10_kw[14] > made.minutes.p10_kw[14]
    assert max(made.minutes.p90_kw) <= RATED_KW


def test_what_is_kept_is_bounded_and_gaps_are_no_harm(build: Any) -> None:
    sky = watched(build, [500.0] * (KEPT_MINUTES + 30))
    assert len(sky.minutes) == KEPT_MINUTES
    assert sky.number is not None
    later = build.sample(60.0 * (sky.number + 10), irradiance_w_m2=build.seen(500.0))
    after = looked_at(sky, later, 2.5, RATED_KW)
    assert after.ahead is None  # the minute before is unknown
    assert len(after.minutes) == KEPT_MINUTES - 9
    back = build.sample(0.0, irradiance_w_m2=build.seen(500.0))
    assert looked_at(sky, back, 2.5, RATED_KW).ahead is None  # a clock that went back


def test_a_limit_does_not_look_like_a_cloud(build: Any) -> None:
    def free(pv_kw: float | None, limit_kw: float | None, throttled: bool = False) -> float | None:
        return free_pv_kw(build.site(), pv_kw, limit_kw, throttled=throttled)

    assert (free(2.0, None), free(2.0, 6.0), free(1.0, 2.1)) == (2.0, 2.0, 1.0)
    assert (free(2.0, 2.1), free(None, 2.1), free(2.0, None, throttled=True)) == (None, None, None)
    assert free(-0.1, None) == 0.0


def test_replayed_samples_make_the_same_sky(build: Any) -> None:
    clouds = [float(value) for value in np.random.default_rng(1).uniform(100, 900, 90)]
    assert watched(build, clouds) == watched(build, clouds)


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.none() | st.floats(-10.0, 3000.0), min_size=1, max_size=60),
    elevation_deg=st.floats(-90.0, 90.0) | st.just(float("nan")),
)
def test_always_in_order_and_within_the_rating(
    build: Any, values: list[float | None], elevation_deg: float
) -> None:
    sky = watched(build, values, sun_elevation_deg=elevation_deg)
    if sky.ahead is None:
        return
    for band in (sky.ahead.minutes, sky.ahead.means):
        for low, middle, high in zip(band.p10_kw, band.p50_kw, band.p90_kw, strict=True):
            assert 0.0 <= low <= middle <= high <= RATED_KW


def test_an_island_starts_its_set_before_the_clouds(build: Any, plant: Any) -> None:
    """After an hour of clouds that come and go the set stays ready; without a sensor it rests."""
    found = {}
    for sensor in (True, False):
        tiny = plant(build.site(grid=None), load_kw=4.8, mains=False, soc_frac=0.9)
        if not sensor:
            tiny.silent.add("sun")
        for minute in range(110):
            tiny.sun_kw = 0.3 if minute % 10 >= 7 and minute < 60 else 4.5
            for _ in range(6):
                made = tiny.step(10.0)
        found[sensor] = (tiny.state.generator.run, made.command.why[0].reason)
    assert found[True][0]
    assert "clouds may take" in found[True][1]
    assert not found[False][0]


def test_an_operator_overrules_a_precaution(build: Any) -> None:
    sky = watched(build, [1000.0 if (n // 4) % 2 else 300.0 for n in range(100)])
    made = ahead(sky)
    site = build.site(grid=None, battery=build.battery(discharge_max_kw=2.0))
    state = State(sky=sky)
    plant = replace(
        state.estimate, pv_kw=4.5, wind_kw=0.0, load_kw=5.0, soc_frac=0.9, generator_available=True
    )
    state = replace(state, estimate=plant)
    assert "clouds may take" in ramp_ahead(site, state, made.t_s + 30.0)
    assert ramp_ahead(site, state, made.t_s + 3000.0) == ""  # outlived
    light = replace(state, estimate=replace(plant, load_kw=1.0))
    assert ramp_ahead(site, light, made.t_s) == ""
    grid = replace(state, estimate=replace(plant, grid_present=True))
    assert ramp_ahead(site, grid, made.t_s) == ""
    order = build.order(Level.LOCAL_OPERATOR, "genset", 0.0)
    sample = build.sample(made.t_s)
    wishes = propose(site, state, sample, Advice(), Orders(proposals=(order,)))
    runs = {wish.level: wish.value for wish in wishes if wish.device == "genset"}
    assert runs[Level.PLAN] == 1.0
    assert max(runs) is Level.LOCAL_OPERATOR
