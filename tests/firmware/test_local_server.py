"""The local socket, against clients of every kind."""

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from firmware import small_server
from firmware.local_client import LocalError, ask_status
from firmware.local_server import REQUEST_BYTES, LocalServer, Snapshot, StatusAnswer
from firmware.loop import Telemetry
from firmware.small_server import CLIENTS

Run = Callable[[int], list[Telemetry]]
REQUEST = b'{"get": "status"}\n'
DEADLINE_S = 60.0


class Answering:
    """A served socket and what it shows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.snapshot = Snapshot()
        self.now_s = 0.0
        self.made = 0
        self.padding = ""

        def document(telemetry: Telemetry) -> dict[str, object]:
            self.made += 1
            return {"cycle": telemetry.sample.cycle, "padding": self.padding}

        self.server = LocalServer(path, StatusAnswer(self.snapshot, document, lambda: self.now_s))
        self.server.start()

    def show(self, telemetry: Telemetry) -> None:
        self.now_s = telemetry.sample.t_s
        self.snapshot.publish(telemetry)


@pytest.fixture
def served(tmp_path: Path, run_cycles: Run) -> Iterator[Answering]:
    made = Answering(tmp_path / "nanogrid.sock")
    made.show(run_cycles(1)[0])
    yield made
    made.server.stop()


def connected(path: Path) -> socket.socket:
    link = socket.socket(socket.AF_UNIX)
    link.settimeout(DEADLINE_S)
    link.connect(str(path))
    return link


def exchange(path: Path, request: bytes) -> dict[str, object]:
    with connected(path) as link:
        with suppress(BrokenPipeError):
            link.sendall(request)
        return json.loads(link.makefile("rb").readline())


def test_the_newest_cycle_and_its_age(served: Answering, run_cycles: Run) -> None:
    for telemetry in run_cycles(5):
        served.show(telemetry)
        served.now_s += 0.25
        found = ask_status(served.path)
        assert found["cycle"] == telemetry.sample.cycle
        assert found["age_s"] == 0.25
    assert served.made == 5


def test_a_document_is_made_once_per_cycle(served: Answering) -> None:
    for _ in range(5):
        ask_status(served.path)
    assert served.made == 1


def test_before_the_first_cycle(tmp_path: Path) -> None:
    made = Answering(tmp_path / "early.sock")
    try:
        with pytest.raises(LocalError, match="no cycle has been completed yet"):
            ask_status(made.path)
    finally:
        made.server.stop()


@pytest.mark.parametrize(
    "request_line",
    [
        b"\n",
        b"\x00\xff\xfe\n",
        b"{}\n",
        b'{"get": "secrets"}\n',
        b'{"get": "status", "and": 1}\n',
        b"[" * 2000 + b"\n",
        b"1" * 4000 + b"\n",
        b"NaN\n",
    ],
)
def test_garbage_is_refused_in_one_line(served: Answering, request_line: bytes) -> None:
    answer = exchange(served.path, request_line)
    assert answer["ok"] is False
    assert answer["error"]
    assert ask_status(served.path)["cycle"] == 0


def test_a_request_without_end_is_cut(served: Answering) -> None:
    answer = exchange(served.path, b"x" * (10 * REQUEST_BYTES))
    assert answer == {"ok": False, "error": f"longer than {REQUEST_BYTES} bytes"}


def test_clients_that_say_nothing_or_do_not_listen_keep_nobody_waiting(
    served: Answering, run_cycles: Run
) -> None:
    served.padding = "x" * 3_000_000  # more than a socket holds
    served.show(run_cycles(2)[1])
    silent = [connected(served.path) for _ in range(3 * CLIENTS)]
    deaf = [connected(served.path) for _ in range(CLIENTS // 2)]
    try:
        for link in deaf:
            link.sendall(REQUEST)
        start_s = time.monotonic()
        assert ask_status(served.path)["cycle"] == 1
        assert time.monotonic() - start_s < small_server.CLIENT_S + DEADLINE_S
    finally:
        for link in (*silent, *deaf):
            link.close()


def test_a_client_is_dropped_after_a_while(
    served: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_server, "CLIENT_S", 0.1)
    with connected(served.path) as link:
        assert link.recv(1) == b""


def test_a_request_in_pieces(served: Answering) -> None:
    with connected(served.path) as link:
        for byte in REQUEST:
            link.sendall(bytes([byte]))
        assert json.loads(link.makefile("rb").readline())["ok"] is True


def test_clients_that_vanish(served: Answering) -> None:
    for _ in range(5):
        link = connected(served.path)
        link.sendall(REQUEST)
        link.close()
    assert ask_status(served.path)["cycle"] == 0


# --- the file ------------------------------------------------------------------------------


def test_only_owner_and_group_may_ask(served: Answering) -> None:
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o660
    assert os.listdir(served.path.parent) == ["nanogrid.sock"]


def test_the_file_goes_with_the_server(tmp_path: Path) -> None:
    made = Answering(tmp_path / "x.sock")
    made.server.stop()
    assert os.listdir(tmp_path) == []
    with pytest.raises(LocalError, match="no service is running here"):
        ask_status(made.path)


def test_a_dead_predecessors_file_is_replaced(tmp_path: Path, run_cycles: Run) -> None:
    path = tmp_path / "x.sock"
    bind = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", bind, str(path)], check=True)
    assert path.is_socket()
    made = Answering(path)
    made.show(run_cycles(1)[0])
    assert ask_status(path)["cycle"] == 0
    made.server.stop()


def test_a_live_predecessor_keeps_its_file(served: Answering) -> None:
    with pytest.raises(OSError, match="another service answers there"):
        LocalServer(served.path, lambda *_: b"")
    assert ask_status(served.path)["cycle"] == 0


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("kept")
    with pytest.raises(OSError, match="is no socket"):
        LocalServer(path, lambda *_: b"")
    assert path.read_text() == "kept"


def test_a_successors_file_survives_the_predecessors_end(tmp_path: Path) -> None:
    made = Answering(tmp_path / "x.sock")
    made.path.unlink()
    successor = Answering(made.path)
    made.server.stop()
    assert made.path.is_socket()
    successor.server.stop()


@pytest.mark.parametrize("path", ["missing/x.sock", "x" * 200])
def test_a_path_that_cannot_be(tmp_path: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"No such file|too long"):
        LocalServer(tmp_path / path, lambda *_: b"")
    assert os.listdir(tmp_path) == []


# --- the client's side ---------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"", b"gibberish\n", b"[]\n", b"{}\n", b'{"ok": true}\n'])
def test_an_answer_that_is_none(tmp_path: Path, answer: bytes) -> None:
    server = LocalServer(tmp_path / "x.sock", lambda *_: answer)
    server.start()
    try:
        with pytest.raises(LocalError, match="cut short or not ours"):
            ask_status(tmp_path / "x.sock")
    finally:
        server.stop()
