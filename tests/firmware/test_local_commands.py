"""Commands at the local socket: taken at once, asked for later, and whose they are."""

import json
import os
import pwd
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from firmware import local_commands
from firmware.local_client import LocalError, ask
from firmware.local_commands import MAX_ID, LocalCommands
from firmware.local_server import LocalServer
from firmware.orders.desk import Way


@dataclass
class Desk:
    """Notes what it is given; answers what it is told to."""

    taken: list[tuple[Any, Way]] = field(default_factory=list)
    says: list[dict[str, Any]] = field(default_factory=list)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def submit(self, raw: bytes, way: Way, tell: Callable[[dict[str, Any]], None]) -> None:
        self.taken.append((json.loads(raw), way))
        for acknowledgement in self.says:
            tell(acknowledgement)

    def acknowledgement(self, id: str) -> dict[str, Any] | None:
        return self.known.get(id)


@dataclass
class Served:
    path: Path
    desk: Desk

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        return ask(self.path, request)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path, desk = tmp_path_factory.mktemp("local") / "x.sock", Desk()
    commands = LocalCommands(desk, lambda line, _: b'{"ok": true, "else": %s}' % line, lambda: 5.0)
    server = LocalServer(path, commands)
    server.start()
    yield Served(path, desk)
    server.stop()


def test_a_command_is_taken_and_its_sender_known(served: Served) -> None:
    prices = [{"from": float(n), "buy": 0.123456, "sell": 0.123456} for n in range(500)]
    command = {"id": "one", "op": "price.set", "args": {"prices": prices}}
    answer = served.ask({"command": command})
    assert answer["ack"] == {
        "v": 1,
        "id": "one",
        "op": "price.set",
        "src": "local",
        "status": "received",
        "reason": "",
        "t": 5.0,
    }
    assert served.desk.taken.pop() == (command, Way("local", who=pwd.getpwuid(os.getuid()).pw_name))


def test_what_became_of_it(served: Served) -> None:
    served.desk.known["before"] = {"id": "before", "status": "done"}
    assert served.ask({"ack": "before"})["ack"] == {"id": "before", "status": "done"}
    for unknown in ("two", "", 1, None, ["one"]):
        with pytest.raises(LocalError, match=r"ack: (no such command|must be the id)"):
            served.ask({"ack": unknown})


def test_what_the_desk_refused_to_remember_is_known_for_a_while(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_commands, "REMEMBERED", 3)
    refused = {"status": "rejected"}
    served.desk.says = [refused]
    for number in range(4):
        served.ask({"command": {"id": str(number)}})
    told = served.ask({"ack": "1"})
    assert (told["ack"], [each["status"] for each in told["earlier"]]) == (refused, ["received"])
    with pytest.raises(LocalError, match="ack: no such command"):
        served.ask({"ack": "0"})
    served.desk.says = []
    assert served.ask({"command": {"id": "late"}})["ack"]["status"] == "received"
    assert served.ask({"ack": "late"})["ack"]["status"] == "received"
    served.desk.taken.clear()


def test_a_desk_that_says_nothing_lets_nothing_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_commands, "REMEMBERED", 3)
    commands = LocalCommands(Desk(), lambda _request, _who: b"", lambda: 5.0)
    for number in range(9):
        commands(json.dumps({"command": {"id": str(number)}}).encode(), "anna")
    assert list(commands._heard) == ["6", "7", "8"]


@pytest.mark.parametrize(
    "command", [None, [], "x", {}, {"id": 1}, {"id": ""}, {"id": "x" * (MAX_ID + 1)}]
)
def test_a_command_without_an_id_reaches_nobody(served: Served, command: Any) -> None:
    with pytest.raises(LocalError, match="command: "):
        served.ask({"command": command})
    assert served.desk.taken == []


@pytest.mark.parametrize("request_", [{"get": "status"}, {"ack": "one", "and": 1}, {}, {"x": 1}])
def test_other_requests_go_on(served: Served, request_: dict[str, Any]) -> None:
    assert served.ask(request_)["else"] == request_


def test_an_odd_operation_is_for_the_desk_to_refuse(served: Served) -> None:
    assert served.ask({"command": {"id": "three", "op": 7}})["ack"]["op"] == ""
    assert served.desk.taken.pop()[0] == {"id": "three", "op": 7}
