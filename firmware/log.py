"""Log lines leave through a thread: a terminal or journal that takes none holds up nobody."""

import contextlib
import logging
import os
import queue
import threading
from collections.abc import Iterator
from logging.handlers import QueueHandler

FORMAT = "%(asctime)s %(levelname)s %(message)s"
STANDARD_ERROR = 2
MAX_LINES = 1000
FLUSH_S = 1.0  # for what is left at the end

Lines = queue.Queue[logging.LogRecord | None]


class _Dropping(QueueHandler):
    """Queues what fits."""

    def enqueue(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(queue.Full):
            self.queue.put_nowait(record)


@contextlib.contextmanager
def background_log(descriptor: int = STANDARD_ERROR, level: int = logging.INFO) -> Iterator[None]:
    """Log to a file descriptor, from a thread, until the end of the `with`."""
    lines: Lines = queue.Queue(MAX_LINES)
    handler = _Dropping(lines)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    thread = threading.Thread(target=_write, args=(lines, descriptor), name="log", daemon=True)
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


def _write(lines: Lines, descriptor: int) -> None:
    """Past sys.stderr: at exit the interpreter would wait for a thread that is stuck in there."""
    form = logging.Formatter(FORMAT)
    while (record := lines.get()) is not None:
        with contextlib.suppress(OSError):
            os.write(descriptor, (form.format(record) + "\n").encode(errors="replace"))
