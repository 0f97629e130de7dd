"""Long horizons: the same day in fewer, longer steps, and back again.

A plan for the means over a few steps each is found quickly and is nearly right; around it, every
step then decides the battery, and the diesel near the times at which it changes.
"""

import dataclasses

import numpy as np

from control.dispatch import Bools
from control.dispatch_instance import Floats, Instance
from control.planning_corridor import UNREACHABLE, StepCosts
from control.planning_diesel import DieselStates

SERIES = (
    "load_kw",
    "pv_kw",
    "wind_kw",
    "price_buy_per_kwh",
    "price_sell_per_kwh",
    "import_max_kw",
    "export_max_kw",
    "reserve_kwh",
)


def coarser(instance: Instance, group: int) -> Instance:
    """The instance in steps `group` times as long; the last one repeats what is missing."""
    count = -(-instance.steps // group)
    series = {}
    for name in SERIES:
        values = getattr(instance, name)
        filled = np.pad(values, (0, count * group - values.size), mode="edge")
        series[name] = filled.reshape(count, group).mean(axis=1)
    return dataclasses.replace(instance, step_h=instance.step_h * group, **series)


class NearChanges:
    """Step costs of an instance whose diesel may depart from a pattern near its changes only."""

    def __init__(self, costs: StepCosts, on: Bools, margin: int) -> None:
        """`margin` is in steps, on either side of a change."""
        self._costs, self.instance = costs, costs.instance
        changes = np.flatnonzero(np.diff(on.astype(np.int8), prepend=int(on[0])))
        near = np.zeros(on.size, dtype=bool)
        for t in changes.tolist():
            near[max(0, t - margin) : t + margin] = True
        free = (near | ~on, near | on)
        self._fine = [np.where(allowed, 0.0, UNREACHABLE / on.size) for allowed in free]

    def cost(self, battery_kw: Floats, running: int, at: slice = slice(None)) -> Floats:
        """As of the instance, with a fine where the pattern is broken."""
        return np.asarray(self._costs.cost(battery_kw, running, at) + self._fine[running][at, None])

    def kinks_kw(self, running: int) -> Floats:
        """As of the instance."""
        return self._costs.kinks_kw(running)


def without_minimum_times(states: DieselStates) -> DieselStates:
    """On and off, as they please; a plan for these has to be repaired."""
    initial = int(states.initial_on)
    return dataclasses.replace(states, off=1, on=1, initial=initial, locked=0)
