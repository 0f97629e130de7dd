"""Houses on the bench's devices, each with a service of its own, in a community that trades."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from firmware.commands.community import community
from hil.inputs import write_history
from hil.live import served
from hil.scenario import LoadedScenario
from hil.world import World
from tests.firmware.service import Service

DAY_S = 86_400
SITE = """
[site]
name = "{name}"
latitude_deg = 0.0
longitude_deg = {longitude_deg}
timezone = "Etc/UTC"
currency = "EUR"
[loop]
period_s = 0.5
[prices]
buy_per_kwh = 0.30
sell_per_kwh = 0.05
[planner]
interval_s = 60.0
budget_s = 0.2
[forecast]
enabled = false
[[bus]]
name = "lan"
kind = "tcp"
host = "192.168.1.20"
[grid]
name = "grid"
driver = "sunspec-meter"
bus = "lan"
unit = 2
import_max_kw = 10.0
export_max_kw = 6.0
"""
PV = """
[[pv]]
name = "roof"
driver = "sunspec-inverter"
bus = "lan"
unit = 1
rated_kw = 6.0
"""
BATTERY = """
[[bus]]
name = "ess"
kind = "tcp"
host = "192.168.1.21"
[[battery]]
name = "battery"
driver = "sunspec-storage"
bus = "ess"
unit = 1
capacity_kwh = 12.0
charge_max_kw = 4.0
discharge_max_kw = 4.0
soc_min_frac = 0.10
soc_max_frac = 0.98
reserve_soc_frac = 0.10
"""
SCENARIO = """
[scenario]
title = "now"
site = "{site}"
start = "{start}"
duration_h = 20.0
history_days = 8
[weather]
kind = "clear"
[load]
csv = "{load}"
column = "load_kw"
"""
TABLES = """
[store]
path = "{folder}/state.db"
[recording]
path = "{folder}/cycles.jsonl.gz"
[mqtt]
host = "127.0.0.1"
port = {port}
state_s = 1.0
[trading]
enabled = true
folder = "{folder}/trading"
"""


@dataclass
class House(Service):
    """One house: its devices in real time, and services started on them."""

    name: str
    folder: Path
    pv: bool = False
    load_kw: float = 0.0
    battery: bool = False
    soc_frac: float = 0.5
    site: Path = field(default=Path(), kw_only=True)
    environment: dict[str, str] = field(default_factory=dict, kw_only=True)
    world: World | None = None

    @property
    def trading(self) -> Path:
        return self.folder / "trading"

    def at_market(self, key: str) -> Any:
        """One entry of the status document's part on trading."""
        return (self.status().get("trading") or {}).get(key)

    def meter_kw(self) -> float:
        """What the plant draws from the grid now."""
        assert self.world is not None
        return self.world.plant.state.grid_kw

    def community(self, *arguments: str) -> str:
        result = CliRunner().invoke(community, [*arguments, "--folder", str(self.trading)])
        assert result.exit_code == 0, result.output
        return result.output


@contextmanager
def served_house(house: House, port: int) -> Iterator[House]:
    """Its devices in real time, at noon of a clear day; the load is constant."""
    house.folder.mkdir()
    now_s = int(time.time())
    rows = ["ts_utc,load_kw"]
    for start_s in range(now_s // 900 * 900 - 10 * DAY_S, now_s + 2 * DAY_S, 900):
        moment = datetime.fromtimestamp(start_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows.append(f"{moment},{house.load_kw}")
    load = house.folder / "load.csv"
    load.write_text("\n".join([*rows, ""]))
    base = house.folder / "base.toml"
    noon_deg = 180.0 - now_s % DAY_S / DAY_S * 360.0  # where it is noon now
    text = SITE.format(name=house.name, longitude_deg=round(noon_deg, 3))
    base.write_text(text + (PV if house.pv else "") + (BATTERY if house.battery else ""))
    start = datetime.fromtimestamp(now_s, UTC).isoformat()
    plant = f"[plant.battery]\ninitial_soc_frac = {house.soc_frac}\n" if house.battery else ""
    scenario = house.folder / "now.toml"
    scenario.write_text(SCENARIO.format(site=base, start=start, load=load) + plant)
    house.world = world = World(LoadedScenario(scenario), float(now_s))
    history = house.folder / "history.csv"
    arrays = world.parameters.pv
    write_history(history, world.loaded, arrays, world.weather, world.load, float(now_s))
    try:
        with served(world, house.folder, history) as (site, environment):
            with site.open("a") as file:
                file.write(TABLES.format(folder=house.folder, port=port))
            house.site, house.environment = site, environment
            yield house
            house.kill()
    finally:
        world.close()


def found_community(houses: list[House], slot_s: int) -> None:
    """As the handbook has it: the first one is the administrator's."""
    first, *others = houses
    prices = ["--retail", "0.30", "--feed-in", "0.05", "--fee", "0.01"]
    first.community("create", "street", "--house", first.name, "--slot", str(slot_s), *prices)
    for house in others:
        key = house.community("join").split("invite ")[1].split()[0]
        first.community("invite", key, "--house", house.name)
    for house in others:
        house.community("join", str(first.trading / "community.json"))


@contextmanager
def street(houses: list[House], port: int, slot_s: int) -> Iterator[list[House]]:
    """All of them served, in one community, no service started yet."""
    with ExitStack() as all_houses:
        for house in houses:
            all_houses.enter_context(served_house(house, port))
        found_community(houses, slot_s)
        yield houses
