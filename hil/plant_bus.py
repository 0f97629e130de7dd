"""The AC bus of the simulated plant: who holds it, and what that means for everybody's power.

Each function closes the balance pv + wind + battery + generator + grid = served + dumped exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hil.plant_banks import BatteryBank, GeneratorBank
from hil.plant_battery import Battery
from hil.plant_generator import Generator
from hil.plant_inverters import Inverter, PvInverter
from hil.plant_records import Controls

AUTONOMOUS_GENERATOR_LOAD_FRAC = 0.7  # a battery left alone charges until the generator has this


@dataclass(slots=True)
class Flows:
    """Powers of one step; those of the inverters stay with the inverters."""

    battery_kw: float = 0.0
    generator_kw: float = 0.0
    grid_kw: float = 0.0
    unserved_kw: float = 0.0
    dumped_kw: float = 0.0
    throttled_kw: float = 0.0  # PV held back by a rising frequency


class Bus:
    """The machines on the bus, and the load of this step."""

    __slots__ = ("battery", "generator", "pv", "wind")

    def __init__(
        self,
        pv: Sequence[PvInverter],
        wind: Sequence[Inverter],
        battery: Battery | BatteryBank | None,
        generator: Generator | GeneratorBank | None,
    ) -> None:
        self.pv = pv
        self.wind = wind
        self.battery = battery
        self.generator = generator

    def renewable_kw(self) -> float:
        """What PV and wind feed at this moment."""
        power_kw = 0.0
        for inverter in self.pv:
            power_kw += inverter.power_kw
        for turbine in self.wind:
            power_kw += turbine.power_kw
        return power_kw

    def on_grid(self, dt_s: float, load_kw: float, controls: Controls) -> Flows:
        """The grid takes the difference, whatever it is."""
        flows = Flows()
        if self.generator is not None:
            flows.generator_kw = self.generator.parallel_kw(dt_s, controls.generator_kw)
        net_kw = load_kw - self.renewable_kw() - flows.generator_kw
        if self.battery is not None and not controls.battery_off:
            target = controls.battery_kw
            if target is None:
                target = self.battery.autonomous_kw(net_kw)
            flows.battery_kw = self.battery.follow(dt_s, target)
        flows.grid_kw = net_kw - flows.battery_kw
        return flows

    def on_generator(
        self, generator: Generator | GeneratorBank, dt_s: float, load_kw: float, controls: Controls
    ) -> Flows:
        """An island on its generator: the battery follows and helps out beyond the generator."""
        flows = Flows()
        net_kw = load_kw - self.renewable_kw()
        battery = None if controls.battery_off else self.battery
        if battery is not None:
            target = controls.battery_kw
            if target is None:
                target = min(0.0, net_kw - AUTONOMOUS_GENERATOR_LOAD_FRAC * generator.rated_kw)
            flows.battery_kw = battery.follow(dt_s, target)
        need_kw = net_kw - flows.battery_kw
        if need_kw < 0.0:
            flows.generator_kw = 0.0 - self._give_way(-need_kw, flows)
            return flows
        soft_kw = generator.soft_kw(dt_s)
        if need_kw > soft_kw and battery is not None:
            flows.battery_kw += min(need_kw - soft_kw, battery.highest_kw - flows.battery_kw)
            need_kw = net_kw - flows.battery_kw
        flows.generator_kw = min(need_kw, generator.available_kw)
        flows.unserved_kw = need_kw - flows.generator_kw
        return flows

    def on_battery(self, battery: Battery | BatteryBank, load_kw: float) -> Flows:
        """An island on its battery inverter: within its limits it takes the difference."""
        flows = Flows()
        net_kw = load_kw - self.renewable_kw()
        if net_kw < battery.lowest_kw:
            if self._give_way(battery.lowest_kw - net_kw, flows) > 0.0:
                flows.dumped_kw = self._trip_stubborn(load_kw - battery.lowest_kw)
            net_kw = load_kw + flows.dumped_kw - self.renewable_kw()
        flows.battery_kw = min(battery.highest_kw, max(battery.lowest_kw, net_kw))
        flows.unserved_kw = max(0.0, net_kw - flows.battery_kw)
        if flows.unserved_kw > load_kw:
            # nothing but the inverter's own standby is left to feed, and the cells do that
            flows.battery_kw += flows.unserved_kw - load_kw
            flows.unserved_kw = load_kw
        return flows

    def _give_way(self, surplus_kw: float, flows: Flows) -> float:
        """Throttle PV, then heat the wind turbines' dump load; returns what is still too much."""
        willing_kw = 0.0
        for inverter in self.pv:
            if inverter.throttles:
                willing_kw += inverter.power_kw
        flows.throttled_kw = min(surplus_kw, willing_kw)
        if willing_kw > 0.0:
            keep = 1.0 - flows.throttled_kw / willing_kw
            for inverter in self.pv:
                if inverter.throttles:
                    inverter.power_kw *= keep
        surplus_kw -= flows.throttled_kw
        wind_kw = 0.0
        for turbine in self.wind:
            wind_kw += turbine.power_kw
        flows.dumped_kw = min(surplus_kw, wind_kw)
        return surplus_kw - flows.dumped_kw

    def _trip_stubborn(self, taken_kw: float) -> float:
        """Overvoltage disconnects the PV that cannot throttle; returns what is then dumped."""
        for inverter in self.pv:
            if not inverter.throttles:
                inverter.trip()
        return max(0.0, self.renewable_kw() - taken_kw)
