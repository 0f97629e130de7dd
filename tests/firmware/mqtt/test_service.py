"""A real service on the bench's devices, a real broker: what an operator and an archive see."""

import json
import re
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hil.live import served
from hil.scenario import LoadedScenario
from hil.world import World
from tests.firmware.mqtt.conftest import Broker, Listener, wait_for
from tests.firmware.mqtt.schemas import check
from tests.firmware.service import Service
from tests.scenario_text import scenario_text

SITE = Path(__file__).parents[3] / "hil" / "scenarios" / "sites" / "realtime.toml"
ROOT = "ng/1/clinic-02"
SCENARIO = scenario_text(SITE, more="[plant.battery]\ninitial_soc_frac = 0.6\n")
TABLES = """
[store]
path = "{folder}/state.db"
[mqtt]
host = "127.0.0.1"
port = {port}
state_s = 1.0
[[commands.source]]
name = "supervisor-1"
role = "supervisor"
[[commands.source]]
name = "homeassistant"
role = "operator"
"""


@dataclass
class Bench(Service):
    """Devices in real time, a broker, and services started on them."""

    broker: Broker
    sequence: int = field(default_factory=lambda: int(time.time()))

    def runs_on_disk(self) -> int:
        """Of how many runs of the service events wait there."""
        with closing(sqlite3.connect(self.site.parent / "state.db", timeout=5.0)) as connection:
            waiting = connection.execute(
                "SELECT payload FROM outbox WHERE topic = ?", (f"{ROOT}/event",)
            )
            return len({run_of(json.loads(payload)) for (payload,) in waiting})

    def order(self, op: str, **args: Any) -> str:
        """Give a command as a supervisor; returns its id."""
        return self.send(self.envelope(op, **args))

    def send(self, envelope: dict[str, Any], *options: str) -> str:
        self.broker.send(f"{ROOT}/cmd", json.dumps(envelope), *options)
        return str(envelope["id"])

    def envelope(self, op: str, **args: Any) -> dict[str, Any]:
        self.sequence += 1
        now_s = int(time.time())
        return {
            "v": 1,
            "id": str(uuid.uuid4()),
            "iat": now_s,
            "exp": now_s + 60,
            "src": "supervisor-1",
            "seq": self.sequence,
            "op": op,
            "args": args,
        }


@pytest.fixture
def bench(tmp_path: Path, broker: Broker) -> Iterator[Bench]:
    (tmp_path / "now.toml").write_text(SCENARIO)
    world = World(LoadedScenario(tmp_path / "now.toml"), float(int(time.time())))
    try:
        with served(world, tmp_path, None) as (site, environment):
            with site.open("a") as file:
                file.write(TABLES.format(folder=tmp_path, port=broker.port))
            made = Bench(site, environment, broker)
            yield made
            made.kill()
    finally:
        world.close()


def is_sent(listener: Listener, topic: str, what: Callable[[Any], bool]) -> Callable[[], bool]:
    return lambda: any(what(payload) for payload in listener.payloads(f"{ROOT}/{topic}"))


def test_a_day_in_the_life(bench: Bench, broker: Broker, listen: Callable[..., Listener]) -> None:
    """State, commands, a broker that goes and comes, a kill: all of it by MQTT alone."""
    bench.start()  # the broker is not there yet
    wait_for(lambda: "link" in bench.status() and bench.status()["link"]["problem"])
    broker.start()
    listener = listen(broker)
    wait_for(is_sent(listener, "mode", lambda mode: mode["mode"] == "auto"), lambda: bench.log)
    wait_for(is_sent(listener, "battery/availability", lambda text: text == "online"))

    wanted = bench.order("battery.setpoint", p_w=-700, ttl_s=60)

    def is_set(schedule: dict[str, Any]) -> bool:
        return any(
            item["device"] == "battery"
            and item["source"] == "supervisor"
            and item["wanted"] == -700
            for item in schedule["setpoints"]
        )

    wait_for(
        is_sent(listener, "schedule", is_set),
        lambda: [(a["status"], a["reason"]) for a in listener.payloads(f"{ROOT}/ack/{wanted}")],
    )
    said = [ack["status"] for ack in listener.payloads(f"{ROOT}/ack/{wanted}")]
    assert said[:2] == ["received", "accepted"]
    _refused(bench, listener)
    broker.send(f"{ROOT}/set/mode", "manual")
    wait_for(is_sent(listener, "mode", lambda mode: mode["ordered"] == "manual"))
    wait_for(is_sent(listener, "state", lambda state: state["energy_wh"] is not None))
    for message in listener.received:
        if not re.search("/cmd$|/set/", message["topic"]):
            check(message["topic"], message["payload"])

    broker.stop(signal.SIGKILL)
    wait_for(lambda: not bench.status()["link"]["connected"])
    broker.start()
    later = listen(broker)
    wait_for(is_sent(later, "mode", lambda mode: mode["ordered"] == "manual"))
    assert bench.stop(signal.SIGKILL) != 0
    wait_for(is_sent(later, "availability", lambda text: text == "offline"))  # the last will
    assert "Traceback" not in bench.log


def _refused(bench: Bench, listener: Listener) -> None:
    """Each kind of bad command is refused with its reason, and changes nothing."""
    counted = bench.status()["orders"]

    def bad(**changes: Any) -> dict[str, Any]:
        return bench.envelope("battery.setpoint", p_w=500, ttl_s=60) | changes

    long_ago = {"iat": int(time.time()) - 600, "exp": int(time.time()) - 500}
    cases = [
        (bad(), ("-r",), "retained"),
        (bad(**long_ago), (), "exp"),
        (bad(seq=1), (), "seq"),
        (bad(src="nobody"), (), "nobody"),
        (bad(op="battery.explode"), (), "op"),
        (bad(surprise=1), (), "surprise"),
        (bad(args={"p_w": 10**9, "ttl_s": 60}), (), "p_w"),
        (bad(**{"if": {"mode": "safe"}}), (), "mode"),
    ]
    for envelope, options, reason in cases:
        topic = f"{ROOT}/ack/{bench.send(envelope, *options)}"
        wait_for(lambda topic=topic: listener.payloads(topic), lambda c=envelope: c)
        wait_for(lambda topic=topic: listener.payloads(topic)[-1]["status"] == "rejected")
        said = listener.payloads(topic)[-1]["reason"]
        assert reason in said, (reason, said)
    assert bench.status()["orders"]["standing"] == counted["standing"]


def test_what_happens_while_nobody_listens_outlives_a_kill(
    bench: Bench, broker: Broker, listen: Callable[..., Listener]
) -> None:
    """Events of three processes, two of them killed, arrive in order."""
    for runs in (1, 2):
        bench.start()
        wait_for(lambda: bench.status().get("mode", {}).get("name") == "auto", lambda: bench.log)
        wait_for(lambda runs=runs: bench.runs_on_disk() == runs, lambda: bench.log)
        bench.stop(signal.SIGKILL)
    broker.start()
    listener = listen(broker, f"{ROOT}/event")
    bench.start()
    wait_for(lambda: len({run_of(event) for event in events(listener)}) == 3, lambda: bench.log)
    ids = [event["id"] for event in events(listener)]
    assert len(set(ids)) == len(ids)
    assert [event["ts"] for event in events(listener)] == sorted(
        event["ts"] for event in events(listener)
    )
    assert bench.stop() == 0
    assert "Traceback" not in bench.log


def run_of(event: dict[str, Any]) -> str:
    """Which run of the service told it."""
    return str(event["id"]).rsplit("-", 2)[0]


def events(listener: Listener) -> list[dict[str, Any]]:
    return listener.payloads(f"{ROOT}/event")
