"""The mode table: total, ordered, with its reasons; what is latched; devices that come and go."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from control.modes import RETURN_S, TABLE, Situation, advance, next_mode
from control.records import Orders
from control.state import Estimate, GeneratorState, Mode, State

BOOLS = (False, True)
NONE = Orders()
MISSING = ((), ("roof",))
SITUATIONS = [
    Situation(Orders(stop=stop, manual=manual), emergency, unreadable, missing, blind, over)
    for stop, manual, emergency, unreadable, missing, blind, over in itertools.product(
        BOOLS, BOOLS, BOOLS, BOOLS, MISSING, BOOLS, BOOLS
    )
]


def expected(mode: Mode, situation: Situation) -> Mode:
    """The rules of the operating manual, written another way than the table."""
    if situation.emergency:
        return Mode.SAFE
    if situation.orders.stop:
        return Mode.STOPPED
    if situation.unreadable:
        return Mode.SAFE
    if mode is Mode.STARTING and situation.missing and not situation.start_up_over:
        return Mode.STARTING
    if situation.blind:
        return Mode.SAFE
    if situation.orders.manual:
        return Mode.MANUAL
    return Mode.DEGRADED if situation.missing else Mode.AUTO


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode_and_situation_has_one_successor(mode: Mode) -> None:
    for situation in SITUATIONS:
        target, reason = next_mode(mode, situation)
        assert target is expected(mode, situation)
        assert "{" not in reason
        assert reason or target is mode


def test_every_row_of_the_table_is_needed() -> None:
    used = set()
    for mode, situation in itertools.product(Mode, SITUATIONS):
        rows = (n for n, row in enumerate(TABLE) if mode in row[0] and row[1](situation))
        used.add(next(rows))
    assert used == set(range(len(TABLE)))


def after(
    build: Any, state: State, orders: Orders = NONE, t_s: float = 100.0, **site: Any
) -> State:
    return advance(build.site(**site), state, orders, t_s)


def missing(*names: str, **more: Any) -> Estimate:
    return Estimate(missing=names, **more)


STARTED = State(mode=Mode.AUTO, t_s=99.0)


@pytest.mark.parametrize(
    ("names", "with_grid", "mode"),
    [
        ((), True, Mode.AUTO),
        (("roof",), True, Mode.DEGRADED),
        (("battery",), True, Mode.DEGRADED),
        (("grid",), True, Mode.DEGRADED),
        (("battery", "grid"), True, Mode.SAFE),
        (("battery", "grid", "roof", "genset"), True, Mode.SAFE),
        (("battery",), False, Mode.SAFE),
        (("genset",), False, Mode.DEGRADED),
    ],
)
def test_what_is_missing(build: Any, names: tuple[str, ...], with_grid: bool, mode: Mode) -> None:
    site = {} if with_grid else {"grid": None}
    state = after(build, replace(STARTED, estimate=missing(*names)), **site)
    assert state.mode is mode
    if names:
        assert state.mode_reason == "nothing usable from " + ", ".join(sorted(names))


def test_a_site_without_battery_and_grid_is_never_blind(build: Any) -> None:
    state = replace(STARTED, estimate=missing("roof", "genset"))
    assert after(build, state, battery=None, grid=None).mode is Mode.DEGRADED


def test_start_up_waits_for_devices_but_not_for_ever(build: Any) -> None:
    waiting = State(estimate=missing("roof"), started_s=100.0)
    for t_s in (100.0, 130.0, 160.0):
        waiting = after(build, waiting, t_s=t_s)
        assert (waiting.mode, waiting.mode_reason) == (Mode.STARTING, "process start")
    assert after(build, waiting, t_s=160.1).mode is Mode.DEGRADED
    assert after(build, replace(waiting, estimate=missing()), t_s=160.0).mode is Mode.AUTO


def test_orders(build: Any) -> None:
    state = after(build, STARTED, Orders(manual=True))
    assert (state.mode, state.mode_reason, state.mode_since_s) == (
        Mode.MANUAL,
        "ordered to manual",
        100.0,
    )
    state = after(build, state, Orders(manual=True, stop=True), 101.0)
    assert (state.mode, state.mode_reason) == (Mode.STOPPED, "ordered to stop")
    state = after(build, state, Orders(), 102.0)
    assert (state.mode, state.mode_reason) == (Mode.AUTO, "all devices answer")


def test_blindness_and_a_missing_device_in_manual(build: Any) -> None:
    manual = Orders(manual=True)
    assert after(build, replace(STARTED, estimate=missing("roof")), manual).mode is Mode.MANUAL
    blind = replace(STARTED, estimate=missing("battery", "grid"))
    assert after(build, blind, manual).mode is Mode.SAFE


# --- emergency stop ------------------------------------------------------------------------

PRESSED = replace(STARTED, emergency_latched=True, estimate=Estimate(emergency_stop=True))
RELEASED = replace(PRESSED, estimate=Estimate())
ACKNOWLEDGE = Orders(acknowledge=True)


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("orders", [Orders(), Orders(manual=True), Orders(stop=True)])
def test_the_emergency_stop_wins_in_every_mode(build: Any, mode: Mode, orders: Orders) -> None:
    state = after(build, replace(PRESSED, mode=mode), orders)
    assert (state.mode, state.mode_reason) == (Mode.SAFE, "emergency stop")


def test_it_stays_until_it_is_acknowledged_after_its_release(build: Any) -> None:
    state = after(build, PRESSED)
    state = after(build, replace(state, estimate=Estimate()))
    assert state.mode is Mode.SAFE
    assert after(build, state, ACKNOWLEDGE).mode is Mode.AUTO


def test_an_acknowledgement_while_it_is_pressed_does_nothing(build: Any) -> None:
    state = after(build, PRESSED, ACKNOWLEDGE)
    assert state.mode is Mode.SAFE
    released = replace(state, estimate=Estimate())
    state = after(build, released, ACKNOWLEDGE)
    assert state.mode is Mode.SAFE  # still the same acknowledgement
    state = after(build, state)
    assert after(build, state, ACKNOWLEDGE).mode is Mode.AUTO


def test_an_acknowledgement_that_never_ends_clears_nothing_new(build: Any) -> None:
    state = after(build, STARTED, ACKNOWLEDGE)
    state = after(build, replace(state, emergency_latched=True), ACKNOWLEDGE)
    assert state.mode is Mode.SAFE


def test_a_stop_that_cannot_be_read_ends_by_itself_and_gives_way_to_orders(build: Any) -> None:
    unreadable = replace(STARTED, estimate=Estimate(emergency_stop=True))
    state = after(build, unreadable)
    assert (state.mode, state.mode_reason) == (Mode.SAFE, "the emergency stop cannot be read")
    assert after(build, unreadable, Orders(stop=True)).mode is Mode.STOPPED
    assert after(build, replace(state, estimate=Estimate())).mode is Mode.AUTO


def test_the_reason_follows_when_the_mode_stays(build: Any) -> None:
    state = after(build, replace(RELEASED, mode=Mode.SAFE, mode_since_s=50.0))
    blind = replace(state, estimate=missing("battery", "grid"))
    state = after(build, blind, ACKNOWLEDGE)
    assert (state.mode, state.mode_reason) == (Mode.SAFE, "nothing usable from battery, grid")
    assert state.mode_since_s == 50.0


def test_an_acknowledgement_unlocks_the_generator_once(build: Any) -> None:
    locked = GeneratorState(locked="3 failed starts", attempts=3)
    state = after(build, replace(STARTED, generator=locked), ACKNOWLEDGE)
    assert (state.generator.locked, state.generator.attempts) == ("", 0)
    state = after(build, replace(state, generator=locked), ACKNOWLEDGE)
    assert state.generator == locked
    plain = GeneratorState(attempts=2)
    assert after(build, replace(STARTED, generator=plain), ACKNOWLEDGE).generator == plain


# --- devices that come and go --------------------------------------------------------------


def test_a_device_that_comes_and_goes_is_one_event_not_many(build: Any) -> None:
    state, seen = STARTED, []
    for second in range(40):
        there = second % 5 or second > 20
        state = replace(state, estimate=missing() if there else missing("roof"))
        state = after(build, state, t_s=100.0 + second)
        seen.append(state.mode)
    last = 20
    assert set(seen[: last + int(RETURN_S)]) == {Mode.DEGRADED}
    assert set(seen[last + int(RETURN_S) :]) == {Mode.AUTO}


def test_one_eye_after_the_other_does_not_make_the_site_blind(build: Any) -> None:
    state = after(build, replace(STARTED, estimate=missing("battery")), t_s=100.0)
    state = after(build, replace(state, estimate=missing("grid")), t_s=105.0)
    assert (state.mode, state.mode_reason) == (Mode.DEGRADED, "nothing usable from battery, grid")


def test_safe_mode_is_left_when_an_eye_has_stayed_open(build: Any) -> None:
    state = after(build, replace(STARTED, estimate=missing("battery", "grid")), t_s=100.0)
    assert state.mode is Mode.SAFE
    state = replace(state, estimate=missing("battery"))
    assert after(build, state, t_s=109.9).mode is Mode.SAFE
    assert after(build, state, t_s=110.0).mode is Mode.DEGRADED


def test_start_up_does_not_wait_for_what_was_missing_a_moment_ago(build: Any) -> None:
    state = after(build, State(started_s=99.0, estimate=missing("roof", "battery")))
    assert state.mode is Mode.STARTING
    state = after(build, replace(state, estimate=missing()), t_s=101.0)
    assert state.mode is Mode.AUTO
    assert after(build, state, t_s=102.0).mode is Mode.AUTO
