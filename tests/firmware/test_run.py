"""`nanogrid run` as a process, in real time, against the bench's devices and pins."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from firmware.recording import Recording
from firmware.replay import replay
from hil.live import served
from hil.scenario import LoadedScenario
from hil.world import World
from tests.scenario_text import scenario_text

SITE = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "clinic.toml"
PERIOD_S = 0.05
DEADLINE_S = 60.0
RELAY_PIN = 27
SCENARIO = scenario_text("site.toml")


@dataclass
class Bench:
    """Devices in real time, and what starts a controller for them."""

    world: World
    site: Path
    environment: dict[str, str]
    folder: Path
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def start(
        self, *options: str, program: tuple[str, ...] = ("-m", "firmware"), site: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        log = self.folder / f"log.{len(self.processes)}"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *program, "run", "--config", str(site or self.site), *options],
                env={**os.environ, **self.environment},
                stderr=file,
                stdout=file,
            )
        self.processes.append(process)
        return process

    def log(self) -> str:
        return (self.folder / f"log.{len(self.processes) - 1}").read_text()

    def wait_for_log(self, pattern: str) -> None:
        wait_for(lambda: re.search(pattern, self.log()) is not None, lambda: self.log())

    def commanded(self) -> bool:
        """Whether somebody holds a PV limit, which the inverter forgets when it is let go."""
        controls = self.world.buses.controls(self.world.elapsed_s)
        return controls.pv_limit_kw.get("roof") is not None


def wait_for(what: Callable[[], bool], said: Callable[[], object] = lambda: "") -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s, said()
        time.sleep(0.01)


def children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
    return found


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@contextlib.contextmanager
def served_bench(folder: Path, site: str) -> Iterator[Bench]:
    """Devices in real time for a site file's text, at this module's period."""
    site = site.replace("period_s = 5.0", f"period_s = {PERIOD_S}")
    (folder / "site.toml").write_text(site.replace("interval_s = 900.0", "budget_s = 0.1"))
    (folder / "now.toml").write_text(SCENARIO)
    world = World(LoadedScenario(folder / "now.toml"), float(int(time.time())))
    run = folder / "run"
    run.mkdir()
    try:
        with served(world, run, None) as (served_site, environment):
            made = Bench(world, served_site, environment, run)
            try:
                yield made
            finally:
                for process in made.processes:
                    process.kill()
                    process.wait()
    finally:
        world.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with served_bench(tmp_path, SITE.read_text()) as made:
        yield made


def test_a_whole_life(bench: Bench, tmp_path: Path) -> None:
    """Acts, plans, outlives its planner, stops in order, and leaves what it should."""
    stats, recording = tmp_path / "stats.json", tmp_path / "cycles.jsonl.gz"
    address = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(DEADLINE_S)
        bench.environment["NOTIFY_SOCKET"] = str(address)
        process = bench.start("--stats", str(stats), "--record", str(recording))
        assert manager.recv(100) == b"READY=1\nWATCHDOG_USEC=15000000"
        assert manager.recv(100) == b"WATCHDOG=1"
        bench.wait_for_log("first actuating cycle")
        wait_for(bench.commanded)
        bench.wait_for_log("mode: auto")
        bench.wait_for_log("advice: complete again|advice: .*model")
        (worker,) = children(process.pid)
        os.kill(worker, signal.SIGKILL)
        bench.wait_for_log("the planning process died")
        for _ in range(20):  # and goes on
            assert manager.recv(100) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0, bench.log()
        while (message := manager.recv(100)) != b"STOPPING=1":
            assert message == b"WATCHDOG=1"
    assert not bench.commanded()
    assert bench.world.pi.output(RELAY_PIN) != 1
    assert gone(worker)
    assert "Traceback" not in bench.log()
    _check_what_is_left(json.loads(stats.read_text()), recording)


def _check_what_is_left(found: dict[str, float], path: Path) -> None:
    """Cycles and misses add up, and every decision is found again."""
    replayed = list(replay(Recording(path)))
    assert not any(each.differs for each in replayed)
    samples = [each.cycle.sample for each in replayed]
    assert len(samples) == found["cycles"] > 10
    ticks = found["cycles"] + found["cycles_missed"]
    elapsed_s = samples[-1].t_s - samples[0].t_s
    assert ticks == pytest.approx(1 + elapsed_s / PERIOD_S, abs=1.5)
    assert 0.0 < found["first_act_s"] < DEADLINE_S
    assert any(each.cycle.advice.plan is not None for each in replayed)


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.6])
def test_a_stop_during_start_up_is_one(bench: Bench, after_s: float) -> None:
    process = bench.start()
    time.sleep(after_s)  # wherever in start-up this is
    workers = children(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) in (0, -signal.SIGTERM)
    wait_for(lambda: all(gone(pid) for pid in workers))
    assert not bench.commanded()
    assert "Traceback" not in bench.log()


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_ctrl_c_twice_is_no_more_than_once(bench: Bench, pause_s: float) -> None:
    process = bench.start()
    wait_for(bench.commanded)
    process.send_signal(signal.SIGINT)
    time.sleep(pause_s)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 0, bench.log()
    assert not bench.commanded()
    assert "Traceback" not in bench.log()


def test_a_closed_terminal_stops_it_in_order(bench: Bench) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # these tests may run under nohup
    try:
        process = bench.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(bench.commanded)
    process.send_signal(signal.SIGHUP)
    assert process.wait(DEADLINE_S) == 0, bench.log()
    assert not bench.commanded()


CRASH = """
import sys
import firmware.loop as loop
decide, count = loop.decide, 0
def buggy(*given):
    global count
    count += 1
    if count == 40:
        raise ZeroDivisionError("a bug")
    return decide(*given)
loop.decide = buggy
from firmware.cli import main
main()
"""


def test_a_bug_in_a_decision_gives_the_plant_back_and_fails(bench: Bench) -> None:
    process = bench.start(program=("-c", CRASH))
    wait_for(bench.commanded)
    workers = children(process.pid)
    assert process.wait(DEADLINE_S) == 1
    assert "ZeroDivisionError: a bug" in bench.log()
    assert not bench.commanded()
    assert bench.world.pi.output(RELAY_PIN) != 1
    wait_for(lambda: all(gone(pid) for pid in workers))


def test_a_killed_controller_leaves_no_orphan(bench: Bench) -> None:
    process = bench.start()
    wait_for(lambda: len(children(process.pid)) == 1)
    (worker,) = children(process.pid)
    wait_for(bench.commanded)
    process.kill()
    process.wait()
    wait_for(lambda: gone(worker))


def test_a_second_one_is_refused_until_the_first_has_ended(bench: Bench) -> None:
    first = bench.start()
    wait_for(bench.commanded)
    second = bench.start()
    assert second.wait(DEADLINE_S) == 1
    (line,) = bench.log().splitlines()
    assert re.search(rf"bus \S+: process {first.pid} uses it already$", line)
    assert bench.commanded()
    first.kill()
    first.wait()
    third = bench.start()
    bench.wait_for_log("first actuating cycle")
    third.send_signal(signal.SIGTERM)
    assert third.wait(DEADLINE_S) == 0, bench.log()


def test_without_devices_pins_and_network_it_runs_and_stops(bench: Bench, tmp_path: Path) -> None:
    site = tmp_path / "absent.toml"
    text = re.sub(r'"/dev/[^"]*"', f'"{tmp_path}/none"', bench.site.read_text())
    ports = iter(range(1 + os.getpid() % 900, 1000))  # no other run of this test has the same
    text = re.sub(r"port = \d+", lambda _: f"port = {next(ports)}", text)
    site.write_text(text + '\n[recording]\npath = "/proc/nowhere/cycles.jsonl.gz"\n')
    bench.environment = {}
    stats = tmp_path / "stats.json"
    process = bench.start("--stats", str(stats), site=site)
    bench.wait_for_log("no recording: ")
    bench.wait_for_log("pins: GPIO")
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0, bench.log()
    found = json.loads(stats.read_text())
    assert found["cycles"] > 0
    assert "Traceback" not in bench.log()


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--config", "absent.toml"), 2, "absent.toml"),
        (("--period", "1"), 2, "--period"),
        (("--record", "/proc/nowhere/x.gz"), 1, "/proc/nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    bench: Bench, options: tuple[str, ...], status: int, said: str
) -> None:
    process = bench.start(*options)
    assert process.wait(DEADLINE_S) == status
    (line,) = bench.log().splitlines()
    assert said in line


def test_a_bad_site_file_is_all_its_errors(bench: Bench, tmp_path: Path) -> None:
    site = tmp_path / "bad.toml"
    site.write_text(bench.site.read_text().replace("rated_kw", "rated_w"))
    process = bench.start(site=site)
    assert process.wait(DEADLINE_S) == 2
    assert len(bench.log().splitlines()) >= 2
    assert all("bad.toml" in line for line in bench.log().splitlines())


def test_statistics_that_cannot_be_written_fail_after_an_orderly_end(bench: Bench) -> None:
    process = bench.start("--stats", "/proc/nowhere/stats.json")
    wait_for(bench.commanded)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 1
    assert "/proc/nowhere/stats.json" in bench.log().splitlines()[-1]
    assert not bench.commanded()
