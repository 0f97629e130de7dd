"""The generator's sequence: minimum run and rest, longest run, failed starts, local stops."""

from dataclasses import dataclass, replace

from control.site import GeneratorParameters
from control.state import Estimate, GeneratorState

MAX_ATTEMPTS = 3
STILL_S = 10.0  # so long a running set has to be seen still: a lock needs a human to undo
WARMING_SLACK_S = 900.0  # the set's own warm-up may be longer than the site file says
STILL = ("stopped", "cooling")


@dataclass(frozen=True, slots=True)
class Sequenced:
    """The new state and, where the wish was not granted, why."""

    state: GeneratorState
    clip: str = ""


def sequence(
    parameters: GeneratorParameters,
    state: GeneratorState,
    plant: Estimate,
    wanted: bool,
    now_s: float,
) -> Sequenced:
    """Return what the set is asked to do now, given what somebody wants it to do.

    An emergency stop and a set that stopped by itself end a run at once; otherwise minimum run,
    minimum rest and longest run hold (SMA off-grid manual: warm-up, minimum run, cool-down,
    minimum stop; timers are interrupted only by a fault).
    """
    if plant.emergency_stop:
        return Sequenced(_switch(state, False, now_s), "emergency stop")
    if state.locked:
        return Sequenced(_switch(state, False, now_s), f"locked: {state.locked}")
    if state.since_s == float("-inf"):
        state = _first_look(parameters, state, plant, wanted, now_s)
    if state.run:
        return _running(parameters, state, plant, wanted, now_s)
    return _resting(parameters, state, plant, wanted, now_s)


def _first_look(
    parameters: GeneratorParameters,
    state: GeneratorState,
    plant: Estimate,
    wanted: bool,
    now_s: float,
) -> GeneratorState:
    """Take the set as a new process finds it; what was before is not known.

    In auto mode one that carries is taken over with its minimum run behind it, one that starts with
    all of it to come, and one that cools down since the contact dropped with the last process, if
    it is wanted; else it begins its rest. One that stands still has rested.
    """
    phase, ours = plant.generator_phase, plant.generator_available
    if phase == "stopped":
        return replace(state, since_s=now_s - parameters.min_rest_s)
    if phase == "running" and ours:
        return replace(state, run=True, since_s=now_s - parameters.min_run_s)
    if phase in ("starting", "warming", "running", "cooling"):
        return replace(state, run=ours and (wanted or phase != "cooling"), since_s=now_s)
    return state


def _running(
    parameters: GeneratorParameters,
    state: GeneratorState,
    plant: Estimate,
    wanted: bool,
    now_s: float,
) -> Sequenced:
    state = _observe(state, plant, now_s)
    if state.still_since_s is not None and now_s - state.still_since_s >= STILL_S:
        stopped = replace(_switch(state, False, now_s), locked="the set stopped by itself")
        return Sequenced(stopped, "the set stopped by itself")
    elapsed_s = now_s - state.since_s
    if _start_has_failed(parameters, state, plant, elapsed_s):
        return _failed_start(state, now_s)
    if elapsed_s >= parameters.max_run_s:
        return Sequenced(_switch(state, False, now_s), f"longest run {parameters.max_run_s:.0f} s")
    if not wanted and elapsed_s < parameters.min_run_s:
        left_s = parameters.min_run_s - elapsed_s
        return Sequenced(state, f"minimum run, {left_s:.0f} s left")
    return Sequenced(state if wanted else _switch(state, False, now_s))


def _observe(state: GeneratorState, plant: Estimate, now_s: float) -> GeneratorState:
    """Note that the set carries, or that it stands still although it had carried."""
    if plant.generator_carries:
        return replace(state, attempts=0, carried=True, still_since_s=None)
    if not (state.carried and plant.generator_phase in STILL):
        return replace(state, still_since_s=None)
    return state if state.still_since_s is not None else replace(state, still_since_s=now_s)


def _start_has_failed(
    parameters: GeneratorParameters, state: GeneratorState, plant: Estimate, elapsed_s: float
) -> bool:
    """It should have carried by now; one that cannot be seen may well do so."""
    if state.carried or parameters.name in plant.missing:
        return False
    timeout_s = parameters.start_timeout_s + parameters.warm_up_s
    slack_s = WARMING_SLACK_S if plant.generator_phase == "warming" else 0.0
    return elapsed_s > timeout_s + slack_s


def _resting(
    parameters: GeneratorParameters,
    state: GeneratorState,
    plant: Estimate,
    wanted: bool,
    now_s: float,
) -> Sequenced:
    if not wanted:
        return Sequenced(state)
    left_s = parameters.min_rest_s - (now_s - state.since_s)
    if left_s > 0:
        return Sequenced(state, f"minimum rest, {left_s:.0f} s left")
    # A contact needs no bus: a set that cannot be seen may still be started by it.
    blind = parameters.by_relay and parameters.name in plant.missing
    if not plant.generator_available and not blind:
        return Sequenced(state, "the set is not ready for a remote start")
    return Sequenced(_switch(state, True, now_s))


def _failed_start(state: GeneratorState, now_s: float) -> Sequenced:
    attempts = state.attempts + 1
    locked = f"{attempts} failed starts" if attempts >= MAX_ATTEMPTS else ""
    failed = replace(_switch(state, False, now_s), attempts=attempts, locked=locked)
    return Sequenced(failed, f"start {attempts} of {MAX_ATTEMPTS} failed")


def _switch(state: GeneratorState, run: bool, now_s: float) -> GeneratorState:
    """The state with another `run`; the timer restarts only when that changes something."""
    if state.run == run:
        return state
    return replace(state, run=run, since_s=now_s, carried=False, still_since_s=None)
