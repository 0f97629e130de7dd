"""Plans from a few numbers: what stored energy is worth over the day, and how eager the diesel is.

A particle is the value of a stored kWh at a few knots along the horizon, and how much a step has to
gain before the diesel starts or has to lose before it stops. Given the value, each step is decided
on its own: the battery power and diesel state whose cost less the value of the energy they store is
least. Many particles are decoded at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from control.dispatch import Bools, terminal_cost
from control.dispatch_instance import Floats
from control.planning_diesel import DieselClock, DieselStates
from control.planning_step import MeritOrder
from control.planning_storage import Storage

KNOTS = 6
FORBIDDEN = 1e9  # added to the cost of what may not be
_LEVELS = 21  # evenly spread battery powers that are tried in every step


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What each particle does: battery (particles, steps), diesel (particles, steps), its cost."""

    battery_kw: Floats
    on: Bools
    cost: Floats


class ValueDecoder:
    """Turns particles into plans for one instance."""

    def __init__(
        self,
        merit: MeritOrder,
        storage: Storage,
        states: DieselStates,
        check: Callable[[], None],
    ) -> None:
        """Tabulate every step's candidate powers once; `check` raises when the time is up."""
        self.merit, self.storage, self.states, self.check = merit, storage, states, check
        steps = merit.instance.steps
        levels = np.linspace(-storage.charge_max_kw, storage.discharge_max_kw, _LEVELS)
        always = np.concatenate([[0.0], levels])
        self._power, self._cost, self._change = [], [], []
        for on in (False, True) if states.on else (False,):
            kinks = storage.clip_kw(merit.kinks_kw(on))
            power = np.hstack([np.broadcast_to(always, (steps, always.size)), kinks])
            self._power.append(power)
            self._cost.append(merit.cost(power, on))
            self._change.append(storage.change_kwh(power))

    def box(self) -> tuple[Floats, Floats]:
        """Lowest and highest value of every variable."""
        merit, instance = self.merit, self.merit.instance
        worth = [instance.energy_value_per_kwh, instance.energy_value_per_kwh]
        worth[1] += instance.shortfall_per_kwh
        if np.any(instance.import_max_kw > 0):
            buy = merit.supply[False].buy
            worth += [float(np.min(buy)), float(np.max(buy))]
        if np.any(instance.export_max_kw > 0):
            worth.append(float(np.max(merit.supply[False].sell)))
        if instance.diesel.power_max_kw > 0:
            diesel, full = merit.diesel, instance.diesel.power_max_kw
            worth.append(diesel.linear)
            worth.append(diesel.linear + diesel.quadratic * full + diesel.per_h / full)
        low, high = min(0.0, *worth), max(worth)
        low_box = np.concatenate([np.full(KNOTS, low), [0.0, 0.0]])
        high_box = np.concatenate([np.full(KNOTS, max(high, low + 1e-3) * 1.3), [1.0, 1.0]])
        return low_box, high_box

    def start(self) -> Floats:
        """Particles worth trying first: the same value at every knot, at several levels."""
        low, high = self.box()
        share = np.array([0.3, 0.5, 0.7, 0.9])[:, None]
        return low + share * (high - low)

    def decode(self, particles: Floats) -> Decoded:
        """Plan every particle, (particles, KNOTS + 2)."""
        count, steps = len(particles), self.merit.instance.steps
        knots = np.linspace(0, steps - 1, KNOTS)
        at = np.arange(steps)
        value = np.stack([np.interp(at, knots, p[:KNOTS]) for p in particles])
        eager = self.merit.startup * particles[:, KNOTS:]
        rows = np.arange(count)
        energy = np.full(count, self.storage.start_kwh)
        battery = np.empty((count, steps))
        on = np.zeros((count, steps), dtype=bool)
        cost = np.full(count, self.merit.constant)
        clock = DieselClock([self.states], count)
        for t in range(steps):
            self.check()
            picks, scores = [], []
            for power, price, change in zip(self._power, self._cost, self._change, strict=True):
                landing = energy[:, None] + change[t]
                score = price[t] - value[:, t, None] * change[t]
                low, high = self.storage.low_kwh[t + 1], self.storage.high_kwh[t + 1]
                score = score + FORBIDDEN * ((landing < low - 1e-9) | (landing > high + 1e-9))
                pick = np.argmin(score, axis=1)
                picks.append((power[t, pick], price[t, pick], change[t, pick]))
                scores.append(score[rows, pick])
            chosen = picks[0]
            if len(picks) > 1:
                gain, running = scores[0] - scores[1], clock.running[:, 0]
                wanted = np.where(running, gain > -eager[:, 1], gain > eager[:, 0])
                started = clock.become(wanted[:, None])[:, 0]
                running = clock.running[:, 0]
                chosen = tuple(np.where(running, b, a) for a, b in zip(*picks, strict=True))
                on[:, t] = running
                cost += self.merit.startup * started
            battery[:, t] = chosen[0]
            cost += chosen[1]
            energy = energy + chosen[2]
        return Decoded(battery, on, cost + terminal_cost(self.merit.instance, energy))
