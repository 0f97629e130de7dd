"""Log lines leave through a thread: a terminal or journal that takes none holds up nobody.

A journal puts its own time to a line and wants its severity: under systemd it gets fields where
systemd-python is there, else lines that begin with <3> and so on (sd-daemon(3)).
"""

import contextlib
import importlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator
from functools import partial
from logging.handlers import QueueHandler

from firmware.unexpected import SteadyThread

FORMAT = "%(asctime)s %(levelname)s %(message)s"
STANDARD_ERROR = 2
MAX_LINES = 1000
FLUSH_S = 1.0  # for what is left at the end
SYSLOG = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog(3); else 7

Lines = queue.Queue[logging.LogRecord | None]
Sink = Callable[[logging.LogRecord], None]


class _Dropping(QueueHandler):
    """Queues what fits."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


@contextlib.contextmanager
def background_log(
    descriptor: int = STANDARD_ERROR, level: int = logging.INFO, site: str = ""
) -> Iterator[None]:
    """Log to a file descriptor, from a thread, until the end of the `with`.

    A journal behind it gets the fields SITE and, of an event, EVENT_KEY.
    """
    lines: Lines = queue.Queue(MAX_LINES)
    handler = _Dropping(lines)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    sink = _sink(descriptor, site)
    thread = SteadyThread("log", partial(_write, lines, sink))
    thread.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        _end(lines, thread)


def _end(lines: Lines, thread: threading.Thread) -> None:
    """Give the thread a while to write what is left; then drop it."""
    try:
        lines.put(None, timeout=FLUSH_S)
    except queue.Full:
        with contextlib.suppress(queue.Empty):
            while True:
                lines.get_nowait()
        lines.put(None)
    thread.join(FLUSH_S)


def _write(lines: Lines, sink: Sink) -> None:
    while (record := lines.get()) is not None:
        with contextlib.suppress(OSError):
            sink(record)


def _sink(descriptor: int, site: str) -> Sink:
    """Where records go."""
    if not _is_journal(descriptor):
        return _Text(descriptor, logging.Formatter(FORMAT))
    try:
        journal = importlib.import_module("systemd.journal")
    except ImportError:
        return _Text(descriptor, _Prefixed())
    return _Fields(journal.send, site)


def _is_journal(descriptor: int) -> bool:
    """Whether that is the stream to its journal that systemd opened; systemd.exec(5)."""
    try:
        about = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


class _Text:
    """Writes lines past sys.stderr: at exit the interpreter would wait for a thread stuck there."""

    def __init__(self, descriptor: int, form: logging.Formatter) -> None:
        self._descriptor, self._form = descriptor, form

    def __call__(self, record: logging.LogRecord) -> None:
        text = self._form.format(record) + "\n"
        os.write(self._descriptor, text.encode(errors="replace"))


class _Prefixed(logging.Formatter):
    """Every line with its severity in front."""

    def format(self, record: logging.LogRecord) -> str:
        severity = _severity(record)
        return "\n".join(f"<{severity}>{line}" for line in super().format(record).splitlines())


class _Fields:
    """Sends records with their fields, by systemd-python."""

    def __init__(self, send: Callable[..., None], site: str) -> None:
        self._send, self._site, self._form = send, site, logging.Formatter()

    def __call__(self, record: logging.LogRecord) -> None:
        fields = {"PRIORITY": str(_severity(record)), "SYSLOG_IDENTIFIER": "nanogrid"}
        fields |= {"SITE": self._site} if self._site else {}
        if event := getattr(record, "event_key", ""):
            fields["EVENT_KEY"] = event
        self._send(self._form.format(record), **fields)


def _severity(record: logging.LogRecord) -> int:
    return next((number for level, number in SYSLOG if record.levelno >= level), 7)
