"""Asks and commands the running service, through its socket."""

import json
import socket
import time
from pathlib import Path
from typing import Any

ANSWER_BYTES = 1 << 22
TIMEOUT_S = 5.0
RETRY_S = 0.05


class LocalError(Exception):
    """The service does not answer; the message is one line that says why."""


class UnansweredError(LocalError):
    """The request was sent and not answered: it may have been followed, or still be."""


def ask_status(path: Path) -> dict[str, Any]:
    """Return the newest status document, with `age_s` of its cycle. Raises LocalError."""
    answer = ask(path, {"get": "status"})
    try:
        return {**answer["status"], "age_s": answer["age_s"]}
    except (KeyError, TypeError):
        raise _not_ours(path) from None


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Return the service's answer to `request`. Raises LocalError, also for what it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(TIMEOUT_S)
        try:
            _connect(link, str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            raise LocalError(f"{path}: no service is running here") from None
        except OSError as error:
            raise LocalError(_failure(path, error)) from None
        try:
            line = _exchange(link, json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise UnansweredError(_failure(path, error)) from None
    try:
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise LocalError(f"{path}: {answer['error']}")
    except (ValueError, KeyError, TypeError):
        raise _not_ours(path) from None
    return answer


def _failure(path: Path, error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"{path}: the service does not answer"
    return f"{path}: {error.strerror or error}"


def _not_ours(path: Path) -> UnansweredError:
    return UnansweredError(f"{path}: the answer is cut short or not ours")


def _connect(link: socket.socket, path: str) -> None:
    """Connect, within the timeout also to a service with a full waiting room. Raises OSError."""
    end_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            link.connect(path)
        except BlockingIOError:
            if time.monotonic() > end_s:
                raise TimeoutError from None
            time.sleep(RETRY_S)
        else:
            return


def _exchange(link: socket.socket, request: bytes) -> bytes:
    """Send one line, return all that comes. Raises OSError."""
    link.sendall(request)
    received = bytearray()
    while len(received) < ANSWER_BYTES and (part := link.recv(1 << 16)):
        received += part
    return bytes(received)
