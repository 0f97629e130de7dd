"""Where telemetry goes: the log and the recording. Both are bounded and never hold up the loop."""

import contextlib
import logging
import queue
from collections.abc import Sequence
from functools import partial
from math import inf
from pathlib import Path

from control.records import Severity
from control.site import SiteParameters
from firmware.loop import Publisher, Telemetry
from firmware.recording import Recorder
from firmware.unexpected import SteadyThread, goes_well

log = logging.getLogger("nanogrid")
LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ALARM: logging.ERROR,
}
QUEUE_CYCLES = 1000
CLOSE_S = 5.0
KEPT_RECORDINGS = 40  # more than the service's unit starts it in an hour
FILES = 20  # that share the space of a recording


class Sheltered:
    """Hands cycles to other publishers: one that fails costs neither the loop nor the rest."""

    def __init__(self, publishers: Sequence[Publisher]) -> None:
        """The sequence may still grow."""
        self._publishers = publishers

    def publish(self, telemetry: Telemetry) -> None:
        """Hand on one cycle."""
        for publisher in self._publishers:
            goes_well(type(publisher).__name__, partial(publisher.publish, telemetry))

    def close(self) -> None:
        """Close all, the last first."""
        for publisher in reversed(self._publishers):
            goes_well(type(publisher).__name__, publisher.close)


class EventLog:
    """Writes events, and changes of what is missing from the advice, to the log."""

    def __init__(self) -> None:
        """Start with nothing known to be wrong."""
        self._detail = ""

    def publish(self, telemetry: Telemetry) -> None:
        """Log this cycle's events."""
        for event in telemetry.events:
            extra = {"event_key": event.key}
            log.log(LEVELS[event.severity], "%s: %s", event.key, event.text, extra=extra)
        if telemetry.advice.detail != self._detail:
            self._detail = telemetry.advice.detail
            level = logging.WARNING if self._detail else logging.INFO
            log.log(level, "advice: %s", self._detail or "complete again")

    def close(self) -> None:
        """Nothing is under way."""


class DirectRecording:
    """Records in the caller's thread: for lockstep, where the loop may wait."""

    def __init__(self, path: Path, site: SiteParameters) -> None:
        """Raises OSError."""
        self._recorder = Recorder(path, site)

    def publish(self, telemetry: Telemetry) -> None:
        """Write one cycle."""
        _write(self._recorder, telemetry, gap=False)

    def close(self) -> None:
        """Finish the file."""
        self._recorder.close()


class BackgroundRecording:
    """Records in a thread of its own; what the disk cannot take is dropped and leaves a gap.

    Earlier recordings are kept as `PATH.1` (the newest) and so on, all together within `max_bytes`;
    a file that has its share of them is closed, and the next begun. Each can be replayed alone.
    """

    def __init__(self, path: Path, site: SiteParameters, max_bytes: float = inf) -> None:
        """Raises OSError."""
        self._path, self._site, self._max_bytes = path, site, max_bytes
        self._recorder = self._next_recorder()
        self._queue: queue.Queue[Telemetry | None] = queue.Queue(QUEUE_CYCLES)
        self._last: int | None = None  # cycle in the file
        self.dropped = 0
        self._thread = SteadyThread("recording", self._run)
        self._thread.start()

    def publish(self, telemetry: Telemetry) -> None:
        """Queue one cycle, or drop it."""
        try:
            self._queue.put_nowait(telemetry)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what is queued and finish the file; a disk that hangs is not waited for."""
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            while (telemetry := self._queue.get()) is not None:
                cycle = telemetry.sample.cycle
                if self._max_bytes < inf and self._recorder.size_bytes >= self._max_bytes / FILES:
                    self._recorder.close()
                    self._recorder = self._next_recorder()
                gap = self._last is not None and cycle != self._last + 1
                _write(self._recorder, telemetry, gap=gap)
                self._last = cycle
            self._recorder.close()
        except OSError as error:
            log.error("recording ends: %s", error)
            with contextlib.suppress(OSError):
                self._recorder.close()
            while self._queue.get() is not None:
                self.dropped += 1

    def _next_recorder(self) -> Recorder:
        _keep_earlier(self._path, self._max_bytes * (1 - 1 / FILES))
        return Recorder(self._path, self._site)


def _keep_earlier(path: Path, max_bytes: float) -> None:
    """Move earlier recordings out of the way; what is too much goes, the oldest first.

    Raises OSError.
    """
    if not path.is_file():
        return
    names = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, KEPT_RECORDINGS + 1))]
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.is_file():
            newer.replace(older)
    together = 0
    for earlier in filter(Path.is_file, names):
        together += earlier.stat().st_size
        if together > max_bytes:
            earlier.unlink()


def _write(recorder: Recorder, telemetry: Telemetry, *, gap: bool) -> None:
    recorder.write(
        telemetry.before,
        telemetry.sample,
        telemetry.applied,
        telemetry.advice,
        telemetry.orders,
        telemetry.decision,
        telemetry.notices,
        deliveries=telemetry.neighbours.deliveries,
        gap=gap,
    )
