"""The price of an order's steps: what energy is worth to the house, kWh by kWh.

A house that lacks r kWh in a slot, after all trades, covers it in the order of cost: less export,
less charging, more discharging, more import. So one kWh more is worth

    feed-in | charging: value * efficiency - wear | discharging: value / efficiency + wear | retail

by where r lies, `value` being that of a stored kWh. How much it will lack is only known as a band,
so the price of a step is the mean over the band: what is surely needed is bid at its full price,
what may turn out to be too much at less (the newsvendor's rule). Bids fall, asks rise step by step.

An order is firm, so it never holds more than the inverter, the stored energy, the connection and
the membership allow. Bought energy serves load at once, so there is never more of it than load; the
house's own sun may be stored meanwhile. A seller sells its surplus first, then its battery down to
the floor (Qayyum 2023). Currency per kWh, and kWh of the slot.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from itertools import pairwise

import numpy as np

from control.market_book import MOST_STEPS, Side, Step

UNIT = 100_000  # of the market's prices per currency unit
LEAST_WH = 10  # less is not worth a message
CASES = 10  # equally likely values that stand for the band
NOTHING_KWH = 1e-6
ABSURD = 1e6  # kWh or currency per kWh


@dataclass(frozen=True, slots=True)
class Need:
    """Load less own generation over the slot, kWh; < 0: there is a surplus."""

    p10_kwh: float
    p50_kwh: float
    p90_kwh: float

    def cases(self) -> tuple[float, ...]:
        """Equally likely values: the quantiles joined by lines, the outer ones drawn on."""
        low, middle, high = sorted((self.p10_kwh, self.p50_kwh, self.p90_kwh))
        at = (np.arange(CASES) + 0.5) / CASES
        ends = (low - (middle - low) / 4.0, high + (high - middle) / 4.0)
        points = (ends[0], low, middle, high, ends[1])
        return tuple(np.interp(at, (0.0, 0.1, 0.5, 0.9, 1.0), points).tolist())


@dataclass(frozen=True, slots=True)
class Means:
    """What the house can do about its need in the slot, and what that costs."""

    load_kwh: float  # that bought energy may serve
    charge_kwh: float  # most that the battery takes, at its terminals
    discharge_kwh: float  # most that it gives
    import_kwh: float  # most that the connection carries
    export_kwh: float
    buy_per_kwh: float
    sell_per_kwh: float
    charging_per_kwh: float  # what a kWh into the battery is worth
    discharging_per_kwh: float  # what a kWh out of it costs

    def worth(self, lacks_kwh: float) -> float:
        """Value of one kWh more while so much is lacking."""
        if lacks_kwh < -self.charge_kwh:
            return self.sell_per_kwh
        if lacks_kwh >= self.discharge_kwh:
            return self.buy_per_kwh
        inside = self.charging_per_kwh if lacks_kwh < 0.0 else self.discharging_per_kwh
        return min(max(inside, self.sell_per_kwh), self.buy_per_kwh)


@dataclass(frozen=True, slots=True)
class Band:
    """What orders of this house have to keep to: prices of the market, and the member's caps."""

    price_floor: int
    price_ceiling: int
    max_buy_wh: int
    max_sell_wh: int


def order_steps(side: Side, need: Need, means: Means, band: Band) -> tuple[Step, ...]:
    """The steps of an order, best first; none when there is nothing to trade."""
    if not all(abs(number) <= ABSURD for number in (*astuple(need), *astuple(means))):
        return ()  # so is NaN
    if side == "buy":
        most_kwh = min(means.import_kwh, band.max_buy_wh / 1000.0, means.load_kwh)
        return _steps(most_kwh, _edges(need, means, -1.0), _bid(need, means, band), falling=True)
    most_kwh = min(means.export_kwh, band.max_sell_wh / 1000.0, means.discharge_kwh - need.p50_kwh)
    return _steps(most_kwh, _edges(need, means, 1.0), _ask(need, means, band), falling=False)


def _units(per_kwh: float) -> float:
    """In units of the market, without the last digits that come of floating point."""
    return round(UNIT * per_kwh, 6)


def _worth(need: Need, means: Means) -> Callable[[float], float]:
    """Mean value of a kWh once so much more is lacking than without the order."""
    cases = need.cases()
    return lambda more_kwh: sum(means.worth(case + more_kwh) for case in cases) / len(cases)


def _bid(need: Need, means: Means, band: Band) -> Callable[[float], int | None]:
    """What a kWh bought after so many others may cost: never more than it is worth."""
    worth = _worth(need, means)

    def price(bought_kwh: float) -> int | None:
        px = min(math.floor(_units(worth(-bought_kwh))), band.price_ceiling)
        return px if px >= band.price_floor else None

    return price


def _ask(need: Need, means: Means, band: Band) -> Callable[[float], int | None]:
    """What a kWh sold after so many others has to fetch, after the fee."""
    worth = _worth(need, means)

    def price(sold_kwh: float) -> int | None:
        px = max(math.ceil(_units(worth(sold_kwh))), band.price_floor)
        return px if px <= band.price_ceiling else None

    return price


def _edges(need: Need, means: Means, sign: float) -> Iterable[float]:
    """Where the worth changes, in kWh traded: at each case's bounds of charging and discharging."""
    bounds = (-means.charge_kwh, 0.0, means.discharge_kwh)
    return [sign * (bound - case) for case in need.cases() for bound in bounds]


def _steps(
    most_kwh: float,
    edges: Iterable[float],
    price: Callable[[float], int | None],
    *,
    falling: bool,
) -> tuple[Step, ...]:
    """Prices between the edges, whole Wh, at most MOST_STEPS of them."""
    most_wh = math.floor(1000.0 * most_kwh + NOTHING_KWH)
    if most_wh < LEAST_WH:
        return ()
    inner = {math.floor(1000.0 * edge) for edge in edges if 0.0 < edge < most_kwh}
    marks = sorted({0, most_wh} | {wh for wh in inner if 0 < wh < most_wh})
    rows: list[Step] = []
    for first, last in pairwise(marks):
        px = price((first + last) / 2000.0)
        if px is None:
            break
        if rows and (px >= rows[-1][0] if falling else px <= rows[-1][0]):
            rows[-1] = (rows[-1][0], rows[-1][1] + last - first)
        else:
            rows.append((px, last - first))
    return tuple(_merged(rows))


def _merged(rows: list[Step]) -> list[Step]:
    """At most MOST_STEPS: neighbours join where it costs least, at the price of the later one."""
    while len(rows) > MOST_STEPS:
        losses = [abs(b[0] - a[0]) * a[1] for a, b in pairwise(rows)]
        at = losses.index(min(losses))
        joined = (rows[at + 1][0], rows[at][1] + rows[at + 1][1])
        rows = [*rows[:at], joined, *rows[at + 2 :]]
    return rows
