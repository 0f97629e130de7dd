"""The two times of the service: monotonic for decisions, UTC for people and tariffs."""

import time
from typing import Protocol


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
