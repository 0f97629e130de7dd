"""A service that was killed takes up what it was told, over real sockets."""

import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.local_client import LocalError, ask, ask_status
from tests.firmware.test_run import DEADLINE_S, SITE, Bench, served_bench, wait_for

STOP_PIN = 17
STORE = '[store]\npath = "state.db"\n'


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with served_bench(tmp_path, SITE.read_text() + STORE) as made:
        yield made


def status(bench: Bench) -> dict[str, Any]:
    """The newest status; empty while nobody answers."""
    try:
        return ask_status(bench.folder / "nanogrid.sock")
    except LocalError:
        return {}


def mode(bench: Bench) -> tuple[str, str]:
    known = status(bench).get("mode", {"name": "", "reason": ""})
    return known["name"], known["reason"]


def order(bench: Bench, op: str, args: dict[str, Any]) -> None:
    now_s, known = int(time.time()), str(uuid.uuid4())
    envelope = {"v": 1, "id": known, "iat": now_s, "exp": now_s + 60, "op": op, "args": args}
    socket = bench.folder / "nanogrid.sock"
    ask(socket, {"command": envelope})
    fates = ("accepted", "done")
    wait_for(lambda: ask(socket, {"ack": known})["ack"]["status"] in fates)


def again(bench: Bench, process: "subprocess.Popen[bytes]") -> "subprocess.Popen[bytes]":
    process.kill()
    process.wait()
    return bench.start()


def test_stopped_stays_until_it_is_ordered_otherwise(bench: Bench) -> None:
    process = bench.start()
    wait_for(lambda: mode(bench)[0] == "auto", lambda: mode(bench))
    for ordered in ("stopped", "auto"):
        order(bench, "mode.set", {"mode": ordered})
        process = again(bench, process)  # at once: what is accepted is on the disk
        wait_for(lambda: mode(bench)[0] not in ("", "starting"))
        assert mode(bench)[0] == ordered
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_S) == 0


def test_an_emergency_stop_stays_latched_until_it_is_acknowledged(bench: Bench) -> None:
    process = bench.start()
    wait_for(lambda: mode(bench)[0] == "auto", lambda: mode(bench))
    bench.world.pi.set_input(STOP_PIN, None)
    wait_for(lambda: mode(bench) == ("safe", "emergency stop"))
    bench.world.pi.set_input(STOP_PIN, 0)
    process = again(bench, process)
    wait_for(lambda: mode(bench)[0] not in ("", "starting"))
    assert mode(bench) == ("safe", "emergency stop")
    order(bench, "alarm.acknowledge", {})
    wait_for(lambda: mode(bench)[0] == "auto", lambda: mode(bench))
    process = again(bench, process)
    wait_for(lambda: mode(bench)[0] == "auto", lambda: mode(bench))
    assert "Traceback" not in bench.log()
