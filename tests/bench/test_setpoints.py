"""The bench's account of setpoints: what it must not let pass."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.loop import lateness_table, read_cyclictest
from bench.setpoints import Fate, Truth, account, table
from control.cycle import decide
from control.records import (
    Ack,
    Advice,
    Applied,
    BatteryMeasurement,
    GridMeasurement,
    Observed,
    Orders,
    Quality,
    Quantity,
    Sample,
)
from control.site import BatteryParameters, GridParameters, SiteParameters
from control.state import State
from firmware.recording import Recorder
from hil.plant import PlantState
from hil.scenario import LoadedScenario
from hil.world import World

SCENARIO = Path(__file__).parents[2] / "hil/scenarios/realtime.toml"
START_UTC_S = 1_774_000_000.0
SITE = SiteParameters(
    period_s=1.0,
    lease_s=30.0,
    hold_s=10.0,
    start_up_s=10.0,
    battery=BatteryParameters("battery", 14.0, 3.0, 3.0, 0.1, 0.95, 0.2, 1.0, False),
    grid=GridParameters("grid", 6.0, 6.0, 190.0, 260.0, 45.0, 55.0),
)
KEY = "battery", Quantity.POWER_KW


@pytest.fixture(scope="module")
def plant() -> Iterator[PlantState]:
    world = World(LoadedScenario(SCENARIO), START_UTC_S)
    yield replace(world.plant.state, mode="grid")
    world.close()


def good(value: object) -> Observed[object]:
    return Observed(value, 0.1, Quality.GOOD, "")


def record(path: Path, plant: PlantState, *, honest: bool, acknowledges: bool) -> Truth:
    """40 cycles beside 2 kW of load; a battery that is not honest only says that it discharges."""
    truth, state, command = Truth(), State(), None
    recorder = Recorder(path, SITE)
    for cycle in range(40):
        asked = command.setpoints[0].value if command and command.setpoints else 0.0
        given = asked if honest else 0.0
        applied: Applied = ()
        if command and command.setpoints:
            held = asked if acknowledges else None
            applied = (Ack(*KEY, asked, held, float(cycle), "" if acknowledges else "no answer"),)
        says = asked if acknowledges else given
        sample = Sample(
            cycle=cycle,
            t_s=float(cycle),
            utc_s=START_UTC_S + cycle,
            irradiance_w_m2=None,
            emergency_stop=None,
            pv=(),
            wind=(),
            batteries=(good(BatteryMeasurement(says, 0.8, 3.0, 3.0, state="running")),),
            generators=(),
            grid=good(GridMeasurement(2.0 - given, 230.0, 50.0)),
            sun_elevation_deg=-20.0,
            hour_local=20.0,
            price_buy_per_kwh=0.3,
            price_sell_per_kwh=0.05,
        )
        assert plant.battery is not None
        battery = replace(plant.battery, power_kw=given)
        truth.watch(replace(plant, battery=battery), sample.utc_s, 1.0)
        decision = decide(SITE, state, sample, applied, Advice(), Orders())
        recorder.write(state, sample, applied, Advice(), Orders(), decision)
        state, command = decision.state, decision.command
    recorder.close()
    return truth


def fate_of(path: Path, plant: PlantState, *, honest: bool, acknowledges: bool) -> Fate:
    fates = account(path, record(path, plant, honest=honest, acknowledges=acknowledges))
    assert "battery power_kw" in table(fates)
    return fates[KEY]


def test_a_battery_that_follows_is_obeyed(tmp_path: Path, plant: PlantState) -> None:
    fate = fate_of(tmp_path / "r.gz", plant, honest=True, acknowledges=True)
    assert fate.status_s["obeyed"] > 30
    assert (fate.silent_s, fate.alarms) == (0, 0)
    assert fate.is_accounted_for


def test_a_battery_that_does_not_answer_is_flagged(tmp_path: Path, plant: PlantState) -> None:
    fate = fate_of(tmp_path / "r.gz", plant, honest=False, acknowledges=False)
    assert fate.status_s["unacknowledged"] > 15
    assert fate.alarms == 1
    assert fate.is_accounted_for


def test_a_battery_that_lies_is_found_by_the_plant(tmp_path: Path, plant: PlantState) -> None:
    fate = fate_of(tmp_path / "r.gz", plant, honest=False, acknowledges=True)
    assert fate.status_s["obeyed"] > 30
    assert fate.silent_s > 30
    assert not fate.is_accounted_for


def test_a_setpoint_that_settles_for_ever_is_not_accounted_for() -> None:
    fate = Fate()
    for _ in range(30):
        fate.add("settling", False)
    assert not fate.is_accounted_for


def test_cyclictest_is_read_with_what_is_beyond_its_histogram() -> None:
    output = "# Histogram\n000010 000098\n000012 000001\n# Max Latencies: 03000\n"
    found = read_cyclictest(output + "# Histogram Overflows: 00001\n")
    assert found["count"] == 100
    assert found["p50_s"] == pytest.approx(10e-6, rel=0.13)
    assert found["max_s"] == 3e-3
    assert "1.00" in lateness_table(found, found)
