"""The generator's sequence: minimum run and rest, longest run, failed starts, local stops."""

from dataclasses import dataclass, replace

from control.site import GeneratorParameters
from control.state import Estimate, GeneratorState

MAX_ATTEMPTS = 3


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
    if state.run:
        return _running(parameters, state, plant, wanted, now_s)
    return _resting(parameters, state, plant, wanted, now_s)


def _running(
    parameters: GeneratorParameters,
    state: GeneratorState,
    plant: Estimate,
    wanted: bool,
    now_s: float,
) -> Sequenced:
    elapsed_s = now_s - state.since_s
    if plant.generator_carries and (state.attempts or not state.carried):
        state = replace(state, attempts=0, carried=True)
    if state.carried and plant.generator_phase in ("stopped", "cooling"):
        stopped = replace(_switch(state, False, now_s), locked="the set stopped by itself")
        return Sequenced(stopped, "the set stopped by itself")
    timeout_s = parameters.start_timeout_s + parameters.warm_up_s
    if not state.carried and elapsed_s > timeout_s and plant.generator_phase != "warming":
        return _failed_start(state, now_s)
    if elapsed_s >= parameters.max_run_s:
        return Sequenced(_switch(state, False, now_s), f"longest run {parameters.max_run_s:.0f} s")
    if not wanted and elapsed_s < parameters.min_run_s:
        left_s = parameters.min_run_s - elapsed_s
        return Sequenced(state, f"minimum run, {left_s:.0f} s left")
    return Sequenced(state if wanted else _switch(state, False, now_s))


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
    if not plant.generator_available:
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
    return replace(state, run=run, since_s=now_s, carried=False)
