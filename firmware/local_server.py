"""The local interface: a Unix socket that answers one line of JSON with another.

    {"get": "status"}     ->  {"ok": true, "age_s": 0.41, "status": {...}}
    {"command": {...}}    ->  {"ok": true, "ack": {...}, ...}    see `firmware.local_commands`
    {"ack": "<id>"}       ->  {"ok": true, "ack": {...}, ...}
    anything else         ->  {"ok": false, "error": "..."}

File permissions (0660) say who may ask and command. All of it happens in one thread that works in
small portions with pauses between them: however many ask, and however slowly, the loop does not
notice.
"""

import contextlib
import errno
import json
import os
import pwd
import selectors
import socket
import stat
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware.loop import Telemetry

MODE = 0o660
REQUEST_BYTES = 1 << 16  # a day of prices
RECEIVE_BYTES = 4096
SEND_BYTES = 1 << 16
CLIENTS = 16
ACCEPTED = 4  # at one look
CLIENT_S = 3.0  # a client has so long for all of it
PAUSE_S = 0.02  # between two looks at the clients
IDLE_S = 0.2
BACKLOG = 128
PEER = struct.Struct("3i")  # process, user, group: unix(7), SO_PEERCRED
KNOWN = '{"get": "status"}, {"command": {...}}, {"ack": "<id>"}'

Answer = Callable[[bytes, str], bytes]  # to one line, from a user of this machine


class Snapshot:
    """Publisher: keeps the newest telemetry and nothing else."""

    def __init__(self) -> None:
        """Nothing is known before the first cycle."""
        self.latest: Telemetry | None = None

    def publish(self, telemetry: Telemetry) -> None:
        """Swap the reference."""
        self.latest = telemetry

    def close(self) -> None:
        """Nothing is under way."""


class StatusAnswer:
    """Answers requests; the document is made once per cycle at most, and only when asked for."""

    def __init__(
        self,
        snapshot: Snapshot,
        document: Callable[[Telemetry], dict[str, Any]],
        monotonic: Callable[[], float],
    ) -> None:
        self._snapshot = snapshot
        self._document = document
        self._monotonic = monotonic
        self._made: tuple[Telemetry | None, str] = (None, "")

    def __call__(self, request: bytes, _who: str = "") -> bytes:
        """Return the answer to one line, with its end of line."""
        try:
            asked = json.loads(request)
        except (ValueError, RecursionError):
            return refusal("not a line of JSON")
        if asked != {"get": "status"}:
            return refusal(f"unknown request; known: {KNOWN}")
        telemetry = self._snapshot.latest
        if telemetry is None:
            return refusal("no cycle has been completed yet")
        if telemetry is not self._made[0]:
            text = json.dumps(self._document(telemetry), allow_nan=False)
            self._made = (telemetry, text)
        age_s = max(0.0, self._monotonic() - telemetry.sample.t_s)
        return f'{{"ok": true, "age_s": {age_s:.3f}, "status": {self._made[1]}}}\n'.encode()


def refusal(why: str) -> bytes:
    """The answer to a request that cannot be served."""
    return (json.dumps({"ok": False, "error": why}) + "\n").encode()


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    until_s: float
    request: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class LocalServer:
    """Serves one socket file from a thread of its own."""

    def __init__(self, path: Path, answer: Answer) -> None:
        """Take over `path`; OSError when it cannot be, or a live service has it."""
        self._path = path
        self._answer = answer
        self._listener = _listen(path)
        self._inode = path.stat().st_ino
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._clients: dict[int, _Client] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="local", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the file away."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(CLIENT_S)
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self._listener.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            events = self._selector.select(IDLE_S)
            for key, _ in events:
                if key.fd == self._listener.fileno():
                    for _ in range(ACCEPTED):
                        self._accept()
                elif key.fd in self._clients:
                    self._serve(self._clients[key.fd])
            self._drop_late()
            if events:
                self._stopping.wait(PAUSE_S)
        for client in list(self._clients.values()):
            self._drop(client)
        self._selector.close()

    def _accept(self) -> None:
        """Take one client; the oldest makes room."""
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it has gone again, or there are too many open files
            return
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS:
            self._drop(min(self._clients.values(), key=lambda client: client.until_s))
        client = _Client(connection, time.monotonic() + CLIENT_S)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ)

    def _serve(self, client: _Client) -> None:
        try:
            finished = self._receive(client) if client.answer is None else _send(client)
        except BlockingIOError:
            return
        except OSError:
            finished = True
        if finished:
            self._drop(client)

    def _receive(self, client: _Client) -> bool:
        """Read on; with a whole line the answer is on its way. True: it is over."""
        received = client.socket.recv(RECEIVE_BYTES)
        client.request += received
        line, newline, _ = client.request.partition(b"\n")
        if newline:
            client.answer = memoryview(self._answer(bytes(line), _user(client.socket)))
        elif len(client.request) >= REQUEST_BYTES:
            client.answer = memoryview(refusal(f"longer than {REQUEST_BYTES} bytes"))
        else:
            return not received
        self._selector.modify(client.socket, selectors.EVENT_WRITE)
        return False

    def _drop_late(self) -> None:
        now_s = time.monotonic()
        for client in [c for c in self._clients.values() if c.until_s < now_s]:
            self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.socket.fileno()]
        self._selector.unregister(client.socket)
        client.socket.close()


def _send(client: _Client) -> bool:
    """Send on. True: all of it has been sent."""
    answer = client.answer or memoryview(b"")
    client.answer = answer[client.socket.send(answer[:SEND_BYTES]) :]
    return not client.answer


def _user(link: socket.socket) -> str:
    """Who is at the other end: a name, or a number without one. Raises OSError."""
    _, uid, _ = PEER.unpack(link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _listen(path: Path) -> socket.socket:
    """A listening socket at `path`, there at once with its permissions. Raises OSError."""
    if path.exists() or path.is_symlink():
        _make_sure_it_is_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    new = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        new.unlink(missing_ok=True)
        listener.bind(str(new))
        new.chmod(MODE)
        listener.listen(BACKLOG)
        new.replace(path)
    except OSError:
        listener.close()
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise
    return listener


def _make_sure_it_is_stale(path: Path) -> None:
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise OSError(errno.EEXIST, "exists and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:  # somebody listens, and is busy
            pass
    raise OSError(errno.EADDRINUSE, "another service answers there")
