"""The two times of the service: monotonic for decisions, UTC for people and tariffs."""

import os
import time
from pathlib import Path
from typing import Protocol

START_TIME_FIELD = 19  # in /proc/self/stat, counted behind the process's name; see proc(5)


class Clock(Protocol):
    """What the service asks the time of; the bench has a virtual one."""

    def monotonic(self) -> float:
        """Seconds that never step back."""

    def utc(self) -> float:
        """Seconds since 1970 UTC; may step."""

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""


class SystemClock:
    """The machine's clocks."""

    def monotonic(self) -> float:
        """Seconds that never step back."""
        return time.monotonic()

    def utc(self) -> float:
        """Seconds since 1970 UTC; may step."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Sleep; a signal does not shorten it."""
        time.sleep(seconds)


def process_age_s() -> float:
    """Seconds since this process was started, imports included."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_s = int(fields[START_TIME_FIELD]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started_s
