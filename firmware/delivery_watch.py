"""What became of a trade: the slot's energy at the grid connection beside what was committed."""

from control.delivery import Delivery, due

LONGEST_STEP_S = 120.0  # between two cycles, for the power in between to be known
ENOUGH_FRAC = 0.9  # of the slot has to be metered
WH_PER_KW_S = 1000.0 / 3600.0


class DeliveryWatch:
    """Follows one slot after the other."""

    def __init__(self) -> None:
        self._delivery: Delivery | None = None
        self._last_t_s = 0.0
        self._metered_s = self._metered_wh = 0.0

    def note(self, deliveries: tuple[Delivery, ...], now_s: float, grid_kw: float | None) -> str:
        """One cycle; returns what became of the slot that is over, in words, else nothing."""
        current, said = due(deliveries, now_s), ""
        passed_s = now_s - self._last_t_s
        if self._delivery is not None and grid_kw is not None and 0.0 < passed_s <= LONGEST_STEP_S:
            self._metered_s += passed_s
            self._metered_wh += WH_PER_KW_S * grid_kw * passed_s
        if current != self._delivery:
            said = self._words(self._delivery) if self._delivery is not None else ""
            self._delivery, self._metered_s, self._metered_wh = current, 0.0, 0.0
        self._last_t_s = now_s
        return said

    def _words(self, over: Delivery) -> str:
        length_s = over.until_t_s - over.from_t_s
        wh = abs(WH_PER_KW_S * over.bought_kw * length_s)
        word, way = ("bought", "in") if over.bought_kw > 0 else ("sold", "out")
        if self._metered_s < ENOUGH_FRAC * length_s:
            return f"slot over: {word} {wh:.0f} Wh, not metered throughout"
        mean_kw = self._metered_wh / self._metered_s
        metered_wh = mean_kw * length_s if over.bought_kw > 0 else -mean_kw * length_s
        return f"slot over: {word} {wh:.0f} Wh; the connection: {metered_wh:.0f} Wh {way}"
