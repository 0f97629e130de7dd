"""`nanogrid replay`, on recordings of real decisions, as a process and in-process."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from control.cycle import decide
from control.delivery import Delivery
from control.site import SiteParameters
from control.state import State
from firmware.commands.replay import replay as replay_command
from firmware.loop import Telemetry
from firmware.recording import Recorder, Recording
from firmware.replay import replay

ROOT = Path(__file__).parents[2]
Run = Callable[[int], list[Telemetry]]
CONSTANT = re.compile(r"^GRID_MARGIN_FRAC = [0-9.]+", re.MULTILINE)
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def recording(tmp_path: Path, parameters: SiteParameters, run_cycles: Run) -> Path:
    """Thirty cycles, ten of them lost in between."""
    path = tmp_path / "cycles.jsonl.gz"
    recorder = Recorder(path, parameters)
    cycles = run_cycles(40)
    for t in (*cycles[:20], *cycles[30:]):
        gap = t.sample.cycle == 30
        recorder.write(t.before, t.sample, t.applied, t.advice, t.orders, t.decision, gap=gap)
    recorder.close()
    return path


def run(path: Path) -> Result:
    return CliRunner().invoke(replay_command, [str(path)])


def edited(path: Path, cycle: int, edit: Edit) -> Path:
    """Change one cycle's line of a recording."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    edit([line for line in lines if "cycle" in line][cycle])
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return path


def test_trades_are_delivered_again_in_their_slots_only(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    """Cycles decided with a trade that begins in the tenth and ends before the twentieth."""
    path, state, cycles = tmp_path / "cycles.jsonl.gz", State(), run_cycles(30)
    sold = Delivery(cycles[10].sample.t_s, cycles[20].sample.t_s, -0.8, 0.12)
    recorder = Recorder(path, parameters)
    for number, t in enumerate(cycles):
        known = (sold,) if 5 <= number < 25 else ()
        made = decide(parameters, state, t.sample, t.applied, t.advice, t.orders, known)
        recorder.write(state, t.sample, t.applied, t.advice, t.orders, made, deliveries=known)
        state = made.state
    recorder.close()
    replayed = list(replay(Recording(path)))
    assert not any(each.differs for each in replayed)
    sources = [
        next(why.source for why in each.decision.command.why if why.device == "battery")
        for each in replayed
    ]
    delivered = [n for n, source in enumerate(sources) if source == "committed trades"]
    assert delivered == list(range(10, 20))


def test_a_recording_is_decided_again_across_its_gaps(recording: Path) -> None:
    replayed = list(replay(Recording(recording)))
    assert len(replayed) == 30
    assert not any(each.differs for each in replayed)
    result = run(recording)
    assert result.output == "30 cycles, 0 differing commands\n"
    assert result.exit_code == 0


def set_value(line: dict[str, Any], change: Callable[[float], float]) -> None:
    setpoint = line["command"][0][-1]
    setpoint[2] = change(setpoint[2])


def test_the_last_bit_of_one_setpoint_is_a_difference(recording: Path) -> None:
    def nudge(line: dict[str, Any]) -> None:
        set_value(line, lambda value: value * (1 + 2**-52))

    result = run(edited(recording, 12, nudge))
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[0] == "30 cycles, 1 differing commands"
    assert lines[1].startswith("first difference: cycle 12 at 2025-10-09T08:53:32.000")
    assert "limit_kw: recorded" in lines[2]


def test_the_sign_of_zero_is_a_difference(recording: Path) -> None:
    def negate(line: dict[str, Any]) -> None:
        for setpoint in line["command"][0]:
            if setpoint[2] == 0.0:
                setpoint[2] = -0.0

    result = run(edited(recording, 15, negate))
    assert result.exit_code == 1
    assert "recorded -0.0 for" in result.output


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda line: line["events"].append(["info", "mode", "auto: by hand"]), "auto: by hand"),
        (lambda line: line["command"].__setitem__(2, True), "generator_relay: recorded True"),
        (lambda line: line["command"].__setitem__(3, True), "alarm: recorded True"),
        (lambda line: line["command"][1][0].__setitem__(3, "a whim"), "reason: recorded a whim"),
        (lambda line: line["command"][1][0].__setitem__(6, ["x"]), "losers: recorded ('x',)"),
        (lambda line: line["command"][0].reverse(), "order"),
        (lambda line: line["command"][0].pop(), "recorded None"),
    ],
)
def test_every_kind_of_difference_is_named(recording: Path, edit: Edit, said: str) -> None:
    result = run(edited(recording, 25, edit))
    assert result.exit_code == 1
    assert said in result.output


def test_what_is_no_recording_ends_with_2(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not this\n")
    result = run(path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert run(tmp_path / "absent").exit_code == 2


def test_a_garbled_line_ends_with_2(recording: Path) -> None:
    result = run(edited(recording, 20, lambda line: line.update(cycle=[1, 2])))
    assert result.exit_code == 2
    assert "not a Sample" in result.stderr


def test_another_version_is_named(recording: Path) -> None:
    lines = gzip.decompress(recording.read_bytes()).split(b"\n")
    header = json.loads(lines[0])
    lines[0] = json.dumps({**header, "version": "0.0.1"}).encode()
    recording.write_bytes(gzip.compress(b"\n".join(lines)))
    result = run(recording)
    assert result.exit_code == 0
    assert "recorded by version 0.0.1" in result.output


def replayed_with(control: Path, recording: Path) -> "subprocess.CompletedProcess[str]":
    """Replay as a process whose `control` is another."""
    return subprocess.run(
        [sys.executable, "-m", "firmware", "replay", str(recording)],
        env={**os.environ, "PYTHONPATH": f"{control}{os.pathsep}{ROOT}"},
        cwd=control,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_changed_constant_is_found_where_it_first_matters(
    recording: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(ROOT / "control", tree / "control")
    same = replayed_with(tree, recording)
    assert (same.returncode, same.stdout) == (0, "30 cycles, 0 differing commands\n")
    (file,) = (f for f in (tree / "control").glob("*.py") if CONSTANT.search(f.read_text()))
    file.write_text(CONSTANT.sub("GRID_MARGIN_FRAC = 0.5", file.read_text()))
    changed = replayed_with(tree, recording)
    assert changed.returncode == 1
    assert "first difference: cycle" in changed.stdout
    assert ": recorded " in changed.stdout
    assert changed.stderr == ""
