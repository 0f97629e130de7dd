"""The bench's FakePi for a controller in another process, over a Unix socket.

The controller's side is a mirror: it answers SPI frames and inputs itself from a snapshot that it
renews at most every few milliseconds, so that a burst of conversions costs one round trip, and it
sends outputs on without waiting. A bench that is slow to answer is waited for once, briefly; then
the old snapshot serves on: an SPI transfer takes its time and no longer. One JSON object per line;
when the connection ends, the lines that its process held are let go, as the kernel does for a dead
process.
"""

import contextlib
import json
import os
import select
import socket
import socketserver
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from hil.fake_pi import SOCKET_VARIABLE, FakePi, pi_modules_path

SNAPSHOT_AGE_S = 0.003
PATIENCE_S = 0.03
TIMEOUT_S = 5.0


class FakePiServer:
    """Serves one FakePi at a socket path while it is open; a context manager."""

    def __init__(self, pi: FakePi, path: Path) -> None:
        """Listen at once; `path` must not exist and must fit a Unix socket address (107 bytes)."""
        self.path = path
        self._server = _Server(str(path), _Connection)
        self._server.pi = pi
        os.chmod(path, 0o600)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="fake-pi", daemon=True
        )
        self._thread.start()

    def environment(self) -> dict[str, str]:
        """What a controller's process needs in its environment to meet this Pi."""
        inherited = os.environ.get("PYTHONPATH")
        folders = [str(pi_modules_path()), *([inherited] if inherited else [])]
        return {SOCKET_VARIABLE: str(self.path), "PYTHONPATH": os.pathsep.join(folders)}

    def close(self) -> None:
        """Stop listening and cut the connections."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.cut()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "FakePiServer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    pi: FakePi

    def __init__(self, path: str, handler: type[socketserver.BaseRequestHandler]) -> None:
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        super().__init__(path, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        with self._open_lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Connection(socketserver.StreamRequestHandler):
    """One controller process. `snapshot` and `claim` are answered, the rest is only carried out."""

    def handle(self) -> None:
        pi = cast(_Server, self.server).pi
        owners: set[int] = set()
        try:
            for line in self.rfile:
                call = json.loads(line)
                owners.add(call["owner"])
                self._carry_out(pi, call)
        except (OSError, ValueError):
            pass  # the controller is gone, killed in the middle of a line perhaps
        finally:
            for owner in owners:
                pi.release(owner)

    def _carry_out(self, pi: FakePi, call: dict[str, Any]) -> None:
        owner = call["owner"]
        match call["do"]:
            case "snapshot":
                self._reply(pi.snapshot())
            case "claim":
                try:
                    pi.claim(owner, call["pin"], call["is_output"], call["level"])
                    self._reply({})
                except RuntimeError as error:
                    self._reply({"error": str(error)})
            case "drive":
                with contextlib.suppress(RuntimeError):  # the mirror has complained already
                    pi.drive(owner, call["pin"], call["level"])
            case "release":
                pi.release(owner, call["pins"])

    def _reply(self, answer: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class MirrorPi(FakePi):
    """The controller's end: a FakePi that follows the bench's."""

    def __init__(self, path: str) -> None:
        """Connect; OSError when no bench listens."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(path)
        self._lines_in = self._socket.makefile("rb")
        self._wire = threading.Lock()
        self.connected = True
        self._asked = False  # for a snapshot that has not come yet
        state = self._ask("snapshot")
        super().__init__(adc=state["adc"], seed=os.getpid(), spi=tuple(state["spi"]))
        self.restore(state)
        self._fresh_until_s = 0.0
        self._usable_until_s = time.monotonic() + TIMEOUT_S

    def transfer(
        self, bus: int, device: int, mode: int, speed_hz: int, request: Sequence[int]
    ) -> list[int]:
        """As FakePi, from a fresh snapshot."""
        self._renew()
        return super().transfer(bus, device, mode, speed_hz, request)

    def level(self, pin: int) -> int:
        """As FakePi, from a fresh snapshot."""
        self._renew()
        return super().level(pin)

    def claim(self, owner: int, pin: int, is_output: bool, level: int) -> None:
        """Here and at the bench."""
        answer = self._ask("claim", owner=owner, pin=pin, is_output=is_output, level=level)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        super().claim(owner, pin, is_output, level)

    def drive(self, owner: int, pin: int, level: int) -> None:
        """Here, and sent to the bench."""
        super().drive(owner, pin, level)
        self._send("drive", owner=owner, pin=pin, level=level)

    def release(self, owner: int, pins: Iterable[int] | None = None) -> None:
        """Here, and sent to the bench."""
        named = None if pins is None else list(pins)
        super().release(owner, named)
        self._send("release", owner=owner, pins=named)

    def _renew(self) -> None:
        now_s = time.monotonic()
        if now_s < self._fresh_until_s:
            return
        with self._wire:
            patience_s = 0.0 if self._asked else PATIENCE_S
            if not self._asked:
                self._put("snapshot", {})
                self._asked = True
            if select.select([self._socket], [], [], patience_s)[0]:
                self._take_snapshot()
            elif now_s >= self._usable_until_s:
                self.connected = False
                raise TimeoutError(110, "the bench does not answer")

    def _take_snapshot(self) -> None:
        self.restore(self._answer())
        self._asked = False
        now_s = time.monotonic()
        self._fresh_until_s, self._usable_until_s = now_s + SNAPSHOT_AGE_S, now_s + TIMEOUT_S

    def _ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        with self._wire:
            if self._asked:
                self._take_snapshot()
            self._put(do, arguments)
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        try:
            line = self._lines_in.readline()
        except OSError:
            self.connected = False
            raise
        if not line:
            self.connected = False
            raise ConnectionResetError(104, "the bench has closed the connection")
        return cast(dict[str, Any], json.loads(line))

    def _send(self, do: str, **arguments: Any) -> None:
        with self._wire:
            self._put(do, arguments)

    def _put(self, do: str, arguments: dict[str, Any]) -> None:
        message = {"do": do, "owner": os.getpid(), **arguments}
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.connected = False
            raise


_mirrors: dict[str, MirrorPi] = {}
_mirrors_lock = threading.Lock()


def connected(path: str) -> MirrorPi:
    """This process's mirror of the Pi behind a socket; a new one when the connection was lost."""
    with _mirrors_lock:
        mirror = _mirrors.get(path)
        if mirror is None or not mirror.connected:
            mirror = _mirrors[path] = MirrorPi(path)
        return mirror
