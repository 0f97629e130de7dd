"""Whole cycles: scenarios with a small plant, and what must hold whatever comes in."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from control.cycle import Decision, decide
from control.records import (
    Advice,
    Command,
    Level,
    Orders,
    Severity,
)
from control.state import GeneratorState, Mode, State

INF = float("inf")


def values(made: Decision) -> dict[str, float]:
    return {setpoint.device: setpoint.value for setpoint in made.command.setpoints}


def texts(made: Decision) -> list[str]:
    return [f"{event.key}: {event.text}" for event in made.events]


# --- the first cycles ----------------------------------------------------------------------


def test_the_first_cycle_acts_when_every_device_answers(build: Any) -> None:
    made = decide(build.site(), State(), build.sample(), (), Advice(), Orders())
    assert made.state.mode is Mode.AUTO
    assert values(made) == {"genset": 0.0, "battery": 0.0, "roof": pytest.approx(4.91)}
    assert {setpoint.lease_s for setpoint in made.command.setpoints} == {30.0}
    assert [(w.device, w.source) for w in made.command.why] == [
        ("genset", "rules"),
        ("battery", "rules"),
        ("roof", "rules"),
    ]
    assert made.command.generator_relay is False
    assert texts(made) == ["mode: auto: all devices answer"]
    assert (made.state.t_s, made.state.started_s) == (1000.0, 1000.0)


def test_start_up_touches_nothing(build: Any) -> None:
    sample = build.sample(batteries=(build.silent,))
    made = decide(build.site(), State(), sample, (), Advice(), Orders())
    assert made.state.mode is Mode.STARTING
    assert made.command == Command((), (), generator_relay=False)
    by_bus = build.site(generator=build.generator(by_relay=False))
    made = decide(by_bus, State(), sample, (), Advice(), Orders())
    assert made.command.generator_relay is None


def test_start_up_does_not_end_a_run_that_was_restored(build: Any) -> None:
    sample = build.sample(batteries=(build.silent,))
    restored = State(generator=GeneratorState(run=True, since_s=900.0, carried=True))
    made = decide(build.site(), restored, sample, (), Advice(), Orders())
    assert made.state.mode is Mode.STARTING
    assert made.command == Command((), (), generator_relay=True)
    assert made.state.generator == restored.generator
    made = decide(build.site(), restored, sample, (), Advice(), Orders(stop=True))
    assert made.command.generator_relay is False
    assert not made.state.generator.run


def test_a_set_that_runs_when_the_process_starts_on_an_empty_island_runs_on(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.2, phase="running")
    made = world.step()  # its contact has dropped with the last process: it cools down
    assert world.phase == "cooling"
    assert made.command.generator_relay is True
    world.step()
    assert world.step().state.generator.carried


def test_a_set_that_runs_for_nothing_when_the_process_starts_is_stopped(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), mains=True, phase="running")
    made = world.step()
    assert made.command.generator_relay is False
    assert world.step(599.0).state.generator.since_s == 1001.0


# --- an outage, from beginning to end ------------------------------------------------------


def test_an_outage(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.3, limit_kw=6.0)
    for _ in range(30):
        made = world.step()
    assert world.battery_kw == pytest.approx(2.0)  # above the reserve: self-consumption
    world.mains = False
    made = world.step()
    assert "supply: grid lost: running as an island" in texts(made)
    assert world.battery_kw == pytest.approx(2.0)
    while not made.command.generator_relay:  # the rule's start, 8 % above the floor
        made = world.step(10.0)
        assert world.soc_frac > 0.22
    assert any(text.startswith("generator: start: state of charge") for text in texts(made))
    for _ in range(12):  # warming: the battery forms the grid and carries the load
        made = world.step(10.0)
        if world.phase != "running":
            assert world.battery_kw == pytest.approx(2.0)
            assert values(made)["battery"] == pytest.approx(2.0)
    made = world.step(10.0)
    assert world.phase == "running"
    assert world.generator_kw == pytest.approx(3.75)
    assert world.battery_kw == pytest.approx(-1.75)
    world.mains = True
    for _ in range(4):
        made = world.step()
        assert not made.state.estimate.grid_present
    made = world.step(2.0)
    assert "supply: grid is back" in texts(made)
    assert made.command.generator_relay is True  # its minimum run
    while made.command.generator_relay:
        made = world.step(10.0)
    assert world.t_s - made.state.generator.since_s < 10.0
    assert texts(made) == ["generator: stop: the grid serves"]


def test_a_blink_of_the_grid_starts_no_generator(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=1.0, sun_kw=0.0, soc_frac=0.16)
    for second in range(120):
        world.mains = second % 20 not in (5, 6, 7)
        assert not world.step().command.generator_relay


def test_a_set_that_saves_an_empty_island_outlasts_the_grids_first_minute(
    plant: Any, build: Any
) -> None:
    generator = build.generator(min_run_s=60.0)
    world = plant(build.site(generator=generator), mains=False, soc_frac=0.16, sun_kw=0.0)
    for _ in range(60):
        made = world.step(2.0)
    assert made.state.generator.low_soc
    world.mains = True
    for _ in range(59):
        assert world.step().command.generator_relay
    for _ in range(3):
        made = world.step()
    assert made.command.generator_relay is False


def test_a_meter_that_dies_with_its_grid_does_not_leave_the_island_dark(
    plant: Any, build: Any
) -> None:
    """Meters often hang on the grid that they measure."""
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.30)
    for _ in range(10):
        world.step()
    world.mains = False
    world.silent = {"grid"}
    started_at = None
    for _ in range(3600):
        made = world.step()
        if made.command.generator_relay and started_at is None:
            started_at = world.soc_frac
    assert started_at is not None
    assert started_at > 0.2  # by the rule, well before it is empty
    assert world.soc_frac > 0.2


def test_a_light_load_behind_a_dead_meter_still_gets_its_generator(plant: Any, build: Any) -> None:
    """Too little to be told from rest: then the charge tells, when it sinks below its floor."""
    world = plant(build.site(), load_kw=0.25, sun_kw=0.0, soc_frac=0.16)
    world.step()
    world.mains, world.silent = False, {"grid"}
    for _ in range(1000):
        made = world.step(5.0)
        assert world.soc_frac > 0.14
        if made.command.generator_relay:
            break
    else:
        pytest.fail("it never started")


def test_a_dead_meter_beside_a_live_grid_starts_no_generator(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0, soc_frac=0.16)
    world.step()
    world.silent = {"grid"}
    for _ in range(600):
        made = world.step()
        assert not made.command.generator_relay
    assert made.state.mode is Mode.DEGRADED
    assert world.battery_kw == 0.0


def test_an_island_whose_battery_is_lost_gets_its_generator(plant: Any, build: Any) -> None:
    for grid in (build.grid(), None):
        world = plant(build.site(grid=grid), load_kw=2.0, sun_kw=1.0, mains=False)
        for _ in range(20):
            made = world.step()
        assert not made.command.generator_relay
        world.silent = {"battery"}
        for _ in range(30):
            made = world.step()
        assert made.command.generator_relay
        assert made.command.alarm


def test_a_generator_that_cannot_be_seen_goes_on_carrying(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0, mains=False, soc_frac=0.16, sun_kw=5.0)
    for _ in range(300):
        world.step()
    assert world.phase == "running"
    world.silent = {"genset"}
    for _ in range(600):
        made = world.step()
    assert made.command.generator_relay
    assert world.limit_kw == 0.0  # no sun may push power into it
    assert world.generator_kw >= 0.0


def test_a_set_that_will_not_start_is_tried_three_times_and_then_locked(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.16, sun_kw=0.0, load_kw=0.1, cranks=False)
    starts, before = 0, False
    for _ in range(400):
        made = world.step(10.0)
        run = bool(made.command.generator_relay)
        starts += run and not before
        before = run
    assert starts == 3
    assert made.state.generator.locked == "3 failed starts"
    assert made.command.alarm
    world.cranks = True
    made = world.step(10.0, Orders(acknowledge=True))
    assert made.command.generator_relay
    assert made.state.generator.locked == ""


def test_a_set_that_is_stopped_at_its_panel_is_locked(plant: Any, build: Any) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.16, sun_kw=0.0)
    for _ in range(100):
        world.step(2.0)
    assert world.phase == "running"
    world.phase, world.cranks = "stopped", False
    heard = [text for _ in range(12) for text in texts(world.step())]
    assert "generator: locked: the set stopped by itself" in heard
    assert world.step().command.generator_relay is False


# --- sun -----------------------------------------------------------------------------------


def test_the_export_limit_holds_when_the_battery_is_full(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.94)
    exported = [(-world.grid_kw, world.step())[0] for _ in range(900)]
    assert world.soc_frac < 0.96
    assert max(exported[20:]) <= 3.0
    assert world.pv_kw == pytest.approx(0.5 + 2.91 - world.battery_kw, abs=0.05)


def test_a_battery_that_ignores_its_setpoint_does_not_break_the_export_limit(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.5, stubborn={"battery"})
    exported = [(-world.grid_kw, world.step())[0] for _ in range(60)]
    assert max(exported[15:]) <= 3.0
    assert world.state.obedience[1].status == "disobeyed"


def test_an_island_in_the_sun_does_not_overcharge(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.93, mains=False)
    for _ in range(3600):
        world.step()
        assert world.soc_frac < 0.955
    assert world.throttled_kw == pytest.approx(0.0, abs=0.01)
    assert world.pv_kw == pytest.approx(0.5, abs=0.1)


def test_the_bms_takes_the_charge_away_and_the_sun_is_held_back(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.5, mains=False)
    for _ in range(30):
        world.step()
    world.charge_limit_kw = 0.3
    world.step()
    world.step()
    assert world.pv_kw <= 0.8 + 1e-6


def test_stale_limits_take_the_battery_back_without_a_jump(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=3.0, sun_kw=0.0, soc_frac=0.5)
    for _ in range(20):
        world.step()
    world.silent = {"battery"}
    sent = [values(world.step())["battery"] for _ in range(30)]
    assert sent[0] == pytest.approx(3.0)
    assert all(after <= before for before, after in pairwise(sent))
    assert max(before - after for before, after in pairwise(sent)) <= 2.0
    assert sent[-1] == 0.0


# --- stops and orders ----------------------------------------------------------------------


@pytest.mark.parametrize("mains", [True, False])
@pytest.mark.parametrize("mode", ["auto", "manual", "stopped"])
def test_an_emergency_stop(plant: Any, build: Any, mains: bool, mode: str) -> None:
    orders = Orders(manual=mode == "manual", stop=mode == "stopped")
    world = plant(build.site(), mains=mains, soc_frac=0.16, load_kw=2.0)
    for _ in range(200):
        world.step(1.0, orders)
    world.stop_pressed = True
    made = world.step(1.0, orders)
    assert values(made) == {"genset": 0.0, "battery": 0.0, "roof": 0.0}
    assert made.command.generator_relay is False
    assert made.command.alarm
    assert [event.severity for event in made.events if event.key == "mode"] == [Severity.ALARM]
    world.stop_pressed = False
    for _ in range(50):
        made = world.step(1.0, orders)
        assert values(made) == {"genset": 0.0, "battery": 0.0, "roof": 0.0}
    made = world.step(1.0, replace(orders, acknowledge=True))
    assert made.state.mode.value == ("degraded" if mode == "auto" and made.state.absent else mode)


def test_stopping_gives_every_device_back_and_forgets_setpoints(plant: Any, build: Any) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.16)
    for _ in range(200):
        world.step()
    made = world.step(1.0, Orders(stop=True))
    assert made.command == Command((), (), generator_relay=False, release=True)
    assert (made.state.battery_kw, made.state.pv_limit_kw) == (None, None)
    assert "generator: stop: nobody asks for it" in texts(made)
    assert "mode: stopped: ordered to stop" in texts(made)
    made = world.step()  # and back: the set rests first
    assert made.state.mode is Mode.AUTO
    assert not made.command.generator_relay


def test_an_order_wins_over_the_rules_and_says_what_it_would_have_been(
    plant: Any, build: Any
) -> None:
    world = plant(build.site(), load_kw=2.0, sun_kw=0.0)
    order = build.order(Level.LOCAL_OPERATOR, "battery", -9.0, expires_t_s=1100.0)
    for _ in range(10):
        made = world.step(1.0, Orders(proposals=(order,)))
    why = next(why for why in made.command.why if why.device == "battery")
    assert (why.source, why.wanted) == ("local operator", -9.0)
    assert why.clips[-1] == "import limit 6 kW"
    assert why.losers == ("rules 2.00: self-consumption",)
    for _ in range(100):
        made = world.step(1.0, Orders(proposals=(order,)))
    assert values(made)["battery"] == pytest.approx(2.0)


def test_a_manual_site_still_saves_its_island(plant: Any, build: Any) -> None:
    world = plant(build.site(), mains=False, soc_frac=0.20, sun_kw=0.0, load_kw=3.0)
    for _ in range(400):
        made = world.step(1.0, Orders(manual=True))
    assert made.state.mode is Mode.MANUAL
    assert made.command.generator_relay


# --- events and alarms ---------------------------------------------------------------------


def test_disobedience_is_told_once_and_so_is_its_end(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=3.0, sun_kw=0.0, stubborn={"battery"})
    heard = [text for _ in range(40) for text in texts(world.step())]
    assert [text for text in heard if text.startswith("obedience")] == [
        "obedience: battery does not follow its power setpoint"
    ]
    assert world.step().command.alarm
    world.stubborn = set()
    heard = [text for _ in range(40) for text in texts(world.step())]
    assert heard == ["obedience: battery follows its power setpoint again"]
    assert not world.step().command.alarm


def test_a_device_that_comes_and_goes_is_told_once(plant: Any, build: Any) -> None:
    world, heard = plant(build.site(hold_s=2.0)), []
    for second in range(120):
        world.silent = {"battery"} if 20 < second < 80 and second % 6 < 4 else set()
        heard += [text for text in texts(world.step()) if text.startswith("mode")]
    assert heard == [
        "mode: auto: all devices answer",
        "mode: degraded: nothing usable from battery",
        "mode: auto: all devices answer",
    ]


# --- time ----------------------------------------------------------------------------------


def test_a_step_of_the_wall_clock_moves_no_setpoint(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=2.0)
    for _ in range(20):
        world.step()
    sample = replace(world.sample(), t_s=world.t_s + 1.0)
    plan = build.plan(battery_kw=(1.0, 1.0))
    later = [replace(sample, utc_s=utc_s) for utc_s in (sample.utc_s, 0.0, -1e9, 4e9)]
    given_ = (world.acks, Advice(plan=plan), Orders())
    made = [decide(world.site, world.state, each, *given_) for each in later]
    assert all(each == made[0] for each in made)


def test_the_same_time_twice_moves_nothing(plant: Any, build: Any) -> None:
    world = plant(build.site(), load_kw=3.0, sun_kw=0.0)
    made = [world.step(dt_s) for dt_s in (1.0, 1.0, 0.0, 0.0)]
    assert values(made[3]) == values(made[2]) == values(made[1])
