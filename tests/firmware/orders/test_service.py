"""A real service, killed: what was ordered is in force in the very first cycle of the next one."""

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firmware.config import load_site
from firmware.local_client import LocalError, ask
from firmware.recording import Recording
from firmware.store_reading import read_events
from hil.live import served
from hil.scenario import LoadedScenario
from hil.world import World
from tests.scenario_text import scenario_text

SITE = Path(__file__).parents[3] / "hil" / "scenarios" / "sites" / "realtime.toml"
DEADLINE_S = 60.0
SCENARIO = scenario_text(SITE)
ENDED = ("done", "failed", "rejected")


def until(what: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + DEADLINE_S
    while True:
        with contextlib.suppress(LocalError):
            if found := what():
                return found
        assert time.monotonic() < end_s
        time.sleep(0.02)


def command(op: str, **args: Any) -> dict[str, Any]:
    now_s = time.time()
    made = {"v": 1, "id": str(uuid.uuid4()), "iat": now_s, "exp": now_s + 60}
    return {**made, "op": op, "args": args}


def followed(socket: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Give a command; its last acknowledgement."""
    ask(socket, {"command": given})

    def last() -> dict[str, Any] | None:
        found: dict[str, Any] = ask(socket, {"ack": given["id"]})["ack"]
        return found if found["status"] in ENDED else None

    made: dict[str, Any] = until(last)
    return made


def test_kill_9_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "now.toml").write_text(SCENARIO)
    world = World(LoadedScenario(tmp_path / "now.toml"), float(int(time.time())))
    try:
        with served(world, tmp_path, None) as (site, environment):
            state = tmp_path / "state.db"
            with site.open("a") as file:
                file.write(f'\n[store]\npath = "{state}"\n')
            _lives(site, environment, state)
    finally:
        world.close()


def _lives(site: Path, environment: dict[str, str], state: Path) -> None:
    socket = Path(load_site(site).local.socket)
    recording = site.parent / "second.jsonl.gz"

    def start(*more: str) -> "subprocess.Popen[bytes]":
        arguments = [sys.executable, "-m", "firmware", "run", "--config", str(site), *more]
        return subprocess.Popen(arguments, env={**os.environ, **environment})

    first = start()
    try:
        until(lambda: ask(socket, {"get": "status"})["status"]["mode"]["name"] == "auto")
        manual, limit = command("mode.set", mode="manual"), command("grid.export_limit", p_w=700)
        setpoint = command("battery.setpoint", p_w=-500, ttl_s=3000)
        for given in (manual, limit, setpoint):
            said = followed(socket, given)
            assert said["status"] == "done", said
    finally:
        first.kill()
        first.wait()
    second = start("--record", str(recording))
    try:
        until(lambda: ask(socket, {"get": "status"})["status"]["mode"]["name"] == "manual")
        again = until(lambda: ask(socket, {"ack": setpoint["id"]})["ack"])
        assert again["status"] in ("accepted", "done")
        ask(socket, {"command": setpoint})
        until(lambda: ask(socket, {"get": "status"})["status"]["cycle"] > 3)
        assert len(ask(socket, {"get": "status"})["status"]["orders"]["standing"]) == 3
    finally:
        second.terminate()
        second.wait()
    cycle = next(iter(Recording(recording)))
    assert (cycle.orders.manual, cycle.orders.export_max_kw) == (True, 0.7)
    (proposal,) = cycle.orders.proposals
    assert proposal.value == -0.5
    left_s = proposal.expires_t_s - cycle.sample.t_s
    assert 2900.0 < left_s < 3000.0
    texts = [event.text for event in read_events(state, None) if event.key == "command"]
    assert any("stands after the restart: mode.set manual" in text for text in texts)
    later = texts[next(n for n, text in enumerate(texts) if text.startswith("stands")) :]
    assert not any("accepted" in text for text in later)  # the repeated command did nothing
