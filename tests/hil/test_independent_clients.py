"""A run on the bench, and what clients that know nothing of us then read: the report's figures.

pysunspec2 brings its own definitions of the SunSpec models; mbpoll gets bare addresses, written
down here from the vendors' documents.
"""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firmware.config import site_from_dict
from firmware.wiring import build_buses
from hil.lockstep import run_lockstep
from hil.observer import Observer
from hil.plant import PlantState
from hil.scenario import LoadedScenario
from hil.world import World

SITES = Path(__file__).parents[2] / "hil" / "scenarios" / "sites"
SCENARIO = """
{der}
[scenario]
title = "a quarter of an hour with an outage"
site = "site.toml"
start = "2026-06-21T18:00:00Z"
duration_h = 0.25
history_days = 0
seed = 5
[weather]
kind = "clear"
[load]
kind = "clinic"
kwh_per_day = 60.0
[[outage]]
from_h = 0.05
to_h = 1.0
[plant.battery]
initial_soc_frac = 0.17
"""
SUNSPEC_BATTERY = """\
[[battery]]
name = "battery"
driver = "sunspec-storage"
bus = "lan-gx"
unit = 5
"""
SUNSPEC_METER = """\
[grid]
name = "grid"
driver = "sunspec-meter"
bus = "lan-pv"
unit = 7
"""


@dataclass(frozen=True)
class Finished:
    """A run that is over, its devices still answering."""

    world: World
    summary: dict[str, Any]

    @property
    def state(self) -> PlantState:
        return self.world.plant.state

    @property
    def energy_kwh(self) -> dict[str, float]:
        return self.summary["energy_kwh"]

    def port(self, bus: str) -> Any:
        return next(b["port"] for b in self.world.site()["bus"] if b["name"] == bus)


def run(folder: Path, site: str, der: str = "") -> Finished:
    (folder / "site.toml").write_text(site)
    (folder / "scenario.toml").write_text(SCENARIO.format(der=der))
    loaded = LoadedScenario(folder / "scenario.toml")
    world = World(loaded, loaded.scenario.scenario.start_utc_s)
    observer = Observer(world)
    recording = folder / "cycles.jsonl.gz"
    loop = run_lockstep(world, observer, recording, None, None, lambda *_: None)
    cycles = loop.statistics()["cycles"]
    return Finished(world, observer.summary(cycles, 0, 0.0, recording))


def with_sunspec(site: str) -> str:
    """The clinic with a SunSpec battery and meter in place of the GX and the SDM630."""
    site = re.sub(r"\[\[battery\]\]\n.*?(?=capacity_kwh)", SUNSPEC_BATTERY, site, flags=re.DOTALL)
    return re.sub(r"\[grid\]\n.*?(?=import_max_kw)", SUNSPEC_METER, site, flags=re.DOTALL)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    finished = run(tmp_path_factory.mktemp("clinic"), (SITES / "clinic.toml").read_text())
    yield finished
    finished.world.close()


@pytest.fixture(scope="module", params=["", 'der = ["roof", "battery"]'], ids=["100s", "700s"])
def sunspec(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    site = with_sunspec((SITES / "clinic.toml").read_text())
    finished = run(tmp_path_factory.mktemp("sunspec"), site, request.param)
    yield finished
    finished.world.close()


def settled(words: float) -> Any:
    """Equal to the last digit that the register shows."""
    return pytest.approx(words, abs=1.0)


@pytest.fixture
def poll(clinic: Finished) -> Callable[..., list[float]]:
    """poll(bus, unit, address, type, count) -> values, as mbpoll has them."""
    if shutil.which("mbpoll") is None:
        pytest.skip("mbpoll is not installed")
    kinds = {bus["name"]: bus["kind"] for bus in clinic.world.site()["bus"]}

    def read(bus: str, unit: int, address: int, kind: str = "4", count: int = 1) -> list[float]:
        what = f"-0 -1 -B -o 2 -a {unit} -r {address} -t {kind} -c {count}".split()
        where = ["-m", "tcp", "-p", str(clinic.port(bus)), "127.0.0.1"]
        if kinds[bus] == "rtu":
            where = ["-m", "rtu", "-b", "115200", "-P", "none", clinic.port(bus)]
        done = subprocess.run(
            ["mbpoll", *what, *where], capture_output=True, text=True, timeout=20, check=False
        )
        assert done.returncode == 0, done.stderr
        rows = [line.split(":", 1)[1] for line in done.stdout.splitlines() if line.startswith("[")]
        return [float(row.split()[0]) for row in rows]

    return read


def test_the_run_was_worth_reading(clinic: Finished, sunspec: Finished) -> None:
    for finished in (clinic, sunspec):
        assert finished.summary["cycles"] == 180
        assert finished.summary["limit_violations"] == 0
        assert finished.summary["generator_starts"] == 1
        for name in ("pv", "grid_import", "generator", "battery_charge"):
            assert finished.energy_kwh[name] > 0.01, name


def test_mbpoll_reads_the_meters_figures(clinic: Finished, poll: Any) -> None:
    energy, state = clinic.energy_kwh, clinic.state
    found = poll("rs485", 1, 0x48, "3:float", 2)
    assert found == pytest.approx([energy["grid_import"], energy["grid_export"]], abs=0.001)
    assert poll("rs485", 1, 0x34, "3:float") == [settled(1000 * state.grid_kw)]


def test_mbpoll_reads_the_batterys_figures(clinic: Finished, poll: Any) -> None:
    battery = clinic.state.battery
    assert battery is not None
    assert poll("lan-gx", 100, 843) == [settled(100 * battery.soc_frac)]
    assert poll("lan-gx", 225, 266) == [settled(1000 * battery.soc_frac)]
    assert poll("lan-gx", 225, 259) == [settled(100 * battery.voltage_v)]
    (into,), (out,) = poll("lan-gx", 227, 12), poll("lan-gx", 227, 23)
    assert signed(out) - signed(into) == settled(100 * battery.power_kw)


def test_mbpoll_reads_the_generators_figures(clinic: Finished, poll: Any) -> None:
    generator = clinic.state.generator
    assert generator is not None
    assert poll("lan-genset", 10, 1536, "4:int") == [settled(1000 * generator.power_kw)]
    assert poll("lan-genset", 10, 1800, "4:int") == [settled(10 * clinic.energy_kwh["generator"])]
    assert poll("lan-genset", 10, 1808, "4:int") == [clinic.summary["generator_starts"]]
    assert poll("lan-genset", 10, 1027) == [settled(100 * generator.fuel_frac)]


def signed(word: float) -> float:
    return word - 0x10000 if word >= 0x8000 else word


def value(finished: Finished, bus: str, unit: int, points: dict[int, str]) -> float:
    """The point of the model that the device has, walked and scaled by pysunspec2."""
    client = pytest.importorskip("sunspec2.modbus.client")
    device = client.SunSpecModbusClientDeviceTCP(
        slave_id=unit, ipaddr="127.0.0.1", ipport=finished.port(bus), timeout=2
    )
    device.scan()
    try:
        model = next(model for model in points if model in device.models)
        device.models[model][0].read()
        found = device.models[model][0].points[points[model]].cvalue
        return float(found or 0.0)  # a counter at 0 means "not implemented" to the standard
    finally:
        device.close()


def test_pysunspec2_reads_the_reports_figures(sunspec: Finished) -> None:
    energy, state = sunspec.energy_kwh, sunspec.state
    battery = state.battery
    assert battery is not None
    for (bus, unit), points, expected, resolution in (
        (("lan-pv", 1), {103: "WH", 701: "TotWhInj"}, 1000 * energy["pv"], 1.0),
        (("lan-pv", 1), {103: "W", 701: "W"}, 1000 * state.pv[0].power_kw, 1.0),
        (("lan-pv", 7), {203: "TotWhImp"}, 1000 * energy["grid_import"], 1.0),
        (("lan-pv", 7), {203: "TotWhExp"}, 1000 * energy["grid_export"], 1.0),
        (("lan-gx", 5), {103: "W", 701: "W"}, 1000 * battery.power_kw, 1.0),
        (("lan-gx", 5), {124: "ChaState", 713: "SoC"}, 100 * battery.soc_frac, 0.1),
        (("lan-gx", 5), {802: "SoC"}, 100 * battery.soc_frac, 0.1),
    ):
        found = value(sunspec, bus, unit, points)
        assert found == pytest.approx(expected, abs=resolution), points


def test_our_drivers_read_the_same(clinic: Finished) -> None:
    compare_our_drivers(clinic)


def test_our_drivers_read_the_same_from_sunspec(sunspec: Finished) -> None:
    compare_our_drivers(sunspec)


def compare_our_drivers(finished: Finished) -> None:
    images: dict[str, Any] = {}
    for bus in build_buses(site_from_dict(finished.world.site(), "site")):
        bus.exchange()
        images |= bus.image()
        bus.stop()
    state, energy = finished.state, finished.energy_kwh
    assert state.battery is not None
    assert state.generator is not None
    for device, field, expected in (
        ("roof", "power_kw", state.pv[0].power_kw),
        ("roof", "energy_kwh", energy["pv"]),
        ("battery", "power_kw", state.battery.power_kw),
        ("battery", "soc_frac", state.battery.soc_frac),
        ("genset", "power_kw", state.generator.power_kw),
        ("genset", "fuel_frac", state.generator.fuel_frac),
        ("grid", "power_kw", state.grid_kw),
        ("grid", "import_kwh", energy["grid_import"]),
    ):
        found = getattr(images[device].measurement, field)
        assert found == pytest.approx(expected, abs=0.011), (device, field)
