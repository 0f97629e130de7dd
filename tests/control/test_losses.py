"""What is done when measurements are lost: the table in docs/decisions.md, row by row."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from control.records import BatteryMeasurement
from control.state import Mode


def settle(world: Any, seconds: int) -> Any:
    for _ in range(seconds):
        made = world.step()
    return made


def beside_grid(plant: Any, site: Any, **more: Any) -> Any:
    """Load 3 kW, sun 1 kW, battery covering the rest."""
    world = plant(site, **({"load_kw": 3.0, "sun_kw": 1.0, "soc_frac": 0.6} | more))
    settle(world, 60)
    assert world.battery_kw == pytest.approx(world.load_kw - world.pv_kw)
    return world


def island(plant: Any, site: Any, **more: Any) -> Any:
    return beside_grid(plant, site, mains=False, **more)


def carried(plant: Any, site: Any, **more: Any) -> Any:
    """An island whose generator carries."""
    world = plant(site, mains=False, **({"load_kw": 2.0, "sun_kw": 1.0, "soc_frac": 0.2} | more))
    settle(world, 120)
    assert world.phase == "running"
    return world


# rows: what is lost, how it was, and then: mode, battery setpoint, generator, PV limit
ROWS: list[Any] = [
    ("sun", beside_grid, "auto", 2.0, False, 3.91),
    ("sun roof", beside_grid, "degraded", 2.0, False, None),
    ("roof", beside_grid, "degraded", 2.0, False, None),
    ("grid", beside_grid, "degraded", 0.0, False, 2.91),
    ("grid", island, "degraded", 2.0, False, 6.0),
    ("battery", beside_grid, "degraded", 0.0, False, 3.91),  # what the meter leaves
    ("battery", carried, "degraded", 0.0, True, None),
    ("battery grid", beside_grid, "safe", 0.0, False, 2.91),
    ("genset", beside_grid, "degraded", 2.0, False, 3.91),
    ("genset", island, "degraded", 2.0, False, 6.0),
    ("genset", carried, "degraded", 0.0, True, 0.0),
    ("stop", beside_grid, "safe", 0.0, False, 0.0),
    ("stop", carried, "safe", 0.0, False, 0.0),
    ("roof battery genset grid sun", beside_grid, "safe", 0.0, False, None),
]


@pytest.mark.parametrize(
    ("lost", "before", "mode", "battery_kw", "runs", "limit_kw"),
    ROWS,
    ids=[f"{row[1].__name__}: {row[0]}" for row in ROWS],
)
def test_a_row(
    build: Any,
    plant: Any,
    lost: str,
    before: Any,
    mode: str,
    battery_kw: float,
    runs: bool,
    limit_kw: float | None,
) -> None:
    world = before(plant, build.site())
    world.silent = set(lost.split())
    made = settle(world, 50)
    given = {s.device: s.value for s in made.command.setpoints}
    assert made.state.mode.value == mode
    assert given["battery"] == pytest.approx(battery_kw, abs=0.01)
    assert bool(made.command.generator_relay) is runs
    if limit_kw is not None:
        assert given["roof"] == pytest.approx(limit_kw, abs=0.1)


def test_a_lost_battery_beside_the_grid_leaves_what_the_meter_shows(build: Any, plant: Any) -> None:
    world = plant(build.site(), load_kw=0.5, sun_kw=6.0, soc_frac=0.95)
    settle(world, 60)
    world.silent = {"battery"}
    settle(world, 60)
    assert -3.0 <= world.grid_kw <= -2.8


@pytest.mark.parametrize("connected", [True, False])
def test_a_lost_battery_on_an_island(build: Any, plant: Any, connected: bool) -> None:
    site = build.site() if connected else build.site(grid=None)
    world = island(plant, site)
    world.silent = {"battery"}
    made = settle(world, 40)
    assert made.state.mode is (Mode.DEGRADED if connected else Mode.SAFE)
    assert made.command.generator_relay
    world.sun_kw = 6.0
    settle(world, 200)
    assert world.phase == "running"
    assert world.pv_kw == pytest.approx(0.0)  # no sun while it is below its minimum load
    assert world.generator_kw >= 0.0


def test_a_lost_set_is_started_blind_by_its_contact_alone(build: Any, plant: Any) -> None:
    for by_relay in (True, False):
        site = build.site(generator=build.generator(by_relay=by_relay))
        world = island(plant, site, soc_frac=0.25)
        world.silent = {"genset"}
        settle(world, 15)
        world.soc_frac = 0.16
        made = settle(world, 40)
        assert made.state.generator.run is by_relay


class Partial:
    """Leaves values out of the battery's answers."""

    def __init__(self, world: Any, **without: Any) -> None:
        self._sample, self._without = world.sample, without

    def __call__(self) -> Any:
        sample = self._sample()
        told: BatteryMeasurement = sample.batteries[0].good
        battery = replace(sample.batteries[0], value=replace(told, **self._without))
        return replace(sample, batteries=(battery,))


@pytest.mark.parametrize(
    "without", [{"charge_limit_kw": None, "discharge_limit_kw": None}, {"soc_frac": None}]
)
def test_limits_or_charge_alone(build: Any, plant: Any, without: dict[str, Any]) -> None:
    world = beside_grid(plant, build.site())
    world.sample = Partial(world, **without)
    sent = []
    for _ in range(40):
        made = world.step()
        sent.append(next(s.value for s in made.command.setpoints if s.device == "battery"))
    assert sent[0] == pytest.approx(2.0)
    assert sent[-1] == 0.0
    assert all(after <= before for before, after in pairwise(sent))
    unknown = "soc_frac" in without
    assert made.state.mode is (Mode.DEGRADED if unknown else Mode.AUTO)


def test_an_island_whose_charge_is_unknown_runs_its_generator(build: Any, plant: Any) -> None:
    for site in (build.site(), build.site(grid=None)):
        world = island(plant, site)
        world.sample = Partial(world, soc_frac=None)
        assert settle(world, 40).command.generator_relay
