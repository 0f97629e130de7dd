"""The diesel's states with their minimum times, as dynamic programming needs them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

from control.dispatch import Bools, locked_steps, whole_steps
from control.dispatch_instance import Floats, Instance
from control.planning_step import Ints


@dataclass(frozen=True, slots=True)
class DieselStates:
    """States off for 1..`off` steps or more, then on for 1..`on` steps or more; on 0: always off.

    `initial` is the state before the first step, -1 when its minimum time has not begun to run;
    `locked` the steps for which the diesel has to stay as it is; `startup` its weighted cost.
    """

    off: int
    on: int
    initial: int
    initial_on: bool
    locked: int
    startup: float

    @classmethod
    def of(cls, instance: Instance) -> Self:
        """The diesel's states in whole steps; what lies beyond the horizon does not count."""
        diesel, dt = instance.diesel, instance.step_h
        if not (diesel.power_max_kw > 0 or diesel.initial_on):
            return cls(off=1, on=0, initial=0, initial_on=False, locked=0, startup=0.0)
        cap = instance.steps + 1
        off = min(max(1, whole_steps(diesel.min_down_h, dt)), cap)
        on = min(max(1, whole_steps(diesel.min_up_h, dt)), cap)
        locked = min(locked_steps(diesel, dt), cap)
        if diesel.initial_on:
            initial = off + on - locked - 1 if locked < on else -1
        else:
            initial = off - locked - 1 if locked < off else -1
        startup = instance.weight_equipment * diesel.startup
        return cls(off, on, initial, diesel.initial_on, locked, startup)

    @property
    def count(self) -> int:
        """How many states there are."""
        return self.off + self.on

    @property
    def blocks(self) -> list[tuple[int, slice]]:
        """What runs (nothing: 0, the diesel: 1), and the states in which it does."""
        return [(0, slice(0, self.off)), (1, slice(self.off, None))][: 2 if self.on else 1]

    def index(self, state: int) -> int:
        """A state's place among all."""
        return state

    def following(self, state: int) -> list[tuple[int, int, float]]:
        """The states that can follow, what then runs, and the cost of the change."""
        return [(s, int(s >= self.off), self._change(state, s)) for s in self._next(state)]

    def _next(self, state: int) -> tuple[int, ...]:
        if state == -1:
            return (self.off,) if self.initial_on else (0,)
        if state < self.off - 1 or self.off <= state < self.count - 1:
            return (state + 1,)
        if state == self.off - 1:
            return (state, state + 1) if self.on else (state,)
        return (state, 0)

    def _change(self, state: int, after: int) -> float:
        return self.startup if after == self.off and state == self.off - 1 else 0.0

    def values_before(self, after: Floats, before: Floats) -> None:
        """Value of every state before a step from the values of the states after it, (states, …).

        `following` for all states at once; the result goes into `before`.
        """
        off = self.off
        before[: off - 1] = after[1:off]
        before[off - 1] = after[off - 1]
        if self.on:
            np.minimum(after[off - 1], after[off] + self.startup, out=before[off - 1])
            before[off:-1] = after[off + 1 :]
            np.minimum(after[-1], after[0], out=before[-1])

    def repaired(self, running: Bools) -> Bools:
        """Diesel states that change only when the minimum times allow, as wanted otherwise."""
        allowed = np.empty_like(running, dtype=bool)
        state = self.initial
        for t, wanted in enumerate(running):
            options = self._next(state)
            fitting = [s for s in options if (s >= self.off) == bool(wanted)]
            state = fitting[0] if fitting else options[0]
            allowed[t] = state >= self.off
        return allowed


ALWAYS_OFF = DieselStates(off=1, on=0, initial=0, initial_on=False, locked=0, startup=0.0)


@dataclass(frozen=True, slots=True)
class JointStates:
    """Every pair of the states of two diesels; the second one's run fastest."""

    one: DieselStates
    other: DieselStates

    @property
    def initial(self) -> tuple[int, int]:
        """The states before the first step."""
        return self.one.initial, self.other.initial

    @property
    def count(self) -> int:
        """How many pairs there are."""
        return self.one.count * self.other.count

    @property
    def blocks(self) -> list[tuple[int, Ints]]:
        """Who runs (bit 0 the first, bit 1 the second), and the pairs in which they do."""
        number = np.arange(self.count).reshape(self.one.count, self.other.count)
        return [
            (a + 2 * b, number[rows, columns].ravel())
            for a, rows in self.one.blocks
            for b, columns in self.other.blocks
        ]

    def index(self, state: tuple[int, int]) -> int:
        """A pair's place among all."""
        return state[0] * self.other.count + state[1]

    def following(self, state: tuple[int, int]) -> list[tuple[tuple[int, int], int, float]]:
        """The pairs that can follow, who then runs, and the cost of the change."""
        return [
            ((s, o), a + 2 * b, cost + more)
            for s, a, cost in self.one.following(state[0])
            for o, b, more in self.other.following(state[1])
        ]

    def values_before(self, after: Floats, before: Floats) -> None:
        """As of one diesel, (pairs, ...)."""
        shape = (self.one.count, self.other.count, -1)
        between = np.empty(after.shape).reshape(shape)
        self.one.values_before(after.reshape(shape), between)
        result = np.empty_like(between)
        self.other.values_before(between.swapaxes(0, 1), result.swapaxes(0, 1))
        before[:] = result.reshape(before.shape)


class States(Protocol):
    """What dynamic programming asks of the states of one diesel or several."""

    @property
    def initial(self) -> Any:
        """The state before the first step."""

    @property
    def count(self) -> int:
        """How many states there are."""

    @property
    def blocks(self) -> Sequence[tuple[int, Any]]:
        """Who runs, as a number, and the states in which they do, as an index."""

    def index(self, state: Any) -> int:
        """A state's place among all."""

    def following(self, state: Any) -> Sequence[tuple[Any, int, float]]:
        """The states that can follow, who then runs, and the cost of the change."""

    def values_before(self, after: Floats, before: Floats) -> None:
        """Value of every state before a step from the values after it."""


class DieselClock:
    """Which diesels run in many plans at once, and for how many more steps they must stay so."""

    def __init__(self, states: Sequence[DieselStates], count: int) -> None:
        """`count` plans that begin alike; arrays are (plans, diesels)."""
        self._up = np.array([s.on for s in states], dtype=np.intp)
        self._down = np.array([s.off for s in states], dtype=np.intp)
        shape = (count, len(states))
        self.running = np.broadcast_to([s.initial_on for s in states], shape).astype(bool)
        self.locked = np.broadcast_to([s.locked for s in states], shape).astype(np.intp)

    def become(self, wanted: Bools) -> Bools:
        """Go one step on, running as wanted where that is allowed; which ones have started."""
        running = np.where(self.locked > 0, self.running, wanted)
        changed = running != self.running
        minimum = np.where(running, self._up, self._down)
        self.locked = np.where(changed, minimum, self.locked) - 1
        self.running = running
        return np.asarray(changed & running)
