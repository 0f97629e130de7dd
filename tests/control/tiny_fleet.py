"""A plant of a few lines with several batteries and generators; devices obey at once."""

from dataclasses import dataclass, field, replace
from typing import Any

from control.allotment import Box, allot
from control.cycle import Decision
from control.fleet import joined_battery, joined_generator
from control.records import (
    BatteryMeasurement,
    Command,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Observed,
    Quality,
    Quantity,
    Sample,
)
from control.site import SiteParameters
from tests.control.controlled import Controlled

SILENT: Observed[Any] = Observed(None, 99.0, Quality.STALE, "no answer")


def fleet_site(build: Any, **changes: Any) -> SiteParameters:
    """An island: batteries of 10 and 5 kWh, sets of 5 and 3 kW, the second of them cheaper."""
    batteries = (
        build.battery(name="bat-a", capacity_kwh=10.0, charge_max_kw=4.0, discharge_max_kw=4.0),
        build.battery(name="bat-b", capacity_kwh=5.0, charge_max_kw=2.0, discharge_max_kw=2.5),
    )
    generators = (
        build.generator(name="gen-a", rated_kw=5.0, by_relay=False, cost_per_kwh=0.5),
        build.generator(name="gen-b", rated_kw=3.0, by_relay=False, cost_per_kwh=0.4),
    )
    site = build.site(
        grid=None,
        battery=joined_battery(batteries),
        batteries=batteries,
        generator=joined_generator(generators),
        generators=generators,
    )
    return replace(site, **changes)


@dataclass
class Unit:
    """A battery or a set as it really is."""

    name: str
    soc_frac: float = 0.5
    charge_limit_kw: float = 4.0
    discharge_limit_kw: float = 4.0
    kw: float = 0.0
    told_kw: float = 0.0
    phase: str = "stopped"
    phase_s: float = 0.0
    run: bool = False
    cranks: bool = True
    available: bool = True


@dataclass
class TinyFleet(Controlled):
    """Batteries that form an island share by droop around what they are told, sets by rating."""

    load_kw: float = 1.0
    sun_kw: float = 0.0
    mains: bool = False
    silent: set[str] = field(default_factory=set)
    pv_kw: float = 0.0
    grid_kw: float = 0.0
    unserved_kw: float = 0.0
    limit_kw: float = 1e9

    def __post_init__(self) -> None:
        self.batteries = [
            Unit(each.name, 0.5, each.charge_max_kw, each.discharge_max_kw)
            for each in self.site.batteries
        ]
        self.sets = [Unit(each.name) for each in self.site.generators]

    def __getitem__(self, name: str) -> Unit:
        return next(unit for unit in (*self.batteries, *self.sets) if unit.name == name)

    def obey(self, command: Command) -> None:
        for setpoint in command.setpoints:
            if setpoint.quantity is Quantity.LIMIT_KW:
                self.limit_kw = setpoint.value
            elif setpoint.device not in self.silent:
                unit = self[setpoint.device]
                if setpoint.quantity is Quantity.RUN:
                    unit.run = setpoint.value >= 0.5
                else:
                    unit.told_kw = setpoint.value

    def run(self, seconds: float, dt_s: float = 1.0, **more: Any) -> Decision:
        """Several cycles; returns the last."""
        for _ in range(max(1, round(seconds / dt_s))):
            made = self.step(dt_s, **more)
        return made

    def told(self, made: Decision) -> dict[str, float]:
        """Setpoints by device."""
        return {setpoint.device: setpoint.value for setpoint in made.command.setpoints}

    def live(self, dt_s: float) -> None:
        for unit in self.sets:
            self._engine(unit, dt_s)
        self.pv_kw = min(self.sun_kw, self.limit_kw)
        net_kw = self.load_kw - self.pv_kw
        running = [unit for unit in self.sets if unit.phase == "running"]
        for unit in self.batteries:
            unit.kw = self._possible(unit, unit.told_kw)
        rest_kw = net_kw - sum(unit.kw for unit in self.batteries)
        for unit in self.sets:
            unit.kw = 0.0
        self.grid_kw = self.unserved_kw = 0.0
        if self.mains:
            self.grid_kw = rest_kw
        elif running:
            rated_kw = {each.name: each.rated_kw for each in self.site.generators}
            whole_kw = sum(rated_kw[unit.name] for unit in running)
            for unit in running:
                unit.kw = rest_kw * rated_kw[unit.name] / whole_kw
        else:
            boxes = [
                Box(self._possible(unit, -99.0), self._possible(unit, 99.0))
                for unit in self.batteries
            ]
            ratings = [each.discharge_max_kw for each in self.site.batteries]
            more = allot(rest_kw, [Box(-99.0, 99.0)] * len(boxes), ratings)
            for unit, box, extra in zip(self.batteries, boxes, more, strict=True):
                unit.kw = min(box.high_kw, max(box.low_kw, unit.kw + extra))
            self.unserved_kw = max(0.0, net_kw - sum(unit.kw for unit in self.batteries))
        for unit, each in zip(self.batteries, self.site.batteries, strict=True):
            unit.soc_frac -= unit.kw * dt_s / 3600.0 / each.capacity_kwh
            unit.soc_frac = min(1.0, max(0.0, unit.soc_frac))

    def _possible(self, unit: Unit, power_kw: float) -> float:
        low_kw = -unit.charge_limit_kw if unit.soc_frac < 1.0 else 0.0
        high_kw = unit.discharge_limit_kw if unit.soc_frac > 0.0 else 0.0
        return min(high_kw, max(low_kw, power_kw))

    def _engine(self, unit: Unit, dt_s: float) -> None:
        unit.phase_s += dt_s
        due = {"starting": 5.0, "warming": 60.0, "cooling": 120.0}.get(unit.phase, 1e9)
        following = {"starting": "warming", "warming": "running", "cooling": "stopped"}
        phase = unit.phase
        if not unit.available:
            phase = "stopped"
        elif unit.run and phase in ("stopped", "cooling") and unit.cranks:
            phase = "starting" if phase == "stopped" else "running"
        elif not unit.run and phase in ("starting", "warming", "running"):
            phase = "cooling"
        elif unit.phase_s >= due:
            phase = following[phase]
        if phase != unit.phase:
            unit.phase, unit.phase_s = phase, 0.0

    def sample(self) -> Sample:
        def told(name: str, value: Any) -> Observed[Any]:
            return SILENT if name in self.silent else Observed(value, 0.0, Quality.GOOD, "")

        volts = 230.0 if self.mains else 0.0
        grid = GridMeasurement(self.grid_kw, volts, volts / 4.6)
        return Sample(
            cycle=0,
            t_s=self.t_s,
            utc_s=1_778_000_000.0 + self.t_s,
            irradiance_w_m2=told("sun", self.sun_kw / 6.0 * 1000.0),
            emergency_stop=told("stop", value=False),
            pv=tuple(told(pv.name, InverterMeasurement(self.pv_kw)) for pv in self.site.pv),
            wind=(),
            batteries=tuple(
                told(
                    unit.name,
                    BatteryMeasurement(
                        unit.kw, unit.soc_frac, unit.charge_limit_kw, unit.discharge_limit_kw
                    ),
                )
                for unit in self.batteries
            ),
            generators=tuple(
                told(
                    unit.name,
                    GeneratorMeasurement(unit.kw, unit.phase, "auto", unit.available),
                )
                for unit in self.sets
            ),
            grid=told("grid", grid) if self.site.grid else None,
            sun_elevation_deg=30.0,
            hour_local=12.0,
            price_buy_per_kwh=0.3,
            price_sell_per_kwh=0.05,
            temperature_degc=20.0,
        )
