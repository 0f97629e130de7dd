"""How long to wait before the next attempt to connect."""

import random

FIRST_S = 1.0  # doubles up to ...
LAST_S = 60.0
STEADY_S = 30.0  # a connection that has lasted so long was a good one


class Backoff:
    """Longer and longer, at random moments so that not all come back at once."""

    def __init__(self) -> None:
        self._wait_s = FIRST_S

    def next_s(self, lasted_s: float) -> float:
        """The wait after a connection, or an attempt at one, of `lasted_s`."""
        if lasted_s > STEADY_S:
            self._wait_s = FIRST_S
        wait_s = random.uniform(self._wait_s / 2, self._wait_s)
        self._wait_s = min(2 * self._wait_s, LAST_S)
        return wait_s
