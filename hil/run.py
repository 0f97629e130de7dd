"""One scenario from file to report."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.inputs import write_history
from hil.live import run_live
from hil.lockstep import run_lockstep
from hil.observer import Observer
from hil.report import write_report
from hil.scenario import LoadedScenario
from hil.world import World

Progress = Callable[[float, Observer], None]


@dataclass(frozen=True, slots=True)
class Speed:
    """How time passes: `live` in a process of its own, else virtual, at a multiple or unbounded."""

    live: bool = False
    multiple: float | None = None


def run_scenario(
    loaded: LoadedScenario, folder: Path, speed: Speed, progress: Progress
) -> dict[str, object]:
    """Run, write recording, summary.json and report.html into `folder`; return the summary.

    Raises ScenarioError, LiveError and OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    start_utc_s = float(int(time.time())) if speed.live else loaded.scenario.scenario.start_utc_s
    world = World(loaded, start_utc_s)
    try:
        observer = Observer(world)
        history = _history(world, folder, start_utc_s)
        recording = folder / "cycles.jsonl.gz"
        if speed.live:
            statistics = run_live(world, observer, folder, history, progress)
        else:
            loop = run_lockstep(world, observer, recording, history, speed.multiple, progress)
            statistics = loop.statistics()
    finally:
        world.close()
    summary = observer.summary(
        statistics["cycles"], statistics["cycles_missed"], time.monotonic() - began, recording
    )
    write_house(observer, summary, statistics, speed, folder)
    return summary


def write_house(
    observer: Observer,
    summary: dict[str, object],
    statistics: Mapping[str, Any],
    speed: Speed,
    folder: Path,
) -> None:
    """report.html and summary.json of one run. Raises OSError."""
    result = observer.result(
        summary,
        _milliseconds(statistics["lateness"]) if speed.live else {},
        {name: _milliseconds(stage) for name, stage in statistics["stages"].items()},
    )
    write_report(result, folder / "report.html")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def _history(world: World, folder: Path, start_utc_s: float) -> Path | None:
    loaded = world.loaded
    if loaded.scenario.scenario.history_days == 0:
        return None
    path = (folder / "history.csv").resolve()
    write_history(path, loaded, world.parameters.pv, world.weather, world.load, start_utc_s)
    return path


def _milliseconds(histogram: Mapping[str, Any]) -> dict[str, float]:
    names = {"p50_s": "p50", "p99_s": "p99", "p999_s": "p999", "max_s": "max"}
    found = {new: 1e3 * float(histogram[old]) for old, new in names.items()}
    return {"count": float(histogram["count"]), **found}
