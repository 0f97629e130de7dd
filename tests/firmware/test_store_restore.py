"""The generator's timers after a restart: the same boot, another boot, clocks that step."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.generator import sequence
from control.records import Sample
from control.site import GeneratorParameters
from control.state import Estimate, GeneratorState, Mode, State
from firmware.store_records import (
    Checkpoint,
    checkpoint_from_text,
    checkpoint_of,
    checkpoint_to_text,
)
from firmware.store_restore import boot_id, restored

UTC_S = 1_760_000_000.0
SET = GeneratorParameters(
    name="genset",
    by_relay=True,
    rated_kw=6.0,
    min_load_frac=0.3,
    min_run_s=1800.0,
    min_rest_s=600.0,
    warm_up_s=60.0,
    cool_down_s=120.0,
    max_run_s=43200.0,
    start_timeout_s=120.0,
)
BY_BUS = replace(SET, by_relay=False)
STEPS_S = [0.0, -3e7, -3600.0, 3600.0, 3e7]


def checkpoint(t_s: float, state: GeneratorState, *, latched: bool = False) -> Checkpoint:
    sample = Sample(0, t_s, UTC_S, None, None, (), (), (), (), None, 0.0, 0.0, 0.0, 0.0)
    whole = State(mode=Mode.AUTO, generator=state, emergency_latched=latched)
    taken = checkpoint_of(whole, sample, "boot-a", "genset")
    assert checkpoint_from_text(checkpoint_to_text(taken)) == taken
    return taken


def plant(phase: str, ready: bool = True) -> Estimate:
    return Estimate(generator_phase=phase, generator_available=ready)


def test_a_generator_that_was_never_looked_at_is_looked_at() -> None:
    state = restored(checkpoint(10.0, GeneratorState(attempts=1)), SET, 12.0, UTC_S, "boot-a")
    assert state.generator == GeneratorState(attempts=1)


def test_other_versions_checkpoints() -> None:
    taken = checkpoint(10.0, GeneratorState())
    text = checkpoint_to_text(taken)
    assert checkpoint_from_text(text.replace("{", '{"later": 1, ', 1)) == taken
    for bad in ("[1, 2]", "{}", "no", text.replace('"genset"', "7")):
        with pytest.raises(ValueError, match=r"checkpoint|Checkpoint|Expecting value"):
            checkpoint_from_text(bad)


def test_this_boot_has_a_name() -> None:
    assert len(boot_id()) == 36


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_rest_goes_on_whatever_the_wall_clock_says(step_s: float) -> None:
    resting = GeneratorState(run=False, since_s=9900.0, attempts=2)
    state = restored(checkpoint(10000.0, resting), SET, 10020.0, UTC_S + step_s, "boot-a")
    assert state.generator == resting
    assert "480 s left" in sequence(SET, state.generator, plant("stopped"), True, 10020.0).clip


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_rest_is_not_shortened_by_a_reboot(step_s: float) -> None:
    resting = GeneratorState(run=False, since_s=9900.0)
    state = restored(checkpoint(10000.0, resting), SET, 30.0, UTC_S + step_s, "boot-b")
    assert "470 s left" in sequence(SET, state.generator, plant("stopped"), True, 30.0).clip


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_run_goes_on_in_the_same_boot(step_s: float) -> None:
    running = GeneratorState(
        run=True, since_s=9000.0, carried=True, still_since_s=9999.0, strained_since_s=8000.0
    )
    state = restored(checkpoint(10000.0, running), SET, 10060.0, UTC_S + step_s, "boot-a")
    assert state.generator == replace(running, still_since_s=None, strained_since_s=None)
    clip = sequence(SET, state.generator, plant("running"), False, 10060.0).clip
    assert clip == "minimum run, 740 s left"
    later = sequence(SET, state.generator, plant("running"), True, 9000.0 + SET.max_run_s)
    assert later.clip.startswith("longest run")


def test_a_start_that_the_open_contact_broke_off_begins_anew() -> None:
    """However often the controller dies meanwhile: that is no failed start of the set."""
    starting = GeneratorState(run=True, since_s=9900.0, attempts=2)
    state = restored(checkpoint(10000.0, starting), SET, 10015.0, UTC_S, "boot-a")
    assert state.generator == replace(starting, since_s=10015.0)
    latest_s = 10014.0 + SET.start_timeout_s + SET.warm_up_s
    assert sequence(SET, state.generator, plant("starting"), True, latest_s).clip == ""
    by_bus = restored(checkpoint(10000.0, starting), BY_BUS, 10015.0, UTC_S, "boot-a")
    assert by_bus.generator == starting  # that start was latched at the set


def test_a_contact_that_was_open_for_longer_than_the_cool_down_ended_the_run() -> None:
    running = GeneratorState(run=True, since_s=9000.0, carried=True)
    state = restored(checkpoint(10000.0, running), SET, 10200.0, UTC_S, "boot-a")
    assert not state.generator.run
    assert "600 s left" in sequence(SET, state.generator, plant("stopped"), True, 10200.0).clip


def test_a_reboot_opened_the_contact() -> None:
    running = GeneratorState(run=True, since_s=9000.0, carried=True)
    state = restored(checkpoint(10000.0, running), SET, 40.0, UTC_S + 60.0, "boot-b")
    assert not state.generator.run
    assert "560 s left" in sequence(SET, state.generator, plant("cooling"), True, 40.0).clip


@pytest.mark.parametrize(("step_s", "elapsed_s"), [(60.0, 1060.0), (-3e7, 1040.0)])
def test_a_set_started_by_bus_runs_on_through_a_reboot(step_s: float, elapsed_s: float) -> None:
    running = GeneratorState(run=True, since_s=9000.0, carried=True)
    state = restored(checkpoint(10000.0, running), BY_BUS, 40.0, UTC_S + step_s, "boot-b")
    assert state.generator.run
    assert 40.0 - state.generator.since_s == pytest.approx(elapsed_s)


def test_after_long_absence_a_set_started_by_bus_is_looked_at() -> None:
    running = GeneratorState(run=True, since_s=9000.0, carried=True)
    state = restored(checkpoint(10000.0, running), BY_BUS, 40.0, UTC_S + 7200.0, "boot-b")
    assert state.generator.since_s == float("-inf")
    assert sequence(BY_BUS, state.generator, plant("running"), True, 40.0).state.run


def test_a_start_whose_checkpoint_was_lost_is_found_at_the_set() -> None:
    resting = GeneratorState(run=False, since_s=1000.0, attempts=1)
    state = restored(checkpoint(10000.0, resting), SET, 10005.0, UTC_S, "boot-a")
    now = sequence(SET, state.generator, plant("starting"), False, 10005.0)
    assert (now.state.run, now.state.since_s, now.state.attempts) == (True, 10005.0, 1)


@pytest.mark.parametrize("boot", ["boot-a", "boot-b"])
def test_failed_starts_locks_and_the_emergency_stop_stay(boot: str) -> None:
    locked = GeneratorState(since_s=9990.0, attempts=3, locked="3 failed starts")
    state = restored(checkpoint(10000.0, locked, latched=True), SET, 10001.0, UTC_S, boot)
    assert (state.generator.attempts, state.generator.locked) == (3, "3 failed starts")
    assert state.emergency_latched
    assert state.mode is Mode.STARTING


def test_another_generator_knows_nothing() -> None:
    saved = checkpoint(10000.0, GeneratorState(locked="3 failed starts"))
    other = replace(SET, name="new-set")
    assert restored(saved, other, 10001.0, UTC_S, "boot-a").generator == GeneratorState()
    assert restored(saved, None, 10001.0, UTC_S, "boot-a").generator == GeneratorState()


@given(
    rested_s=st.floats(0, 1e6),
    away_s=st.floats(0, 1e6),
    up_s=st.floats(0, 1e6),
    step_s=st.floats(-1e9, 1e9),
    rebooted=st.booleans(),
)
def test_no_start_before_the_rest_is_over(
    rested_s: float, away_s: float, up_s: float, step_s: float, rebooted: bool
) -> None:
    t_s = 2e6
    saved = checkpoint(t_s, GeneratorState(since_s=t_s - rested_s))
    up_s = min(up_s, away_s)
    now_s, boot = (up_s, "boot-b") if rebooted else (t_s + away_s, "boot-a")
    state = restored(saved, SET, now_s, UTC_S + away_s + step_s, boot)
    if sequence(SET, state.generator, plant("stopped"), True, now_s).state.run:
        assert rested_s + away_s >= SET.min_rest_s - 1e-6
