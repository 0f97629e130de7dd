"""`nanogrid plan` as its users call it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import dispatch_instances, dispatch_referee

KEYS = ("battery_kw", "diesel_kw", "grid_kw", "curtailed_kw", "unserved_kw", "dumped_kw")


def nanogrid(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "firmware.cli", "plan", *map(str, arguments)]
    code = "from firmware.cli import main; main()"
    command[1:3] = ["-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def problem(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    content = dispatch_instances.instance(8)
    path = tmp_path / "day.json"
    path.write_text(json.dumps(content))
    return path, content


def test_the_answer_is_feasible_and_priced(problem: tuple[Path, dict[str, Any]]) -> None:
    path, content = problem
    done = nanogrid(path, "--budget", "0.2", "--seed", "3")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert dispatch_referee.broken(content, answer) == []
    assert answer["cost"] == pytest.approx(dispatch_referee.cost(content, answer))
    assert {len(answer[key]) for key in KEYS} == {content["time"]["steps"]}
    assert set(answer["diesel_on"]) <= {0, 1}
    assert {"generation", "equipment", "pollution"} <= set(answer["terms"])
    solver = answer["solver"]
    assert (solver["name"], solver["seed"], solver["budget_s"]) == ("swarm", 3, 0.2)
    assert solver["elapsed_s"] > 0
    assert solver["evaluations"] >= 1
    assert solver["stopped_by"] in ("budget", "converged")


def test_counted_iterations_give_the_same_bytes(
    problem: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path, _ = problem
    outputs = [tmp_path / "one.json", tmp_path / "two.json"]
    for output in outputs:
        done = nanogrid(path, "--iterations", "6", "--seed", "5", "-o", output)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert json.loads(outputs[0].read_text())["solver"]["stopped_by"] == "iterations"


def test_no_budget_at_all_still_gives_a_plan(problem: tuple[Path, dict[str, Any]]) -> None:
    path, content = problem
    answer = json.loads(nanogrid(path, "--budget", "0").stdout)
    assert dispatch_referee.broken(content, answer) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        ("[" * 100_000, "recursion"),
        ("[]", "the file: []"),
        ('{"time": {"step_h": 1, "steps": 1}}', "series: None"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "day.json"
    if content is not None:
        path.write_text(content, encoding="latin-1")
    done = nanogrid(path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "day.json" in done.stderr
    assert said in done.stderr


def test_an_output_that_cannot_be_written_is_status_1(
    problem: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    done = nanogrid(problem[0], "--budget", "0", "-o", tmp_path / "missing" / "plan.json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
