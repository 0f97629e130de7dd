"""Stored energy against battery power in one step, both ways, and the limits along the horizon."""

import numpy as np

from control.dispatch import energy_bounds_kwh, fastest_kw, stored_kwh_per_h
from control.dispatch_instance import Floats, Instance

SLACK_KWH = 1e-8  # rounding, far below the tolerance of feasibility


class Storage:
    """The battery of an instance over one step length."""

    def __init__(self, instance: Instance) -> None:
        """Tabulate the inverter's curve in energy per step."""
        battery = instance.battery
        self.battery, self.step_h = battery, instance.step_h
        self.start_kwh = battery.soc_initial_frac * battery.capacity_kwh
        self.low_kwh, self.high_kwh = energy_bounds_kwh(instance)
        self.span_kwh = float(self.high_kwh[-1] - self.low_kwh[-1])
        self._fastest_kw = fastest_kw(battery)
        self.charge_max_kw = -self._fastest_kw[0]
        self.discharge_max_kw = battery.discharge_max_kw if battery.capacity_kwh > 0 else 0.0
        ends = np.array([-self.charge_max_kw, self.discharge_max_kw, self._fastest_kw[1]])
        change = self.change_kwh(ends)
        self.up_kwh, self.down_kwh = float(change[0]), float(min(change[1:]))
        load = np.array(battery.inverter_load_frac)
        efficiency = np.array(battery.inverter_efficiency_frac)
        if load[0] > 0:  # the curve is constant outside its points
            load, efficiency = np.append(0.0, load), np.append(efficiency[0], efficiency)
        self._load = load
        slope = np.append(np.diff(efficiency) / np.diff(load), 0.0)
        self._slope, self._offset = slope, efficiency - slope * load
        self._rated_kwh = battery.inverter_rated_kw * instance.step_h
        # Curves that are not monotone have several powers for one change: any will do here.
        self._gain = np.maximum.accumulate(load * efficiency)
        self._drain = np.maximum.accumulate(load / efficiency)

    def change_kwh(self, power_kw: Floats) -> Floats:
        """Change of stored energy in a step at a battery power; < 0 while discharging."""
        return self.step_h * stored_kwh_per_h(self.battery, power_kw)

    def power_kw(self, change_kwh: Floats) -> Floats:
        """The battery power (unlimited) that changes stored energy by so much in a step."""
        gain = np.maximum(change_kwh, 0.0) / (self._rated_kwh * self.battery.charge_efficiency_frac)
        drain = np.maximum(-change_kwh, 0.0) * (
            self.battery.discharge_efficiency_frac / self._rated_kwh
        )
        k = np.searchsorted(self._gain, gain, side="right") - 1
        a, b = self._offset[k], self._slope[k]
        root = np.sqrt(np.maximum(a * a + 4 * b * gain, 0.0))
        charge = 2 * gain / np.maximum(a + root, 1e-12)
        k = np.searchsorted(self._drain, drain, side="right") - 1
        a, b = self._offset[k], self._slope[k]
        discharge = a * drain / np.maximum(1 - b * drain, 1e-12)
        return np.asarray((discharge - charge) * self.battery.inverter_rated_kw)

    def clip_kw(self, power_kw: Floats) -> Floats:
        """Battery powers within the charging and discharging limits."""
        return np.clip(power_kw, -self.charge_max_kw, self.discharge_max_kw)

    def kinks_kw(self) -> Floats:
        """Battery powers at which efficiency bends, with zero and both limits, rising."""
        load = self._load[self._load > 0] * self.battery.inverter_rated_kw
        edges = np.array([0.0, -self.charge_max_kw, self.discharge_max_kw])
        return np.unique(self.clip_kw(np.concatenate([-load, load, edges])))

    def repaired_kw(self, power_kw: Floats) -> Floats:
        """Battery powers moved as little as needed, one after the other, to keep every limit."""
        power = self.clip_kw(power_kw)
        energy = self.start_kwh + np.concatenate(([0.0], np.cumsum(self.change_kwh(power))))
        low, high = self.low_kwh, self.high_kwh
        wrong = np.flatnonzero((energy < low - SLACK_KWH) | (energy > high + SLACK_KWH))
        wrong = wrong[wrong > 0]
        if not wrong.size:
            return power
        power = power.copy()
        stored = float(energy[wrong[0] - 1])
        for t in range(int(wrong[0]) - 1, power.size):
            change = float(self.change_kwh(power[t : t + 1])[0])
            wanted = min(max(stored + change, float(low[t + 1])), float(high[t + 1]))
            if abs(wanted - stored - change) > SLACK_KWH:
                inside = low[t + 1] - SLACK_KWH <= stored <= high[t + 1] + SLACK_KWH
                power[t], change = self._change_to(stored, wanted, bool(inside))
            stored += change
        return power

    def _change_to(self, stored: float, wanted: float, inside: bool) -> tuple[float, float]:
        """Power and change towards a stored energy; where the curve defies that, none or all."""
        power = self.clip_kw(self.power_kw(np.array([wanted - stored])))
        change = self.change_kwh(power)
        if abs(stored + change[0] - wanted) > SLACK_KWH:
            charge, discharge = self._fastest_kw
            power[0] = 0.0 if inside else charge if stored < wanted else discharge
            change = self.change_kwh(power)
        return float(power[0]), float(change[0])
