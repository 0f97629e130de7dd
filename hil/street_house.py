"""One house of a street while it runs, and when it is over."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.inputs import write_history
from hil.live import RECORDING
from hil.observer import Observer
from hil.scenario import LoadedScenario
from hil.street_meters import Meter
from hil.world import World


@dataclass(frozen=True)
class RanHouse:
    """One house when the run is over."""

    folder: Path
    observer: Observer
    meter: Meter
    rule_meter: Meter  # of the rule-based controller's plant
    statistics: Mapping[str, Any]

    @property
    def recording(self) -> Path:
        """Every cycle's input and command."""
        return self.folder / RECORDING


class House:
    """Plant and devices of one house, watched from outside."""

    def __init__(self, loaded: LoadedScenario, folder: Path, slot_s: float, utc_s: float) -> None:
        """Start the servers; raises ScenarioError."""
        self.folder = folder
        self.world = World(loaded, utc_s)
        self.observer = Observer(self.world)
        self.meter = Meter(slot_s)
        self.world.watchers.append(self.meter.watch)
        self.rule_meter = Meter(slot_s)
        self.observer.rule_watchers.append(self.rule_meter.watch)

    def history(self) -> Path | None:
        """The days before, in a file for the forecasters."""
        world = self.world
        if world.loaded.scenario.scenario.history_days == 0:
            return None
        path = (self.folder / "history.csv").resolve()
        pv, start_utc_s = world.parameters.pv, world.start_utc_s
        write_history(path, world.loaded, pv, world.weather, world.load, start_utc_s)
        return path

    def ran(self, statistics: Mapping[str, Any]) -> RanHouse:
        """What is left of it."""
        return RanHouse(self.folder, self.observer, self.meter, self.rule_meter, statistics)
