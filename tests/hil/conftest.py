"""Simulated devices with our drivers on them, on one clock that the test sets."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from control.records import Quantity, Setpoint
from drivers.bus import Bus
from drivers.catalogue import CATALOGUE
from drivers.line import RtuLink, TcpLink
from hil.buses import Buses
from hil.plant import Controls
from tests.hil.plant_state import STATE

TIMEOUT_S = 0.3  # less than the bench's late answers take; three of them outlast those
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
