"""Prices on the local clock: nights, weekends, seasons, and the days on which the clock changes."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.records import PricePeriod
from firmware.config_tables import Period, Prices
from firmware.tariff import Price, Tariff, ordered_price

ZONE = "Europe/Copenhagen"


def utc_s(text: str, zone: str = ZONE, fold: int = 0) -> float:
    """Seconds since 1970 of a local time."""
    local = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return local.timestamp()


def tariff(*periods: dict[str, Any], buy: float = 0.3, sell: float = 0.06) -> Tariff:
    """A tariff in Copenhagen."""
    period = tuple(Period.model_validate(p) for p in periods)
    return Tariff(Prices(buy_per_kwh=buy, sell_per_kwh=sell, period=period), ZONE)


EVENING = {"from": "17:00", "to": "21:00", "days": ("mon", "tue", "wed", "thu", "fri")}
NIGHT = {"from": "22:00", "to": "06:00", "days": ("sat",), "buy_per_kwh": 0.1}


@pytest.mark.parametrize(
    ("local", "buy"),
    [
        ("2026-11-20 16:59:59", 0.3),  # a Friday
        ("2026-11-20 17:00:00", 0.48),
        ("2026-11-20 20:59:59", 0.48),
        ("2026-11-20 21:00:00", 0.3),
        ("2026-11-21 18:00:00", 0.3),  # Saturday
        ("2026-07-01 17:00:00", 0.48),  # summer time
    ],
)
def test_a_period_includes_its_start_and_not_its_end(local: str, buy: float) -> None:
    assert tariff(EVENING | {"buy_per_kwh": 0.48}).price_at(utc_s(local)) == Price(buy, 0.06)


@pytest.mark.parametrize(
    ("local", "buy"),
    [
        ("2026-11-21 05:00", 0.3),  # Saturday morning belongs to Friday's night
        ("2026-11-21 22:00", 0.1),
        ("2026-11-22 05:59", 0.1),  # Sunday morning to Saturday's
        ("2026-11-22 06:00", 0.3),
        ("2026-11-22 22:00", 0.3),
    ],
)
def test_a_period_over_midnight_belongs_to_the_day_it_starts(local: str, buy: float) -> None:
    assert tariff(NIGHT).price_at(utc_s(local)).buy_per_kwh == buy


def test_the_first_period_that_names_a_price_counts_for_that_price() -> None:
    prices = tariff(
        {"from": "10:00", "to": "12:00", "sell_per_kwh": 0.2},
        {"from": "09:00", "to": "24:00", "buy_per_kwh": 0.4, "sell_per_kwh": 0.1},
    )
    assert prices.price_at(utc_s("2026-11-20 11:00")) == Price(0.4, 0.2)
    assert prices.price_at(utc_s("2026-11-20 23:59")) == Price(0.4, 0.1)
    assert prices.price_at(utc_s("2026-11-20 08:00")) == Price(0.3, 0.06)


def test_months_make_a_season() -> None:
    winter = {"from": "00:00", "to": "24:00", "months": (11, 12, 1, 2), "buy_per_kwh": 0.5}
    assert tariff(winter).price_at(utc_s("2026-12-31 23:59")).buy_per_kwh == 0.5
    assert tariff(winter).price_at(utc_s("2027-03-01 00:00")).buy_per_kwh == 0.3


def test_the_clock_changes_within_a_period() -> None:
    night = tariff({"from": "01:00", "to": "03:00", "buy_per_kwh": 0.1})
    steps = utc_s("2026-10-25 00:00") + 1800 * np.arange(12)  # 02:00 to 03:00 happens twice
    buy, _ = night.prices_over(steps)
    assert (buy == 0.1).sum() * 0.5 == 3.0  # hours
    steps = utc_s("2026-03-29 00:00") + 1800 * np.arange(12)  # ... and here never
    assert (night.prices_over(steps)[0] == 0.1).sum() * 0.5 == 1.0


def test_an_island_has_no_prices() -> None:
    assert Tariff(None, "UTC").price_at(0.0) == Price(0.0, 0.0)


def test_span() -> None:
    assert tariff(EVENING | {"buy_per_kwh": 0.48}, NIGHT).buying_span() == (0.1, 0.48)


@given(
    st.integers(0, 2**31),
    st.sampled_from(["UTC", "America/Los_Angeles", "Asia/Kathmandu", "Australia/Lord_Howe"]),
)
def test_a_horizon_agrees_with_the_calendar(start_s: int, zone: str) -> None:
    periods = tuple(map(Period.model_validate, (EVENING | {"buy_per_kwh": 0.48}, NIGHT)))
    prices = Tariff(Prices(buy_per_kwh=0.3, sell_per_kwh=0.06, period=periods), zone)
    times = start_s + 900 * np.arange(96)
    for t, price in zip(times, prices.prices_over(times)[0], strict=True):
        local = datetime.fromtimestamp(int(t), UTC).astimezone(ZoneInfo(zone))
        expected = 0.3
        if local.weekday() < 5 and 17 <= local.hour < 21:
            expected = 0.48
        elif (local.weekday() == 5 and local.hour >= 22) or (
            (local.date() - timedelta(days=1)).weekday() == 5 and local.hour < 6
        ):
            expected = 0.1
        assert price == expected


def test_an_ordered_price_holds_from_its_beginning_to_its_end() -> None:
    ordered = (PricePeriod(900.0, 1800.0, 0.9, 0.2), PricePeriod(1700.0, 2700.0, 0.7, -0.1))
    times = [899.9, 900.0, 1799.9, 1800.0, 2699.9, 2700.0]
    buy, sell = tariff().prices_over(times, ordered)
    assert buy.tolist() == [0.3, 0.9, 0.9, 0.7, 0.7, 0.3]
    assert sell.tolist() == [0.06, 0.2, 0.2, -0.1, -0.1, 0.06]
    for time_s, each in zip(times, zip(buy, sell, strict=True), strict=True):
        assert ordered_price(ordered, time_s) in (each, None)
    assert ordered_price(ordered, 899.9) is ordered_price(ordered, 2700.0) is None
