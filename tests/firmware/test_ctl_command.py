"""`nanogrid ctl`: what people write, what is sent, and what they are told, at a real socket."""

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from firmware import local_client, small_server
from firmware.cli import cli
from firmware.commands import ctl_send
from firmware.commands.ctl import ctl
from firmware.local_server import LocalServer

TOLD = {"v": 1, "op": "", "src": "local", "reason": "", "t": 0.0}


@dataclass
class Service:
    """Answers at a socket; what becomes of a command is written down beforehand."""

    path: Path
    fate: list[tuple[str, str]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    earlier: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0

    def begin(self) -> None:
        self.fate = [("accepted", "until 14:00"), ("done", "")]
        self.commands, self.earlier, self.asked = [], [], 0

    def answer(self, line: bytes, _who: str) -> bytes:
        request = json.loads(line)
        if "command" in request:
            self.commands.append(request["command"])
            status, reason = "received", ""
        else:
            status, reason = self.fate[min(self.asked, len(self.fate) - 1)]
            self.asked += 1
        told = {**TOLD, "id": self.commands[-1]["id"], "status": status, "reason": reason}
        return json.dumps({"ok": True, "ack": told, "earlier": self.earlier}).encode() + b"\n"

    def ctl(self, *words: object) -> Result:
        return run(*words, "--socket", self.path)


def run(*words: object) -> Result:
    return CliRunner().invoke(ctl, [str(word) for word in words])


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    made = Service(tmp_path_factory.mktemp("ctl") / "nanogrid.sock")
    server = LocalServer(made.path, made.answer)
    server.start()
    yield made
    server.stop()


@pytest.fixture
def service(listening: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(ctl_send, "POLL_S", 0.001)
    monkeypatch.setattr(small_server, "PAUSE_S", 0.001)
    listening.begin()
    return listening


# --- what is sent --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "op", "args"),
    [
        ("mode manual", "mode.set", {"mode": "manual"}),
        ("mode auto", "mode.set", {"mode": "auto"}),
        ("mode stopped --for 90m", "mode.set", {"mode": "stopped", "ttl_s": 5400}),
        ("battery -2.0 --for 30m", "battery.setpoint", {"p_w": -2000, "ttl_s": 1800}),
        ("battery --for 1h30m -2", "battery.setpoint", {"p_w": -2000, "ttl_s": 5400}),
        (
            "battery +800W --for 90s --device b",
            "battery.setpoint",
            {"p_w": 800, "ttl_s": 90, "device": "b"},
        ),
        ("pv-limit 1.5kW --for 24h", "pv.limit", {"p_w": 1500, "ttl_s": 86400}),
        ("export-limit 0 --for 2h", "grid.export_limit", {"p_w": 0, "ttl_s": 7200}),
        ("export-limit 0", "grid.export_limit", {"p_w": 0}),
        ("export-limit --lift", "grid.export_limit", {"p_w": None}),
        ("import-limit 2.25", "grid.import_limit", {"p_w": 2250}),
        ("import-limit --lift", "grid.import_limit", {"p_w": None}),
        ("generator start --for 1h", "generator.start", {"ttl_s": 3600}),
        ("generator stop --for 1min --device g", "generator.stop", {"ttl_s": 60, "device": "g"}),
        ("reserve 40%", "battery.reserve", {"soc_frac": 0.4}),
        ("reserve 0.55 --for 12h", "battery.reserve", {"soc_frac": 0.55, "ttl_s": 43200}),
        ("reserve --lift", "battery.reserve", {"soc_frac": None}),
        ("replan", "plan.replan", {}),
        ("trade off --for 6h", "trade.set", {"on": False, "ttl_s": 21600}),
        ("trade on", "trade.set", {"on": True}),
        ("acknowledge", "alarm.acknowledge", {}),
    ],
)
def test_every_operation(service: Service, words: str, op: str, args: dict[str, Any]) -> None:
    result = service.ctl(*words.split())
    assert (result.exit_code, result.output) == (0, "accepted: until 14:00\ndone\n")
    (command,) = service.commands
    assert (command["op"], command["args"]) == (op, args)
    assert command.keys() == {"v", "id", "iat", "exp", "op", "args"}
    assert 0 < command["exp"] - command["iat"] <= 120
    assert abs(command["iat"] - time.time()) < 60


def test_where_the_service_is_may_come_before_the_order(service: Service) -> None:
    elsewhere = service.path.with_name("absent")
    assert run("--socket", service.path, "battery", "-2", "--for", "5m").exit_code == 0
    assert run("--socket", elsewhere, "replan", "--socket", service.path).exit_code == 0
    assert [command["op"] for command in service.commands] == ["battery.setpoint", "plan.replan"]
    site = service.path.with_name("site.toml")
    example = (Path(__file__).parents[2] / "examples" / "site.toml").read_text()
    line = f'[local]\nsocket = "{service.path}"'
    site.write_text(re.sub(r"^\[local\]\n.*$", line, example, flags=re.MULTILINE))
    assert run("--config", site, "replan").exit_code == 0
    assert run("--config", site, "replan", "--socket", elsewhere).exit_code == 1


def test_prices(service: Service, tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("from,buy,sell\n2026-05-13T18:00+02:00,0.42,-0.08\n\n2026-05-13T20:00,1,0\n")
    assert service.ctl("prices", file).exit_code == 0
    assert service.commands[0]["args"] == {
        "prices": [
            {"from": 1778688000, "buy": 0.42, "sell": -0.08},
            {"from": 1778702400, "buy": 1.0, "sell": 0.0},
        ],
        "ttl_s": 86400,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: must be from,buy,sell"),
        ("from;buy;sell\n", "line 1: must be from,buy,sell"),
        ("from,buy,sell\n", "0 prices; must be 1 to 500"),
        ("from,buy,sell\nnoon,1,1\n", "line 2: from: 'noon' must be a time"),
        ("from,buy,sell\n2026-05-13T18:00,1\n", "line 2: 2 values"),
        ("from,buy,sell\n2026-05-13T18:00,1,nan\n", "line 2: sell: 'nan' must be a price"),
        ("from,buy,sell\n2026-05-13T18:00,dear,1\n", "line 2: buy: 'dear' must be a price"),
        ("from,buy,sell\n" + "2026-05-13T18:00,1,1\n" * 501, "501 prices"),
        ("\udcff", "decode"),
        (None, "No such file"),
    ],
)
def test_a_table_that_is_none(service: Service, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "prices.csv"
    if text is not None:
        file.write_bytes(text.encode(errors="surrogateescape"))
    result = service.ctl("prices", file)
    assert result.exit_code == 2
    assert str(file) in result.stderr
    assert said in result.stderr
    assert service.commands == []


@pytest.mark.parametrize(
    "words",
    [
        "",
        "mode",
        "mode sleep",
        "mode auto --for 1h",
        "trade on --for 1h",
        "battery -2.0",
        "battery --for 30m",
        "battery lots --for 30m",
        "battery nan --for 30m",
        "battery 1e3 --for 30m",
        "battery 2 --for 30",
        "battery 2 --for 0s",
        "battery 2 --for 25h",
        "battery 2 --for -5m",
        "battery 2 3 --for 5m",
        "battery 2 --fro 5m",
        "export-limit",
        "export-limit 2 --lift",
        "export-limit --lift --for 2h",
        "generator restart --for 1h",
        "generator start",
        "reserve",
        "reserve 40% --lift",
        "reserve 40",
        "reserve 101%",
        "reserve -1%",
        "trade maybe",
        "dance",
        "replan --source a --seq 1",
        "replan --print",
        "replan --print --source a",
        "replan --print --source a --seq -1",
        "replan --print --source A --seq 1",
        "pv-limit -1 --for 1h",
        "replan --print --source a --seq 1 --key /nowhere",
        "replan --config /nowhere",
        "--config /nowhere replan",
        "--config /nowhere",
    ],
)
def test_bad_input_is_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["ctl", *words.split()], prog_name="nanogrid")
    said = capsys.readouterr()
    if not words:
        assert (ended.value.code, "Usage: nanogrid ctl" in said.out) == (0, True)
        return
    assert ended.value.code == 2, said
    assert said.err.count("\n") == 1, said
    assert said.out == ""


# --- what is told --------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["rejected", "failed", "expired", "superseded"])
def test_what_comes_to_nothing(service: Service, status: str) -> None:
    service.fate = [(status, "because")]
    result = service.ctl("replan")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"{status}: because\n"


def test_it_may_fail_after_it_was_accepted(service: Service) -> None:
    service.fate = [("accepted", ""), ("failed", "no plan")]
    result = service.ctl("replan")
    assert (result.exit_code, result.stdout, result.stderr) == (
        1,
        "accepted\n",
        "failed: no plan\n",
    )
    service.asked = 0
    result = service.ctl("replan", "--no-wait")
    assert (result.exit_code, result.output) == (0, "accepted\n")


def test_what_came_between_two_looks_is_told_too(service: Service) -> None:
    service.fate = [("done", "")]
    service.earlier = [
        {**TOLD, "status": "accepted", "reason": "but held"},
        {**TOLD, "status": "accepted", "reason": "but held"},
    ]
    result = service.ctl("replan")
    assert (result.exit_code, result.output) == (0, "accepted: but held\ndone\n")


def test_acknowledgements_for_programs(service: Service) -> None:
    result = service.ctl("replan", "--json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [each["status"] for each in told] == ["received", "accepted", "done"]
    assert {each["id"] for each in told} == {service.commands[0]["id"]}


def test_what_stays_accepted_is_fine_and_what_is_never_answered_is_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctl_send, "EFFECT_S", 0.1)
    monkeypatch.setattr(ctl_send, "ANSWER_S", 0.1)
    service.fate = [("accepted", "")]
    assert service.ctl("replan").exit_code == 0
    service.fate = [("received", "")]
    result = service.ctl("replan")
    assert result.exit_code == 1
    assert "not answered within 0.1 s; the order may still take effect" in result.stderr


def test_no_service(tmp_path: Path) -> None:
    result = run("replan", "--socket", tmp_path / "absent")
    assert result.exit_code == 1
    assert "no service is running here" in result.stderr
    assert "may still" not in result.stderr


def test_a_hung_service_may_follow_the_order_when_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_client, "TIMEOUT_S", 0.2)
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(tmp_path / "x"))
        hung.listen()
        result = run("replan", "--socket", tmp_path / "x")
        assert (result.exit_code, result.stdout) == (1, "")
        assert "the service does not answer; the order may still take effect" in result.stderr
        link, _ = hung.accept()
        with link:
            assert b"plan.replan" in link.recv(4096)


# --- for MQTT ------------------------------------------------------------------------------


def test_an_envelope_to_publish(service: Service) -> None:
    words = ["battery", "-2", "--for", "30m", "--print", "--source", "supervisor-1", "--seq", "812"]
    result = run(*words, "--config", "nowhere")  # needless, and harmless
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert (found["src"], found["seq"], found["op"]) == ("supervisor-1", 812, "battery.setpoint")
    assert "sig" not in found
    assert service.commands == []


def test_a_signed_envelope(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    result = run("replan", "--print", "--source", "s", "--seq", "1", "--key", file)
    assert result.exit_code == 0, result.output
    envelope = json.loads(result.stdout)
    signature = base64.b64decode(envelope.pop("sig"))
    canonical = json.dumps(envelope, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    key.public_key().verify(signature, b"NG1|cmd|" + canonical.encode())


PKCS8 = Encoding.PEM, PrivateFormat.PKCS8


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"-----BEGIN PRIVATE KEY-----\nnone\n",
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n",
        X25519PrivateKey.generate().private_bytes(*PKCS8, NoEncryption()),
        Ed25519PrivateKey.generate().private_bytes(*PKCS8, BestAvailableEncryption(b"x")),
    ],
)
def test_a_key_that_is_none(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    result = run("replan", "--print", "--source", "s", "--seq", "1", "--key", file)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"{file}: must be {ctl_send.KEY}\n")


def test_every_subcommand_has_its_help() -> None:
    for name, command in ctl.commands.items():
        text = run(name, "--help").output
        assert f"nanogrid ctl {name}" in text, name
        assert command.get_short_help_str(), name
