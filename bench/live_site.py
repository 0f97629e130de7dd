"""The bench's devices in real time, around the realtime scenario, for `loop.py`, `footprint.py` and
`kills.py`.

The scenario is taken over with another period or priority, with faults, and with the site's
longitude moved so that the sun stands near noon now, whatever the hour: by night a PV limit would
prove nothing.
"""

import os
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.inputs import write_history
from hil.live import served
from hil.scenario import LoadedScenario
from hil.site_file import to_toml
from hil.world import World

SCENARIO = Path(__file__).parents[1] / "hil/scenarios/realtime.toml"
HOURS_AFTER_NOON = -1.0

Changes = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Running:
    """The world being served, and what a controller needs to meet it."""

    world: World
    site: Path
    environment: Mapping[str, str]

    @property
    def command(self) -> list[str]:
        """`nanogrid run`, as a process of its own."""
        return [sys.executable, "-m", "firmware", "run", "--config", str(self.site)]


@contextmanager
def running(
    folder: Path,
    changes: Mapping[str, Changes],
    faults: Sequence[Mapping[str, Any]] = (),
    others: Mapping[str, Any] | None = None,
) -> Iterator[Running]:
    """Serve the scenario's devices until the end of the `with`.

    `changes`: keys per table of the site file, or of its first table of that name; None drops
    one; `others`: further tables of the scenario. All files go into `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start_utc_s = float(int(time.time()))
    file = _scenario(
        folder, changes, {"fault": [dict(fault) for fault in faults], **(others or {})}
    )
    world = World(LoadedScenario(file), start_utc_s)
    try:
        history = (folder / "history.csv").resolve()
        arrays = world.parameters.pv
        write_history(history, world.loaded, arrays, world.weather, world.load, start_utc_s)
        with served(world, folder, history) as (site, environment):
            yield Running(world, site, os.environ | environment)
    finally:
        world.close()


def _scenario(folder: Path, changes: Mapping[str, Changes], others: Mapping[str, Any]) -> Path:
    scenario = tomllib.loads(SCENARIO.read_text("utf-8"))
    site = tomllib.loads((SCENARIO.parent / scenario["scenario"]["site"]).read_text("utf-8"))
    for table, keys in changes.items():
        old = site.get(table, {})
        many = isinstance(old, list)
        new = {**(old[0] if many else old), **keys}
        new = {key: value for key, value in new.items() if value is not None}
        site[table] = [new] if many else new
    utc_h = time.time() / 3600.0 % 24.0
    ahead_h = (24.0 + HOURS_AFTER_NOON - utc_h) % 24.0 - 12.0  # of UTC
    site["site"]["longitude_deg"] = 15.0 * ahead_h
    site["site"]["timezone"] = f"Etc/GMT{-round(ahead_h):+d}"  # whose signs are POSIX's
    scenario["scenario"]["site"] = "template.toml"
    scenario |= others
    (folder / "template.toml").write_text(to_toml(site), encoding="utf-8")
    path = folder / "scenario.toml"
    path.write_text(to_toml(scenario), encoding="utf-8")
    return path
