"""What stays of a command when its controller is killed: docs/fail-safe.md, line by line.

The controller is a real process with the real drivers on real sockets. It gives one command, is
killed, and then only virtual time passes.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firmware.config import site_from_dict
from firmware.wiring import build_buses
from hil.fake_pi_link import FakePiServer
from hil.plant import PlantState
from hil.scenario import LoadedScenario
from hil.site_file import to_toml
from hil.world import World

ROOT = Path(__file__).parents[2]
LEASE_S = 30.0
RELAY_PIN = 27
CONTROLLER = f"""
import sys, time
from pathlib import Path
from control.records import Quantity, Setpoint
from firmware.config import load_site
from firmware.wiring import build_buses, build_pins

site = load_site(Path(sys.argv[1]))
device, quantity, value = sys.argv[2:]
if quantity == "relay":
    pins = build_pins(site)
    pins.open()
    pins.set_generator_relay(True)
else:
    bus = next(bus for bus in build_buses(site) if device in bus.image())
    bus.exchange()
    bus.submit(Setpoint(device, Quantity(quantity), float(value), {LEASE_S}))
    bus.exchange()
    (ack,) = bus.image()[device].acks
    assert ack.acknowledged == float(value) and not ack.error, ack
print("holds", flush=True)
time.sleep(600)
"""
LAN = {
    "bus": "lan",
    "capacity_kwh": 12.0,
    "charge_max_kw": 4.0,
    "discharge_max_kw": 4.0,
    "soc_min_frac": 0.1,
    "soc_max_frac": 1.0,
}
STORAGE = {**LAN, "name": "battery", "driver": "sunspec-storage", "unit": 2}
GX = {**LAN, "name": "battery", "driver": "victron-gx", "unit": 227, "battery_unit": 225}
GENSET = {
    "name": "genset",
    "driver": "deepsea-gencomm",
    "bus": "lan",
    "unit": 10,
    "rated_kw": 5.0,
    "fuel_price_per_l": 1.5,
}
SITE: dict[str, Any] = {
    "site": {
        "name": "test-01",
        "latitude_deg": 37.5,
        "longitude_deg": -2.0,
        "timezone": "UTC",
        "currency": "EUR",
    },
    "bus": [{"name": "lan", "kind": "tcp", "host": "192.0.2.1", "timeout_s": 2.0}],
    "loop": {"period_s": 10.0, "stale_after_s": 60.0},
    "pv": [
        {"name": "roof", "driver": "sunspec-inverter", "bus": "lan", "unit": 1, "rated_kw": 6.0}
    ],
    "battery": [STORAGE],
    "grid": {
        "name": "grid",
        "driver": "sunspec-meter",
        "bus": "lan",
        "unit": 3,
        "import_max_kw": 9.0,
        "export_max_kw": 9.0,
    },
    "prices": {"buy_per_kwh": 0.2, "sell_per_kwh": 0.05},
}
SCENARIO = """
der = {der}
[scenario]
title = "the controller dies"
site = "site.toml"
start = "2026-06-21T{hour:02d}:00:00Z"
[weather]
kind = "clear"
[plant.battery]
initial_soc_frac = 0.5
"""


@dataclass(frozen=True)
class Case:
    """One command, what it does to the plant, and what is left of it; seconds since the command."""

    command: tuple[str, str, float]  # device, quantity, value
    holds: Callable[[PlantState], bool]
    holds_s: float
    then: Callable[[PlantState], bool]
    then_after_s: float
    der: bool = False
    hour: int = 0
    site: Mapping[str, Any] | None = None


def pv(kw: float) -> Callable[[PlantState], bool]:
    return lambda state: abs(state.pv[0].power_kw - kw) < 0.1


def unlimited(state: PlantState) -> bool:
    return (
        state.pv[0].power_kw == pytest.approx(state.pv[0].available_kw) and pv(2.0)(state) is False
    )


def battery(kw: float) -> Callable[[PlantState], bool]:
    return lambda state: state.battery is not None and abs(state.battery.power_kw - kw) < 0.05


def self_consumption(state: PlantState) -> bool:
    return state.battery is not None and state.battery.power_kw > 0.1 and abs(state.grid_kw) < 0.05


def phase(*names: str) -> Callable[[PlantState], bool]:
    return lambda state: state.generator is not None and state.generator.phase in names


LIMIT, CHARGE, RUN = (
    ("roof", "limit_kw", 2.0),
    ("battery", "power_kw", -2.0),
    ("genset", "run", 1.0),
)
STARTED = phase("starting", "warming", "running")
BY_RELAY = {
    "generator": [{**GENSET, "start": "relay"}],
    "gpio": {"generator_relay_pin": RELAY_PIN},
}
BY_BUS = {"generator": [{**GENSET, "start": "gencomm"}]}
CASES = {
    "inverter, 123": Case(LIMIT, pv(2.0), LEASE_S - 1, unlimited, LEASE_S + 2, hour=12),
    "inverter, 704": Case(LIMIT, pv(2.0), LEASE_S - 1, pv(0.0), LEASE_S + 10, der=True, hour=12),
    "storage, 124": Case(CHARGE, battery(-2.0), LEASE_S - 1, self_consumption, LEASE_S + 10),
    "storage, 704": Case(CHARGE, battery(-2.0), LEASE_S - 1, battery(0.0), LEASE_S + 10, der=True),
    "GX": Case(CHARGE, battery(-2.0), 59.0, battery(0.0), 70.0, site={"battery": [GX]}),
    "GX without a BMS": Case(
        CHARGE,
        battery(-2.0),
        59.0,
        battery(0.0),
        70.0,
        site={"battery": [{k: v for k, v in GX.items() if k != "battery_unit"}]},
    ),
    "generator by relay": Case(
        ("genset", "relay", 1.0), STARTED, 10.0, phase("stopped"), 200.0, site=BY_RELAY
    ),
    "generator by its bus": Case(RUN, STARTED, 60.0, phase("running"), 2 * 3600.0, site=BY_BUS),
}


@contextmanager
def controller(
    world: World, tmp_path: Path, command: tuple[str, str, float]
) -> Iterator[Callable[[], None]]:
    """A controller that has given the command; call what this yields to kill it."""
    site = tmp_path / "served.toml"
    site.write_text(to_toml(world.site()))
    with FakePiServer(world.pi, tmp_path / "pi") as pi:
        process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLER, str(site), *map(str, command)],
            cwd=ROOT,
            env=os.environ | pi.environment(),
            stdout=subprocess.PIPE,
            text=True,
        )

        def wait_for_relay(level: int | None) -> None:
            deadline_s = time.monotonic() + 20
            while world.pi.output(RELAY_PIN) != level:
                assert time.monotonic() < deadline_s
                time.sleep(0.01)

        def kill() -> None:
            process.kill()
            process.wait()
            wait_for_relay(None)  # the kernel takes the lines back

        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "holds\n"
            wait_for_relay(1 if command[1] == "relay" else None)
            yield kill
        finally:
            process.kill()
            process.wait()


def world_of(case: Case, tmp_path: Path) -> World:
    (tmp_path / "site.toml").write_text(to_toml({**SITE, **(case.site or {})}))
    names = '["roof", "battery"]' if case.der else "[]"
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO.format(der=names, hour=case.hour))
    loaded = LoadedScenario(path)
    return World(loaded, loaded.scenario.scenario.start_utc_s)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_left_of_a_command(case: Case, tmp_path: Path) -> None:
    world = world_of(case, tmp_path)
    try:
        world.advance(60.0)
        with controller(world, tmp_path, case.command) as kill:
            world.advance(70.0)
            assert case.holds(world.plant.state), world.plant.state
            kill()
            world.advance(60.0 + case.holds_s)
            assert case.holds(world.plant.state), world.plant.state
            for later_s in (0.0, 600.0):
                world.advance(60.0 + case.then_after_s + later_s)
                assert case.then(world.plant.state), world.plant.state
    finally:
        world.close()


def test_a_controller_that_comes_back_lifts_what_704_fell_back_to(tmp_path: Path) -> None:
    world = world_of(CASES["inverter, 704"], tmp_path)
    try:
        world.advance(60.0)
        with controller(world, tmp_path, LIMIT) as kill:
            kill()
        world.advance(200.0)
        assert pv(0.0)(world.plant.state)
        (bus,) = build_buses(site_from_dict(world.site(), "site"))
        bus.exchange()
        bus.stop()
        world.advance(230.0)
        assert unlimited(world.plant.state)
    finally:
        world.close()
