"""Messages to systemd's socket, and what becomes of them when there is none."""

import os
import socket
from pathlib import Path

import pytest

from firmware.notify import Notifier


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "notify"


def listen(address: str | bytes) -> socket.socket:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(address)
    receiver.settimeout(5.0)
    return receiver


def test_messages_arrive_one_by_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with listen(str(path)) as receiver:
        notifier = Notifier()
        notifier.send("READY=1")
        notifier.send("WATCHDOG=1")
        assert [receiver.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
        notifier.close()


def test_an_abstract_address_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"nanogrid-test-{os.getpid()}"
    monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
    with listen(b"\0" + name.encode()) as receiver:
        notifier = Notifier()
        notifier.send("STOPPING=1")
        assert receiver.recv(100) == b"STOPPING=1"
        notifier.close()


@pytest.mark.parametrize("address", ["", "/nonexistent/socket", "vsock:2:1234", "/" + "x" * 300])
def test_without_anybody_there_nothing_happens(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notifier = Notifier()
    notifier.send("READY=1")
    notifier.close()
    notifier.send("STOPPING=1")


def test_a_manager_that_reads_nothing_holds_up_nobody(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with listen(str(path)) as receiver:
        notifier = Notifier()
        for _ in range(5000):  # many more than a socket holds
            notifier.send("WATCHDOG=1")
        notifier.close()
        assert receiver.recv(100) == b"WATCHDOG=1"


def test_a_manager_that_starts_again_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    notifier = Notifier()
    for _ in range(2):
        with listen(str(path)) as receiver:
            notifier.send("WATCHDOG=1")
            assert receiver.recv(100) == b"WATCHDOG=1"
        path.unlink()
        notifier.send("WATCHDOG=1")
    notifier.close()
