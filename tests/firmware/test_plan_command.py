"""`nanogrid plan` as its users call it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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


def test_lists_of_units_are_answered_with_lists_of_lists(tmp_path: Path) -> None:
    content = dispatch_instances.fleet(4, 2, 3)
    path = tmp_path / "day.json"
    path.write_text(json.dumps(content))
    done = nanogrid(path, "--budget", "0.3")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert (len(answer["battery_kw"]), len(answer["diesel_on"])) == (2, 3)
    assert dispatch_referee.broken(content, answer) == []
    assert answer["cost"] == pytest.approx(dispatch_referee.cost(content, answer))


@pytest.mark.parametrize("solver", ["milp", "qian2024"])
def test_other_solvers_answer_in_the_same_form(tmp_path: Path, solver: str) -> None:
    if solver == "milp":
        pytest.importorskip("highspy", reason="extra [bench]")
    for content in (dispatch_instances.instance(4), dispatch_instances.fleet(4)):
        path = tmp_path / "day.json"
        path.write_text(json.dumps(content))
        done = nanogrid(path, "--solver", solver, "--budget", "4" if solver == "milp" else "0.3")
        assert (done.returncode, done.stderr) == (0, "")
        answer = json.loads(done.stdout)
        assert answer["solver"]["name"] == solver
        assert dispatch_referee.broken(content, answer) == []
        assert answer["cost"] == pytest.approx(dispatch_referee.cost(content, answer))


def test_without_highspy_the_milp_solver_says_what_to_install(
    problem: tuple[Path, dict[str, Any]],
) -> None:
    code = "import sys; sys.modules['highspy'] = None; from firmware.cli import main; main()"
    command = [sys.executable, "-c", code, "plan", str(problem[0]), "--solver", "milp"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "highspy is not installed" in done.stderr


def test_the_front_as_json_and_picture(tmp_path: Path) -> None:
    content = dispatch_instances.fleet(4)
    path, plot, output = (tmp_path / n for n in ("day.json", "front.svg", "front.json"))
    path.write_text(json.dumps(content))
    done = nanogrid(path, "--pareto", "--iterations", "2", "--plot", plot, "-o", output)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    answer = json.loads(output.read_text())
    assert len(answer["front"]) > 2
    for point in answer["front"]:
        assert dispatch_referee.broken(content, point) == []
        assert point["cost"] == pytest.approx(dispatch_referee.cost(content, point))
        assert set(point["objectives"]) == {"cost", "equipment", "pollution"}
        assert sum(point["weights"].values()) == pytest.approx(1.0)
    assert answer["solver"]["elapsed_s"] is None
    circles = ElementTree.parse(plot).getroot().findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * len(answer["front"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--plot", "x.svg"], "--plot: only with --pareto"),
        (["--pareto", "--plot", "x.png"], "ends in .svg"),
        (["--pareto", "--solver", "milp"], "--pareto: --solver milp"),
        (["--solver", "milp", "--iterations", "3"], "--iterations: not with"),
    ],
)
def test_options_that_do_not_go_together(
    problem: tuple[Path, dict[str, Any]], options: list[str], said: str
) -> None:
    done = nanogrid(problem[0], *options)
    assert done.returncode == 2
    assert said in done.stderr
