"""Runs in virtual time: the whole controller against the whole bench, to the last byte the same."""

import os
import re
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from control.cycle import Decision
from firmware import loop as loop_module
from firmware.loop import Loop
from firmware.recording import Recording
from firmware.replay import replay
from hil.inputs import write_history
from hil.lockstep import START_T_S, run_lockstep
from hil.observer import Observer
from hil.scenario import LoadedScenario
from hil.score import balance_error_frac
from hil.world import World

SITE = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "clinic.toml"
MINUTES = 10
CYCLES = MINUTES * 12  # a period of 5 s
Run = tuple[Path, Loop, Observer]
SCENARIO = """
[scenario]
title = "ten minutes"
site = "{site}"
start = "2026-05-13T17:57:00Z" # 19:57 on the site's clock: a slot begins and prices change
duration_h = {hours}
seed = {seed}
history_days = {history_days}
plan_iterations = 3
[weather]
kind = "broken"
[load]
kind = "clinic"
kwh_per_day = 26.0
[[outage]]
from_h = 0.1
to_h = 0.12
[plant.battery]
initial_soc_frac = 0.35
"""
FAULTS = """
[[fault]]
kind = "hang"
target = "roof"
at_h = 0.05
for_s = 20.0
[[fault]]
kind = "open"
target = "0"
at_h = 0.02
for_s = 60.0
"""


def run(folder: Path, seed: int = 7, minutes: int = MINUTES, faults: str = FAULTS) -> Run:
    """A run into `folder`; without faults also without a history."""
    folder.mkdir()
    file = folder / "scenario.toml"
    hours, history_days = minutes / 60.0, 10 if faults else 0
    site = folder / "site.toml"
    patient = re.sub(r"^kind = .*$", r"\g<0>\ntimeout_s = 2.0", SITE.read_text(), flags=re.M)
    site.write_text(patient)  # answers take real time: a busy machine is to change nothing
    text = SCENARIO.format(site=site, hours=hours, seed=seed, history_days=history_days)
    file.write_text(text + faults)
    loaded = LoadedScenario(file)
    start = loaded.scenario.scenario.start_utc_s
    world = World(loaded, start)
    recording, history = folder / "cycles.jsonl.gz", None
    try:
        observer = Observer(world)
        if faults:
            history = folder / "history.csv"
            pv, weather, load = world.parameters.pv, world.weather, world.load
            write_history(history, loaded, pv, weather, load, start)
        loop = run_lockstep(world, observer, recording, history, None, lambda *_: None)
    finally:
        world.close()
    return recording, loop, observer


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run that several tests look at."""
    return run(tmp_path_factory.mktemp("lockstep") / "run")


def test_the_same_seed_gives_the_same_recording(ran: Run, tmp_path: Path) -> None:
    again, _, _ = run(tmp_path / "again")
    assert again.read_bytes() == ran[0].read_bytes()


def test_another_seed_gives_another(tmp_path: Path) -> None:
    files = [run(tmp_path / str(seed), seed, minutes=1, faults="")[0] for seed in (7, 8)]
    assert files[0].read_bytes() != files[1].read_bytes()


def test_the_recording_replays_to_the_bit(ran: Run) -> None:
    replayed = list(replay(Recording(ran[0])))
    assert len(replayed) == CYCLES
    assert not any(each.differs for each in replayed)
    times = [each.cycle.sample.t_s for each in replayed]
    assert times == [START_T_S + 5.0 * n for n in range(CYCLES)]


def test_everything_took_part(ran: Run) -> None:
    cycles = list(Recording(ran[0]))
    details = {cycle.advice.detail for cycle in cycles}
    assert "no advice yet" in details
    assert all(cycle.advice.plan is not None for cycle in cycles[2:])
    plans = {cycle.advice.plan for cycle in cycles}
    assert len(plans) > 2  # first, at the new slot, without the grid
    stale = [c.sample.pv[0].detail for c in cycles if c.sample.pv[0].good is None]
    assert any("unit 1 on lan-pv: no answer" in detail for detail in stale)
    sun = [c.sample.irradiance_w_m2 for c in cycles]
    assert any(each is not None and each.good is None for each in sun)
    prices = {cycle.sample.price_buy_per_kwh for cycle in cycles}
    assert prices == {0.38}
    texts = [event.text for cycle in cycles for event in cycle.events]
    assert any("grid lost" in text for text in texts)


def test_the_books_close_and_the_observer_saw_it_all(ran: Run) -> None:
    path, loop, observer = ran
    summary = observer.summary(loop.timing.cycles, loop.timing.missed, 1.0, path)
    assert summary["cycles"] == CYCLES
    assert summary["cycles_missed"] == 0
    assert summary["sim_s"] == pytest.approx(60.0 * MINUTES)
    error = summary["energy_balance_error_frac"]
    assert isinstance(error, float)
    assert 0.0 <= error < 1e-3
    state = observer._world.plant.state
    assert error == balance_error_frac(state, observer._stored_at_start_kwh)
    result = observer.result(summary, {}, {})
    assert len(result.utc_s) == MINUTES
    assert all(len(column) == MINUTES for column in result.truth.values())
    assert all(len(column) == MINUTES for column in result.controller.values())
    assert all(len(column) == MINUTES for column in result.rule_based.values())
    faults = [item for item in result.happenings if item.severity == "fault"]
    assert [item.key for item in faults] == ["open", "hang", "outage"]
    assert result.modes[0][1] in ("starting", "auto")


def test_it_leaves_nothing_behind(tmp_path: Path) -> None:
    before = {thread.name for thread in threading.enumerate()}
    run(tmp_path / "run", minutes=2, faults="")
    assert "spidev" not in sys.modules
    assert {thread.name for thread in threading.enumerate()} <= before
    assert not _children()


def test_an_error_ends_the_run_and_all_that_belongs_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide, count = loop_module.decide, 0

    def buggy(*given: Any) -> Decision:
        nonlocal count
        count += 1
        if count > 20:
            raise ZeroDivisionError
        return decide(*given)

    monkeypatch.setattr(loop_module, "decide", buggy)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "run", minutes=2, faults="")
    assert "spidev" not in sys.modules
    assert not _children()
    recorded = list(Recording(tmp_path / "run" / "cycles.jsonl.gz"))
    assert len(recorded) == 20


def _children() -> list[str]:
    found: list[str] = []
    for task in os.listdir("/proc/self/task"):
        found += Path(f"/proc/self/task/{task}/children").read_text().split()
    return found
