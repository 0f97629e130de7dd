"""Prices of import and export at any time: periods on the site's local clock, or as ordered."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from control.records import PricePeriod
from firmware.config_tables import ALL_DAYS, Period, Prices

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_DAY_S = 86400
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


class Price(NamedTuple):
    """Currency per kWh: what import costs, what export earns."""

    buy_per_kwh: float
    sell_per_kwh: float


class Tariff:
    """The site's prices; without a `[prices]` table, as on an island, 0."""

    def __init__(self, prices: Prices | None, timezone: str) -> None:
        self._prices = prices or Prices(buy_per_kwh=0.0, sell_per_kwh=0.0)
        self._zone = ZoneInfo(timezone)

    def price_at(self, utc_s: float) -> Price:
        """The prices at one moment."""
        buy, sell = self.prices_over([utc_s])
        return Price(float(buy[0]), float(sell[0]))

    def prices_over(
        self, utc_s: ArrayLike, ordered: Sequence[PricePeriod] = ()
    ) -> tuple[Floats, Floats]:
        """Buying and selling prices at each of `utc_s`, currency per kWh; ordered ones come first.

        Of ordered periods that overlap, the first holds.
        """
        utc_s = np.asarray(utc_s, dtype=np.float64)
        day, second = self._local(utc_s)
        masks = [(period, _applies(period, day, second)) for period in self._prices.period]
        buy = _choose([(p.buy_per_kwh, mask) for p, mask in masks], self._prices.buy_per_kwh, day)
        sell = _choose(
            [(p.sell_per_kwh, mask) for p, mask in masks], self._prices.sell_per_kwh, day
        )
        for period in reversed(ordered):
            within = (period.from_utc_s <= utc_s) & (utc_s < period.until_utc_s)
            buy[within], sell[within] = period.buy_per_kwh, period.sell_per_kwh
        return buy, sell

    def buying_span(self) -> tuple[float, float]:
        """Lowest and highest price of import that the tariff knows."""
        periods = [p.buy_per_kwh for p in self._prices.period if p.buy_per_kwh is not None]
        prices = [self._prices.buy_per_kwh, *periods]
        return min(prices), max(prices)

    def _local(self, utc_s: Floats) -> tuple[Integers, Integers]:
        """Local days since 1970-01-01 and seconds of the day on the clock."""
        offsets = [datetime.fromtimestamp(t, self._zone).utcoffset() for t in utc_s.tolist()]
        shift_s = np.array([offset.total_seconds() if offset else 0.0 for offset in offsets])
        local_s = np.floor(utc_s + shift_s).astype(np.int64)
        return local_s // _DAY_S, local_s % _DAY_S


def ordered_price(ordered: Iterable[PricePeriod], utc_s: float) -> Price | None:
    """The price that was ordered for one moment; None where none was."""
    for period in ordered:
        if period.from_utc_s <= utc_s < period.until_utc_s:
            return Price(period.buy_per_kwh, period.sell_per_kwh)
    return None


def _choose(
    offers: Iterable[tuple[float | None, NDArray[np.bool_]]], otherwise: float, day: Integers
) -> Floats:
    """For each time the price of the first period that applies and names one."""
    price = np.full(day.shape, otherwise)
    decided = np.zeros(day.shape, dtype=bool)
    for value, mask in offers:
        if value is not None:
            price[mask & ~decided] = value
            decided |= mask
    return price


def _applies(period: Period, day: Integers, second: Integers) -> NDArray[np.bool_]:
    start_s, end_s = _seconds(period.from_), _seconds(period.to)
    today = _starts_on(period, day)
    if start_s < end_s:
        return today & (start_s <= second) & (second < end_s)
    return (today & (second >= start_s)) | (_starts_on(period, day - 1) & (second < end_s))


def _starts_on(period: Period, day: Integers) -> NDArray[np.bool_]:
    weekday = (day + _EPOCH_WEEKDAY) % 7
    month = day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64) % 12 + 1
    days = [ALL_DAYS.index(name) for name in period.days]
    return np.isin(weekday, days) & np.isin(month, period.months)


def _seconds(clock: str) -> int:
    hours, minutes = clock.split(":")
    return 3600 * int(hours) + 60 * int(minutes)
