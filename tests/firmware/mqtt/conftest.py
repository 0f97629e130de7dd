"""A real broker on a free port, a real listener, and links to it."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 20.0
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin") or "mosquitto"


def wait_for(what: Callable[[], Any], said: Callable[[], object] = lambda: "") -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s, said()
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Broker:
    """A mosquitto process; `options` are further lines of its configuration."""

    folder: Path
    port: int = field(default_factory=free_port)
    options: str = "allow_anonymous true\n"
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        file = self.folder / f"broker-{self.port}.conf"
        file.write_text(f"listener {self.port} 127.0.0.1\nmax_queued_messages 0\n{self.options}")
        with (self.folder / "broker.log").open("ab") as log:
            command = [MOSQUITTO, "-v", "-c", str(file)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._listens, lambda: (self.folder / "broker.log").read_text())

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def send(self, topic: str, payload: str, *options: str) -> None:
        command = ["mosquitto_pub", "-V", "5", "-p", str(self.port), "-t", topic, "-m", payload]
        subprocess.run([*command, "-q", "1", *options], check=True, timeout=DEADLINE_S)


@dataclass
class Listener:
    """`mosquitto_sub` on a broker, and what it has printed."""

    broker: Broker
    topics: tuple[str, ...] = ("ng/1/#",)
    received: list[dict[str, Any]] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        options = [part for topic in (*self.topics, "test/ready") for part in ("-t", topic)]
        self._process = subprocess.Popen(
            ["mosquitto_sub", "-V", "5", "-p", str(self.broker.port), "-q", "1", "-F", "%j"]
            + options,
            stdout=subprocess.PIPE,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        end_s = time.monotonic() + DEADLINE_S
        while not self.ready.wait(0.05):
            assert time.monotonic() < end_s
            self.broker.send("test/ready", "")

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if message["topic"] == "test/ready":
                self.ready.set()
            else:
                self.received.append(message)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def payloads(self, topic: str) -> list[Any]:
        found = [m["payload"] for m in list(self.received) if m["topic"] == topic]
        return [json.loads(text) if text[:1] == "{" else text for text in found]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that lets everybody in, not started yet."""
    made = Broker(tmp_path)
    yield made
    made.stop(signal.SIGKILL)


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Starts listeners."""
    made: list[Listener] = []

    def start(broker: Broker, *topics: str) -> Listener:
        made.append(Listener(broker, topics or ("ng/1/#",)))
        made[-1].start()
        return made[-1]

    yield start
    for listener in made:
        listener.stop()
