"""Several batteries, several generators of the simulated plant, to the bus as one of each.

Batteries with a setpoint follow it. What is asked of them beyond (they form the island's grid, or
help a generator out) they share by rating, as inverters with a droop around their setpoint do.
Generators on the bus share its load in proportion to what they can give, as governors do.
"""

from collections.abc import Sequence
from dataclasses import replace

from control.allotment import Box, taken_over
from control.arbiter import clamp
from hil.plant_battery import Battery, BatteryTruth
from hil.plant_generator import Generator, GeneratorTruth
from hil.plant_records import BatteryState, Controls, GeneratorState

FOREMOST = ("running", "warming", "starting", "cooling", "stopped")


class BatteryBank:
    """Batteries side by side, with the face of one `Battery`."""

    def __init__(self, truths: Sequence[BatteryTruth]) -> None:
        self._names = [truth.name for truth in truths]
        self._units = [Battery(truth) for truth in truths]
        self._controls = [Controls()] * len(truths)
        self._powers_kw = [0.0] * len(truths)
        self.lowest_kw = self.highest_kw = 0.0
        self.states: dict[str, BatteryState] = {}

    @property
    def rated_kw(self) -> float:
        """Of those that are switched on."""
        return sum(unit.rated_kw for unit in self._on) or self._units[0].rated_kw

    @property
    def standby_kw(self) -> float:
        """Of those that are switched on."""
        return sum(unit.standby_kw for unit in self._on)

    @property
    def empty(self) -> bool:
        """None of them may be discharged."""
        return all(unit.empty for unit in self._on)

    @property
    def loss_kwh(self) -> float:
        """Losses of all so far."""
        return sum(unit.loss_kwh for unit in self._units)

    @property
    def _on(self) -> list[Battery]:
        pairs = zip(self._units, self._controls, strict=True)
        return [unit for unit, own in pairs if not own.battery_off]

    def heed(self, controls: Controls) -> None:
        """Take what is wanted of each in this step; one setpoint for all is shared by rating."""
        self._controls = [controls.of(name) for name in self._names]
        if controls.battery_kw is not None and not controls.units:
            whole_kw = sum(unit.rated_kw for unit in self._units)
            self._controls = [
                replace(controls, battery_kw=controls.battery_kw * unit.rated_kw / whole_kw)
                for unit in self._units
            ]

    def look(self, dt_s: float) -> None:
        """Find the AC power limits of a step."""
        for unit in self._units:
            unit.look(dt_s)
        self.lowest_kw = sum(box.low_kw for box in self._boxes())
        self.highest_kw = sum(box.high_kw for box in self._boxes())

    def can_wait(self, dt_s: float) -> bool:
        """There is enough for the inverters' own standby during a step."""
        return all(unit.can_wait(dt_s) for unit in self._on)

    def autonomous_kw(self, deficit_kw: float) -> float:
        """What the inverters do on their own: cover a deficit to the floors, or take a surplus."""
        if deficit_kw <= 0.0:
            return deficit_kw
        return max((unit.autonomous_kw(deficit_kw) for unit in self._on), default=0.0)

    def follow(self, dt_s: float, target_kw: float) -> float:
        """AC power on the way to each one's setpoint; those without one share `target_kw`."""
        free = sum(
            unit.rated_kw
            for unit, own in zip(self._units, self._controls, strict=True)
            if own.battery_kw is None and not own.battery_off
        )
        for index, (unit, own) in enumerate(zip(self._units, self._controls, strict=True)):
            wanted_kw = own.battery_kw
            if wanted_kw is None:
                wanted_kw = target_kw * unit.rated_kw / free if free else 0.0
            self._powers_kw[index] = 0.0 if own.battery_off else unit.follow(dt_s, wanted_kw)
        return sum(self._powers_kw)

    def settle(
        self, dt_s: float, power_kw: float, on: bool, setpoint_kw: float | None, forming: bool
    ) -> BatteryState:
        """Book a step at constant AC power of all together."""
        boxes = self._boxes()
        if forming:
            self._powers_kw = [own.battery_kw or 0.0 for own in self._controls]
        more_kw = power_kw - sum(self._powers_kw) if on else 0.0
        ratings = [
            0.0 if own.battery_off else unit.rated_kw
            for unit, own in zip(self._units, self._controls, strict=True)
        ]
        whole = sum(ratings) or 1.0
        powers = [
            clamp(kw + more_kw * rating / whole, box.low_kw, box.high_kw) if on else 0.0
            for kw, rating, box in zip(self._powers_kw, ratings, boxes, strict=True)
        ]
        powers = list(taken_over(power_kw, powers, boxes)) if on else powers
        biggest = ratings.index(max(ratings))
        powers[biggest] += power_kw - sum(powers)  # the books close to the last digit
        for name, unit, own, kw in zip(
            self._names, self._units, self._controls, powers, strict=True
        ):
            here = on and not own.battery_off
            told_kw = own.battery_kw if here and not forming else None
            self.states[name] = unit.settle(dt_s, kw, here, told_kw, forming and here)
        return _batteries_as_one(list(self.states.values()), setpoint_kw, forming)

    def _boxes(self) -> list[Box]:
        return [
            Box(0.0, 0.0) if own.battery_off else Box(unit.lowest_kw, unit.highest_kw)
            for unit, own in zip(self._units, self._controls, strict=True)
        ]


def _batteries_as_one(
    states: Sequence[BatteryState], setpoint_kw: float | None, forming: bool
) -> BatteryState:
    capacity_kwh = sum(s.stored_kwh / s.soc_frac if s.soc_frac > 0 else 0.0 for s in states)
    stored_kwh = sum(s.stored_kwh for s in states)
    found = {s.state for s in states}
    return BatteryState(
        power_kw=sum(s.power_kw for s in states),
        dc_kw=sum(s.dc_kw for s in states),
        soc_frac=stored_kwh / capacity_kwh if capacity_kwh else 0.0,
        stored_kwh=stored_kwh,
        voltage_v=states[0].voltage_v,
        current_a=sum(s.current_a for s in states),
        charge_limit_kw=sum(s.charge_limit_kw for s in states),
        discharge_limit_kw=sum(s.discharge_limit_kw for s in states),
        setpoint_kw=setpoint_kw,
        grid_forming=forming,
        loss_kw=sum(s.loss_kw for s in states),
        temperature_degc=states[0].temperature_degc,
        charged_kwh=sum(s.charged_kwh for s in states),
        discharged_kwh=sum(s.discharged_kwh for s in states),
        state=next(word for word in ("running", "standby", "off") if word in found),
    )


class GeneratorBank:
    """Generators side by side, with the face of one `Generator`."""

    def __init__(self, truths: Sequence[GeneratorTruth], ambient_degc: float) -> None:
        self._names = [truth.name for truth in truths]
        self._units = [Generator(truth, ambient_degc) for truth in truths]
        self.states: dict[str, GeneratorState] = {}

    @property
    def _carrying(self) -> list[Generator]:
        return [unit for unit in self._units if unit.on_bus]

    @property
    def on_bus(self) -> bool:
        """A breaker is closed."""
        return bool(self._carrying)

    @property
    def rated_kw(self) -> float:
        """Of those on the bus."""
        return sum(unit.rated_kw for unit in self._carrying or self._units)

    @property
    def available_kw(self) -> float:
        """Of those on the bus, after derating."""
        return sum(unit.available_kw for unit in self._carrying)

    @property
    def used_l(self) -> float:
        """Fuel used by all since the start."""
        return sum(unit.used_l for unit in self._units)

    def look(self, controls: Controls, load_kw: float) -> None:
        """Take the requests of a step."""
        for name, unit in zip(self._names, self._units, strict=True):
            unit.look(controls.of(name), load_kw)

    def parallel_kw(self, dt_s: float, setpoint_kw: float | None) -> float:
        """Power in parallel with the grid."""
        return sum(unit.parallel_kw(dt_s, setpoint_kw) for unit in self._units)

    def soft_kw(self, dt_s: float) -> float:
        """Power within the ramps of those on the bus."""
        return sum(unit.soft_kw(dt_s) for unit in self._carrying)

    def low_load(self, power_kw: float) -> bool:
        """One is on the bus below the load that keeps its engine healthy."""
        pairs = zip(self._units, self._shares(power_kw), strict=True)
        return any(unit.low_load(kw) for unit, kw in pairs)

    def settle(self, dt_s: float, power_kw: float, ambient_degc: float) -> GeneratorState:
        """Book a step at constant power of all together."""
        shares = self._shares(power_kw)
        for name, unit, kw in zip(self._names, self._units, shares, strict=True):
            self.states[name] = unit.settle(dt_s, kw, ambient_degc)
        return _generators_as_one(list(self.states.values()))

    def _shares(self, power_kw: float) -> list[float]:
        whole_kw = self.available_kw
        if whole_kw <= 0.0:
            return [0.0] * len(self._units)
        return [
            power_kw * unit.available_kw / whole_kw if unit.on_bus else 0.0 for unit in self._units
        ]


def _generators_as_one(states: Sequence[GeneratorState]) -> GeneratorState:
    phases = [s.phase for s in states]
    foremost = min(states, key=lambda s: FOREMOST.index(s.phase))
    return replace(
        foremost,
        power_kw=sum(s.power_kw for s in states),
        phase=min(phases, key=FOREMOST.index),
        on_bus=any(s.on_bus for s in states),
        available_kw=sum(s.available_kw for s in states),
        fuel_l=sum(s.fuel_l for s in states),
        fuel_l_per_h=sum(s.fuel_l_per_h for s in states),
        starts=sum(s.starts for s in states),
        run_h=sum(s.run_h for s in states),
        energy_kwh=sum(s.energy_kwh for s in states),
        locked_out=all(s.locked_out for s in states),
        alarm="; ".join(dict.fromkeys(s.alarm for s in states if s.alarm)),
    )
