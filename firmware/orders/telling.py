"""What is said of commands: acknowledgements to the sender, events to everybody."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from control.records import Event, Severity
from firmware.clock import Clock
from firmware.orders.envelope import VERSION
from firmware.orders.pace import Allowance

KEY = "command"  # of the events
LOCAL = "local"  # the source of commands from the box itself
REFUSALS, REFUSALS_PER_S = 30.0, 0.1  # that become events: the card's write budget
WAITING = 100  # events for the next cycle
ID_LENGTH = 64

Acknowledgement = dict[str, Any]
Tell = Callable[[Acknowledgement], None]
SEVERITIES = {"rejected": Severity.WARNING, "failed": Severity.WARNING}


@dataclass(frozen=True, slots=True)
class Way:
    """How a command came in."""

    name: str  # "mqtt" or "local"
    retained: bool = False
    who: str = ""  # the user, on the local socket


@dataclass(frozen=True, slots=True)
class Sender:
    """Who gets the acknowledgements of one command, and what is in all of them."""

    id: str
    op: str
    src: str
    tell: Tell
    by: str  # the source, for people


def sender_of(plain: Mapping[str, Any], way: Way, tell: Tell) -> Sender | None:
    """Whom to answer; None without an id that a topic may bear."""
    id = plain.get("id")
    if not isinstance(id, str) or not 0 < len(id) <= ID_LENGTH:
        return None
    if not all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in id):
        return None
    source = LOCAL if way.name == LOCAL else _name(plain.get("src"))
    return Sender(id, _name(plain.get("op")), source, tell, on_site(way.who) or source)


def _name(text: object) -> str:
    """A name as it was given, if it can be one."""
    return text if isinstance(text, str) and len(text) <= ID_LENGTH and text.isprintable() else ""


def on_site(who: str) -> str:
    """A user of this machine, for people."""
    return f"{who}, on site" if who else ""


def make_acknowledgement(
    sender: Sender, status: str, reason: str, utc_s: float, generation: int
) -> Acknowledgement:
    """The message; `generation` counts the accepted commands of the site."""
    return {
        "v": VERSION,
        "id": sender.id,
        "op": sender.op,
        "src": sender.src,
        "status": status,
        "reason": reason,
        "t": round(utc_s, 3),
        "gen": generation,
    }


def tell_nobody(_: Acknowledgement) -> None:
    """Nobody asks any more."""


class Notices:
    """Events that wait for the next cycle; refusals, which anybody can cause, are not unlimited."""

    def __init__(self, clock: Clock) -> None:
        """Nothing waits."""
        self._clock = clock
        self._waiting: deque[Event] = deque(maxlen=WAITING)
        self._allowed = Allowance(REFUSALS, REFUSALS_PER_S)
        self._untold = 0

    def take(self) -> tuple[Event, ...]:
        """What has come since the last call; from any thread."""
        found = []
        while self._waiting:
            found.append(self._waiting.popleft())
        return tuple(found)

    def add(self, severity: Severity, text: str) -> None:
        """Something to tell."""
        self._waiting.append(Event(severity, KEY, text))

    def decided(self, sender: Sender, acknowledgement: Acknowledgement, what: str) -> None:
        """What became of a command."""
        status, reason = acknowledgement["status"], acknowledgement["reason"]
        text = f"{what}, by {sender.by}: {status}" + (f": {reason}" if reason else "")
        self.add(SEVERITIES.get(status, Severity.INFO), text)

    def refused(self, sender: Sender, reason: str) -> None:
        """A command that was answered with no."""
        by = sender.by or "an unknown source"
        self._refusal(f"{sender.op or 'command'}, by {by}: rejected: {reason}")

    def dropped(self, way: str, reason: str) -> None:
        """Something without an id, which cannot be answered."""
        self._refusal(f"dropped what came by {way}: {reason}")

    def _refusal(self, text: str) -> None:
        if not self._allowed.takes("", self._clock.monotonic()):
            self._untold += 1
            return
        if self._untold:
            text += f"; {self._untold} refusals before it were not logged"
            self._untold = 0
        self.add(Severity.WARNING, text)
