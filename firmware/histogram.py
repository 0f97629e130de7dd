"""Durations in logarithmic buckets: bounded memory, quantiles good to a few per cent."""

import math
from itertools import accumulate

BUCKETS_PER_DECADE = 20
SMALLEST_S = 1e-6
DECADES = 8  # up to 100 s
EDGE_STEPS = (0, 8, 14)  # buckets whose upper edges are near 1, 2.5 and 5


class Histogram:
    """Counts of durations in seconds."""

    def __init__(self) -> None:
        """Start empty."""
        self._counts = [0] * (BUCKETS_PER_DECADE * DECADES + 1)
        self.count = 0
        self.max_s = 0.0
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration; negative ones count as zero."""
        index = 0
        if seconds > SMALLEST_S:
            index = 1 + int(BUCKETS_PER_DECADE * math.log10(seconds / SMALLEST_S))
        self._counts[min(index, len(self._counts) - 1)] += 1
        self.count += 1
        self.sum_s += max(0.0, seconds)
        self.max_s = max(self.max_s, seconds)

    def quantile_s(self, fraction: float) -> float:
        """Upper edge of the bucket that holds the quantile; 0 when empty."""
        target = fraction * self.count
        seen = 0
        for index, count in enumerate(self._counts):
            seen += count
            if count and seen >= target:
                edge_s = SMALLEST_S * 10 ** (index / BUCKETS_PER_DECADE)
                return float(min(edge_s, self.max_s))
        return 0.0

    def cumulative(self) -> list[tuple[float, int]]:
        """Edges of 1, 2.5 and 5 times a power of ten, and how many durations are not above each.

        From 10 us to 10 s; the inner edges are exact to half a per cent.
        """
        sums = list(accumulate(self._counts))
        indices = (
            BUCKETS_PER_DECADE * decade + step
            for decade in range(1, DECADES)
            for step in EDGE_STEPS
        )
        return [
            (float(f"{SMALLEST_S * 10 ** (index / BUCKETS_PER_DECADE):.1e}"), sums[index])
            for index in [*indices][: -len(EDGE_STEPS) + 1]
        ]

    def summary(self) -> dict[str, float]:
        """Count and quantiles in seconds, for status and reports."""
        return {
            "count": self.count,
            "p50_s": self.quantile_s(0.5),
            "p99_s": self.quantile_s(0.99),
            "p999_s": self.quantile_s(0.999),
            "max_s": self.max_s,
        }
