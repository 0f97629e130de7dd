"""Whether the wall clock may be traded by: slots are agreed on in UTC."""

MOST_STEP_S = 2.0


class WallClock:
    """Watches the wall clock against the monotonic one."""

    def __init__(self) -> None:
        self._offset_s: float | None = None
        self._epoch = 0
        self._stepped: set[int] = set()

    def note(self, epoch: int, utc_s: float, t_s: float) -> None:
        """The time now, `epoch` being the slot that is traded by the wall clock.

        Slewing is slow and allowed: the offset counts anew with each slot.
        """
        offset_s = utc_s - t_s
        if self._offset_s is not None and abs(offset_s - self._offset_s) > MOST_STEP_S:
            self._stepped |= {self._epoch, epoch}
            self._offset_s = offset_s
        elif self._offset_s is None or epoch != self._epoch:
            self._offset_s = offset_s
        self._epoch = epoch
        self._stepped = {e for e in self._stepped if abs(e - epoch) <= 1}

    def problem(self, epoch: int) -> str:
        """Why not to trade in a slot; empty: nothing is known against it."""
        return "the wall clock was stepped" if epoch in self._stepped else ""
