"""`nanogrid hil` from outside."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from hil.cli import hil

SITES = Path(__file__).parents[2] / "hil" / "scenarios" / "sites"
SCENARIO = f"""
[scenario]
title = "Two minutes"
site = "{SITES / "clinic.toml"}"
start = "2026-05-13T10:00:00Z"
duration_h = 0.0333333
seed = 3
history_days = 0
plan_iterations = 2
"""
SUMMARY = {
    "cycles",
    "cycles_missed",
    "limit_violations",
    "energy_balance_error_frac",
    "cost",
    "cost_rule_based",
    "unserved_kwh",
    "fuel_l",
    "generator_starts",
    "sim_s",
    "wall_s",
    "recording",
}


def nanogrid(
    folder: Path, *arguments: str, timeout_s: float = 60.0
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "firmware", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    file = tmp_path / "two.toml"
    file.write_text(SCENARIO)
    return file


def test_a_run_writes_its_folder_and_says_where(scenario: Path, tmp_path: Path) -> None:
    done = nanogrid(tmp_path, "hil", "run", "two.toml", "--speed", "max")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "out" / "two"
    summary = json.loads((folder / "summary.json").read_text())
    assert set(summary) >= SUMMARY
    assert summary["cycles"] == 24
    assert summary["cycles_missed"] == 0
    assert (folder / "report.html").exists()
    assert "Two minutes" in done.stdout
    assert "out/two/report.html" in done.stdout.replace("\n", "")
    assert "\r" not in done.stderr  # no live line where there is no terminal
    replayed = nanogrid(tmp_path, "replay", summary["recording"])
    assert (replayed.returncode, replayed.stdout) == (0, "24 cycles, 0 differing commands\n")


def test_virtual_time_can_be_held_to_a_multiple(scenario: Path, tmp_path: Path) -> None:
    options = ["--speed", "120", "--report", str(tmp_path / "here")]
    result = CliRunner().invoke(hil, ["run", str(scenario), *options])
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "here" / "summary.json").read_text())["wall_s"] >= 0.95


@pytest.mark.parametrize("speed", ["0", "-1", "fast", "nan", "inf"])
def test_a_speed_is_max_or_above_0(scenario: Path, speed: str) -> None:
    result = CliRunner().invoke(hil, ["run", str(scenario), "--speed", speed])
    assert result.exit_code == 2
    assert "must be max or a number above 0" in result.stderr


def test_what_is_wrong_is_said_with_2(scenario: Path, tmp_path: Path) -> None:
    scenario.write_text(SCENARIO + "colour = 1\n[weather]\nkind = 'x'\n")
    for command in ("run", "serve"):
        result = CliRunner().invoke(hil, [command, str(scenario)])
        assert result.exit_code == 2
        assert len(result.stderr.splitlines()) == 2
        assert all(str(scenario) in line for line in result.stderr.splitlines())
    result = CliRunner().invoke(hil, ["run", str(tmp_path / "absent.toml")])
    assert result.exit_code == 2
    assert "absent.toml" in result.stderr


def test_a_folder_that_cannot_be_written_is_a_failure(scenario: Path) -> None:
    result = CliRunner().invoke(hil, ["run", str(scenario), "--report", "/proc/nowhere"])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("nanogrid hil run: ")


def test_serve_says_how_to_start_a_controller_and_ends_with_ctrl_c(
    scenario: Path, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "firmware", "hil", "serve", "two.toml", "--dir", "served"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        found = re.match(r"NANOGRID_BENCH_PI=\S+ PYTHONPATH=\S+ (\S+) run --config \S+\n", line)
        assert found
        assert os.access(found[1], os.X_OK)
        assert (tmp_path / "served" / "site.toml").exists()
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30.0)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "Traceback" not in said
