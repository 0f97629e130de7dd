"""How often somebody may do something: so many at once, and so many per second after that."""


class Allowance:
    """A token bucket for each name; the names are the caller's, and few."""

    def __init__(self, burst: float, per_s: float) -> None:
        """Everybody starts with `burst`."""
        self._burst, self._per_s = burst, per_s
        self._left: dict[str, tuple[float, float]] = {}  # name -> tokens, when

    def takes(self, name: str, now_s: float) -> bool:
        """Whether it is allowed once more now; counts it."""
        left, then_s = self._left.pop(name, (self._burst, now_s))
        left = min(self._burst, left + self._per_s * max(0.0, now_s - then_s))
        allowed = left >= 1.0
        self._left[name] = (left - 1.0 if allowed else left), now_s
        return allowed
