"""From sample to estimate: every device lost, absurd, late; presence of the grid; the load."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from control.estimate import estimate
from control.records import (
    BatteryMeasurement,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Sample,
)
from control.site import PvParameters, SiteParameters, WindParameters
from control.state import Estimate, GeneratorState, State


def run(site: SiteParameters, *samples: Sample, state: State | None = None) -> State:
    state = state or State()
    for sample in samples:
        state = replace(estimate(site, state, sample), t_s=sample.t_s)
    return state


def known(site: SiteParameters, *samples: Sample, state: State | None = None) -> Estimate:
    return run(site, *samples, state=state).estimate


# --- what is there -------------------------------------------------------------------------


def test_the_load_is_what_all_sources_feed(build: Any) -> None:
    plant = known(
        build.site(),
        build.sample(
            pv=(build.seen(InverterMeasurement(3.0)),),
            batteries=(build.seen(BatteryMeasurement(-1.5, 0.6, 3.0, 2.0)),),
            generators=(build.seen(GeneratorMeasurement(2.0, "running", "auto")),),
            grid=build.seen(GridMeasurement(-0.5, 230.0, 50.0)),
        ),
    )
    assert plant.load_kw == pytest.approx(3.0)
    assert plant.net_kw == pytest.approx(0.0)
    assert (plant.pv_kw, plant.battery_kw, plant.generator_kw, plant.grid_kw) == (3, -1.5, 2, -0.5)
    assert (plant.soc_frac, plant.charge_limit_kw, plant.discharge_limit_kw) == (0.6, 3.0, 2.0)
    assert plant.generator_carries
    assert plant.missing == ()


def test_what_inverters_consume_at_night_is_load(build: Any) -> None:
    night = build.sample(
        pv=(build.seen(InverterMeasurement(-0.05)),),
        irradiance_w_m2=build.seen(0.0),
        sun_elevation_deg=-20.0,
    )
    plant = known(build.site(), night)
    assert plant.pv_kw == 0.0
    assert plant.load_kw == pytest.approx(1.0)


def test_a_load_is_never_negative_but_the_net_load_says_what_was_measured(build: Any) -> None:
    plant = known(build.site(), build.sample(grid=build.seen(GridMeasurement(-3.0, 230.0, 50.0))))
    assert plant.load_kw == 0.0
    assert plant.net_kw == pytest.approx(-3.0)


def test_a_site_without_devices(build: Any) -> None:
    site = SiteParameters(period_s=1.0, lease_s=30.0, hold_s=10.0, start_up_s=60.0)
    bare = build.sample(pv=(), batteries=(), generators=(), grid=None, emergency_stop=None)
    plant = known(site, bare)
    assert (plant.load_kw, plant.net_kw, plant.missing) == (0.0, 0.0, ())
    assert not plant.grid_present
    assert not plant.emergency_stop


# --- what is lost, alone and together ------------------------------------------------------

FIELDS = {
    "roof": "pv",
    "battery": "batteries",
    "genset": "generators",
    "grid": "grid",
}


def without(build: Any, sample: Sample, *names: str) -> Sample:
    changes: dict[str, Any] = {}
    for name in names:
        changes[FIELDS[name]] = build.silent if name == "grid" else (build.silent,)
    return replace(sample, **changes)


LOSSES = [
    combination for n in range(5) for combination in itertools.combinations(sorted(FIELDS), n)
]


@pytest.mark.parametrize("lost", LOSSES, ids=lambda lost: "+".join(lost) or "none")
@pytest.mark.parametrize("sensor", [True, False], ids=["irradiance", "no irradiance"])
def test_every_combination_of_losses(build: Any, lost: tuple[str, ...], sensor: bool) -> None:
    light = build.seen(300.0) if sensor else None
    first = build.sample(1000.0, irradiance_w_m2=light)
    held = without(build, build.sample(1009.0, irradiance_w_m2=light), *lost)
    gone = without(build, build.sample(1021.0, irradiance_w_m2=light), *lost)
    state = run(build.site(), first, held)
    assert state.estimate.missing == ()
    assert state.estimate.load_kw == pytest.approx(2.0)
    plant = known(build.site(), gone, state=state)
    assert set(plant.missing) == set(lost)
    balance_known = not {"battery", "grid"} & set(lost)
    assert (plant.net_kw is not None) == balance_known
    assert (plant.load_kw is not None) == (balance_known and ("roof" not in lost or sensor))
    assert (plant.soc_frac is None) == ("battery" in lost)
    assert (plant.charge_limit_kw is None) == ("battery" in lost)
    assert plant.grid_present
    if "genset" in lost:
        assert (plant.generator_phase, plant.generator_available) == ("unknown", False)


def test_devices_that_never_answered_are_missing_at_once(build: Any) -> None:
    plant = known(build.site(), without(build, build.sample(), *FIELDS))
    assert set(plant.missing) == set(FIELDS)
    assert plant.load_kw is None
    assert plant.soc_frac is None
    assert plant.charge_limit_kw is None


def test_a_sample_may_leave_devices_out(build: Any) -> None:
    bare = build.sample(pv=(), batteries=(), generators=(), grid=None, emergency_stop=None)
    plant = known(build.site(), bare)
    assert set(plant.missing) == set(FIELDS)
    assert plant.emergency_stop


def test_a_set_that_runs_and_is_lost_leaves_the_load_unknown(build: Any) -> None:
    running = State(generator=GeneratorState(run=True))
    assert (
        known(build.site(), without(build, build.sample(), "genset"), state=running).net_kw is None
    )


def test_while_a_set_is_briefly_lost_its_phase_stays(build: Any) -> None:
    on = build.sample(generators=(build.seen(GeneratorMeasurement(2.0, "running", "auto")),))
    plant = known(build.site(), on, without(build, build.sample(1005.0), "genset"))
    assert plant.generator_phase == "running"
    assert plant.generator_available


# --- what cannot be ------------------------------------------------------------------------

ABSURD = [math.nan, math.inf, -math.inf, 1e9, -1e9, 61.0]


@pytest.mark.parametrize("power_kw", ABSURD)
@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_fresh_power_that_cannot_be_is_unknown(build: Any, name: str, power_kw: float) -> None:
    absurd = {
        "roof": {"pv": (build.seen(InverterMeasurement(power_kw)),)},
        "battery": {"batteries": (build.seen(BatteryMeasurement(power_kw, 0.5, 4.0, 4.0)),)},
        "genset": {"generators": (build.seen(GeneratorMeasurement(power_kw, "running", "auto")),)},
        "grid": {"grid": build.seen(GridMeasurement(power_kw, 230.0, 50.0))},
    }[name]
    normal, late = build.sample(), build.sample(1011.0, **absurd)
    held = known(build.site(), normal, replace(late, t_s=1001.0))
    assert held.load_kw == pytest.approx(2.0)
    assert held.missing == ()
    assert known(build.site(), normal, late).missing == (name,)


@pytest.mark.parametrize("soc_frac", [1.5, 1.01, -0.1, math.nan, math.inf, None])
def test_a_charge_that_cannot_be_is_unknown(build: Any, soc_frac: float | None) -> None:
    absurd = (build.seen(BatteryMeasurement(0.0, soc_frac, 4.0, 4.0)),)
    assert known(build.site(), build.sample(), build.sample(1009, batteries=absurd)).soc_frac == 0.5
    plant = known(build.site(), build.sample(), build.sample(1011, batteries=absurd))
    assert plant.soc_frac is None
    assert plant.missing == ("battery",)


@pytest.mark.parametrize("w_m2", [math.nan, math.inf, -5.0, 2500.0])
def test_an_irradiance_that_cannot_be_is_none(build: Any, w_m2: float) -> None:
    lost = replace(without(build, build.sample(), "roof"), irradiance_w_m2=build.seen(w_m2))
    assert known(build.site(), lost).pv_kw is None


def test_limits_of_rating_still_count(build: Any) -> None:
    """A grid-forming inverter carries more than the battery's configured share for a while."""
    for kw in (12.0, -12.0):
        strong = (build.seen(BatteryMeasurement(kw, 0.5)),)
        assert known(build.site(), build.sample(batteries=strong)).battery_kw == kw
    over = (build.seen(BatteryMeasurement(12.1, 0.5)),)
    assert known(build.site(), build.sample(batteries=over)).battery_kw is None


def test_the_stronger_direction_of_a_battery_is_its_rating(build: Any) -> None:
    site = build.site(battery=build.battery(charge_max_kw=1.0, discharge_max_kw=4.0))
    strong = (build.seen(BatteryMeasurement(12.0, 0.5)),)
    assert known(site, build.sample(batteries=strong)).battery_kw == 12.0


@pytest.mark.parametrize(
    ("lacking", "most_kw"),
    [
        ({}, 54.0),  # 3 times what PV, wind, battery and generator could send out
        ({"battery": None}, 42.0),
        ({"generator": None}, 39.0),
        ({"pv": ()}, 36.0),
        ({"wind": ()}, 45.0),
        ({"battery": None, "generator": None, "pv": (), "wind": ()}, 18.0),  # 3 times its limit
    ],
)
def test_how_much_a_meter_may_say(build: Any, lacking: dict[str, Any], most_kw: float) -> None:
    site = build.site(**({"wind": (WindParameters("mast", 3.0),)} | lacking))
    for power_kw, known_kw in ((most_kw, most_kw), (-most_kw, -most_kw), (most_kw + 0.1, None)):
        meter = build.seen(GridMeasurement(power_kw, 230.0, 50.0))
        assert known(site, build.sample(grid=meter)).grid_kw == known_kw


# --- PV, wind ------------------------------------------------------------------------------


def test_a_silent_inverter_is_asleep_in_the_dark_and_guessed_by_day(build: Any) -> None:
    lost = without(build, build.sample(), "roof")

    def pv(**changes: Any) -> tuple[float | None, tuple[str, ...]]:
        plant = known(build.site(), replace(lost, **changes))
        return plant.pv_kw, plant.missing

    night, day = {"sun_elevation_deg": -1.0}, {"sun_elevation_deg": 5.0}
    dark, bright = build.seen(9.0), build.seen(500.0)
    assert pv(irradiance_w_m2=dark, **day) == (0.0, ())
    assert pv(irradiance_w_m2=build.seen(10.0), **day)[1] == ("roof",)
    assert pv(irradiance_w_m2=None, sun_elevation_deg=-0.4)[1] == ("roof",)
    assert pv(irradiance_w_m2=None, sun_elevation_deg=-0.6)[1] == ()
    assert pv(irradiance_w_m2=None, **night) == (0.0, ())
    assert pv(irradiance_w_m2=bright, **night) == (pytest.approx(2.4), ("roof",))
    assert pv(irradiance_w_m2=None, **day) == (None, ("roof",))
    assert pv(irradiance_w_m2=build.seen(1900.0), **day)[0] == 6.0


def test_an_inverter_that_answers_is_told_apart_from_a_silent_one(build: Any) -> None:
    site = build.site(pv=(PvParameters("roof", 6.0), PvParameters("barn", 4.0)))
    sample = build.sample(pv=(build.seen(InverterMeasurement(1.0)), build.silent))
    plant = known(site, sample)
    assert plant.pv_kw == pytest.approx(1.0 + 4.0 * 0.8 * 0.3)
    assert plant.pv_seen_kw == 1.0
    plant = known(site, replace(sample, irradiance_w_m2=None))
    assert (plant.pv_kw, plant.pv_seen_kw) == (None, 1.0)
    assert plant.net_kw == pytest.approx(1.0)


def test_wind_is_known_whole_or_not_at_all(build: Any) -> None:
    site = build.site(wind=(WindParameters("mast", 3.0), WindParameters("hill", 3.0)))
    both = (build.seen(InverterMeasurement(1.0)), build.seen(InverterMeasurement(-0.1)))
    plant = known(site, build.sample(wind=both))
    assert (plant.wind_kw, plant.load_kw) == (1.0, pytest.approx(3.0))
    for wind in ((both[0], build.silent), (build.silent, both[1])):
        plant = known(site, build.sample(wind=wind))
        assert (plant.wind_kw, plant.load_kw) == (None, None)
        assert plant.net_kw == pytest.approx(1.0)


# --- battery limits ------------------------------------------------------------------------


def limits(build: Any, *measured: BatteryMeasurement | None, step_s: float = 1.0) -> Any:
    samples = []
    for index, each in enumerate(measured):
        battery = build.silent if each is None else build.seen(each)
        samples.append(build.sample(1000.0 + step_s * index, batteries=(battery,)))
    plant = known(build.site(), *samples)
    return plant.charge_limit_kw, plant.discharge_limit_kw


def test_live_limits_are_held_briefly_and_then_unknown(build: Any) -> None:
    told, silent = BatteryMeasurement(0.0, 0.5, 1.5, 2.5), BatteryMeasurement(0.0, 0.5)
    assert limits(build, told) == (1.5, 2.5)
    assert limits(build, told, silent, step_s=5.0) == (1.5, 2.5)
    assert limits(build, told, None, step_s=5.0) == (1.5, 2.5)
    assert limits(build, told, silent, step_s=5.1) == (None, None)
    assert limits(build, told, None, step_s=5.1) == (None, None)
    assert limits(build, told, silent, told, step_s=60.0) == (1.5, 2.5)


def test_a_battery_that_tells_no_limits_has_its_nameplate_while_it_answers(build: Any) -> None:
    plain = BatteryMeasurement(0.0, 0.5)
    assert limits(build, plain) == (4.0, 4.0)
    assert limits(build, plain, None, step_s=9.0) == (4.0, 4.0)
    assert limits(build, plain, None, step_s=11.0) == (None, None)
    assert limits(build, None) == (None, None)


def test_a_slow_loop_holds_limits_over_two_periods(build: Any) -> None:
    site = build.site(period_s=8.0, hold_s=20.0)
    samples = build.sample(1000.0), without(build, build.sample(1016.0), "battery")
    assert known(site, *samples).charge_limit_kw == 4.0


def test_a_battery_in_fault_can_do_nothing(build: Any) -> None:
    fine, fault = (BatteryMeasurement(0.0, 0.5, state=state) for state in ("running", "fault"))
    assert limits(build, fault) == (0.0, 0.0)
    assert limits(build, fault, fine) == (4.0, 4.0)


# --- generator -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power_kw", "phase", "result"),
    [
        (0.0, "stopped", (0.0, "stopped", ())),
        (None, "stopped", (0.0, "stopped", ())),
        (None, "warming", (0.0, "warming", ())),
        (None, "cooling", (0.0, "cooling", ())),
        (None, "running", (None, "running", ("genset",))),
        (None, "unknown", (None, "unknown", ("genset",))),
        (0.1, "unknown", (0.1, "unknown", ())),
        (0.3, "unknown", (0.3, "running", ())),  # it gives power, so it runs
        (0.3, "dreaming", (0.3, "running", ())),
        (0.0, "dreaming", (0.0, "unknown", ())),
        (-2.5, "running", (-2.5, "running", ())),  # reverse power is real ...
        (-2.6, "running", (None, "running", ("genset",))),  # up to a point
    ],
)
def test_the_set(build: Any, power_kw: float | None, phase: str, result: Any) -> None:
    measured = GeneratorMeasurement(power_kw, phase, "auto")
    plant = known(build.site(), build.sample(generators=(build.seen(measured),)))
    assert (plant.generator_kw, plant.generator_phase, plant.missing) == result


# --- emergency stop ------------------------------------------------------------------------


def stop(build: Any, t_s: float, pressed: bool | None) -> Sample:
    observed = build.silent if pressed is None else build.seen(pressed)
    sample: Sample = build.sample(t_s, emergency_stop=observed)
    return sample


def test_a_pressed_stop_is_latched(build: Any) -> None:
    site = build.site()
    state = run(site, stop(build, 1000.0, True))
    assert (state.estimate.emergency_stop, state.emergency_latched) == (True, True)
    state = run(site, stop(build, 1001.0, False), state=state)
    assert (state.estimate.emergency_stop, state.emergency_latched) == (False, True)


def test_a_stop_that_cannot_be_read_counts_while_it_lasts(build: Any) -> None:
    site, state = build.site(), State()
    seen = []
    for t_s, pressed in [(0, None), (1, False), (2, None), (11, None), (12, None), (13, False)]:
        state = run(site, stop(build, 1000.0 + t_s, pressed), state=state)
        seen.append(state.estimate.emergency_stop)
        assert not state.emergency_latched
    assert seen == [True, False, False, False, True, False]


def test_without_an_input_there_is_no_stop(build: Any) -> None:
    site = build.site(emergency_stop=False)
    assert not known(site, stop(build, 1000.0, None)).emergency_stop
