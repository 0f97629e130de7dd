"""A small site, samples of it, and a plant of a few lines: the decision core's test world."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from control.cycle import Decision
from control.records import (
    BatteryMeasurement,
    Command,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Level,
    Observed,
    Plan,
    Proposal,
    Quality,
    Quantity,
    Sample,
)
from control.site import (
    BatteryParameters,
    GeneratorParameters,
    GridParameters,
    PvParameters,
    SiteParameters,
)
from control.state import Mode
from tests.control.controlled import Controlled

NOON = 1_778_000_000.0


def seen(value: Any, age_s: float = 0.0) -> Observed[Any]:
    return Observed(value, age_s, Quality.GOOD, "")


SILENT: Observed[Any] = Observed(None, 99.0, Quality.STALE, "no answer")


def check(site: SiteParameters, made: Decision) -> None:
    """Assert what holds for every command to the site with all devices."""
    state, command, plant = made.state, made.command, made.state.estimate
    for setpoint in command.setpoints:
        assert math.isfinite(setpoint.value)
        assert setpoint.lease_s == site.lease_s
    given_ = {(s.device, s.quantity): s.value for s in command.setpoints}
    if state.mode in (Mode.STARTING, Mode.STOPPED):
        assert given_ == {}
        assert not command.generator_relay
        assert command.release == (state.mode is Mode.STOPPED)
        return
    targets = [
        ("genset", Quantity.RUN),
        ("battery", Quantity.POWER_KW),
        ("roof", Quantity.LIMIT_KW),
    ]
    assert list(given_) == targets
    assert [(why.device, why.quantity) for why in command.why] == targets
    run, battery_kw, limit_kw = (given_[target] for target in targets)
    assert run in (0.0, 1.0)
    assert command.generator_relay == bool(run) == state.generator.run
    battery = site.battery
    assert -battery.charge_max_kw <= battery_kw <= battery.discharge_max_kw
    assert 0.0 <= limit_kw <= 6.0
    if plant.charge_limit_kw is not None:
        assert battery_kw >= -plant.charge_limit_kw
    if plant.discharge_limit_kw is not None:
        assert battery_kw <= plant.discharge_limit_kw
    if plant.soc_frac is not None:
        assert plant.soc_frac > battery.soc_min_frac or battery_kw <= 0.0
        assert plant.soc_frac < battery.soc_max_frac or battery_kw >= 0.0
    if plant.emergency_stop or state.emergency_latched:
        assert (run, battery_kw, limit_kw) == (0.0, 0.0, 0.0)


class Build:
    """Makes sites and records; everything can be changed by keyword."""

    silent = SILENT
    seen = staticmethod(seen)
    check = staticmethod(check)

    @staticmethod
    def battery(**changes: Any) -> BatteryParameters:
        normal = BatteryParameters(
            name="battery",
            capacity_kwh=14.0,
            charge_max_kw=4.0,
            discharge_max_kw=4.0,
            soc_min_frac=0.15,
            soc_max_frac=0.95,
            reserve_soc_frac=0.25,
            ramp_kw_per_s=2.0,
            charge_from_grid=True,
        )
        return replace(normal, **changes)

    @staticmethod
    def generator(**changes: Any) -> GeneratorParameters:
        normal = GeneratorParameters(
            name="genset",
            by_relay=True,
            rated_kw=5.0,
            min_load_frac=0.3,
            min_run_s=1800.0,
            min_rest_s=600.0,
            warm_up_s=60.0,
            cool_down_s=120.0,
            max_run_s=36000.0,
            start_timeout_s=120.0,
        )
        return replace(normal, **changes)

    @staticmethod
    def grid(**changes: Any) -> GridParameters:
        normal = GridParameters("grid", 6.0, 3.0, 195.5, 253.0, 47.5, 51.5)
        return replace(normal, **changes)

    @staticmethod
    def site(**changes: Any) -> SiteParameters:
        """PV 6 kW, battery 4 kW and 14 kWh, generator 5 kW, grid 6 kW in and 3 kW out."""
        normal = SiteParameters(
            period_s=1.0,
            lease_s=30.0,
            hold_s=10.0,
            start_up_s=60.0,
            pv=(PvParameters("roof", 6.0),),
            battery=Build.battery(),
            generator=Build.generator(),
            grid=Build.grid(),
            emergency_stop=True,
            price_low_per_kwh=0.1,
            price_high_per_kwh=0.4,
        )
        return replace(normal, **changes)

    @staticmethod
    def sample(t_s: float = 1000.0, **changes: Any) -> Sample:
        """Beside the grid, load 2 kW, PV 1 kW, battery at rest at 50 %."""
        normal = Sample(
            cycle=0,
            t_s=t_s,
            utc_s=NOON + t_s,
            irradiance_w_m2=seen(300.0),
            emergency_stop=seen(False),
            pv=(seen(InverterMeasurement(1.0)),),
            wind=(),
            batteries=(seen(BatteryMeasurement(0.0, 0.5, 4.0, 4.0)),),
            generators=(seen(GeneratorMeasurement(0.0, "stopped", "auto")),),
            grid=seen(GridMeasurement(1.0, 230.0, 50.0)),
            sun_elevation_deg=30.0,
            hour_local=12.0,
            price_buy_per_kwh=0.3,
            price_sell_per_kwh=0.05,
            temperature_degc=20.0,
        )
        return replace(normal, **changes)

    @staticmethod
    def plan(**changes: Any) -> Plan:
        """Two quarters of an hour from t = 1000 s on, resting."""
        normal = Plan(
            issued_t_s=1000.0,
            start_t_s=1000.0,
            step_s=900.0,
            expires_t_s=4600.0,
            battery_kw=(0.0, 0.0),
            generator_on=(False, False),
            generator_kw=(0.0, 0.0),
            grid_kw=(1.0, 1.0),
            curtailed_kw=(0.0, 0.0),
            soc_frac=(0.5, 0.5),
            cover_deficit=(False, False),
            store_surplus=(False, False),
            cost=0.0,
            solver="test",
        )
        return replace(normal, **changes)

    @staticmethod
    def order(level: Level, device: str, value: float | None = None, **bounds: Any) -> Proposal:
        quantity = {"battery": Quantity.POWER_KW, "genset": Quantity.RUN}.get(
            device, Quantity.LIMIT_KW
        )
        return Proposal(level, device, quantity, "an order", value, **bounds)


@dataclass
class TinyPlant(Controlled):
    """PV, battery, generator and grid on one bus, one `step` per cycle; devices obey at once.

    `silent` names devices that do not answer; `stubborn` those that ignore setpoints.
    """

    load_kw: float = 1.0
    sun_kw: float = 2.0
    soc_frac: float = 0.5
    charge_limit_kw: float = 4.0
    discharge_limit_kw: float = 4.0
    mains: bool = True
    stop_pressed: bool = False
    cranks: bool = True
    silent: set[str] = field(default_factory=set)
    stubborn: set[str] = field(default_factory=set)
    phase: str = "stopped"
    phase_s: float = 0.0
    pv_kw: float = 0.0
    battery_kw: float = 0.0
    generator_kw: float = 0.0
    grid_kw: float = 0.0
    throttled_kw: float = 0.0
    setpoint_kw: float = 0.0
    limit_kw: float = 1e9
    run: bool = False

    def obey(self, command: Command) -> None:
        for setpoint in command.setpoints:
            if setpoint.device in self.silent | self.stubborn:
                continue
            if setpoint.quantity is Quantity.POWER_KW:
                self.setpoint_kw = setpoint.value
            elif setpoint.quantity is Quantity.LIMIT_KW:
                self.limit_kw = setpoint.value
        self.run = bool(command.generator_relay)

    def live(self, dt_s: float) -> None:
        self._engine(dt_s)
        self.pv_kw = min(self.sun_kw, self.limit_kw)
        net_kw = self.load_kw - self.pv_kw
        self.generator_kw = self.grid_kw = self.throttled_kw = 0.0
        if self.mains:
            self.battery_kw = self._possible(self.setpoint_kw)
            self.grid_kw = net_kw - self.battery_kw
        elif self.phase == "running":
            self.battery_kw = self._possible(self.setpoint_kw)
            self.generator_kw = net_kw - self.battery_kw
        else:
            self.battery_kw = self._possible(net_kw)
            self.throttled_kw = max(0.0, self.battery_kw - net_kw)  # by the island's frequency
            self.pv_kw -= self.throttled_kw
        capacity = self.site.battery.capacity_kwh if self.site.battery else 1e9
        self.soc_frac -= self.battery_kw * dt_s / 3600.0 / capacity
        self.soc_frac = min(1.0, max(0.0, self.soc_frac))

    def _possible(self, power_kw: float) -> float:
        low_kw = -self.charge_limit_kw if self.soc_frac < 1.0 else 0.0
        high_kw = self.discharge_limit_kw if self.soc_frac > 0.0 else 0.0
        return min(high_kw, max(low_kw, power_kw)) if self.site.battery else 0.0

    def _engine(self, dt_s: float) -> None:
        self.phase_s += dt_s
        due = {"starting": 5.0, "warming": 60.0, "cooling": 120.0}.get(self.phase, 1e9)
        following = {"starting": "warming", "warming": "running", "cooling": "stopped"}
        if self.run and self.phase in ("stopped", "cooling") and self.cranks:
            self._enter("starting" if self.phase == "stopped" else "running")
        elif not self.run and self.phase in ("starting", "warming", "running"):
            self._enter("cooling")
        elif self.phase_s >= due:
            self._enter(following[self.phase])

    def _enter(self, phase: str) -> None:
        self.phase, self.phase_s = phase, 0.0

    def sample(self) -> Sample:
        def told(name: str, value: Any) -> Observed[Any]:
            return SILENT if name in self.silent else seen(value)

        volts = 230.0 if self.mains else 0.0
        return Build.sample(
            self.t_s,
            irradiance_w_m2=told("sun", self.sun_kw / 6.0 * 1000.0),
            emergency_stop=told("stop", self.stop_pressed),
            pv=tuple(told(pv.name, InverterMeasurement(self.pv_kw)) for pv in self.site.pv),
            batteries=(
                told(
                    "battery",
                    BatteryMeasurement(
                        self.battery_kw,
                        self.soc_frac,
                        self.charge_limit_kw,
                        self.discharge_limit_kw,
                    ),
                ),
            ),
            generators=(
                told("genset", GeneratorMeasurement(self.generator_kw, self.phase, "auto")),
            ),
            grid=told("grid", GridMeasurement(self.grid_kw, volts, volts / 4.6)),
        )


@pytest.fixture(scope="session")
def build() -> type[Build]:
    return Build


@pytest.fixture(scope="session")
def plant() -> type[TinyPlant]:
    return TinyPlant
