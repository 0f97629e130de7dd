"""The local interface: a Unix socket that answers one line of JSON with another.

    {"get": "status"}     ->  {"ok": true, "age_s": 0.41, "status": {...}}
    {"command": {...}}    ->  {"ok": true, "ack": {...}, ...}    see `firmware.local_commands`
    {"ack": "<id>"}       ->  {"ok": true, "ack": {...}, ...}
    anything else         ->  {"ok": false, "error": "..."}

File permissions (0660) say who may ask and command.
"""

import contextlib
import errno
import json
import os
import pwd
import socket
import stat
import struct
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from firmware.loop import Telemetry
from firmware.small_server import SmallServer
from firmware.unexpected import SteadyThread

MODE = 0o660
REQUEST_BYTES = 1 << 16  # a day of prices
STOP_S = 3.0
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


class LocalServer:
    """Serves one socket file from a thread of its own."""

    def __init__(self, path: Path, answer: Answer) -> None:
        """Take over `path`; OSError when it cannot be, or a live service has it."""
        self._path = path
        self._answer = answer
        self._listener = _listen(path)
        self._inode = path.stat().st_ino
        self._stopping = threading.Event()
        server = SmallServer(self._answered)
        serve = partial(server.serve, self._listener, self._stopping)
        self._thread = SteadyThread("local interface", serve)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the file away."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(STOP_S)
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self._listener.close()

    def _answered(self, received: bytes, link: socket.socket) -> bytes | None:
        """The answer to a whole line. Raises OSError for a client that has gone."""
        line, newline, _ = received.partition(b"\n")
        if newline:
            return self._answer(line, _user(link))
        if len(received) >= REQUEST_BYTES:
            return refusal(f"longer than {REQUEST_BYTES} bytes")
        return None


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
