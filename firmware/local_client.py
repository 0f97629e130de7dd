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


def ask_status(path: Path) -> dict[str, Any]:
    """Return the newest status document, with `age_s` of its cycle. Raises LocalError."""
    answer = ask(path, {"get": "status"})
    try:
        return {**answer["status"], "age_s": answer["age_s"]}
    except (KeyError, TypeError):
        raise _not_ours(path) from None


def ask(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Return the service's answer to `request`. Raises LocalError, also for what it refuses."""
    try:
        line = _exchange(path, json.dumps(request).encode() + b"\n")
    except (ConnectionRefusedError, FileNotFoundError):
        raise LocalError(f"{path}: no service is running here") from None
    except TimeoutError:
        raise LocalError(f"{path}: the service does not answer") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror or error}") from None
    try:
        answer: dict[str, Any] = json.loads(line)
        if not answer["ok"]:
            raise LocalError(f"{path}: {answer['error']}")
    except (ValueError, KeyError, TypeError):
        raise _not_ours(path) from None
    return answer


def _not_ours(path: Path) -> LocalError:
    return LocalError(f"{path}: the answer is cut short or not ours")


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


def _exchange(path: Path, request: bytes) -> bytes:
    """Send one line, return all that comes. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(TIMEOUT_S)
        _connect(link, str(path))
        link.sendall(request)
        received = bytearray()
        while len(received) < ANSWER_BYTES and (part := link.recv(1 << 16)):
            received += part
    return bytes(received)
