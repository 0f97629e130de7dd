"""The generator's sequence as a table of times and phases."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.generator import MAX_ATTEMPTS, STILL_S, WARMING_SLACK_S, Sequenced, sequence
from control.state import Estimate, GeneratorState

INF = float("inf")
NOW = 10_000.0


def ask(
    build: Any,
    state: GeneratorState,
    wanted: bool,
    phase: str = "stopped",
    *,
    now_s: float = NOW,
    available: bool = True,
    missing: tuple[str, ...] = (),
    emergency: bool = False,
    **changes: Any,
) -> Sequenced:
    plant = Estimate(
        generator_phase=phase,
        generator_available=available,
        emergency_stop=emergency,
        missing=missing,
    )
    return sequence(build.generator(**changes), state, plant, wanted, now_s)


def resting(for_s: float, **more: Any) -> GeneratorState:
    return GeneratorState(run=False, since_s=NOW - for_s, **more)


def running(for_s: float, **more: Any) -> GeneratorState:
    return GeneratorState(run=True, since_s=NOW - for_s, **more)


# --- rest and start ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("for_s", "wanted", "run", "clip"),
    [
        (600.0, True, True, ""),
        (599.0, True, False, "minimum rest, 1 s left"),
        (0.0, True, False, "minimum rest, 600 s left"),
        (1e9, False, False, ""),
        (0.0, False, False, ""),
    ],
)
def test_a_start_needs_its_rest(
    build: Any, for_s: float, wanted: bool, run: bool, clip: str
) -> None:
    made = ask(build, resting(for_s), wanted)
    assert (made.state.run, made.clip) == (run, clip)
    assert made.state.since_s == (NOW if run else NOW - for_s)


@pytest.mark.parametrize(
    ("available", "missing", "by_relay", "run"),
    [
        (True, (), True, True),
        (False, (), True, False),  # tripped, or somebody works on it
        (False, ("genset",), True, True),  # its bus is dead, its contact is not
        (False, ("genset",), False, False),
        (False, ("roof",), True, False),
    ],
)
def test_a_set_that_is_not_ready_is_not_started(
    build: Any, available: bool, missing: tuple[str, ...], by_relay: bool, run: bool
) -> None:
    made = ask(build, resting(1e4), True, available=available, missing=missing, by_relay=by_relay)
    assert made.state.run is run
    assert made.clip == ("" if run else "the set is not ready for a remote start")


# --- the first look of a new process -------------------------------------------------------


@pytest.mark.parametrize(
    ("phase", "available", "wanted", "run", "rest_s"),
    [
        ("running", True, True, True, None),
        ("warming", True, True, True, None),
        ("starting", True, True, True, None),
        ("warming", True, False, True, None),  # it has only begun
        ("starting", False, True, False, 600.0),
        ("running", True, False, False, 600.0),  # nobody needs it: off, its run was another's
        ("running", False, True, False, 600.0),  # by hand at its panel: not ours
        ("cooling", True, True, True, None),  # the contact dropped with the last process
        ("cooling", True, False, False, 600.0),
        ("cooling", False, True, False, 600.0),
        ("stopped", True, True, True, None),
        ("stopped", True, False, False, 0.0),
        ("unknown", True, True, True, None),
        ("unknown", True, False, False, -INF),
        ("none", True, False, False, -INF),
    ],
)
def test_a_new_process_takes_the_set_as_it_is(
    build: Any, phase: str, available: bool, wanted: bool, run: bool, rest_s: float | None
) -> None:
    made = ask(build, GeneratorState(), wanted, phase, available=available)
    assert made.state.run is run
    if rest_s is not None:
        left_s = 600.0 - (NOW - made.state.since_s)
        assert left_s == rest_s


def test_a_set_taken_over_may_be_stopped_at_once_but_not_run_for_ever(build: Any) -> None:
    taken = ask(build, GeneratorState(), True, "running").state
    assert taken.carried
    assert not ask(build, taken, False, "running", now_s=NOW + 1).state.run
    late_s = NOW + 36000.0 - 1800.0
    assert ask(build, taken, True, "running", now_s=late_s - 1).state.run
    assert not ask(build, taken, True, "running", now_s=late_s).state.run


def test_only_the_first_look_takes_over(build: Any) -> None:
    assert not ask(build, resting(100.0), False, "running").state.run


# --- running -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("for_s", "wanted", "run", "clip"),
    [
        (1.0, True, True, ""),
        (1.0, False, True, "minimum run, 1799 s left"),
        (1799.0, False, True, "minimum run, 1 s left"),
        (1800.0, False, False, ""),
        (35999.0, True, True, ""),
        (36000.0, True, False, "longest run 36000 s"),
        (36000.0, False, False, "longest run 36000 s"),
    ],
)
def test_minimum_and_longest_run(
    build: Any, for_s: float, wanted: bool, run: bool, clip: str
) -> None:
    made = ask(build, running(for_s, carried=True), wanted, "running")
    assert (made.state.run, made.clip) == (run, clip)
    assert made.state.since_s == (NOW - for_s if run else NOW)
    assert made.state.carried is run


def test_the_minimum_run_also_holds_through_crank_and_warm_up(build: Any) -> None:
    for phase in ("stopped", "starting", "warming"):
        assert ask(build, running(30.0), False, phase).state.run


@pytest.mark.parametrize(
    ("phase", "missing", "for_s", "failed"),
    [
        ("stopped", (), 180.0, False),  # start_timeout_s + warm_up_s
        ("stopped", (), 181.0, True),
        ("starting", (), 181.0, True),
        ("cooling", (), 181.0, True),
        ("unknown", (), 181.0, True),
        ("unknown", ("genset",), 181.0, False),  # it may well carry the island
        ("running", (), 181.0, False),
        ("warming", (), 180.0 + WARMING_SLACK_S, False),
        ("warming", (), 181.0 + WARMING_SLACK_S, True),
    ],
)
def test_a_start_that_leads_nowhere(
    build: Any, phase: str, missing: tuple[str, ...], for_s: float, failed: bool
) -> None:
    made = ask(build, running(for_s), True, phase, missing=missing)
    assert made.state.run is not failed
    assert made.state.attempts == int(failed)
    assert made.clip == (f"start 1 of {MAX_ATTEMPTS} failed" if failed else "")


def test_after_three_failed_starts_it_is_locked(build: Any) -> None:
    made = ask(build, running(200.0, attempts=1), True)
    assert (made.state.attempts, made.state.locked) == (2, "")
    made = ask(build, running(200.0, attempts=2), True)
    assert (made.state.attempts, made.state.locked) == (3, "3 failed starts")
    made = ask(build, made.state, True, now_s=NOW + 1e5)
    assert (made.state.run, made.clip) == (False, "locked: 3 failed starts")


def test_a_start_that_succeeds_forgets_the_failed_ones(build: Any) -> None:
    made = ask(build, running(30.0, attempts=2), True, "running")
    assert (made.state.attempts, made.state.carried) == (0, True)


def test_a_failed_start_rests_before_the_next(build: Any) -> None:
    failed = ask(build, running(200.0), True).state
    assert not ask(build, failed, True, now_s=NOW + 599).state.run
    assert ask(build, failed, True, now_s=NOW + 600).state.run


# --- stopped by itself ---------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["stopped", "cooling"])
def test_a_set_that_stopped_by_itself_stays_off_until_somebody_has_looked(
    build: Any, phase: str
) -> None:
    state = ask(build, running(3000.0, carried=True), True, phase).state
    assert (state.run, state.still_since_s) == (True, NOW)
    made = ask(build, state, True, phase, now_s=NOW + STILL_S - 1)
    assert made.state.run
    made = ask(build, made.state, True, phase, now_s=NOW + STILL_S)
    assert (made.state.run, made.state.locked) == (False, "the set stopped by itself")
    assert made.clip == "the set stopped by itself"
    assert not ask(build, made.state, True, phase, now_s=NOW + 1e6).state.run


@pytest.mark.parametrize("phase", ["running", "unknown", "starting"])
def test_one_odd_reading_locks_nothing(build: Any, phase: str) -> None:
    state = ask(build, running(3000.0, carried=True), True, "stopped").state
    state = ask(build, state, True, phase, now_s=NOW + 5).state
    assert state.still_since_s is None
    made = ask(build, state, True, "stopped", now_s=NOW + STILL_S + 1)
    assert made.state.run
    assert made.state.locked == ""


def test_standing_still_before_it_ever_carried_is_no_stop(build: Any) -> None:
    made = ask(build, running(30.0), True, "stopped")
    assert made.state.still_since_s is None


# --- emergency -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [running(1.0), running(5000.0, carried=True), running(1.0, still_since_s=NOW)],
)
@pytest.mark.parametrize("wanted", [True, False])
def test_an_emergency_stop_waits_for_nothing(
    build: Any, state: GeneratorState, wanted: bool
) -> None:
    made = ask(build, state, wanted, "running", emergency=True)
    assert (made.state.run, made.state.since_s, made.clip) == (False, NOW, "emergency stop")
    assert not made.state.carried
    assert made.state.still_since_s is None
    assert not ask(build, made.state, True, now_s=NOW + 599).state.run


def test_an_emergency_stop_of_a_resting_set_changes_nothing(build: Any) -> None:
    state = resting(100.0)
    assert ask(build, state, True, emergency=True).state == state
    assert ask(build, GeneratorState(), True, "running", emergency=True).state == GeneratorState()


def test_a_lock_ends_a_run(build: Any) -> None:
    made = ask(build, running(10.0, locked="why"), True, "running")
    assert (made.state.run, made.clip) == (False, "locked: why")


# --- always --------------------------------------------------------------------------------

PHASES = ["stopped", "starting", "warming", "running", "cooling", "unknown"]
events = st.tuples(
    st.floats(0.0, 700.0),
    st.booleans(),
    st.sampled_from(PHASES),
    st.booleans(),
    st.sampled_from([(), ("genset",)]),
    st.sampled_from([False] * 9 + [True]),
)


@given(st.lists(events, max_size=60), st.booleans())
def test_run_and_rest_hold_whatever_happens(build: Any, history: list[Any], by_relay: bool) -> None:
    state, now_s = GeneratorState(), 0.0
    changes: list[tuple[float, bool]] = []
    for step_s, wanted, phase, available, missing, emergency in history:
        now_s += step_s
        before = state
        made = ask(
            build,
            state,
            wanted,
            phase,
            now_s=now_s,
            available=available,
            missing=missing,
            emergency=emergency,
            by_relay=by_relay,
        )
        state = made.state
        if emergency or before.locked:
            assert not state.run
        if state.run and not before.run:
            assert wanted or before.since_s == -INF
            if changes:
                assert now_s - changes[-1][0] >= 600.0
        if before.run and not state.run:
            excused = emergency or state.locked or state.attempts > before.attempts
            ran_s = now_s - before.since_s
            assert excused or ran_s >= 1800.0
            assert excused or not wanted or ran_s >= 36000.0
        if state.run != before.run:
            changes.append((now_s, state.run))
        if state.run:
            assert now_s - state.since_s < 36000.0
        assert state.attempts <= MAX_ATTEMPTS
        assert replace(state) == state
