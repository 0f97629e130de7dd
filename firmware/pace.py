"""Absolute deadlines: a late cycle skips to the newest tick and is counted; it never bursts."""

from collections.abc import Callable
from dataclasses import dataclass

from firmware.clock import Clock

LONGEST_NAP_S = 0.2  # how fast a stop request is seen between two ticks


@dataclass(frozen=True, slots=True)
class Tick:
    """One deadline that was waited for."""

    due_s: float
    lateness_s: float  # less than a period
    missed: int  # ticks skipped since the one before


class Pace:
    """Ticks at `start + n * period_s`, by the clock's monotonic time.

    A tick that is reached late is still taken until the next one is due; then it is missed.
    """

    def __init__(self, clock: Clock, period_s: float, first_s: float = 0.0) -> None:
        """The first tick is due `first_s` from now."""
        self._clock = clock
        self._period_s = period_s
        self._start_s = clock.monotonic() + first_s
        self._next = 0

    def wait(self, stopping: Callable[[], bool]) -> Tick | None:
        """Sleep to the next deadline; None when `stopping` became true meanwhile."""
        while not stopping():
            left_s = self._due_s(self._next) - self._clock.monotonic()
            if left_s <= 0:
                return self._take(-left_s)
            self._clock.sleep(min(left_s, LONGEST_NAP_S))
        return None

    def _take(self, late_s: float) -> Tick:
        """Take the newest tick that is due; those before it are missed."""
        missed = int(late_s // self._period_s)
        due_s = self._due_s(self._next + missed)
        late_s -= due_s - self._due_s(self._next)
        self._next += missed + 1
        return Tick(due_s, max(0.0, late_s), missed)

    def _due_s(self, tick: int) -> float:
        return self._start_s + tick * self._period_s
