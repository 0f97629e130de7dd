"""Is the grid there, and what is the net load when readings come late."""

import math
from dataclasses import replace
from typing import Any

import pytest

from control.estimate import estimate
from control.records import (
    BatteryMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Quantity,
    Sample,
)
from control.site import SiteParameters
from control.state import Estimate, Obedience, State


def run(site: SiteParameters, *samples: Sample, state: State | None = None) -> State:
    state = state or State()
    for sample in samples:
        state = replace(estimate(site, state, sample), t_s=sample.t_s)
    return state


def known(site: SiteParameters, *samples: Sample, state: State | None = None) -> Estimate:
    return run(site, *samples, state=state).estimate


def grid(build: Any, t_s: float, volts: float | None = 230.0, hertz: float | None = 50.0) -> Sample:
    sample: Sample = build.sample(t_s, grid=build.seen(GridMeasurement(1.0, volts, hertz)))
    return sample


@pytest.mark.parametrize(
    ("volts", "hertz", "present"),
    [
        (230.0, 50.0, True),
        (195.5, 47.5, True),
        (253.0, 51.5, True),
        (195.4, 50.0, False),
        (253.1, 50.0, False),
        (230.0, 47.4, False),
        (230.0, 51.6, False),
        (0.0, 0.0, False),
        (None, None, True),  # a meter that does not tell says nothing against the grid
        (None, 0.0, False),
        (0.0, None, False),
        (math.nan, math.nan, True),
    ],
)
def test_presence(build: Any, volts: float | None, hertz: float | None, present: bool) -> None:
    assert known(build.site(), grid(build, 1000, volts, hertz)).grid_present is present


def test_the_grid_is_lost_at_once_and_back_when_it_has_settled(build: Any) -> None:
    site, state = build.site(), State()
    seen = []
    for t_s, volts in [(0, 230), (1, 0), (2, 0), (10, 230), (14, 230), (15, 230), (80, 230)]:
        state = run(site, grid(build, 1000.0 + t_s, float(volts)), state=state)
        seen.append((state.estimate.grid_present, state.estimate.grid_for_s))
    assert seen == [
        (True, math.inf),
        (False, 0.0),
        (False, 1.0),
        (False, 9.0),
        (False, 13.0),
        (True, 5.0),
        (True, 70.0),
    ]


def test_a_grid_that_comes_and_goes_has_to_settle_anew(build: Any) -> None:
    site, state = build.site(), run(build.site(), grid(build, 999.0), grid(build, 1000.0, 0.0))
    for t_s in range(1, 30):
        state = run(site, grid(build, 1000.0 + t_s, 0.0 if t_s % 4 == 0 else 230.0), state=state)
        assert not state.estimate.grid_present


def test_a_process_that_starts_in_an_outage_starts_as_an_island(build: Any) -> None:
    plant = known(build.site(), grid(build, 1000.0, 0.0))
    assert (plant.grid_present, plant.grid_for_s) == (False, math.inf)


def test_while_the_meter_is_silent_the_grid_is_as_it_was(build: Any) -> None:
    site = build.site()
    lost = build.sample(1100.0, grid=build.silent)
    assert known(site, lost).grid_present  # never seen: a grid is normally there
    assert known(site, grid(build, 1000.0), lost).grid_present
    assert not known(site, grid(build, 1000.0, 0.0), lost).grid_present


def test_a_battery_that_carries_load_against_its_setpoint_shows_an_island(build: Any) -> None:
    """The meter often hangs on the grid that it measures, and is silent when that fails."""
    site, silent = build.site(), build.sample(1100.0, grid=build.silent)
    before = run(site, grid(build, 1000.0))
    deviates = Obedience("battery", Quantity.POWER_KW, "disobeyed", 1090.0, 1075.0)
    state = run(site, silent, state=replace(before, obedience=(deviates,)))
    assert (state.estimate.grid_present, state.estimate.grid_for_s) == (False, 0.0)
    assert state.estimate.grid_kw == 0.0
    assert state.estimate.net_kw == pytest.approx(0.0)
    state = run(site, replace(silent, t_s=1120.0), state=replace(state, obedience=()))
    assert not state.estimate.grid_present
    state = run(site, grid(build, 1121.0), grid(build, 1126.0), state=state)
    assert state.estimate.grid_present
    for other in (
        Obedience("battery", Quantity.POWER_KW, "unacknowledged", 1090.0, 1075.0),
        Obedience("battery", Quantity.POWER_KW, "disobeyed", 1015.0, 1000.0),  # it did before
        Obedience("battery", Quantity.LIMIT_KW, "disobeyed", 1090.0, 1075.0),
        Obedience("roof", Quantity.POWER_KW, "disobeyed", 1090.0, 1075.0),
    ):
        assert known(site, silent, state=replace(before, obedience=(other,))).grid_present


def test_with_the_meter_answering_disobedience_is_no_island(build: Any) -> None:
    deviates = Obedience("battery", Quantity.POWER_KW, "disobeyed", 1015.0, 1000.5)
    state = replace(run(build.site(), grid(build, 1000.0)), obedience=(deviates,))
    assert known(build.site(), grid(build, 1001.0), state=state).grid_present


# --- readings of different age -------------------------------------------------------------


def aged(build: Any, t_s: float, battery: tuple[float, float], grid_at: tuple[float, float]) -> Any:
    return build.sample(
        t_s,
        batteries=(build.seen(BatteryMeasurement(battery[0], 0.5, 4.0, 4.0), battery[1]),),
        grid=build.seen(GridMeasurement(grid_at[0], 230.0, 50.0), grid_at[1]),
    )


def test_readings_of_one_moment_are_taken_as_they_are(build: Any) -> None:
    samples = (aged(build, 1000.0, (1.0, 0.3), (1.0, 0.3)), aged(build, 1001.0, (1, 0.3), (4, 0.3)))
    assert known(build.site(), *samples).net_kw == pytest.approx(5.0)


def test_the_further_apart_the_slower(build: Any) -> None:
    first = aged(build, 1000.0, (1.0, 0.0), (1.0, 0.0))
    moved = [
        known(build.site(), first, aged(build, 1001.0, (1.0, 0.0), (4.0, age_s))).net_kw
        for age_s in (0.0, 0.5, 1.0, 2.0)
    ]
    assert moved == pytest.approx([5.0, 3.5, 3.0, 2.6])


@pytest.mark.parametrize("delay", [-3, -2, -1, 0, 1, 2, 3])
@pytest.mark.parametrize("period_s", [0.1, 1.0, 5.0])
def test_a_battery_that_follows_the_net_load_settles_however_late_the_meter_is(
    build: Any, delay: int, period_s: float
) -> None:
    """delay > 0: the meter's reading is so many cycles older than the battery's; < 0: younger.

    The battery does at once what it is told. Without regard to the readings' ages every delay but
    none oscillates for ever or grows.
    """
    site, state = build.site(hold_s=100.0), State()
    load_kw, powers = 2.0, [0.0] * 10
    for cycle in range(120):
        battery_kw = powers[-1 - max(0, -delay)]
        grid_kw = load_kw - powers[-1 - max(0, delay)]
        ages = (period_s * max(0, -delay), period_s * max(0, delay))
        sample = aged(build, 1000.0 + period_s * cycle, (battery_kw, ages[0]), (grid_kw, ages[1]))
        sample = replace(sample, pv=(build.seen(InverterMeasurement(0.0)),))
        state = run(site, sample, state=state)
        assert state.estimate.net_kw is not None
        powers.append(min(4.0, max(-4.0, state.estimate.net_kw)))
    assert powers[-20:] == pytest.approx([load_kw] * 20, abs=0.05)


def test_a_hanging_meter_does_not_drive_the_battery_away(build: Any) -> None:
    """Its last value, 1 kW of import, would be added to the setpoint in every cycle."""
    site, state, battery_kw = build.site(), State(), 0.0
    for second in range(5):
        sample = aged(build, 1000.0 + second, (battery_kw, 0.0), (1.0, float(second)))
        state = run(site, sample, state=state)
        assert state.estimate.net_kw is not None
        battery_kw = state.estimate.net_kw
    assert battery_kw < 2.5


def test_with_the_same_time_twice_nothing_moves(build: Any) -> None:
    first = aged(build, 1000.0, (1.0, 0.0), (1.0, 0.5))
    again = aged(build, 1000.0, (1.0, 0.0), (4.0, 0.5))
    assert known(build.site(), first, again).net_kw == pytest.approx(2.0)


def test_an_age_that_is_no_number(build: Any) -> None:
    sample = aged(build, 1001.0, (1.0, math.nan), (4.0, 0.0))
    net_kw = known(build.site(), aged(build, 1000.0, (1.0, 0.0), (1.0, 0.0)), sample).net_kw
    assert net_kw is not None
    assert math.isfinite(net_kw)
