"""Errors that nobody foresaw: said with their traceback, shown as an alarm, and gone on from.

The one place of the program that catches everything. What the loop itself does is not in here: an
error there ends the process, the devices are given back, and systemd starts it anew. What serves
the loop or tells of it must not end control, and must not be missing in silence either.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("nanogrid")

FIRST_PAUSE_S = 1.0  # before a thread's work begins anew; doubles ...
LAST_PAUSE_S = 60.0  # ... up to this
TRIES_AT_END = 3  # to finish what is left when the service stops
STEADY_S = 60.0  # work that went well for so long starts from the first pause again
SHOWN_S = 600.0  # an alarm outlives its error by so long
SAID_AGAIN_S = 600.0  # the log hears of a part's errors so often at most


@dataclass(frozen=True, slots=True)
class Failure:
    """The newest error of one part; times are monotonic."""

    text: str
    count: int
    at_s: float
    said_s: float


_failures: dict[str, Failure] = {}  # by part, of this process


def failures() -> tuple[str, ...]:
    """What has failed lately, in words; from any thread."""
    now_s = time.monotonic()
    recent = [item for item in _failures.copy().items() if now_s - item[1].at_s < SHOWN_S]
    return tuple(
        f"internal error in {part}, {failure.count} times so far: {failure.text}; see the log"
        for part, failure in recent
    )


def note(part: str, error: BaseException) -> None:
    """Remember an error of a part of the service, and log it with its traceback."""
    now_s, before = time.monotonic(), _failures.get(part)
    text = f"{type(error).__name__}: {error}".partition("\n")[0]
    count, said_s = (before.count, before.said_s) if before else (0, float("-inf"))
    due = now_s - said_s >= SAID_AGAIN_S
    _failures[part] = Failure(text, count + 1, now_s, now_s if due else said_s)
    if due:
        log.error("internal error in %s; control goes on: %s", part, text, exc_info=error)


def note_thread(died: threading.ExceptHookArgs) -> None:
    """For `threading.excepthook`: a thread that nobody starts again."""
    if died.exc_value is not None:
        note(died.thread.name if died.thread else "a thread", died.exc_value)


def goes_well(part: str, work: Callable[[], None]) -> bool:
    """Do `work`; False: it failed, which has been noted."""
    try:
        work()
    except Exception as error:  # noqa: BLE001  # see above: the one place
        note(part, error)
        return False
    return True


class SteadyThread(threading.Thread):
    """A thread whose work begins anew, after a pause, when it fails; it ends when the work does.

    `work` keeps what it needs to go on where its owner can find it again, not in local variables.
    """

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self._ending = threading.Event()

    def run(self) -> None:
        """Work until it is over."""
        pause_s, tries_at_end = FIRST_PAUSE_S, TRIES_AT_END
        while tries_at_end:
            began_s = time.monotonic()
            if goes_well(self.name, self._work):
                return
            tries_at_end -= self._ending.is_set()
            if time.monotonic() - began_s >= STEADY_S:
                pause_s = FIRST_PAUSE_S
            self._ending.wait(pause_s)
            pause_s = min(2.0 * pause_s, LAST_PAUSE_S)

    def join(self, timeout: float | None = None) -> None:
        """Wait for the end, which the work has been told of: no pause is kept any more."""
        self._ending.set()
        super().join(timeout)
