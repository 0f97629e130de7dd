"""A site, a plant state with known values, and the site's devices behind real servers."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from hil.buses import Buses
from hil.plant import (
    BatteryState,
    Energy,
    GeneratorState,
    InverterState,
    PlantState,
    Weather,
)

BATTERY = {
    "name": "battery",
    "bus": "lan",
    "capacity_kwh": 12.0,
    "charge_max_kw": 4.0,
    "discharge_max_kw": 4.0,
}
SITE: dict[str, Any] = {
    "bus": [
        {"name": "lan", "kind": "tcp", "host": "192.0.2.1"},
        {"name": "gx", "kind": "tcp", "host": "192.0.2.2"},
        {"name": "serial", "kind": "rtu", "port": "/dev/ttyUSB0", "baudrate": 115200},
    ],
    "pv": [
        {"name": "roof", "driver": "sunspec-inverter", "bus": "lan", "unit": 1, "rated_kw": 5.0},
        {"name": "barn", "driver": "sunspec-inverter", "bus": "lan", "unit": 2, "rated_kw": 8.0},
    ],
    "battery": [
        {**BATTERY, "driver": "victron-gx", "bus": "gx", "unit": 227, "battery_unit": 225},
    ],
    "generator": [
        {
            "name": "genset",
            "driver": "deepsea-gencomm",
            "bus": "serial",
            "unit": 10,
            "start": "relay",
            "rated_kw": 6.0,
        }
    ],
    "grid": {"name": "grid", "driver": "eastron-sdm630", "bus": "serial", "unit": 1},
}
DER = frozenset({"barn"})


def _inverter(name: str, power_kw: float, state: str) -> InverterState:
    return InverterState(name, power_kw, 4.0, 5.0, 1.03 * power_kw, 1234.5, 41.3, state)


STATE = PlantState(
    t_s=100.0,
    weather=Weather(ghi_w_m2=600.0, plane_w_m2=700.0, ambient_degc=18.0),
    pv=(_inverter("roof", 3.217, "running"), _inverter("barn", 2.0, "throttled")),
    wind=(),
    battery=BatteryState(
        power_kw=-1.5,
        dc_kw=-1.44,
        soc_frac=0.627,
        stored_kwh=7.524,
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
    grid_voltage_v=(230.4, 229.1, 231.0),
    bus_frequency_hz=50.02,
    bus_voltage_v=(230.4, 229.1, 231.0),
    energy=Energy(grid_import_kwh=321.5, grid_export_kwh=45.25),
)


@pytest.fixture
def state() -> PlantState:
    """A plant with something to see everywhere."""
    return STATE


@pytest.fixture
def buses(state: PlantState) -> Iterator[Buses]:
    """The devices of the site behind their servers, having seen the plant at t = 100 s."""
    with Buses(SITE, DER) as running:
        running.update(state, 100.0)
        yield running


@pytest.fixture
def storage_site() -> dict[str, Any]:
    """Two sites' worth of storage and a SunSpec meter, on one bus."""
    storage = {**BATTERY, "driver": "sunspec-storage"}
    return {
        "bus": [{"name": "lan", "kind": "tcp", "host": "192.0.2.1"}],
        "battery": [{**storage, "unit": 1}, {**storage, "name": "new", "unit": 2}],
        "grid": {"name": "grid", "driver": "sunspec-meter", "bus": "lan", "unit": 3},
    }


@pytest.fixture
def storage(storage_site: dict[str, Any], state: PlantState) -> Iterator[Buses]:
    """A 124 storage, a 704 storage and a 203 meter behind a server."""
    with Buses(storage_site, frozenset({"new"})) as running:
        running.update(state, 100.0)
        yield running


@pytest.fixture
def exporting(state: PlantState) -> PlantState:
    """The same plant with the battery idle and 2 kW going out."""
    assert state.battery is not None
    return replace(state, battery=replace(state.battery, power_kw=0.0, dc_kw=0.0), grid_kw=-2.0)


Poll = Callable[..., list[float]]


@pytest.fixture
def mbpoll(buses: Buses) -> Poll:
    """Read with the independent client: (bus, unit, address, type, count) -> values."""
    if shutil.which("mbpoll") is None:
        pytest.skip("mbpoll is not installed")
    endpoints = {bus["name"]: bus for bus in buses.site()["bus"]}

    def poll(bus: str, unit: int, address: int, kind: str = "4", count: int = 1) -> list[float]:
        end = endpoints[bus]
        common = f"-0 -1 -B -o 2 -a {unit} -r {address} -t {kind} -c {count}".split()
        where = ["-m", "tcp", "-p", str(end["port"]), end.get("host", "")]
        if end["kind"] == "rtu":
            where = ["-m", "rtu", "-b", str(end["baudrate"]), "-P", "none", end["port"]]
        done = subprocess.run(
            ["mbpoll", *common, *where], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        rows = [line.split(":", 1) for line in done.stdout.splitlines() if line.startswith("[")]
        return [float(text.split()[0]) for _, text in rows]

    return poll
