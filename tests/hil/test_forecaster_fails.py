"""The forecasting process killed and poisoned on the bench: the loop falls back within a cycle."""

import functools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from control.records import Severity
from firmware.recording import Recording
from firmware.replay import replay
from firmware.workers import Workers
from hil import lockstep
from hil.inputs import write_history
from hil.live import served
from hil.observer import Observer
from hil.scenario import LoadedScenario
from hil.site_file import to_toml
from hil.world import World
from models.gru import WEIGHTS

SITES = Path(__file__).parents[2] / "hil" / "scenarios" / "sites"
DEADLINE_S = 60.0
SCENARIO = """
[scenario]
title = "a forecaster that fails"
site = "{site}"
start = "2026-05-13T10:00:30Z"
duration_h = 0.13
seed = 7
history_days = 10
plan_iterations = 2
[weather]
kind = "broken"
"""
POISON = """
    import os
    from dataclasses import replace
    import firmware.worker as worker
    good, asked = worker.Worker.advise, 0
    def advise(self, *given):
        global asked
        asked += 1
        advice = good(self, *given)
        forecast = advice.forecast
        if asked == 2:
            load = replace(forecast.load, p50_kw=(float("nan"),) * len(forecast.load.p50_kw))
            return replace(advice, forecast=replace(forecast, load=load))
        if asked == 3:
            return replace(advice, forecast=replace(forecast, start_t_s=forecast.start_t_s - 1e6))
        if asked == 4:
            pv = replace(forecast.pv, p90_kw=(600.0,) * len(forecast.pv.p90_kw))
            return replace(advice, forecast=replace(forecast, pv=pv))
        if asked == 5:
            os.kill(os.getpid(), 9)
        return advice
    worker.Worker.advise = advise
    worker.main()
"""


def scenario(folder: Path, name: str) -> LoadedScenario:
    """The site of that name, which plans anew every minute."""
    text = (SITES / f"{name}.toml").read_text()
    text = text.replace("interval_s = 900.0", "interval_s = 60.0").replace(
        "interval_s = 60.0", "interval_s = 60.0\nbudget_s = 0.02"
    )
    (folder / "site.toml").write_text(text)
    file = folder / "scenario.toml"
    file.write_text(SCENARIO.format(site=folder / "site.toml"))
    return LoadedScenario(file)


def test_in_lockstep_each_poison_is_an_event_in_its_own_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = scenario(tmp_path, "clinic")
    world = World(loaded, loaded.scenario.scenario.start_utc_s)
    command = (sys.executable, "-c", textwrap.dedent(POISON))
    monkeypatch.setattr(lockstep, "Workers", functools.partial(Workers, command=command))
    try:
        history = tmp_path / "history.csv"
        pv, start_s = world.parameters.pv, world.start_utc_s
        write_history(history, loaded, pv, world.weather, world.load, start_s)
        observer = Observer(world)
        path = tmp_path / "cycles.jsonl.gz"
        lockstep.run_lockstep(world, observer, path, history, None, lambda *_: None)
    finally:
        world.close()
    cycles = list(Recording(path))
    told = [
        (number, event)
        for number, cycle in enumerate(cycles)
        for event in cycle.notices
        if event.key == "advice"
    ]
    texts = [event.text for _, event in told[:5]]
    assert [text.partition(": the last plan")[0] for text in texts] == [
        "nonsensical advice refused: load forecast",
        "nonsensical advice refused: the forecast's times",
        "nonsensical advice refused: PV forecast of 600 kW, 12 kW at most",
        "the planning process died",
        "the planning process answers again",
    ]
    first = cycles[told[0][0]].advice
    for number, event in told[:4]:  # in the next cycle: what was good serves on
        advice = cycles[number + 1].advice
        assert event.severity is Severity.WARNING
        assert (advice.plan, advice.forecast) == (first.plan, first.forecast)
        assert event.text.startswith(advice.detail)
    assert cycles[told[4][0] + 1].advice.plan != first.plan
    assert sum(observer.violations.counts().values()) == 0
    shown = [item.text for item in observer.controller.happenings if item.key == "advice"]
    assert shown == [event.text for _, event in told]
    assert not any(each.differs for each in replay(Recording(path)))


# --- the service itself ---------------------------------------------------------------------


class Running:
    """`nanogrid run` with a store, in real time."""

    def __init__(self, site: Path, environment: dict[str, str], log: Path) -> None:
        self.site, self.log = site, log
        self.folder = site.parent
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "firmware", "run", "--config", str(site)],
                env=os.environ | environment,
                stderr=errors,
            )

    def events(self) -> list[str]:
        path = self.folder / "state.db"
        if not path.exists():
            return []
        try:
            with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as connection:
                return [text for (text,) in connection.execute("SELECT text FROM event")]
        except sqlite3.Error:  # it is just being made
            return []

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-m", "firmware", "status", "--json", "--config", str(self.site)],
            capture_output=True,
            text=True,
            check=False,
        )
        return dict(json.loads(done.stdout)) if done.returncode == 0 else {}

    def wait(self, what: Callable[[], bool], said: str) -> None:
        end_s = time.monotonic() + DEADLINE_S
        while not what():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end_s, f"waited in vain for {said}: {self.events()}"
            time.sleep(0.2)

    def told(self, text: str) -> None:
        self.wait(lambda: any(text in event for event in self.events()), text)

    def planner(self) -> int:
        """The id of its planning process."""
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        found = [pid for task in tasks for pid in (task / "children").read_text().split()]
        return int(found[0])


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    loaded = scenario(tmp_path, "realtime")
    world = World(loaded, float(int(time.time())))
    try:
        with served(world, tmp_path, None) as (site, environment):
            table = dict(world.site())
            table["local"] = {"socket": str(tmp_path / "n.sock")}
            table["store"] = {"path": str(tmp_path / "state.db")}
            table["planner"] = {"interval_s": 5.0, "budget_s": 0.02}
            site.write_text(to_toml(table), encoding="utf-8")
            put(tmp_path, "load", corrupt=True)
            service = Running(site, environment, tmp_path / "log")
            try:
                yield service
            finally:
                service.process.send_signal(signal.SIGTERM)
                service.process.wait(30)
    finally:
        world.close()


def put(folder: Path, target: str, *, corrupt: bool) -> None:
    """A challenger, as one copies it to where the docs say."""
    place = folder / "forecast" / "challenger"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(WEIGHTS / f"{target}.json", place / f"{target}.json")
    content = (WEIGHTS / f"{target}.tflite").read_bytes()
    (place / f"{target}.tflite").write_bytes(content[: len(content) // (2 if corrupt else 1)])


def test_the_service_outlives_its_forecaster_and_takes_up_a_challenger(running: Running) -> None:
    running.told("load forecast: challenger refused: ")
    [refused] = [event for event in running.events() if "refused" in event]
    assert "sha256" in refused
    assert "\n" not in refused
    running.wait(lambda: running.status().get("plan") is not None, "a plan")
    put(running.folder, "load", corrupt=False)  # without a restart
    running.told("load forecast: a challenger runs in shadow: load ")
    os.kill(running.planner(), signal.SIGKILL)
    running.told("the planning process died: the last plan for 60 min at most")
    document = running.status()
    assert document["advice_missing"] == "the planning process died"
    assert document["mode"]["name"] == "auto"
    assert document["plan"]["expired"] is False
    assert document["nowcast"]["missing"] == "" or document["irradiance_w_m2"] < 50.0
    assert "Traceback" not in running.log.read_text()
