"""The diesel's states with their minimum times, as dynamic programming needs them."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from control.dispatch import Bools, locked_steps, whole_steps
from control.dispatch_instance import Floats, Instance


@dataclass(frozen=True, slots=True)
class DieselStates:
    """States off for 1..`off` steps or more, then on for 1..`on` steps or more; on 0: always off.

    `initial` is the state before the first step, -1 when its minimum time has not begun to run;
    `locked` the steps for which the diesel has to stay as it is.
    """

    off: int
    on: int
    initial: int
    initial_on: bool
    locked: int

    @classmethod
    def of(cls, instance: Instance) -> Self:
        """The diesel's states in whole steps; what lies beyond the horizon does not count."""
        diesel, dt = instance.diesel, instance.step_h
        cap = instance.steps + 1
        off = min(max(1, whole_steps(diesel.min_down_h, dt)), cap)
        on = min(max(1, whole_steps(diesel.min_up_h, dt)), cap)
        locked = min(locked_steps(diesel, dt), cap)
        if diesel.initial_on:
            initial = off + on - locked - 1 if locked < on else -1
        else:
            initial = off - locked - 1 if locked < off else -1
        return cls(off, on, initial, diesel.initial_on, locked)

    @property
    def count(self) -> int:
        """How many states there are."""
        return self.off + self.on

    def following(self, state: int) -> tuple[int, ...]:
        """The states that can follow; only a change from off to on is a start."""
        if state == -1:
            return (self.off,) if self.initial_on else (0,)
        if state < self.off - 1 or self.off <= state < self.count - 1:
            return (state + 1,)
        if state == self.off - 1:
            return (state, state + 1) if self.on else (state,)
        return (state, 0)

    def values_before(self, after: Floats, startup: float, before: Floats) -> None:
        """Value of every state before a step from the values of the states after it, (states, …).

        `following` for all states at once; the result goes into `before`.
        """
        off = self.off
        before[: off - 1] = after[1:off]
        before[off - 1] = after[off - 1]
        if self.on:
            np.minimum(after[off - 1], after[off] + startup, out=before[off - 1])
            before[off:-1] = after[off + 1 :]
            np.minimum(after[-1], after[0], out=before[-1])

    def repaired(self, running: Bools) -> Bools:
        """Diesel states that change only when the minimum times allow, as wanted otherwise."""
        allowed = np.empty_like(running, dtype=bool)
        state = self.initial
        for t, wanted in enumerate(running):
            options = self.following(state)
            fitting = [s for s in options if (s >= self.off) == bool(wanted)]
            state = fitting[0] if fitting else options[0]
            allowed[t] = state >= self.off
        return allowed


ALWAYS_OFF = DieselStates(off=1, on=0, initial=0, initial_on=False, locked=0)
