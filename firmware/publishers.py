"""Where telemetry goes: the log and the recording. Both are bounded and never hold up the loop."""

import contextlib
import logging
import queue
import threading
from pathlib import Path

from control.records import Severity
from control.site import SiteParameters
from firmware.loop import Telemetry
from firmware.recording import Recorder

log = logging.getLogger("nanogrid")
LEVELS = {
    Severity.INFO: logging.INFO,
    Severity.WARNING: logging.WARNING,
    Severity.ALARM: logging.ERROR,
}
QUEUE_CYCLES = 1000
CLOSE_S = 5.0
KEPT_RECORDINGS = 5


class EventLog:
    """Writes events, and changes of what is missing from the advice, to the log."""

    def __init__(self) -> None:
        """Start with nothing known to be wrong."""
        self._detail = ""

    def publish(self, telemetry: Telemetry) -> None:
        """Log this cycle's events."""
        for event in telemetry.decision.events:
            log.log(LEVELS[event.severity], "%s: %s", event.key, event.text)
        if telemetry.advice.detail != self._detail:
            self._detail = telemetry.advice.detail
            log.warning("advice: %s", self._detail or "complete again")

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

    Earlier recordings are kept as `PATH.1` (the newest) and so on.
    """

    def __init__(self, path: Path, site: SiteParameters) -> None:
        """Raises OSError."""
        _keep_earlier(path)
        self._recorder = Recorder(path, site)
        self._queue: queue.Queue[Telemetry | None] = queue.Queue(QUEUE_CYCLES)
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
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
        last: int | None = None
        try:
            while (telemetry := self._queue.get()) is not None:
                cycle = telemetry.sample.cycle
                _write(self._recorder, telemetry, gap=last is not None and cycle != last + 1)
                last = cycle
            self._recorder.close()
        except OSError as error:
            log.error("recording ends: %s", error)
            with contextlib.suppress(OSError):
                self._recorder.close()
            while self._queue.get() is not None:
                self.dropped += 1


def _keep_earlier(path: Path) -> None:
    """Move recordings of earlier runs out of the way. Raises OSError."""
    if not path.is_file():
        return
    names = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, KEPT_RECORDINGS + 1))]
    for older, newer in zip(names[:0:-1], names[-2::-1], strict=True):
        if newer.is_file():
            newer.replace(older)


def _write(recorder: Recorder, telemetry: Telemetry, *, gap: bool) -> None:
    recorder.write(
        telemetry.before,
        telemetry.sample,
        telemetry.applied,
        telemetry.advice,
        telemetry.orders,
        telemetry.decision,
        gap=gap,
    )
