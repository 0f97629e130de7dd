"""Absolute deadlines: a late cycle skips to the next tick and is counted; it never bursts."""

from collections.abc import Callable
from dataclasses import dataclass

from firmware.clock import Clock

LONGEST_NAP_S = 0.2  # how fast a stop request is seen between two ticks


@dataclass(frozen=True, slots=True)
class Tick:
    """One deadline that was waited for."""

    due_s: float
    lateness_s: float
    missed: int  # ticks skipped since the one before


class Pace:
    """Ticks at `start + n * period_s`, by the clock's monotonic time."""

    def __init__(self, clock: Clock, period_s: float) -> None:
        """The first tick is due at once."""
        self._clock = clock
        self._period_s = period_s
        self._next_s = clock.monotonic()

    def wait(self, stopping: Callable[[], bool]) -> Tick | None:
        """Sleep to the next deadline; None when `stopping` became true meanwhile."""
        missed = self._skip()
        due_s = self._next_s
        while not stopping():
            left_s = due_s - self._clock.monotonic()
            if left_s <= 0:
                self._next_s = due_s + self._period_s
                return Tick(due_s, -left_s, missed)
            self._clock.sleep(min(left_s, LONGEST_NAP_S))
        return None

    def _skip(self) -> int:
        """Move past every deadline that a whole period has gone by since."""
        behind_s = self._clock.monotonic() - self._next_s
        missed = max(0, int(behind_s // self._period_s))
        self._next_s += missed * self._period_s
        return missed
