"""Every limit of the battery and the generator, alone and against each other."""

import math
from dataclasses import replace
from typing import Any

import pytest

from control.arbiter import Verdict
from control.battery_limits import FADE_S
from control.records import Quantity
from control.safety import guard
from control.state import Estimate, GeneratorState, Mode, State

NOW = 1000.0
BATTERY = ("battery", Quantity.POWER_KW)
GENSET = ("genset", Quantity.RUN)
ROOF = ("roof", Quantity.LIMIT_KW)

CALM = Estimate(
    pv_kw=0.0,
    wind_kw=0.0,
    battery_kw=0.0,
    generator_kw=0.0,
    grid_kw=0.0,
    load_kw=1.0,
    soc_frac=0.5,
    charge_limit_kw=4.0,
    discharge_limit_kw=4.0,
    grid_present=True,
    generator_phase="stopped",
    generator_available=True,
)


def wanted(value: float) -> Verdict:
    return Verdict(value, value, "plan", "wanted", (), ())


def guarded(build: Any, wish_kw: float, plant: Estimate = CALM, **more: Any) -> Verdict:
    """The battery's verdict; `more` are `site_...` and fields of State."""
    site = {name[5:]: more.pop(name) for name in list(more) if name.startswith("site_")}
    state = State(mode=Mode.AUTO, t_s=NOW - 1.0, estimate=plant)
    state = replace(state, **{"battery_kw": wish_kw} | more)
    verdicts, _ = guard(build.site(**site), state, {BATTERY: wanted(wish_kw)}, NOW)
    return verdicts[BATTERY]


def test_inside_all_limits_nothing_moves(build: Any) -> None:
    for wish_kw in (-3.9, -1.0, 0.0, 1.0, 3.9):
        assert guarded(build, wish_kw) == wanted(wish_kw)


# --- rating and the BMS's live limits ------------------------------------------------------


@pytest.mark.parametrize(("wish_kw", "result"), [(4.5, 4.0), (-9.0, -4.0), (4.0, 4.0)])
def test_rating(build: Any, wish_kw: float, result: float) -> None:
    plant = replace(CALM, charge_limit_kw=99.0, discharge_limit_kw=99.0, load_kw=9.0)
    plant = replace(plant, load_kw=4.0 if wish_kw > 0 else 0.0)
    made = guarded(build, wish_kw, plant, site_grid=build.grid(import_max_kw=20, export_max_kw=20))
    assert made.value == result
    assert made.clips == (("rating",) if wish_kw != result else ())


def test_the_rating_may_differ_by_direction(build: Any) -> None:
    uneven = build.battery(charge_max_kw=2.0, discharge_max_kw=3.0)
    far = build.grid(import_max_kw=20.0, export_max_kw=20.0)
    assert guarded(build, -4.0, site_battery=uneven, site_grid=far).value == -2.0
    assert guarded(build, 4.0, site_battery=uneven, site_grid=far).value == 3.0


@pytest.mark.parametrize(
    ("wish_kw", "charge_kw", "discharge_kw", "result"),
    [
        (-3.0, 1.5, 4.0, -1.5),
        (3.0, 4.0, 1.5, 1.5),
        (-3.0, 0.0, 4.0, 0.0),
        (3.0, 4.0, 0.0, 0.0),
        (1.0, 0.0, 1.0, 1.0),
    ],
)
def test_the_live_limits(
    build: Any, wish_kw: float, charge_kw: float, discharge_kw: float, result: float
) -> None:
    plant = replace(CALM, charge_limit_kw=charge_kw, discharge_limit_kw=discharge_kw)
    made = guarded(build, wish_kw, plant)
    assert (made.value, math.copysign(1.0, made.value)) == (result, 1.0 if result >= 0 else -1.0)
    assert made.clips == (() if wish_kw == result else ("the battery's own limit",))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_limits_that_are_no_longer_known_take_it_back_without_a_jump(
    build: Any, sign: float
) -> None:
    unknown = replace(CALM, charge_limit_kw=None, discharge_limit_kw=None)
    power_kw, seconds = sign * 3.0, 0
    while power_kw:
        before_kw, power_kw = power_kw, guarded(build, power_kw, unknown).value
        assert abs(power_kw) < abs(before_kw)
        assert abs(power_kw - before_kw) <= 4.0 / FADE_S + 1e-9
        seconds += 1
    assert seconds == 8  # 3 kW at 0.4 kW/s


def test_only_the_direction_that_is_unknown_fades(build: Any) -> None:
    unknown = replace(CALM, charge_limit_kw=None)
    assert guarded(build, 3.0, unknown).value == 3.0
    made = guarded(build, -3.0, unknown)
    assert made.value == pytest.approx(-2.6)
    assert made.clips == ("the battery's own limit is unknown",)
    unknown = replace(CALM, discharge_limit_kw=None)
    assert guarded(build, -3.0, unknown).value == -3.0
    assert guarded(build, 3.0, unknown).value == pytest.approx(2.6)


@pytest.mark.parametrize("wish_kw", [3.0, -3.0])
def test_what_is_unknown_is_not_turned_round(build: Any, wish_kw: float) -> None:
    unknown = replace(CALM, charge_limit_kw=None, discharge_limit_kw=None)
    for step_s in (3.0, 9.0):
        made = guarded(build, wish_kw, unknown, battery_kw=-wish_kw / 2, t_s=NOW - step_s)
        assert made.value == 0.0


def test_the_fade_goes_by_the_stronger_direction(build: Any) -> None:
    uneven = build.battery(charge_max_kw=2.0, discharge_max_kw=4.0)
    made = guarded(build, -2.0, replace(CALM, charge_limit_kw=None), site_battery=uneven)
    assert made.value == pytest.approx(-1.6)


def test_what_is_unknown_is_not_begun(build: Any) -> None:
    unknown = replace(CALM, charge_limit_kw=None, discharge_limit_kw=None)
    for wish_kw in (1.0, -1.0):
        assert guarded(build, wish_kw, unknown, battery_kw=0.0).value == 0.0
        assert guarded(build, wish_kw, unknown, battery_kw=None).value == 0.0
        assert guarded(build, wish_kw, unknown, t_s=NOW, battery_kw=0.5 * wish_kw).value == (
            0.5 * wish_kw
        )


# --- state of charge -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soc_frac", "wish_kw", "result"),
    [
        (0.15, 2.0, 0.0),
        (0.10, 2.0, 0.0),
        (0.151, 2.0, 0.28),  # 14 Wh above the floor in 0.05 h
        (0.16, 2.0, 2.0),
        (0.15, -2.0, -2.0),
        (0.95, -2.0, 0.0),
        (0.99, -2.0, 0.0),
        (0.949, -2.0, -0.28),
        (0.94, -2.0, -2.0),
        (0.95, 2.0, 2.0),
    ],
)
def test_floor_and_ceiling(build: Any, soc_frac: float, wish_kw: float, result: float) -> None:
    made = guarded(build, wish_kw, replace(CALM, soc_frac=soc_frac))
    assert made.value == pytest.approx(result)
    assert math.copysign(1.0, made.value) == math.copysign(1.0, result)
    assert len(made.clips) == (made.value != wish_kw)
    if made.clips:
        assert made.clips[0].startswith("floor" if wish_kw > 0 else "ceiling")


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_unknown_charge_fades(build: Any, sign: float) -> None:
    made = guarded(build, sign * 3.0, replace(CALM, soc_frac=None))
    assert made.value == pytest.approx(sign * 2.6)
    assert made.clips == ("the state of charge is unknown",)


# --- ramp ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_kw", "wish_kw", "step_s", "result"),
    [
        (0.0, 3.0, 1.0, 2.0),
        (0.0, -3.0, 1.0, -2.0),
        (0.0, 3.0, 0.5, 1.0),
        (0.0, 3.0, 60.0, 3.0),
        (1.0, 3.0, 0.0, 1.0),  # the same time twice
        (1.0, 3.0, -5.0, 1.0),  # and a step back
        (-2.0, 1.0, 1.0, 0.0),
    ],
)
def test_the_ramp(build: Any, last_kw: float, wish_kw: float, step_s: float, result: float) -> None:
    made = guarded(build, wish_kw, battery_kw=last_kw, t_s=NOW - step_s)
    assert made.value == pytest.approx(result)
    assert made.clips == (("ramp",) if made.value != wish_kw else ())


def test_the_first_setpoint_starts_where_the_battery_is(build: Any) -> None:
    plant = replace(CALM, battery_kw=-3.0)
    assert guarded(build, 2.0, plant, battery_kw=None).value == -1.0
    assert guarded(build, 2.0, plant, battery_kw=None, t_s=None).value == -3.0
    assert guarded(build, 2.0, replace(CALM, battery_kw=None), battery_kw=None).value == 2.0


def test_limits_come_before_the_ramp(build: Any) -> None:
    made = guarded(build, -3.0, replace(CALM, charge_limit_kw=0.5), battery_kw=-4.0)
    assert made.value == -0.5


# --- grid ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load_kw", "pv_kw", "wish_kw", "result", "clip"),
    [
        (1.0, 0.0, 4.0, 3.91, "export limit 3 kW"),  # 3 % of the limit are kept clear
        (0.0, 1.0, 3.0, 1.91, "export limit 3 kW"),
        (0.0, 4.91, 0.0, -2.0, "export limit 3 kW"),  # too much sun: it has to charge
        (3.82, 0.0, -3.0, -2.0, "import limit 6 kW"),
        (8.0, 0.0, 0.0, 2.18, "import limit 6 kW"),  # too much load: it has to help
        (1.0, 0.0, 3.9, 3.9, None),
        (3.82, 0.0, -2.0, -2.0, None),
    ],
)
def test_import_and_export(
    build: Any, load_kw: float, pv_kw: float, wish_kw: float, result: float, clip: str | None
) -> None:
    made = guarded(build, wish_kw, replace(CALM, load_kw=load_kw, pv_kw=pv_kw))
    assert made.value == pytest.approx(result)
    assert made.clips == ((clip,) if clip else ())


def test_a_generator_beside_the_grid_counts(build: Any) -> None:
    plant = replace(CALM, generator_kw=2.0, generator_phase="running")
    assert guarded(build, 4.0, plant).value == pytest.approx(1.91)


def test_wind_counts(build: Any) -> None:
    assert guarded(build, 4.0, replace(CALM, wind_kw=2.0)).value == pytest.approx(1.91)


def test_an_empty_battery_cannot_help_and_a_full_one_cannot_take(build: Any) -> None:
    assert guarded(build, 0.0, replace(CALM, load_kw=8.0, soc_frac=0.15)).value == 0.0
    assert guarded(build, 0.0, replace(CALM, pv_kw=6.0, soc_frac=0.95)).value == 0.0


@pytest.mark.parametrize(("pv_kw", "result"), [(0.0, 0.0), (1.0, 0.0), (2.5, -1.5), (6.0, -4.0)])
def test_no_charging_from_the_grid_where_the_site_says_so(
    build: Any, pv_kw: float, result: float
) -> None:
    solar = build.battery(charge_from_grid=False)
    made = guarded(build, -4.0, replace(CALM, pv_kw=pv_kw), site_battery=solar)
    assert made.value == result
    assert guarded(build, 2.0, CALM, site_battery=solar).value == 2.0


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_with_the_load_unknown_it_goes_back_to_rest(build: Any, sign: float) -> None:
    made = guarded(build, sign * 3.0, replace(CALM, load_kw=None))
    assert made.value == pytest.approx(sign * 2.6)
    assert made.clips == ("the load is unknown",)


def test_a_grid_of_a_site_without_one_bounds_nothing(build: Any) -> None:
    made = guarded(build, 4.0, replace(CALM, load_kw=0.0, grid_present=True), site_grid=None)
    assert made.value == 4.0


# --- generator beside the battery ----------------------------------------------------------

CARRIES = replace(CALM, grid_present=False, generator_phase="running", generator_kw=1.0)


@pytest.mark.parametrize(
    ("load_kw", "wish_kw", "result", "clip"),
    [
        (1.0, 0.0, -0.75, "generator's minimum load"),  # 30 % of 5 kW and 5 % clear
        (1.0, -4.0, -3.75, "generator's rating"),
        (4.0, 3.0, 2.25, "generator's minimum load"),
        (8.0, 0.0, 3.25, "generator's rating"),
        (2.0, -1.0, -1.0, None),
    ],
)
def test_the_generators_load(
    build: Any, load_kw: float, wish_kw: float, result: float, clip: str | None
) -> None:
    made = guarded(build, wish_kw, replace(CARRIES, load_kw=load_kw))
    assert made.value == pytest.approx(result)
    assert made.clips == ((clip,) if clip else ())


def test_the_batterys_limits_come_before_the_generators_load(build: Any) -> None:
    full = replace(CARRIES, soc_frac=0.95)
    assert guarded(build, -4.0, full).value == 0.0
    assert guarded(build, -4.0, replace(CARRIES, charge_limit_kw=0.2)).value == -0.2


def test_beside_a_generator_with_the_load_unknown(build: Any) -> None:
    assert guarded(build, 3.0, replace(CARRIES, load_kw=None)).clips == ("the load is unknown",)


@pytest.mark.parametrize("phase", ["stopped", "starting", "warming", "cooling", "unknown"])
@pytest.mark.parametrize("load_kw", [1.0, None])
def test_an_island_on_its_battery_is_bound_by_nobody_else(
    build: Any, phase: str, load_kw: float | None
) -> None:
    plant = replace(CARRIES, generator_phase=phase, load_kw=load_kw)
    assert guarded(build, 3.5, plant) == wanted(3.5)


def test_a_phase_without_a_generator_bounds_nothing(build: Any) -> None:
    assert guarded(build, 3.5, CARRIES, site_generator=None) == wanted(3.5)


# --- stops ---------------------------------------------------------------------------------

STOPS = {
    "pressed": {"plant": replace(CALM, emergency_stop=True), "emergency_latched": True},
    "unreadable": {"plant": replace(CALM, emergency_stop=True)},
    "latched": {"emergency_latched": True},
}


@pytest.mark.parametrize("how", sorted(STOPS))
@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.AUTO, Mode.MANUAL])
def test_an_emergency_stop_stills_everything_in_one_cycle(build: Any, how: str, mode: Mode) -> None:
    more = dict(STOPS[how])
    plant = replace(more.pop("plant", CALM), generator_phase="running", load_kw=9.0)
    state = State(
        mode=mode,
        t_s=NOW - 1.0,
        estimate=plant,
        battery_kw=4.0,
        pv_limit_kw=6.0,
        generator=GeneratorState(True, NOW - 2000.0, True),
        **more,
    )
    wishes = {BATTERY: wanted(4.0), GENSET: wanted(1.0), ROOF: wanted(6.0)}
    verdicts, generator = guard(build.site(), state, wishes, NOW)
    assert [verdicts[target].value for target in (BATTERY, GENSET, ROOF)] == [0.0, 0.0, 0.0]
    assert not generator.run
    assert verdicts[BATTERY].clips[-1] == verdicts[ROOF].clips[-1] == "emergency stop"
    verdicts, generator = guard(build.site(), state, {}, NOW)
    assert [verdicts[target].value for target in (BATTERY, GENSET, ROOF)] == [0.0, 0.0, 0.0]


# --- what guard returns --------------------------------------------------------------------


def test_every_device_gets_a_setpoint_even_if_nobody_wants_anything(build: Any) -> None:
    state = State(mode=Mode.AUTO, t_s=NOW - 1.0, estimate=CALM)
    verdicts, generator = guard(build.site(), state, {}, NOW)
    assert [verdicts[target].value for target in (BATTERY, GENSET, ROOF)] == [
        0.0,
        0.0,
        pytest.approx(3.91),
    ]
    assert verdicts[BATTERY].reason == "nobody asks for anything"
    assert not generator.run


def test_without_a_battery_pv_has_the_room_that_is_left(build: Any) -> None:
    state = State(mode=Mode.AUTO, estimate=CALM)
    verdicts, _ = guard(build.site(battery=None), state, {}, NOW)
    assert verdicts[ROOF].value == pytest.approx(3.91)


def test_targets_that_the_site_does_not_have_are_dropped(build: Any) -> None:
    site = build.site(battery=None, generator=None, pv=())
    state = State(mode=Mode.AUTO, estimate=CALM, generator=GeneratorState(attempts=1))
    verdicts, generator = guard(site, state, {BATTERY: wanted(1.0), ROOF: wanted(1.0)}, NOW)
    assert verdicts == {}
    assert generator == state.generator


@pytest.mark.parametrize(
    ("wish", "since_s", "value", "clips"),
    [
        (1.0, NOW - 600.0, 1.0, ()),
        (0.5, NOW - 600.0, 1.0, ()),
        (0.49, NOW - 600.0, 0.0, ()),
        (1.0, NOW - 599.0, 0.0, ("minimum rest, 1 s left",)),
    ],
)
def test_the_generators_verdict(
    build: Any, wish: float, since_s: float, value: float, clips: tuple[str, ...]
) -> None:
    state = State(t_s=NOW - 1.0, estimate=CARRIES, generator=GeneratorState(False, since_s))
    verdicts, generator = guard(build.site(), state, {GENSET: wanted(wish)}, NOW)
    assert (verdicts[GENSET].value, verdicts[GENSET].clips) == (value, clips)
    assert generator.run == bool(value)
