"""What a house's plant did, summed up per market slot from outside."""

from dataclasses import dataclass, field

import numpy as np

from hil.plant import PlantState
from hil.street_result import Floats

HOUR_S = 3600.0
WHOLE_FRAC = 0.999
LEAST_S = 1e-5  # UTC in seconds is no finer


@dataclass
class SlotSums:
    """Energies of one slot, kWh."""

    load: float = 0.0  # less what a generator gave, and what went unserved
    sun: float = 0.0  # PV and wind that could be had
    battery: float = 0.0  # > 0 discharged
    imported: float = 0.0
    exported: float = 0.0
    gained: float = 0.0  # by the battery, after losses
    seconds: float = 0.0

    def add(self, state: PlantState, dt_s: float) -> None:
        """A stretch of time with these powers."""
        hours = dt_s / HOUR_S
        generator_kw = state.generator.power_kw if state.generator else 0.0
        battery_kw = state.battery.power_kw if state.battery else 0.0
        self.load += (state.served_kw - generator_kw) * hours
        self.sun += sum(each.available_kw for each in (*state.pv, *state.wind)) * hours
        self.battery += battery_kw * hours
        self.imported += max(state.grid_kw, 0.0) * hours
        self.exported += max(-state.grid_kw, 0.0) * hours
        self.seconds += dt_s


@dataclass
class Meter:
    """Watches one plant; register `watch` with its world."""

    slot_s: float
    slots: dict[int, SlotSums] = field(default_factory=dict)
    _stored_kwh: float | None = None

    def watch(self, state: PlantState, end_utc_s: float, dt_s: float) -> None:
        """One step of the plant that ended at `end_utc_s`; it may reach into the next slot."""
        gained_kwh = 0.0
        if state.battery:
            before_kwh = state.battery.stored_kwh if self._stored_kwh is None else self._stored_kwh
            gained_kwh = state.battery.stored_kwh - before_kwh
            self._stored_kwh = state.battery.stored_kwh
        at_s = end_utc_s - dt_s
        while at_s < end_utc_s - LEAST_S:
            epoch = int((at_s + LEAST_S) // self.slot_s)
            until_s = min(end_utc_s, (epoch + 1) * self.slot_s)
            sums = self.slots.setdefault(epoch, SlotSums())
            sums.gained += gained_kwh * (until_s - at_s) / dt_s
            sums.add(state, until_s - at_s)
            at_s = until_s

    def whole(self) -> set[int]:
        """Slots that the run saw from their beginning to their end."""
        shortest_s = WHOLE_FRAC * self.slot_s
        return {epoch for epoch, sums in self.slots.items() if sums.seconds >= shortest_s}

    def column(self, name: str, epochs: range) -> Floats:
        """One of the sums per slot."""
        return np.array([getattr(self.slots[epoch], name) for epoch in epochs])
