"""Keeping to committed trades: what is sold counts as load, what is bought serves load at once.

A deviation then costs or brings what the grid asks or pays for it, which is how it is settled.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

MINUTE_S = 60.0
SLACK_S = 0.01


@dataclass(frozen=True, slots=True)
class Delivery:
    """A slot's committed net trade of this house, on the loop's own clock; void outside of it."""

    from_t_s: float  # monotonic
    until_t_s: float
    bought_kw: float  # < 0: sold
    price_per_kwh: float

    def left_kw(self, net_kw: float, load_kw: float | None) -> float:
        """What is left of the net load (load minus other sources) for battery and grid.

        What is bought serves load at once, so that the house's own sun may be stored meanwhile.
        What is bought beyond the load is not stored (Qayyum 2023): it goes back to the grid.
        """
        served_kw = max(0.0, net_kw if load_kw is None else load_kw)
        return net_kw - min(self.bought_kw, served_kw)

    def words(self, now_s: float, hour_local: float) -> str:
        """What is traded until when, on the site's clock."""
        way = "bought from" if self.bought_kw > 0.0 else "sold to"
        said = f"{abs(self.bought_kw):.2f} kW {way} neighbours"
        end_s = 3600.0 * hour_local + self.until_t_s - now_s
        if not math.isfinite(end_s):
            return said
        if self.until_t_s - self.from_t_s >= MINUTE_S:
            minutes = round(end_s / MINUTE_S)
            return f"{said} until {minutes // 60 % 24:02}:{minutes % 60:02}"
        seconds = math.ceil(end_s - SLACK_S)  # the clock may be without its fraction of a second
        until = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"{said} until {until}"


def due(deliveries: Iterable[Delivery], now_s: float) -> Delivery | None:
    """The trade that is to be delivered now; what is not a number is none."""
    for each in deliveries:
        if each.from_t_s <= now_s < each.until_t_s and math.isfinite(each.bought_kw):
            return each
    return None
