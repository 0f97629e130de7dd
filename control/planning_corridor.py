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
from typing import Any, Protocol

import numpy as np

from control.dispatch import Bools, reserve_cost, terminal_cost
from control.dispatch_instance import Floats, Instance
from control.planning_diesel import ALWAYS_OFF, States
from control.planning_step import Ints
from control.planning_storage import SLACK_KWH, Storage

UNREACHABLE = 1e15  # a cost, finite so that interpolation with weight 0 stays 0
_BLOCK = 20_000  # moves priced between two looks at the clock


class StepCosts(Protocol):
    """What steps cost beside start-ups, by the battery's power and by who runs (a number)."""

    @property
    def instance(self) -> Instance:
        """The instance with the battery of the search."""

    def cost(self, battery_kw: Floats, running: int, at: slice = ...) -> Floats:
        """Cost of the steps `at` for battery powers (steps, powers)."""

    def kinks_kw(self, running: int) -> Floats:
        """Battery powers at which a step's marginal cost changes, (steps, kinks)."""


@dataclass(frozen=True, slots=True, eq=False)
class Corridor:
    """Energies `base_kwh[t] + i * spacing_kwh`, i in first[t]..last[t], at the start of step t."""

    base_kwh: Floats  # (steps + 1,)
    spacing_kwh: float
    width: int
    first: Ints
    last: Ints


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Battery powers that can be tried in every step, all (steps, moves)."""

    cost: Floats
    shift: Floats  # how many energies further, from base to base: whole + part
    whole: Ints
    part: Floats


class CorridorSearch:
    """Finds the best trajectory in corridors of one instance."""

    def __init__(
        self, merit: StepCosts, storage: Storage, check: Callable[[], None], sets: int = 2
    ) -> None:
        """Prepare the powers at which costs bend, for so many sets of running diesels.

        `check` raises when the time is up.
        """
        self.merit, self.storage, self.check = merit, storage, check
        self._steps = merit.instance.steps
        bends = storage.kinks_kw()
        self._bends = np.broadcast_to(bends, (self._steps, bends.size))
        self._kinks = [storage.clip_kw(merit.kinks_kw(n)) for n in range(sets)]

    # --- corridors --------------------------------------------------------------------------

    def whole_plane(self, energies: int) -> Corridor:
        """All energies within the limits that can be reached, about so many of them."""
        low, high = self._reach()
        if high - low <= SLACK_KWH:
            return self._corridor(np.full(self._steps + 1, low), 1.0, 0)
        cells = math.ceil(self.storage.span_kwh / (high - low) * energies)
        spacing = self.storage.span_kwh / cells
        half = math.ceil((high - low) / spacing / 2) + 1
        return self._corridor(np.full(self._steps + 1, (low + high) / 2), spacing, half)

    def around(self, energy_kwh: Floats, cells: int, half: int) -> Corridor:
        """`half` energies on either side of a trajectory, the limits' span cut into `cells`."""
        low, high = self._reach()
        if high - low <= SLACK_KWH:
            return self._corridor(np.full(self._steps + 1, low), 1.0, 0)
        return self._corridor(energy_kwh, self.storage.span_kwh / cells, half)

    def _reach(self) -> tuple[float, float]:
        """The lowest and the highest energy within the limits that can be reached."""
        s = self.storage
        low, high = float(s.low_kwh[-1]), float(s.high_kwh[-1])
        inside = min(max(s.start_kwh, low), high)
        least = max(low, inside + self._steps * s.down_kwh)
        return least, min(high, inside + self._steps * s.up_kwh)

    def _corridor(self, middle_kwh: Floats, spacing: float, half: int) -> Corridor:
        """A corridor whose energies include the limits, and the start as the only first one.

        While the battery is on its way back into its limits there is only the way back.
        """
        low, high = self.storage.low_kwh, self.storage.high_kwh
        origin = float(low[-1])
        base = origin + spacing * (np.round((middle_kwh - origin) / spacing) - half)
        returning = (low < origin - SLACK_KWH) | (high > high[-1] + SLACK_KWH)
        only = np.where(low < origin, low, high)
        returning[0], only[0] = True, self.storage.start_kwh
        base = np.where(returning, only - half * spacing, base)
        first = np.clip(np.ceil((low - base) / spacing - 1e-6), 0, 2 * half).astype(np.intp)
        last = np.clip(np.floor((high - base) / spacing + 1e-6), 0, 2 * half).astype(np.intp)
        first, last = np.where(returning, half, first), np.where(returning, half, last)
        return Corridor(base, spacing, 2 * half + 1, first, last)

    def size(self, corridor: Corridor, states: States) -> int:
        """How many numbers a search of the corridor keeps in memory."""
        down, up = self._jumps(corridor)
        moves = int(self._bends.shape[1] + self._kinks[-1].shape[1]) + down + up + 1
        kept = self._steps * (states.count * (corridor.width + 2) + 8 * moves)
        return kept + 3 * states.count * moves * corridor.width

    # --- moves ------------------------------------------------------------------------------

    def _jumps(self, corridor: Corridor) -> tuple[int, int]:
        """How many energies a step can go down and up, counted from base to base."""
        slope = np.diff(corridor.base_kwh)
        up = math.ceil((self.storage.up_kwh - np.min(slope)) / corridor.spacing_kwh)
        down = math.ceil((np.max(slope) - self.storage.down_kwh) / corridor.spacing_kwh)
        return min(corridor.width - 1, down), min(corridor.width - 1, up)

    def _moves(self, corridor: Corridor, running: int) -> _Moves:
        """All moves of all steps, priced, while this set of diesels runs."""
        down, up = self._jumps(corridor)
        jumps = corridor.spacing_kwh * np.arange(-down, up + 1)
        count = jumps.size + self._bends.shape[1] + self._kinks[running].shape[1]
        shape = (self._steps, count)
        cost, shift = np.empty(shape), np.empty(shape)
        slope = np.diff(corridor.base_kwh)[:, None]
        block = max(1, _BLOCK // count)
        for start in range(0, self._steps, block):
            self.check()
            at = slice(start, start + block)
            power = self.storage.clip_kw(self.storage.power_kw(slope[at] + jumps))
            power = np.hstack([self._bends[at], self._kinks[running][at], power])
            cost[at] = self.merit.cost(power, running, at)
            shift[at] = (self.storage.change_kwh(power) - slope[at]) / corridor.spacing_kwh
        nearest = np.round(shift)
        np.copyto(shift, nearest, where=np.abs(shift - nearest) < 1e-7)
        whole = np.floor(shift)
        part = shift - whole
        whole = np.clip(whole, -corridor.width - 1, corridor.width).astype(np.intp)
        return _Moves(cost, shift, whole, part)

    # --- search -----------------------------------------------------------------------------

    def best(self, corridor: Corridor, states: States) -> tuple[Floats, Ints] | None:
        """The best trajectory's energies (steps + 1) and who runs (steps); None if none is left."""
        moves = {number: self._moves(corridor, number) for number, _ in states.blocks}
        value = self._values(corridor, states, moves)
        return self._follow(corridor, states, moves, value)

    def best_energy(self, corridor: Corridor, running: Bools) -> Floats | None:
        """The best trajectory's energies (steps + 1) for a diesel that runs as given."""
        off, on = self._moves(corridor, 0), self._moves(corridor, 1)
        moves = {0: _merge(off, on, running)}
        value = self._values(corridor, ALWAYS_OFF, moves)
        found = self._follow(corridor, ALWAYS_OFF, moves, value)
        return found[0] if found else None

    def _values(self, corridor: Corridor, states: States, moves: dict[int, _Moves]) -> Floats:
        """Cost to go (steps + 1, states, width + 2), backwards from the end.

        There is one more column on either side than the corridor has energies.
        """
        width = corridor.width
        value = np.full((self._steps + 1, states.count, width + 2), UNREACHABLE)
        column = np.arange(width)
        final = corridor.base_kwh[-1] + corridor.spacing_kwh * column
        outside = (column < corridor.first[:, None]) | (column > corridor.last[:, None])
        instance = self.merit.instance
        energy = corridor.base_kwh[1:, None] + corridor.spacing_kwh * column
        short = reserve_cost(instance, energy) if instance.reserve_short_per_kwh_h else None
        here = terminal_cost(instance, final) + (0.0 if short is None else short[-1])
        value[-1, :, 1:-1] = np.where(outside[-1], UNREACHABLE, here)
        margin = width + 2
        padded = np.full((states.count, width + 2 * margin), UNREACHABLE)
        rise = np.zeros_like(padded)
        reached = np.empty((states.count, width))
        blocks = states.blocks
        for t in range(self._steps - 1, -1, -1):
            self.check()
            padded[:, margin:-margin] = value[t + 1, :, 1:-1]
            np.subtract(padded[:, 1:], padded[:, :-1], out=rise[:, :-1])
            for number, rows in blocks:
                m = moves[number]
                at = m.whole[t][:, None] + (column + margin)
                total = rise[rows].take(at, axis=1)
                total *= m.part[t][:, None]
                total += padded[rows].take(at, axis=1)
                total += m.cost[t][:, None]
                reached[rows] = np.min(total, axis=1)
            before = value[t, :, 1:-1]
            states.values_before(reached, before)
            if short is not None and t:
                before += short[t - 1]
            before[:, outside[t]] = UNREACHABLE
        self._extend(corridor, value)
        return value

    def _extend(self, corridor: Corridor, value: Floats) -> None:
        """Continue the cost to go by one energy beyond the limits, in a straight line.

        A move that overshoots a limit by less than one energy can then be tried, and cut to end
        on it.
        """
        slack = 1e-6 * corridor.spacing_kwh
        first = corridor.base_kwh + corridor.first * corridor.spacing_kwh
        last = corridor.base_kwh + corridor.last * corridor.spacing_kwh
        roomy = corridor.last > corridor.first
        for at_limit, end, beyond in (
            (first <= self.storage.low_kwh + slack, corridor.first + 1, -1),
            (last >= self.storage.high_kwh - slack, corridor.last + 1, 1),
        ):
            t = np.flatnonzero(roomy & at_limit)
            inner, edge = value[t, :, end[t] - beyond], value[t, :, end[t]]
            value[t, :, end[t] + beyond] = 2 * edge - inner

    def _follow(
        self,
        corridor: Corridor,
        states: States,
        moves: dict[int, _Moves],
        value: Floats,
    ) -> tuple[Floats, Ints] | None:
        """Forwards from the start by the cost to go, at exact energies."""
        energy = np.empty(self._steps + 1)
        running = np.zeros(self._steps, dtype=np.intp)
        state = states.initial
        position = float(corridor.first[0])
        energy[0] = self.storage.start_kwh
        column = np.arange(-1.0, corridor.width + 1)
        for t in range(self._steps):
            self.check()
            best = (UNREACHABLE / 2, 0.0, state, 0)
            for following, number, change in states.following(state):
                landing = position + moves[number].shift[t]
                ahead = value[t + 1, states.index(following)]
                total = moves[number].cost[t] + np.interp(
                    landing, column, ahead, UNREACHABLE, UNREACHABLE
                )
                pick = int(np.argmin(total))
                cost = float(total[pick]) + change
                if cost < best[0]:
                    best = (cost, float(landing[pick]), following, number)
            if best[0] >= UNREACHABLE / 2:
                return None
            position = min(max(best[1], float(corridor.first[t + 1])), float(corridor.last[t + 1]))
            state, running[t] = best[2], best[3]
            energy[t + 1] = corridor.base_kwh[t + 1] + position * corridor.spacing_kwh
        return energy, running


def _merge(off: _Moves, on: _Moves, running: Bools) -> _Moves:
    """The moves of whichever state the diesel is in; the shorter rows repeat their last move."""
    most = max(off.cost.shape[1], on.cost.shape[1])

    def pick(name: str) -> np.ndarray[Any, Any]:
        two = [getattr(moves, name) for moves in (off, on)]
        wide = [np.pad(x, ((0, 0), (0, most - x.shape[1])), mode="edge") for x in two]
        return np.where(running[:, None], wide[1], wide[0])

    return _Moves(pick("cost"), pick("shift"), pick("whole"), pick("part"))
