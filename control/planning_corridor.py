"""Dynamic programming over stored energy and diesel state, in a corridor of the energy plane.

The corridor is `width` energies, `spacing_kwh` apart, at every step; the value between them is
interpolated. From every energy a step may go to every other one, or use a battery power at which
the step's own cost bends (nothing bought, nothing curtailed, diesel at a limit, idle): those are
where optima lie, and they are exact. The whole plane is the widest corridor; shrinking ones around
the best trajectory polish it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from control.dispatch import locked_steps, terminal_cost, whole_steps
from control.dispatch_instance import Floats, Instance
from control.planning_step import Bools, MeritOrder
from control.planning_storage import Storage

UNREACHABLE = 1e9  # a cost, finite so that interpolation with weight 0 stays 0


@dataclass(frozen=True, slots=True, eq=False)
class Corridor:
    """Energies `base_kwh[t] + i * spacing_kwh`, i in first[t]..last[t], at the start of step t."""

    base_kwh: Floats  # (steps + 1,)
    spacing_kwh: float
    width: int
    first: np.ndarray[Any, np.dtype[np.intp]]
    last: np.ndarray[Any, np.dtype[np.intp]]


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
    def of(cls, instance: Instance) -> "DieselStates":
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

    def repaired(self, running: Bools) -> Bools:
        """Diesel states that change only when the minimum times allow, as wanted otherwise."""
        allowed = np.empty_like(running)
        state = self.initial
        for t, wanted in enumerate(running):
            options = self.following(state)
            fitting = [s for s in options if (s >= self.off) == wanted]
            state = fitting[0] if fitting else options[0]
            allowed[t] = state >= self.off
        return allowed


ALWAYS_OFF = DieselStates(off=1, on=0, initial=0, initial_on=False, locked=0)


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Battery powers that can be tried in every step, all (steps, moves)."""

    cost: Floats
    shift: Floats  # how many energies further, from base to base
    whole: np.ndarray[Any, np.dtype[np.intp]]
    part: Floats


def _merge(off: _Moves, on: _Moves, running: Bools) -> _Moves:
    """The moves of whichever state the diesel is in; the shorter rows repeat their last move."""
    most = max(off.cost.shape[1], on.cost.shape[1])

    def pick(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        wide = [np.pad(x, ((0, 0), (0, most - x.shape[1])), mode="edge") for x in (a, b)]
        return np.where(running[:, None], wide[1], wide[0])

    return _Moves(
        pick(off.cost, on.cost),
        pick(off.shift, on.shift),
        pick(off.whole, on.whole),
        pick(off.part, on.part),
    )


class CorridorSearch:
    """Finds the best trajectory in corridors of one instance."""

    def __init__(
        self, merit: MeritOrder, storage: Storage, out_of_time: Callable[[], bool]
    ) -> None:
        """Prepare the powers at which costs bend."""
        self.merit, self.storage, self.out_of_time = merit, storage, out_of_time
        bends = storage.kinks_kw()
        steps = merit.instance.steps
        self._bends = np.broadcast_to(bends, (steps, bends.size))
        self._kinks = {on: storage.clip_kw(merit.kinks_kw(on)) for on in (False, True)}

    def whole_plane(self, energies: int) -> Corridor:
        """All energies within the limits that can be reached, about so many of them."""
        s = self.storage
        steps = self.merit.instance.steps
        low, high = float(s.low_kwh[-1]), float(s.high_kwh[-1])
        inside = min(max(s.start_kwh, low), high)
        reach_low = max(low, inside + steps * s.down_kwh)
        reach_high = min(high, inside + steps * s.up_kwh)
        reach = reach_high - reach_low
        if reach <= 0:
            return self._corridor(np.full(steps + 1, inside), 1.0, 0)
        cells = math.ceil(s.span_kwh / reach * energies)
        spacing = s.span_kwh / cells
        half = math.ceil(reach / spacing / 2) + 1
        middle = (reach_low + reach_high) / 2
        return self._corridor(np.full(steps + 1, middle), spacing, half)

    def around(self, energy_kwh: Floats, cells: int, half: int) -> Corridor:
        """`half` energies on either side of a trajectory, the limits' span cut into `cells`."""
        return self._corridor(energy_kwh, self.storage.span_kwh / cells, half)

    def _corridor(self, middle_kwh: Floats, spacing: float, half: int) -> Corridor:
        """A corridor whose energies include the limits, and the start as the only first one."""
        low, high = self.storage.low_kwh, self.storage.high_kwh
        origin = float(low[-1])
        base = origin + spacing * (np.round((middle_kwh - origin) / spacing) - half)
        base[0] = self.storage.start_kwh - half * spacing
        width = 2 * half + 1
        first = np.ceil((low - base) / spacing - 1e-6).astype(np.intp)
        last = np.floor((high - base) / spacing + 1e-6).astype(np.intp)
        returning = (first > last) | (low < origin - 1e-12) | (high > high[-1] + 1e-12)
        returning[0] = True
        forced = np.where(low < origin, low, high)
        forced[0] = self.storage.start_kwh
        base = np.where(returning, forced - half * spacing, base)
        first = np.where(returning, half, np.clip(first, 0, width - 1))
        last = np.where(returning, half, np.clip(last, 0, width - 1))
        return Corridor(base, spacing, width, first, last)

    def _moves(self, corridor: Corridor, on: bool) -> _Moves:
        base, spacing = corridor.base_kwh, corridor.spacing_kwh
        slope = np.diff(base)
        most = corridor.width - 1
        up = min(most, math.ceil((self.storage.up_kwh - np.min(slope)) / spacing))
        down = min(most, math.ceil((np.max(slope) - self.storage.down_kwh) / spacing))
        jumps = slope[:, None] + spacing * np.arange(-down, up + 1)
        power = self.storage.clip_kw(self.storage.power_kw(jumps))
        power = np.hstack([self._bends, self._kinks[on], power])
        shift = (self.storage.change_kwh(power) - slope[:, None]) / spacing
        nearest = np.round(shift)
        shift = np.where(np.abs(shift - nearest) < 1e-7, nearest, shift)
        whole = np.floor(shift)
        part = shift - whole
        whole = np.clip(whole, -corridor.width - 1, corridor.width).astype(np.intp)
        return _Moves(self.merit.cost(power, on), shift, whole, part)

    def best(self, corridor: Corridor, states: DieselStates) -> tuple[Floats, Bools] | None:
        """The best trajectory's energies (steps + 1) and diesel states; None when out of time."""
        off = self._moves(corridor, on=False)
        on = self._moves(corridor, on=True) if states.on else None
        value = self._values(corridor, states, off, on)
        return None if value is None else self._follow(corridor, states, off, on, value)

    def best_energy(self, corridor: Corridor, running: Bools) -> Floats | None:
        """The best trajectory's energies (steps + 1) for a diesel that runs as given."""
        off, on = self._moves(corridor, on=False), self._moves(corridor, on=True)
        moves = _merge(off, on, running)
        value = self._values(corridor, ALWAYS_OFF, moves, None)
        found = value is not None and self._follow(corridor, ALWAYS_OFF, moves, None, value)
        return found[0] if found else None

    def _values(
        self, corridor: Corridor, states: DieselStates, off: _Moves, on: _Moves | None
    ) -> Floats | None:
        """Cost to go (steps + 1, states, width), backwards from the end."""
        steps, width = self.merit.instance.steps, corridor.width
        value = np.full((steps + 1, states.count, width), UNREACHABLE)
        inside = np.arange(width)
        final = corridor.base_kwh[-1] + corridor.spacing_kwh * inside
        value[-1] = terminal_cost(self.merit.instance, final)
        outside = (inside < corridor.first[:, None]) | (inside > corridor.last[:, None])
        value[-1][:, outside[-1]] = UNREACHABLE
        margin = width + 2
        padded = np.full((states.count, width + 2 * margin), UNREACHABLE)
        index = inside + margin
        rise = np.zeros_like(padded)
        for t in range(steps - 1, -1, -1):
            if self.out_of_time():
                return None
            padded[:, margin:-margin] = value[t + 1]
            np.subtract(padded[:, 1:], padded[:, :-1], out=rise[:, :-1])
            reached = np.empty((states.count, width))
            for moves, rows in ((off, slice(0, states.off)), (on, slice(states.off, None))):
                if moves is None:
                    continue
                at = moves.whole[t][:, None] + index
                total = rise[rows].take(at, axis=1)
                total *= moves.part[t][:, None]
                total += padded[rows].take(at, axis=1)
                total += moves.cost[t][:, None]
                np.min(total, axis=1, out=reached[rows])
            self._before(states, reached, value[t])
            value[t][:, outside[t]] = UNREACHABLE
        return value

    def _before(self, states: DieselStates, after: Floats, before: Floats) -> None:
        """Value of every diesel state before a step from the values of the states after it."""
        off, on = states.off, states.on
        before[: off - 1] = after[1:off]
        before[off - 1] = after[off - 1]
        if on:
            np.minimum(after[off - 1], after[off] + self.merit.startup, out=before[off - 1])
            before[off:-1] = after[off + 1 :]
            np.minimum(after[-1], after[0], out=before[-1])

    def _follow(
        self,
        corridor: Corridor,
        states: DieselStates,
        off: _Moves,
        on: _Moves | None,
        value: Floats,
    ) -> tuple[Floats, Bools] | None:
        """Forwards from the start by the cost to go, at exact energies."""
        steps, width = self.merit.instance.steps, corridor.width
        energy = np.empty(steps + 1)
        running = np.zeros(steps, dtype=bool)
        state, position = states.initial, float(corridor.first[0])
        energy[0] = self.storage.start_kwh
        where = np.arange(-1.0, width + 1)
        extended = self._extended(corridor, value)
        for t in range(steps):
            if self.out_of_time():
                return None
            best = (UNREACHABLE, 0.0, state)
            for following in states.following(state):
                moves = off if following < states.off or on is None else on
                landing = position + moves.shift[t]
                to_go = np.interp(
                    landing, where, extended[t + 1, following], UNREACHABLE, UNREACHABLE
                )
                total = moves.cost[t] + to_go
                pick = int(np.argmin(total))
                started = following == states.off and state == states.off - 1
                cost = float(total[pick]) + (self.merit.startup if started else 0.0)
                if cost < best[0]:
                    best = (cost, float(landing[pick]), following)
            if best[0] >= UNREACHABLE / 2:
                return None
            position = min(max(best[1], float(corridor.first[t + 1])), float(corridor.last[t + 1]))
            state = best[2]
            running[t] = state >= states.off
            energy[t + 1] = corridor.base_kwh[t + 1] + position * corridor.spacing_kwh
        return energy, running

    def _extended(self, corridor: Corridor, value: Floats) -> Floats:
        """Cost to go with one more energy on either side (steps + 1, states, width + 2).

        Beyond the limits of stored energy it goes on in a straight line, so that a move that
        overshoots them a little can be tried and cut to end on them.
        """
        steps, states, width = value.shape
        extended = np.full((steps, states, width + 2), UNREACHABLE)
        extended[:, :, 1:-1] = value
        slack = 1e-6 * corridor.spacing_kwh
        first = corridor.base_kwh + corridor.first * corridor.spacing_kwh
        last = corridor.base_kwh + corridor.last * corridor.spacing_kwh
        roomy = corridor.last > corridor.first
        for at_limit, end, beyond in (
            (first <= self.storage.low_kwh + slack, corridor.first, -1),
            (last >= self.storage.high_kwh - slack, corridor.last, 1),
        ):
            t = np.flatnonzero(roomy & at_limit)
            inner = value[t, :, end[t] - beyond]
            extended[t, :, end[t] + 1 + beyond] = 2 * value[t, :, end[t]] - inner
        return extended
