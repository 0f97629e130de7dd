"""Plans of several batteries and diesels from a few numbers, for the swarm.

A particle is the value of a stored kWh at a few knots along the horizon, a factor of it for each
battery, and how much a step has to gain before a diesel starts or lose before it stops. Given
these, each step is decided on its own: of all sets of diesels that minimum times allow, and of many
joint powers of the batteries, those whose cost less the value of the energy they store is least.
"""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from control.dispatch import terminal_cost
from control.dispatch_instance import Floats
from control.planning_diesel import DieselClock, DieselStates
from control.planning_fleet_step import FleetSteps
from control.planning_storage import Storage
from control.planning_values import FORBIDDEN, KNOTS

LEVELS_FRAC = (1.0, 0.5, 0.2, 0.75, 0.35, 0.1)  # of the limits, most useful first
CHOICES = 1000  # joint powers times sets of diesels that are tried in every step
SETS_ALL = 4  # so many diesels: every set of them; more: the cheapest 0, 1, 2, ... of them
FACTOR = 0.3  # a battery's energy is worth so much more or less than another's


class FleetDecoder:
    """Turns particles into plans for one fleet."""

    def __init__(
        self,
        steps: FleetSteps,
        storages: Sequence[Storage],
        states: Sequence[DieselStates],
        check: Callable[[], None],
    ) -> None:
        """Tabulate every step's candidates once; `check` raises when the time is up."""
        self.steps, self.storages, self.states, self.check = steps, storages, states, check
        self.sets = self._sets()
        self._runs = np.array(
            [[s >> n & 1 for n in range(len(states))] for s in self.sets], dtype=bool
        )
        always = self._joint_powers()
        self._power, self._cost, self._change = [], [], []
        for number in self.sets:
            check()
            power = self._candidates(number, always)
            worn = sum(
                np.abs(power[b]) * linear + quadratic * power[b] ** 2
                for b, (linear, quadratic) in enumerate(steps.wear)
            )
            rest = steps.demand[:, None] - power.sum(axis=0)
            running = np.full(len(steps.demand), number, dtype=np.intp)
            cost = steps.cost(rest, running) + steps.fleet.site.step_h * worn
            self._power.append(power)
            self._cost.append(cost)
            self._change.append(
                np.stack([s.change_kwh(p) for s, p in zip(storages, power, strict=True)])
                if storages
                else power
            )

    def _sets(self) -> list[int]:
        able = [n for n, s in enumerate(self.states) if s.on]
        if len(able) <= SETS_ALL:
            chosen = itertools.chain.from_iterable(
                itertools.combinations(able, k) for k in range(len(able) + 1)
            )
            return [sum(1 << n for n in some) for some in chosen]
        diesels = self.steps.diesels

        def per_kwh(n: int) -> float:
            full = max(diesels[n].high_kw, 1e-9)
            return (diesels[n].per_h + float(diesels[n].cost(np.array(full)))) / full

        able.sort(key=per_kwh)
        return [sum(1 << n for n in able[:k]) for k in range(len(able) + 1)]

    def _joint_powers(self) -> Floats:
        """Evenly mixed powers of all batteries, (batteries, choices)."""
        count = len(self.storages)
        if not count:
            return np.zeros((0, 1))
        each = max(1, int((CHOICES / len(self.sets)) ** (1 / count) - 1) // 2)
        levels = np.array(LEVELS_FRAC[:each])
        powers = [
            np.concatenate([[0.0], -s.charge_max_kw * levels, s.discharge_max_kw * levels])
            for s in self.storages
        ]
        if 3**count > CHOICES:  # too many to mix: all alike
            return np.stack(powers)
        return np.stack([p.ravel() for p in np.meshgrid(*powers, indexing="ij")])

    def _candidates(self, number: int, always: Floats) -> Floats:
        """Joint powers (batteries, steps, choices), with those at which the step's cost bends."""
        demand = self.steps.demand
        fixed = np.broadcast_to(always[:, None, :], (len(always), demand.size, always.shape[1]))
        if not self.storages:
            return fixed
        running = np.full(demand.size, number, dtype=np.intp)
        total = demand[:, None] - self.steps.kinks_kw(running)
        count = len(self.storages)
        orders = [[(first + n) % count for n in range(count)] for first in range(count)]
        shared = [self._in_turn(total, order) for order in orders]
        if count > 1:
            shared.append(self._alike(total))
        return np.concatenate([fixed, *shared], axis=2)

    def _in_turn(self, total: Floats, order: Sequence[int]) -> Floats:
        """A total power served by one battery after the other."""
        power = np.zeros((len(self.storages), *total.shape))
        for n in order:
            power[n] = self.storages[n].clip_kw(total)
            total = total - power[n]
        return power

    def _alike(self, total: Floats) -> Floats:
        """A total power served by all in proportion to their limits."""
        charge = np.array([s.charge_max_kw for s in self.storages])
        discharge = np.array([s.discharge_max_kw for s in self.storages])
        out = np.clip(total / max(discharge.sum(), 1e-9), 0.0, 1.0)
        into = np.clip(-total / max(charge.sum(), 1e-9), 0.0, 1.0)
        return np.asarray(discharge[:, None, None] * out - charge[:, None, None] * into)

    def box(self) -> tuple[Floats, Floats]:
        """Lowest and highest value of every variable."""
        site, supply = self.steps.fleet.site, self.steps.supply(0)
        worth = [site.energy_value_per_kwh, site.energy_value_per_kwh + site.shortfall_per_kwh]
        if np.any(site.import_max_kw > 0):
            worth += [float(np.min(supply.buy)), float(np.max(supply.buy))]
        if np.any(site.export_max_kw > 0):
            worth.append(float(np.max(supply.sell)))
        for diesel in self.steps.diesels:
            if diesel.high_kw > 0:
                full = diesel.high_kw
                worth.append(diesel.linear)
                worth.append(diesel.linear + diesel.quadratic * full + diesel.per_h / full)
        low, high = min(0.0, *worth), max(worth)
        batteries, diesels = len(self.storages), len(self.states)
        low_box = [np.full(KNOTS, low), np.full(batteries, 1 - FACTOR), np.zeros(2 * diesels)]
        high_box = [
            np.full(KNOTS, max(high, low + 1e-3) * 1.3),
            np.full(batteries, 1 + FACTOR),
            np.ones(2 * diesels),
        ]
        return np.concatenate(low_box), np.concatenate(high_box)

    def start(self) -> Floats:
        """Particles worth trying first: the same value at every knot, at several levels."""
        low, high = self.box()
        share = np.array([0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])[:, None]
        particles = low + share * (high - low)
        particles[:, KNOTS : KNOTS + len(self.storages)] = 1.0
        particles[:, KNOTS + len(self.storages) :] = 0.7
        return particles

    def decode(self, particles: Floats) -> tuple[Floats, Floats, Floats]:
        """Battery powers (particles, batteries, steps), diesel states alike, cost (particles,)."""
        count, steps = len(particles), self.steps.demand.size
        batteries, diesels = len(self.storages), len(self.states)
        knots, at = np.linspace(0, steps - 1, KNOTS), np.arange(steps)
        common = np.stack([np.interp(at, knots, p[:KNOTS]) for p in particles])
        factor = particles[:, KNOTS : KNOTS + batteries]
        eager = particles[:, KNOTS + batteries :].reshape(count, diesels, 2)
        eager = eager * np.array([d.startup for d in self.steps.diesels]).reshape(diesels, 1)
        startup = np.array([d.startup for d in self.steps.diesels])
        rows = np.arange(count)
        energy = np.tile([s.start_kwh for s in self.storages], (count, 1)).reshape(count, batteries)
        power = np.empty((count, batteries, steps))
        on = np.zeros((count, diesels, steps), dtype=bool)
        cost = np.zeros(count)
        clock = DieselClock(self.states, count)
        for t in range(steps):
            self.check()
            value = common[:, t, None] * factor
            best = np.empty((len(self.sets), count))
            picks = np.empty((len(self.sets), count), dtype=np.intp)
            for n in range(len(self.sets)):
                score = self._score(n, t, value, energy)
                picks[n] = np.argmin(score, axis=1)
                best[n] = score[rows, picks[n]]
            change = self._runs[:, None, :] != clock.running
            reluctance = np.where(self._runs[:, None, :], eager[:, :, 0], eager[:, :, 1])
            best += np.sum(change * reluctance, axis=2)
            best += FORBIDDEN * np.sum(change & (clock.locked > 0), axis=2)
            chosen = np.argmin(best, axis=0)
            wanted = self._runs[chosen]
            started = clock.become(wanted)
            on[:, :, t] = clock.running
            for p in range(count):
                n, pick = chosen[p], picks[chosen[p], p]
                power[p, :, t] = self._power[n][:, t, pick]
                energy[p] += self._change[n][:, t, pick]
                cost[p] += self._cost[n][t, pick]
            cost += started @ startup
        for b, battery in enumerate(self.steps.fleet.batteries):
            alone = self.steps.fleet.alone(battery=battery)
            cost += terminal_cost(alone, energy[:, b])
        return power, on, cost

    def _score(self, n: int, t: int, value: Floats, energy: Floats) -> Floats:
        """Cost less worth of every candidate of a set, (particles, choices)."""
        score = np.broadcast_to(self._cost[n][t], (len(value), self._cost[n].shape[1])).copy()
        for b, storage in enumerate(self.storages):
            change = self._change[n][b, t]
            landing = energy[:, b, None] + change
            low, high = storage.low_kwh[t + 1], storage.high_kwh[t + 1]
            score -= value[:, b, None] * change
            score += FORBIDDEN * ((landing < low - 1e-9) | (landing > high + 1e-9))
        return score
