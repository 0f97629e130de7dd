"""Recordings: every cycle's inputs and command, as gzipped lines of JSON.

    {"nanogrid": 1, "version": ..., "site": SiteParameters}      the first line
    {"state": State}        where a replay starts, and starts again after a gap
    {"advice": Advice}      when it changed
    {"orders": Orders}      when they changed
    {"deliveries": [...]}   committed trades, when they changed
    {"cycle": Sample, "applied": Applied, "command": Command, "events": [Event, ...],
     "notices": [Event, ...]}   the notices, which no replay decides, only where there are some

Records are lists in the order of their fields (`firmware.codec`). A file whose end is missing
(power cut) is read as far as it goes.
"""

import contextlib
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from control.cycle import Decision
from control.delivery import Delivery
from control.records import Advice, Applied, Command, Event, Orders, Sample
from control.site import SiteParameters
from control.state import State
from firmware.codec import decode, encode

Deliveries = tuple[Delivery, ...]
FORMAT = 1
FLUSH_S = 60.0  # so much is lost with the power


def own_version() -> str:
    """The version of this program."""
    return version("nanogrid")


class RecordingError(Exception):
    """The file is no recording of this format; the message names it and says what is wrong."""


@dataclass(frozen=True, slots=True)
class Cycle:
    """What one cycle was given, and what it decided."""

    state: State | None  # set where the recording (re)starts
    sample: Sample
    applied: Applied
    advice: Advice
    orders: Orders
    command: Command
    events: tuple[Event, ...]
    notices: tuple[Event, ...] = ()
    deliveries: Deliveries = ()


class Recorder:
    """Writes a recording; not thread-safe, may block on the disk."""

    def __init__(self, path: Path, site: SiteParameters) -> None:
        """Create or replace `path`. Raises OSError."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._raw = path.open("wb")  # no name and no time inside: equal runs make equal files
        packed = gzip.GzipFile("", "wb", compresslevel=4, fileobj=self._raw, mtime=0)
        self._file = io.TextIOWrapper(packed, encoding="utf-8")
        self._advice: Advice | None = None
        self._orders: Orders | None = None
        self._deliveries: Deliveries = ()
        self._flushed_t_s: float | None = None
        try:
            self._write({"nanogrid": FORMAT, "version": own_version(), "site": encode(site)})
            self._file.flush()  # a process that is killed in its first minute leaves a recording
        except OSError:
            self._let_go()
            raise

    @property
    def size_bytes(self) -> int:
        """What has gone to the file."""
        return self._raw.tell()

    def write(
        self,
        before: State,
        sample: Sample,
        applied: Applied,
        advice: Advice,
        orders: Orders,
        decision: Decision,
        notices: tuple[Event, ...] = (),
        *,
        deliveries: Deliveries = (),
        gap: bool = False,
    ) -> None:
        """Add one cycle; `gap` says that cycles before it were left out."""
        if gap or self._flushed_t_s is None:
            self._write({"state": encode(before)})
        if advice is not self._advice:
            self._write({"advice": encode(advice)})
            self._advice = advice
        if orders != self._orders:
            self._write({"orders": encode(orders)})
            self._orders = orders
        if deliveries != self._deliveries:
            self._write({"deliveries": encode(deliveries)})
            self._deliveries = deliveries
        line = {
            "cycle": encode(sample),
            "applied": encode(applied),
            "command": encode(decision.command),
            "events": encode(decision.events),
        }
        if notices:
            line["notices"] = encode(notices)
        self._write(line)
        if self._flushed_t_s is None:
            self._flushed_t_s = sample.t_s
        elif sample.t_s - self._flushed_t_s >= FLUSH_S:
            self._file.flush()
            self._flushed_t_s = sample.t_s

    def close(self) -> None:
        """Write what is left. Raises OSError."""
        try:
            self._file.close()
        finally:
            self._raw.close()

    def _let_go(self) -> None:
        """Close a file that takes nothing."""
        with contextlib.suppress(OSError):
            self.close()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


class Recording:
    """Reads a recording."""

    def __init__(self, path: Path) -> None:
        """Check the first line of `path`. Raises RecordingError."""
        self.path = path
        self.version = own_version()
        header = next(self._lines(), None)
        if header is None or header.get("nanogrid") != FORMAT:
            raise RecordingError(f"{path}: not a nanogrid recording of format {FORMAT}")
        self.version = str(header.get("version"))
        try:
            self.site = decode(SiteParameters, header.get("site"))
        except ValueError as error:
            raise self._error(1, str(error)) from error

    def __iter__(self) -> Iterator[Cycle]:
        """Yield the cycles in order. Raises RecordingError for a line that is none."""
        state: State | None = None
        advice, orders = Advice(), Orders()
        deliveries: Deliveries = ()
        for number, line in enumerate(self._lines(), start=1):
            try:
                if "state" in line:
                    state = decode(State, line["state"])
                elif "advice" in line:
                    advice = decode(Advice, line["advice"])
                elif "orders" in line:
                    orders = decode(Orders, line["orders"])
                elif "deliveries" in line:
                    deliveries = decode(Deliveries, line["deliveries"])
                elif "cycle" in line:
                    yield _cycle(line, state, advice, orders, deliveries)
                    state = None
            except (ValueError, KeyError) as error:
                raise self._error(number, str(error)) from error

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines' objects; a cut-off end ends the file."""
        try:
            with gzip.open(self.path, "rt", encoding="utf-8") as file:
                for number, text in enumerate(file, start=1):
                    if not text.endswith("\n"):
                        return
                    yield self._parsed(number, text)
        except EOFError:
            return
        except (OSError, zlib.error, UnicodeDecodeError) as error:
            raise RecordingError(f"{self.path}: cannot be read: {error}") from error

    def _parsed(self, number: int, text: str) -> dict[str, Any]:
        try:
            line = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._error(number, f"no JSON: {error}") from error
        if not isinstance(line, dict):
            raise self._error(number, "not an object")
        return line

    def _error(self, number: int, text: str) -> RecordingError:
        written = "" if self.version == own_version() else f" (written by version {self.version})"
        return RecordingError(f"{self.path}: line {number}: {text}{written}")


def _cycle(
    line: dict[str, Any],
    state: State | None,
    advice: Advice,
    orders: Orders,
    deliveries: Deliveries,
) -> Cycle:
    return Cycle(
        state,
        decode(Sample, line["cycle"]),
        decode(Applied, line["applied"]),
        advice,
        orders,
        decode(Command, line["command"]),
        decode(tuple[Event, ...], line["events"]),
        decode(tuple[Event, ...], line.get("notices", [])),
        deliveries=deliveries,
    )
