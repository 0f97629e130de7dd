"""Dynamic programming over the stored energies of two batteries at once, all else fixed.

It finds what one battery at a time cannot: energy handed from one to the other, or one of them used
alone where both at part load lose more. The field is two corridors crossed. From every node a step
may go to every other in reach, or one battery does so while the other takes the power at which the
step's own cost bends; the value of energies between nodes is interpolated.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from control.dispatch import terminal_cost
from control.dispatch_instance import Floats, Instance
from control.planning_corridor import UNREACHABLE, Corridor
from control.planning_fleet_step import SomeOfMany
from control.planning_step import Ints
from control.planning_storage import Storage

Pair = tuple[Floats, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class _Moves:
    """Joint moves of all steps, (steps, moves), and how many nodes further they lead."""

    cost: Floats
    shift: Pair


class PairSearch:
    """Finds the best two trajectories in two corridors."""

    def __init__(
        self,
        costs: SomeOfMany,
        batteries: tuple[Instance, Instance],
        storages: tuple[Storage, Storage],
        wear: tuple[tuple[float, float], tuple[float, float]],
        check: Callable[[], None],
    ) -> None:
        """`batteries` are the site with either of them; `check` raises when the time is up."""
        self._costs, self._batteries, self._storages = costs, batteries, storages
        self._wear, self._check = wear, check
        self._kinks = costs.kinks_kw(0)
        self._steps = len(self._kinks)

    def best(self, corridors: tuple[Corridor, Corridor]) -> tuple[Floats, Floats] | None:
        """The energies (steps + 1) of both; None if there is no way through."""
        moves = self._moves(corridors)
        return self._follow(corridors, moves, self._values(corridors, moves))

    def size(self, corridors: tuple[Corridor, Corridor]) -> int:
        """How many numbers a search of the corridors keeps in memory."""
        one, other = (self._reach(*both) for both in zip(self._storages, corridors, strict=True))
        own = [sum(reach) + 4 for reach in (one, other)]
        moves = own[0] * own[1] + sum(own) * int(self._kinks.shape[1])
        nodes = corridors[0].width * corridors[1].width
        return self._steps * (5 * moves + nodes) + 3 * moves * nodes

    def _moves(self, corridors: tuple[Corridor, Corridor]) -> _Moves:
        own = [
            self._own_kw(storage, corridor)
            for storage, corridor in zip(self._storages, corridors, strict=True)
        ]
        one, other = own
        total = self._kinks
        joint = [
            _crossed(one, other),
            _crossed_with(one, total, self._storages[1]),
            _crossed_with(other, total, self._storages[0])[::-1],
        ]
        power = [np.hstack([pair[n] for pair in joint]) for n in (0, 1)]
        cost = np.empty_like(power[0])
        block = max(1, 40_000 // cost.shape[1])
        for start in range(0, self._steps, block):
            self._check()
            at = slice(start, start + block)
            cost[at] = self._costs.serve(power[0][at] + power[1][at], 0, at)
        shift = []
        for n, (storage, corridor) in enumerate(zip(self._storages, corridors, strict=True)):
            linear, quadratic = self._wear[n]
            cost += storage.step_h * (np.abs(power[n]) * linear + quadratic * power[n] ** 2)
            slope = np.diff(corridor.base_kwh)[:, None]
            further = (storage.change_kwh(power[n]) - slope) / corridor.spacing_kwh
            nearest = np.round(further)
            np.copyto(further, nearest, where=np.abs(further - nearest) < 1e-7)
            shift.append(np.clip(further, -corridor.width - 1.0, corridor.width + 0.0))
        return _Moves(cost, (shift[0], shift[1]))

    def _own_kw(self, storage: Storage, corridor: Corridor) -> Floats:
        """Powers of one battery, (steps, powers): to every node in reach, none, and the limits."""
        slope = np.diff(corridor.base_kwh)
        down, up = self._reach(storage, corridor)
        jumps = corridor.spacing_kwh * np.arange(-down, up + 1)
        power = storage.clip_kw(storage.power_kw(slope[:, None] + jumps))
        ends = np.array([0.0, -storage.charge_max_kw, storage.discharge_max_kw])
        return np.hstack([power, np.broadcast_to(ends, (self._steps, 3))])

    def _reach(self, storage: Storage, corridor: Corridor) -> tuple[int, int]:
        """How many nodes a step can go down and up, counted from base to base."""
        slope, spacing = np.diff(corridor.base_kwh), corridor.spacing_kwh
        up = int(np.ceil((storage.up_kwh - slope.min()) / spacing))
        down = int(np.ceil((slope.max() - storage.down_kwh) / spacing))
        return min(corridor.width - 1, down), min(corridor.width - 1, up)

    def _values(self, corridors: tuple[Corridor, Corridor], moves: _Moves) -> Floats:
        """Cost to go (steps + 1, width, width), backwards from the end."""
        shape = tuple(c.width for c in corridors)
        value = np.full((self._steps + 1, *shape), UNREACHABLE)
        inside = [_inside(c) for c in corridors]
        final = [
            terminal_cost(battery, c.base_kwh[-1] + c.spacing_kwh * np.arange(c.width))
            for battery, c in zip(self._batteries, corridors, strict=True)
        ]
        here = final[0][:, None] + final[1]
        value[-1] = np.where(inside[0][-1][:, None] & inside[1][-1], here, UNREACHABLE)
        margin = [w + 2 for w in shape]
        padded = np.full([w + 2 * m for w, m in zip(shape, margin, strict=True)], UNREACHABLE)
        stride = padded.shape[1]
        rows, columns = (np.arange(w) + m for w, m in zip(shape, margin, strict=True))
        nodes = (rows[:, None] * stride + columns).ravel()
        middle = tuple(slice(m, -m) for m in margin)
        flat = padded.reshape(-1)
        for t in range(self._steps - 1, -1, -1):
            self._check()
            padded[middle] = value[t + 1]
            at, weights = _corners(moves, t, stride)
            total = moves.cost[t][:, None] + np.zeros(nodes.size)
            for offset, weight in zip((0, 1, stride, stride + 1), weights, strict=True):
                some = np.flatnonzero(weight)
                total[some] += weight[some, None] * flat.take(at[some, None] + offset + nodes)
            reached = total.min(axis=0).reshape(shape)
            ok = inside[0][t][:, None] & inside[1][t]
            value[t] = np.where(ok, np.minimum(reached, UNREACHABLE), UNREACHABLE)
        return value

    def _follow(
        self, corridors: tuple[Corridor, Corridor], moves: _Moves, value: Floats
    ) -> tuple[Floats, Floats] | None:
        """Forwards from the start by the cost to go, at exact energies."""
        energy = np.empty((2, self._steps + 1))
        energy[:, 0] = [s.start_kwh for s in self._storages]
        position = [float(c.first[0]) for c in corridors]
        for t in range(self._steps):
            landing = [position[n] + moves.shift[n][t] for n in (0, 1)]
            total = moves.cost[t] + _between(value[t + 1], *landing)
            pick = int(np.argmin(total))
            if total[pick] >= UNREACHABLE / 2:
                return None
            for n, c in enumerate(corridors):
                low, high = float(c.first[t + 1]), float(c.last[t + 1])
                position[n] = min(max(float(landing[n][pick]), low), high)
                energy[n, t + 1] = c.base_kwh[t + 1] + position[n] * c.spacing_kwh
        return energy[0], energy[1]


def _crossed(one: Floats, other: Floats) -> Pair:
    """Every power of one with every power of the other, (steps, powers * powers)."""
    shape = (len(one), one.shape[1], other.shape[1])
    first = np.broadcast_to(one[:, :, None], shape).reshape(len(one), -1)
    return first, np.broadcast_to(other[:, None, :], shape).reshape(len(one), -1)


def _crossed_with(one: Floats, total: Floats, storage: Storage) -> Pair:
    """Every power of one with what the other has to add for every total."""
    first, wanted = _crossed(one, total)
    return first, storage.clip_kw(wanted - first)


def _inside(corridor: Corridor) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    node = np.arange(corridor.width)
    first, last = corridor.first[:, None], corridor.last[:, None]
    return np.asarray((node >= first) & (node <= last))


def _corners(moves: _Moves, t: int, stride: int) -> tuple[Ints, list[Floats]]:
    """The lower corner of the cell in which every move lands, and the weights of its corners."""
    row, column = (s[t] for s in moves.shift)
    whole_row, whole_column = np.floor(row), np.floor(column)
    a, b = row - whole_row, column - whole_column
    at = (whole_row * stride + whole_column).astype(np.intp)
    return at, [(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b]


def _between(value: Floats, row: Floats, column: Floats) -> Floats:
    """Values interpolated at places of a field; beyond it nothing can be reached."""
    slack = 1e-9
    ok = (row > -slack) & (column > -slack)
    ok &= (row < value.shape[0] - 1 + slack) & (column < value.shape[1] - 1 + slack)
    row = np.clip(row, 0.0, value.shape[0] - 1.0)
    column = np.clip(column, 0.0, value.shape[1] - 1.0)
    i = np.minimum(row.astype(np.intp), max(0, value.shape[0] - 2))
    j = np.minimum(column.astype(np.intp), max(0, value.shape[1] - 2))
    a, b = row - i, column - j
    i_next, j_next = np.minimum(i + 1, value.shape[0] - 1), np.minimum(j + 1, value.shape[1] - 1)
    top = (1 - b) * value[i, j] + b * value[i, j_next]
    bottom = (1 - b) * value[i_next, j] + b * value[i_next, j_next]
    return np.where(ok, (1 - a) * top + a * bottom, UNREACHABLE)
