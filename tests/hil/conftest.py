"""Simulated devices with our drivers on them, on one clock that the test sets."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from control.records import Quantity, Setpoint
from drivers.bus import Bus
from drivers.catalogue import CATALOGUE
from drivers.line import RtuLink, TcpLink
from hil.buses import Buses
from hil.plant import (
    BatteryState,
    Controls,
    Energy,
    GeneratorState,
    InverterState,
    PlantState,
    Weather,
)

TIMEOUT_S = 0.3  # less than the bench's late answers take; three of them outlast those
STATE = PlantState(
    t_s=100.0,
    weather=Weather(ghi_w_m2=600.0, plane_w_m2=700.0, ambient_degc=18.0),
    pv=tuple(
        InverterState(name, 3.21, 4.0, 5.0, 3.3, 1234.5, 41.3, "running")
        for name in ("roof", "barn")
    ),
    wind=(),
    battery=BatteryState(
        power_kw=-1.5,
        dc_kw=-1.44,
        soc_frac=0.62,
        stored_kwh=7.44,
        voltage_v=52.4,
        current_a=-27.48,
        charge_limit_kw=3.5,
        discharge_limit_kw=4.0,
        setpoint_kw=None,
        grid_forming=False,
        loss_kw=0.06,
        temperature_degc=21.4,
        charged_kwh=31.0,
        discharged_kwh=27.5,
        state="running",
    ),
    generator=GeneratorState(
        power_kw=2.4,
        phase="running",
        on_bus=True,
        available_kw=5.8,
        rpm=1497.0,
        frequency_hz=49.9,
        voltage_v=231.2,
        coolant_degc=82.0,
        fuel_l=48.0,
        fuel_frac=0.8,
        fuel_l_per_h=1.1,
        starts=7,
        run_h=12.5,
        energy_kwh=55.5,
        locked_out=False,
        alarm="",
    ),
    mode="grid",
    load_kw=5.0,
    served_kw=5.0,
    unserved_kw=0.0,
    curtailed_kw=0.0,
    dumped_kw=0.0,
    grid_kw=-1.117,
    grid_present=True,
    grid_connected=True,
    grid_frequency_hz=50.02,
    grid_voltage_v=(230.0, 229.0, 231.0),
    bus_frequency_hz=50.02,
    bus_voltage_v=(230.0, 229.0, 231.0),
    energy=Energy(grid_import_kwh=321.5, grid_export_kwh=45.25),
)
BATTERY = {
    "name": "battery",
    "capacity_kwh": 12.0,
    "charge_max_kw": 4.0,
    "discharge_max_kw": 4.0,
    "bus": "lan",
}
PV = {"driver": "sunspec-inverter", "rated_kw": 5.0, "bus": "lan"}
STORAGE = {**BATTERY, "driver": "sunspec-storage", "unit": 3}
BARE_GX = {**BATTERY, "driver": "victron-gx", "unit": 227}
BATTERIES = {
    "124": STORAGE,
    "704": STORAGE,
    "victron": {**BARE_GX, "battery_unit": 225},
    "victron without a BMS": BARE_GX,
}
GENSET = {
    "name": "genset",
    "driver": "deepsea-gencomm",
    "bus": "rs485",
    "unit": 10,
    "start": "gencomm",
    "rated_kw": 6.0,
}
METERS = {
    "sdm630": {"name": "grid", "driver": "eastron-sdm630", "bus": "rs485", "unit": 1},
    "sunspec": {"name": "grid", "driver": "sunspec-meter", "bus": "lan", "unit": 7},
}


def site(battery: dict[str, Any], grid: dict[str, Any]) -> dict[str, Any]:
    return {
        "bus": [
            {"name": "lan", "kind": "tcp", "host": "192.0.2.1"},
            {"name": "rs485", "kind": "rtu", "port": "/dev/ttyUSB0"},
        ],
        "pv": [{**PV, "name": "roof", "unit": 1}, {**PV, "name": "barn", "unit": 2}],
        "battery": [battery],
        "generator": [GENSET],
        "grid": grid,
    }


class Rig:
    """Simulated devices with our buses on them, on one clock."""

    def __init__(self, battery: dict[str, Any], grid: dict[str, Any], der: frozenset[str]) -> None:
        self.now_s = 100.0
        self.state = STATE
        self.devices = Buses(site(battery, grid), der)
        self.devices.update(self.state, self.now_s)
        found = self.devices.site()
        entries = [*found["pv"], *found["battery"], *found["generator"], found["grid"]]
        self.buses = [self._bus(bus, entries) for bus in found["bus"]]

    def _bus(self, wire: dict[str, Any], entries: list[dict[str, Any]]) -> Bus:
        drivers = []
        for entry in entries:
            if entry["bus"] == wire["name"]:
                made = CATALOGUE[entry["driver"]]
                keys = ("name", "unit", *made.required, *made.optional)
                drivers.append(made.make(**{key: entry[key] for key in keys if key in entry}))
        link: TcpLink | RtuLink = RtuLink(str(wire["port"]), timeout_s=TIMEOUT_S)
        if wire["kind"] == "tcp":
            link = TcpLink(wire["host"], wire["port"], TIMEOUT_S)
        return Bus(wire["name"], link, drivers, clock=lambda: self.now_s)

    def exchange(self) -> None:
        for bus in self.buses:
            bus.exchange()

    def images(self) -> dict[str, Any]:
        return {name: image for bus in self.buses for name, image in bus.image().items()}

    def measured(self, name: str) -> Any:
        return self.images()[name].measurement

    def submit(self, device: str, quantity: Quantity, value: float, lease_s: float = 60.0) -> None:
        bus = next(bus for bus in self.buses if device in bus.image())
        bus.submit(Setpoint(device, quantity, value, lease_s))

    def after(self, seconds: float) -> Controls:
        """Let time pass without a word from us."""
        self.now_s += seconds
        self.devices.update(self.state, self.now_s)
        return self.devices.controls(self.now_s)

    def close(self) -> None:
        for bus in self.buses:
            bus.stop()
        self.devices.close()


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    """rig(battery, grid): a site with a 123 and a 704 inverter and these, by name."""
    rigs: list[Rig] = []

    def start(battery: str = "124", grid: str = "sunspec") -> Rig:
        der = frozenset({"barn", "battery"} if battery == "704" else {"barn"})
        rigs.append(Rig(BATTERIES[battery], METERS[grid], der))
        return rigs[-1]

    yield start
    for each in rigs:
        each.close()
