"""A site, a plant state with known values, and the site's devices behind real servers."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from hil.buses import Buses
from hil.plant import InverterState, PlantState
from tests.hil.plant_state import STATE as SEEN

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


def _known() -> PlantState:
    """Of finer values than some registers have."""
    assert SEEN.battery is not None
    return replace(
        SEEN,
        pv=(_inverter("roof", 3.217, "running"), _inverter("barn", 2.0, "throttled")),
        battery=replace(SEEN.battery, soc_frac=0.627, stored_kwh=7.524),
        grid_voltage_v=(230.4, 229.1, 231.0),
        bus_voltage_v=(230.4, 229.1, 231.0),
    )


@pytest.fixture
def state() -> PlantState:
    """A plant with something to see everywhere."""
    return _known()


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
