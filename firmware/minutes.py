"""Means per UTC minute of what the loop sees each cycle: the forecaster's food."""

from dataclasses import dataclass

MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class Minute:
    """Means over one minute; None where more than half of it is unknown."""

    start_utc_s: int
    pv_kw: float | None
    load_kw: float | None


class Minutes:
    """Collects cycles into minutes. A wall clock that steps back starts afresh."""

    def __init__(self) -> None:
        """Start with no minute."""
        self._start_utc_s: int | None = None
        self._cycles = 0
        self._sums = [0.0, 0.0]
        self._counts = [0, 0]

    def add(self, utc_s: float, pv_kw: float | None, load_kw: float | None) -> Minute | None:
        """Add one cycle's values; return the minute before when this one is the next's first."""
        start_utc_s = int(utc_s // MINUTE_S) * MINUTE_S
        finished = None
        if start_utc_s != self._start_utc_s:
            if self._start_utc_s is not None and start_utc_s > self._start_utc_s:
                finished = Minute(self._start_utc_s, self._mean(0), self._mean(1))
            self._start_utc_s = start_utc_s
            self._cycles, self._sums, self._counts = 0, [0.0, 0.0], [0, 0]
        self._cycles += 1
        for index, value in enumerate((pv_kw, load_kw)):
            if value is not None:
                self._sums[index] += value
                self._counts[index] += 1
        return finished

    def _mean(self, index: int) -> float | None:
        if 2 * self._counts[index] <= self._cycles:
            return None
        return self._sums[index] / self._counts[index]
