"""Messages that were lost on their way, in words: once when it begins, once when it is over."""

from firmware.trading.carrier import CarrierStatus


class Losses:
    """Watches a connection's counts. What comes again within `quiet_s` is the same spell."""

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._known = self._before = 0  # messages, now and when the spell began
        self._last_s: float | None = None  # of the running spell's last loss

    def note(self, status: CarrierStatus, now_s: float) -> str:
        """What is to be told now; mostly nothing."""
        lost, known = status.dropped_in + status.dropped_out + status.late, self._known
        begins = lost > known and self._last_s is None
        if lost > known:
            self._known, self._last_s = lost, now_s
        if begins:
            self._before = known
            return f"messages of the market are lost: {_words(status)} since the start"
        if self._last_s is not None and now_s - self._last_s >= self._quiet_s:
            self._last_s = None
            return f"no more messages are lost; there were {lost - self._before}"
        return ""


def _words(status: CarrierStatus) -> str:
    counts = {
        "too many came": status.dropped_in,
        "too many to send": status.dropped_out,
        "waited too long to be sent": status.late,
    }
    return ", ".join(f"{count} {why}" for why, count in counts.items() if count)
