"""The dispatch problem as a piecewise-linear mixed-integer program, solved by HiGHS.

The yardstick beside the planner, not part of it: it needs highspy (extra `[bench]`). Curves are
straight between points: an inverter's gain and drain of stored energy at the points of its
efficiency and one in between, the quadratic costs of wear and fuel likewise. What is convex stays
linear; where a battery's curve is not, a binary picks one of its concave stretches.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from control.dispatch import (
    Bools,
    energy_bounds_kwh,
    fastest_kw,
    locked_steps,
    stored_kwh_per_h,
    whole_steps,
)
from control.dispatch_fleet import Fleet
from control.dispatch_instance import Battery, Diesel, Floats
from control.planning_candidates import Candidates, FleetPlan
from control.planning_running import Burning
from control.planning_step import wear
from firmware.bad_input import BadInput

FUEL_PIECES = 5
_EPS = 1e-9


def solve(fleet: Fleet, *, seed: int, budget_s: float) -> FleetPlan:
    """The best plan HiGHS finds within the budget, at its true cost. One thread."""
    try:
        import highspy
    except ImportError:
        raise BadInput("--solver milp: highspy is not installed (pip install highspy)") from None
    model = _Model(fleet, highspy)
    power, on, finished = model.solve(seed, budget_s)
    candidates = Candidates(fleet)
    candidates.offer(power, on, "milp")
    return candidates.result(0, "converged" if finished else "budget")


@dataclass(frozen=True, slots=True)
class _Column:
    """One variable per step: the index of the first."""

    first: int

    def __getitem__(self, t: int) -> int:
        return self.first + t


class _Model:
    """The program, built row by row into HiGHS."""

    def __init__(self, fleet: Fleet, highspy: Any) -> None:
        self.fleet, self.steps, self._h = fleet, fleet.site.steps, highspy
        self.highs = highspy.Highs()
        self.highs.silent()
        self._low: list[float] = []
        self._high: list[float] = []
        self._cost: list[float] = []
        self._whole: list[int] = []
        self._rows: list[tuple[float, float, dict[int, float]]] = []
        self._balance: list[dict[int, float]] = [{} for _ in range(self.steps)]
        self._offers()
        self._powers = [self._battery(b) for b in fleet.batteries]
        self._on = [self._diesel(d) for d in fleet.diesels]
        site = fleet.site
        for t, row in enumerate(self._balance):
            need = float(site.load_kw[t] - site.pv_kw[t] - site.wind_kw[t])
            self._rows.append((need, need, row))

    # --- building blocks ----------------------------------------------------------------------

    def _column(
        self, high: float | Floats, cost: float | Floats, *, low: float = 0.0, whole: bool = False
    ) -> _Column:
        first = len(self._low)
        self._low += [low] * self.steps
        self._high += np.broadcast_to(high, self.steps).tolist()
        self._cost += np.broadcast_to(cost, self.steps).tolist()
        if whole:
            self._whole += range(first, first + self.steps)
        return _Column(first)

    def _single(self, low: float, high: float, cost: float) -> int:
        self._low.append(low)
        self._high.append(high)
        self._cost.append(cost)
        return len(self._low) - 1

    def _row(self, low: float, high: float, terms: dict[int, float]) -> None:
        self._rows.append((low, high, terms))

    def _supply(self, column: _Column, factor: float) -> None:
        for t, row in enumerate(self._balance):
            row[column[t]] = factor

    def _offers(self) -> None:
        site, dt = self.fleet.site, self.fleet.site.step_h
        pollution = site.weight_pollution * site.grid_pollution_per_kwh
        price_in = site.weight_generation * site.price_buy_per_kwh + pollution
        price_out = site.weight_generation * site.price_sell_per_kwh
        buy = self._column(site.import_max_kw, dt * price_in)
        sell = self._column(site.export_max_kw, -dt * price_out)
        spill = self._column(site.pv_kw + site.wind_kw, dt * site.curtailed_per_kwh)
        unserved = self._column(math.inf, dt * site.unserved_per_kwh)
        dumped = self._column(math.inf, dt * site.dumped_per_kwh)
        for column, sign in ((buy, 1), (sell, -1), (spill, -1), (unserved, 1), (dumped, -1)):
            self._supply(column, float(sign))
        if np.any(price_out > price_in):
            buys = self._column(1.0, 0.0, whole=True)
            for t in np.flatnonzero(price_out > price_in).tolist():
                most_in, most_out = float(site.import_max_kw[t]), float(site.export_max_kw[t])
                self._row(-math.inf, 0.0, {buy[t]: 1.0, buys[t]: -most_in})
                self._row(-math.inf, most_out, {sell[t]: 1.0, buys[t]: most_out})

    def _battery(self, battery: Battery) -> tuple[list[_Column], Floats]:
        """Shares of every point of the curve, which add up to 1; their columns and powers."""
        instance, dt = self.fleet.alone(battery=battery), self.fleet.site.step_h
        points = _points_kw(battery)
        linear, quadratic = wear(instance)
        worn = dt * (np.abs(points) * linear + quadratic * points**2)
        shares = [self._column(1.0, float(c)) for c in worn]
        for column, kw in zip(shares, points, strict=True):
            self._supply(column, float(kw))
        gain = dt * stored_kwh_per_h(battery, points)
        exact = self._losses_pay()
        self._energy(battery, shares, gain, exact)
        stretches = _concave(points, gain)
        pieces = [(n, n + 1) for n in range(points.size - 1)] if np.any(exact) else []
        picked = [self._column(np.where(exact, 0.0, 1.0), 0.0, whole=True) for _ in stretches]
        picked += [self._column(np.where(exact, 1.0, 0.0), 0.0, whole=True) for _ in pieces]
        inside = [range(a, b + 1) for a, b in [*stretches, *pieces]]
        for t in range(self.steps):
            self._row(1.0, 1.0, {s[t]: 1.0 for s in shares})
            self._row(1.0, 1.0, {p[t]: 1.0 for p in picked})
            # A point belongs to up to two stretches: it is free when either of them is picked.
            for n, column in enumerate(shares):
                free = {p[t]: -1.0 for p, r in zip(picked, inside, strict=True) if n in r}
                self._row(-math.inf, 0.0, {column[t]: 1.0, **free})
        return shares, points

    def _losses_pay(self) -> Bools:
        """Steps in which energy has a negative price: there the curve is met exactly."""
        site = self.fleet.site
        pollution = site.weight_pollution * site.grid_pollution_per_kwh
        return site.weight_generation * site.price_buy_per_kwh + pollution < 0

    def _energy(self, battery: Battery, shares: list[_Column], gain: Floats, exact: Bools) -> None:
        """Stored energy within its limits, its last value and what is short of the target."""
        instance = self.fleet.alone(battery=battery)
        low, high = energy_bounds_kwh(instance)
        stored = self._column(0.0, 0.0)
        start = battery.soc_initial_frac * battery.capacity_kwh
        for t in range(self.steps):
            self._low[stored[t]], self._high[stored[t]] = float(low[t + 1]), float(high[t + 1])
            row = {stored[t]: 1.0} | {
                s[t]: -float(g) for s, g in zip(shares, gain, strict=True) if g
            }
            if t:
                row[stored[t - 1]] = -1.0
            # Where energy is worth something, that less arrives than the curve gives never helps.
            known = 0.0 if t else start
            self._row(known if exact[t] else -math.inf, known, row)
        last = stored[self.steps - 1]
        self._cost[last] -= instance.energy_value_per_kwh
        target = instance.target_soc_frac * battery.capacity_kwh
        short = self._single(0.0, math.inf, instance.shortfall_per_kwh)
        self._row(target, math.inf, {last: 1.0, short: 1.0})

    def _diesel(self, diesel: Diesel) -> _Column:
        """State, starts and power; fuel in pieces of rising cost."""
        dt = self.fleet.site.step_h
        burning = Burning.of(self.fleet.site, diesel)
        low, high = burning.low_kw, burning.high_kw
        base = burning.per_h + float(burning.cost(np.array(low)))
        on = self._column(1.0, dt * base, whole=True)
        starts = self._column(1.0, burning.startup)
        self._supply(on, low)
        edges = np.linspace(low, high, FUEL_PIECES + 1)
        slope = burning.linear + burning.quadratic * (edges[1:] + edges[:-1])
        for width, per_kwh in zip(np.diff(edges), slope, strict=True):
            piece = self._column(float(width), dt * float(per_kwh))
            self._supply(piece, 1.0)
            for t in range(self.steps):
                self._row(-math.inf, 0.0, {piece[t]: 1.0, on[t]: -float(width)})
        self._runs(diesel, on, starts)
        return on

    def _runs(self, diesel: Diesel, on: _Column, starts: _Column) -> None:
        """Starts counted, and minimum times kept."""
        dt = self.fleet.site.step_h
        up, down = (max(1, whole_steps(h, dt)) for h in (diesel.min_up_h, diesel.min_down_h))
        was = float(diesel.initial_on)
        for t in range(self.steps):
            before = {on[t - 1]: -1.0} if t else {}
            rise = 0.0 if t else was
            self._row(-math.inf, rise, {on[t]: 1.0, **before, starts[t]: -1.0})
            started = {starts[k]: -1.0 for k in range(max(0, t - up + 1), t + 1)}
            self._row(0.0, math.inf, {on[t]: 1.0, **started})
            if t - down >= 0:  # on now or started lately means: not off since
                started = {starts[k]: 1.0 for k in range(t - down + 1, t + 1)}
                self._row(-math.inf, 1.0, {on[t - down]: 1.0, **started})
            elif diesel.initial_on:  # a stop before the first step never was: nothing to keep
                started = {starts[k]: 1.0 for k in range(t + 1)}
                self._row(-math.inf, 0.0, started)
        for t in range(min(locked_steps(diesel, dt), self.steps)):
            self._low[on[t]] = self._high[on[t]] = was

    # --- solving ------------------------------------------------------------------------------

    def solve(self, seed: int, budget_s: float) -> tuple[Floats, Bools, bool]:
        """Battery powers (batteries, steps), diesel states (diesels, steps), whether it ended."""
        highs = self.highs
        highs.setOptionValue("threads", 1)
        highs.setOptionValue("random_seed", seed)
        highs.setOptionValue("time_limit", budget_s)
        highs.setOptionValue("mip_rel_gap", 1e-5)
        highs.passModel(self._program())
        highs.run()
        finished = highs.getModelStatus() == self._h.HighsModelStatus.kOptimal
        value = np.array(highs.getSolution().col_value or np.zeros(len(self._low)))
        power = np.zeros((len(self._powers), self.steps))
        for n, (shares, points) in enumerate(self._powers):
            for column, kw in zip(shares, points, strict=True):
                power[n] += kw * value[column.first : column.first + self.steps]
        on = [value[c.first : c.first + self.steps] > 0.5 for c in self._on]
        return power, np.array(on, dtype=bool).reshape(len(on), self.steps), finished

    def _program(self) -> Any:
        program = self._h.HighsLp()
        program.num_col_, program.num_row_ = len(self._low), len(self._rows)
        program.col_cost_, program.col_lower_, program.col_upper_ = (
            np.array(values) for values in (self._cost, self._low, self._high)
        )
        program.row_lower_ = np.array([low for low, _, _ in self._rows])
        program.row_upper_ = np.array([high for _, high, _ in self._rows])
        matrix = program.a_matrix_
        matrix.format_ = self._h.MatrixFormat.kRowwise
        lengths = [len(terms) for _, _, terms in self._rows]
        matrix.start_ = np.concatenate([[0], np.cumsum(lengths)])
        matrix.index_ = np.array([k for _, _, terms in self._rows for k in terms])
        matrix.value_ = np.array([v for _, _, terms in self._rows for v in terms.values()])
        kinds = [self._h.HighsVarType.kContinuous] * len(self._low)
        for column in self._whole:
            kinds[column] = self._h.HighsVarType.kInteger
        program.integrality_ = kinds
        return program


def _points_kw(battery: Battery) -> Floats:
    """Battery powers between which its curves are taken as straight, rising."""
    charge, _ = fastest_kw(battery)
    discharge = battery.discharge_max_kw if battery.capacity_kwh > 0 else 0.0
    load = np.array(battery.inverter_load_frac)
    load = np.union1d(load, (load[1:] + load[:-1]) / 2) * battery.inverter_rated_kw
    points = np.concatenate([-load, load, [0.0, charge, discharge]])
    points = np.unique(points[(points >= charge) & (points <= discharge)])
    keep = np.append(True, np.diff(points) > _EPS)
    return np.asarray(points[keep])


def _concave(points: Floats, gain: Floats) -> Sequence[tuple[int, int]]:
    """The stretches of points over which stored energy is a concave function of power."""
    if points.size < 3:
        return [(0, points.size - 1)]
    slope = np.diff(gain) / np.diff(points)
    bends = (np.flatnonzero(np.diff(slope) > _EPS) + 1).tolist()
    ends = [0, *bends, points.size - 1]
    return list(itertools.pairwise(ends))
