"""Runs in real time, the controller as a process of its own."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from firmware.config import load_site
from firmware.recording import Recording
from hil import live
from hil.live import LiveError, served
from hil.run import Speed, run_scenario
from hil.scenario import LoadedScenario
from hil.world import World

REALTIME = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "realtime.toml"
SCENARIO = f"""
[scenario]
title = "seconds"
site = "{REALTIME}"
start = "2026-03-20T09:00:00Z"
duration_h = 0.0016
seed = 11
history_days = 8
"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedScenario:
    file = tmp_path / "seconds.toml"
    file.write_text(SCENARIO)
    return LoadedScenario(file)


def test_a_live_run_leaves_what_a_run_leaves(loaded: LoadedScenario, tmp_path: Path) -> None:
    folder, seen = tmp_path / "out", []
    summary = run_scenario(loaded, folder, Speed(live=True), lambda s, _: seen.append(s))
    assert json.loads((folder / "summary.json").read_text()) == summary
    cycles = list(Recording(folder / "cycles.jsonl.gz"))
    assert summary["cycles"] == len(cycles) > 5
    assert isinstance(summary["sim_s"], float)
    assert 2.8 < summary["sim_s"] < 60.0
    assert isinstance(summary["energy_balance_error_frac"], float)
    assert summary["energy_balance_error_frac"] < 1e-3
    assert abs(cycles[0].sample.utc_s - time.time()) < 60.0  # it is now, not the scenario's start
    assert seen == sorted(seen)
    assert seen
    assert "seconds" in (folder / "report.html").read_text()
    assert "Traceback" not in (folder / "controller.log").read_text()
    assert not [t.name for t in threading.enumerate() if t.name in ("world", "fake-pi")]


def test_a_controller_that_fails_fails_the_run(
    loaded: LoadedScenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live.sys, "executable", "/bin/false")
    with pytest.raises(LiveError, match=r"status 1; see .*controller\.log"):
        run_scenario(loaded, tmp_path / "out", Speed(live=True), lambda *_: None)
    assert not [t.name for t in threading.enumerate() if t.name in ("world", "fake-pi")]


def test_a_deep_folder_gets_a_site_file_that_a_controller_takes(
    loaded: LoadedScenario, tmp_path: Path
) -> None:
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    world = World(loaded, float(int(time.time())))
    try:
        with served(world, folder, None) as (site, _):
            assert Path(load_site(site).local.socket).parent.is_dir()
    finally:
        world.close()


def test_served_gives_a_site_and_an_environment_while_the_world_goes_on(
    loaded: LoadedScenario, tmp_path: Path
) -> None:
    world = World(loaded, float(int(time.time())))
    try:
        with served(world, tmp_path, None) as (site, environment):
            end_s = time.monotonic() + 20.0
            while world.elapsed_s < 0.2:
                assert time.monotonic() < end_s
                time.sleep(0.01)
            assert "127.0.0.1" in site.read_text()
            assert set(environment) == {"NANOGRID_BENCH_PI", "PYTHONPATH"}
            assert Path(environment["NANOGRID_BENCH_PI"]).is_socket()
            assert os.path.isdir(environment["PYTHONPATH"].split(os.pathsep)[0])
        stopped_s = world.elapsed_s
        time.sleep(0.1)
        assert world.elapsed_s == stopped_s
        assert not Path(environment["NANOGRID_BENCH_PI"]).exists()
    finally:
        world.close()
    assert "spidev" not in sys.modules
