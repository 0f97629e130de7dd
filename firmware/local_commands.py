"""Commands through the local socket: handed to the desk, and what became of them.

    {"command": {"v": 1, "id": ..., "iat": ..., "exp": ..., "op": ..., "args": {...}}}
    {"ack": "<id>"}

Both are answered with {"ok": true, "ack": {...}, "earlier": [...]}, the first at once: the command
is received; its fate is asked for with the second. Who may connect is a local operator.
"""

import json
from collections.abc import Callable
from typing import Any, Protocol

from firmware.local_server import Answer, refusal
from firmware.orders.desk import Way

MAX_ID = 64
REMEMBERED = 200  # commands; what the desk has decided about it remembers by itself


class CommandDesk(Protocol):
    """The part of the desk that is needed here; neither call waits."""

    def submit(self, raw: bytes, way: Way, tell: Callable[[dict[str, Any]], None]) -> None:
        """Take a command."""

    def acknowledgement(self, id: str) -> dict[str, Any] | None:
        """The newest acknowledgement of a command."""


class LocalCommands:
    """Answers requests that command; leaves all others to `otherwise`."""

    def __init__(self, desk: CommandDesk, otherwise: Answer, utc: Callable[[], float]) -> None:
        self._desk = desk
        self._otherwise = otherwise
        self._utc = utc
        self._heard: dict[str, tuple[dict[str, Any], ...]] = {}

    def __call__(self, request: bytes, who: str) -> bytes:
        """Return the answer to one line, with its end of line."""
        try:
            asked = json.loads(request)
        except (ValueError, RecursionError):
            return refusal("not a line of JSON")
        if isinstance(asked, dict) and asked.keys() == {"command"}:
            return self._command(asked["command"], who)
        if isinstance(asked, dict) and asked.keys() == {"ack"}:
            return self._acknowledgement(asked["ack"])
        return self._otherwise(request, who)

    def _command(self, command: Any, who: str) -> bytes:
        """Only the id is looked at here: without one nobody could ask what became of it."""
        if not isinstance(command, dict):
            return refusal("command: must be an object")
        known, op = command.get("id"), command.get("op")
        if not isinstance(known, str) or not 0 < len(known) <= MAX_ID:
            return refusal(f"command: id: must be a text of {MAX_ID} characters at most")
        received = {
            "v": 1,
            "id": known,
            "op": op if isinstance(op, str) else "",
            "src": "local",
            "status": "received",
            "reason": "",
            "t": self._utc(),
        }
        self._remember(known, (received,))
        way = Way("local", who=who)
        self._desk.submit(json.dumps(command).encode(), way, lambda told: self._note(known, told))
        return _told((received,))

    def _note(self, known: str, acknowledgement: dict[str, Any]) -> None:
        """In the desk's thread."""
        self._remember(known, (*self._heard.get(known, ()), acknowledgement))

    def _remember(self, known: str, heard: tuple[dict[str, Any], ...]) -> None:
        """In two threads: single steps on a dictionary, none of which can fail."""
        self._heard[known] = heard
        for oldest in list(self._heard)[:-REMEMBERED]:
            self._heard.pop(oldest, None)

    def _acknowledgement(self, known: Any) -> bytes:
        if not isinstance(known, str):
            return refusal("ack: must be the id of a command")
        if heard := self._heard.get(known):
            return _told(heard)
        remembered = self._desk.acknowledgement(known)
        return refusal("ack: no such command") if remembered is None else _told((remembered,))


def _told(acknowledgements: tuple[dict[str, Any], ...]) -> bytes:
    *earlier, newest = acknowledgements
    return (json.dumps({"ok": True, "ack": newest, "earlier": earlier}) + "\n").encode()
