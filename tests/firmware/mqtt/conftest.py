"""A real broker on a free port, a real listener, and links to it."""

import contextlib
import json
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from control.records import Event, Severity
from control.site import SiteParameters
from firmware.config import Site
from firmware.loop import Telemetry
from firmware.mqtt.link import Link
from firmware.status import Machine, Moment, status
from firmware.store_schema import connect

DEADLINE_S = 60.0
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


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@dataclass
class Broker:
    """A mosquitto process; `options` are further lines of its configuration."""

    folder: Path
    port: int = field(default_factory=free_port)
    options: str = "allow_anonymous true\n"
    beside: int | None = None  # a second port that `options` has it listen at
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        file = self.folder / f"broker-{self.port}.conf"
        file.write_text(
            f"user root\nlistener {self.port} 127.0.0.1\nmax_queued_messages 100000\n{self.options}"
        )
        with (self.folder / "broker.log").open("ab") as log:
            command = [MOSQUITTO, "-v", "-c", str(file)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for port in (self.port, self.beside or self.port):
            said = (self.folder / "broker.log").read_text
            wait_for(lambda port=port: _listens(port), said)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def send(self, topic: str, payload: str, *options: str) -> None:
        command = ["mosquitto_pub", "-V", "5", "-p", str(self.port), "-t", topic, "-m", payload]
        subprocess.run([*command, "-q", "1", *options], check=True, timeout=DEADLINE_S)


class Proxy:
    """The way to a broker, open or shut; cutting it loses what is on the way."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        self._open = True

    def cut(self) -> None:
        self._open = False
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._open:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._broker.port))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(broker: "Broker") -> Iterator[Proxy]:
    """The way to the broker, shut."""
    made = Proxy(broker)
    yield made
    made.close()


@dataclass
class Listener:
    """`mosquitto_sub` on a broker, and what it has printed."""

    broker: Broker
    topics: tuple[str, ...] = ("ng/1/#",)
    options: tuple[str, ...] = ()
    received: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0
    ready: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        options = ["-q", "1", "-F", "%j"]
        for topic in (*self.topics, "test/ready"):
            options += ["-t", topic]
        self._process = subprocess.Popen(
            ["mosquitto_sub", "-V", "5", "-p", str(self.broker.port), *self.options, *options],
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
            self.seen += 1
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


class ThreadDisk:
    """A database file with a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._db = connect(path)

    def transaction(self, job: Callable[[sqlite3.Connection], Any], /) -> "Future[Any]":
        return self._thread.submit(self._run, job)

    def _run(self, job: Callable[[sqlite3.Connection], Any]) -> Any:
        self._db.execute("BEGIN IMMEDIATE")
        found = job(self._db)
        self._db.execute("COMMIT")
        return found

    def close(self) -> None:
        self._thread.shutdown()
        self._db.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[ThreadDisk]:
    """A store's file."""
    made = ThreadDisk(tmp_path / "state.db")
    yield made
    made.close()


class Commander:
    """Stands in for who takes commands: says what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[bytes, bool]] = []

    def __call__(self, raw: bytes, retained: bool, tell: Callable[[dict[str, Any]], None]) -> None:
        self.given.append((raw, retained))
        for said in ("received", "rejected" if retained else "accepted"):
            tell({"v": 1, "id": f"c{len(self.given)}", "status": said})


@dataclass
class Links:
    """Makes links of the example site to a broker, and cycles for them."""

    site: Site
    parameters: SiteParameters
    cycles: list[Telemetry]
    made: list[Link] = field(default_factory=list)
    commander: Commander = field(default_factory=Commander)
    events: int = 0
    _cycle: int = 0

    def make(
        self, broker: Broker, disk: ThreadDisk | None = None, start: bool = True, **mqtt: Any
    ) -> Link:
        settings = {"host": "127.0.0.1", "port": broker.port, "state_s": 1.0, **mqtt}
        settings = {"mqtt": self.site.mqtt.model_copy(update=settings)}
        site = self.site.model_copy(update=settings)
        self.made.append(Link(site, "1.0", self.document, self.commander, disk))
        if start:
            self.made[-1].start()
        return self.made[-1]

    def document(self, telemetry: Telemetry) -> dict[str, Any]:
        decision = telemetry.decision
        moment = Moment(
            telemetry.sample, telemetry.applied, telemetry.advice, decision.state, decision.command
        )
        return status(self.site.site.name, "1.0", self.parameters, moment, Machine({}, {}))

    def cycle(self, link: Link, events: int = 0) -> None:
        """One cycle with so many events, numbered through in their texts."""
        self._cycle += 1
        telemetry = self.cycles[self._cycle % len(self.cycles)]
        numbers = range(self.events + 1, self.events + events + 1)
        self.events += events
        made = tuple(Event(Severity.INFO, "test", str(number)) for number in numbers)
        link.publish(replace(telemetry, decision=replace(telemetry.decision, events=made)))


@pytest.fixture
def links(
    site: Site,
    parameters: SiteParameters,
    run_cycles: Callable[[int], list[Telemetry]],
    disk: ThreadDisk,
) -> Iterator[Links]:
    """Links that are closed at the end, before the disk."""
    made = Links(site, parameters, run_cycles(8))
    yield made
    for link in made.made:
        link.close()


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

    def start(broker: Broker, *topics: str, options: tuple[str, ...] = ()) -> Listener:
        made.append(Listener(broker, topics or ("ng/1/#",), options))
        made[-1].start()
        return made[-1]

    yield start
    for listener in made:
        listener.stop()
