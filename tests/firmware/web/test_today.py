"""The day's series: minutes, what was planned and forecast for them, what lies ahead."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from control.records import Advice, Forecast, Plan, PricePeriod, Sample, Series
from control.site import SiteParameters
from control.trades import Market, Trade
from firmware.config import Site
from firmware.loop import Telemetry
from firmware.neighbours import Neighbours, Said
from firmware.store import Store
from firmware.web.today import EVENTS, Today

from .conftest import wait_for

Run = Callable[[int], list[Telemetry]]
MIDNIGHT_S = datetime(2026, 3, 11, tzinfo=UTC).timestamp()
SLOT_S, SLOTS = 900, 96
DAY_S = 86_400


@pytest.fixture(scope="module")
def cycle(run_cycles: Run) -> Telemetry:
    return run_cycles(5)[-1]


@pytest.fixture
def home(site: Site) -> Site:
    """The example in UTC, planning quarters of an hour, without a store."""
    place = site.site.model_copy(update={"timezone": "UTC"})
    store = site.store.model_copy(update={"path": ""})
    return site.model_copy(update={"site": place, "store": store})


def at(cycle: Telemetry, utc_s: float, advice: Advice | None = None) -> Telemetry:
    """The cycle at another time; the monotonic clock has another zero."""
    sample: Sample = replace(cycle.sample, utc_s=utc_s, t_s=utc_s - MIDNIGHT_S + 77.0)
    return replace(cycle, sample=sample, advice=advice or cycle.advice)


def test_trades_of_the_day_and_what_neighbours_expect(
    home: Site, parameters: SiteParameters, cycle: Telemetry
) -> None:
    noon_s = MIDNIGHT_S + 12 * 3600
    trade = Trade(5, noon_s, noon_s + 900.0, -200, 0.125)
    market = Market(
        0.0, (trade,), prices_from_utc_s=noon_s, prices_step_s=900.0, prices_per_kwh=(0.1, 0.2)
    )
    today = Today(home, parameters)
    today.publish(replace(at(cycle, noon_s - 60.0), neighbours=Neighbours(Said(market))))
    today.publish(at(cycle, noon_s + 1000.0))
    day = json.loads(today.document())
    assert day["trade_columns"] == ["start_s", "end_s", "bought_kw", "price_per_kwh"]
    assert day["trades"] == [[noon_s, noon_s + 900.0, -0.8, 0.125]]
    assert day["agreed"] == []
    today.publish(replace(at(cycle, noon_s + 1001.0), neighbours=Neighbours(Said(market))))
    assert json.loads(today.document())["agreed"] == [[noon_s, 0.1], [noon_s + 900.0, 0.2]]


def advice(utc_s: float, kw: float, expires_s: float = 3600.0) -> Advice:
    """Made at a moment, for the day from its slot on; every number is `kw`."""
    now_s = utc_s - MIDNIGHT_S + 77.0
    start_s = now_s - utc_s % SLOT_S
    many, on = (kw,) * SLOTS, (False,) * SLOTS
    series = Series(many, many, many, "test")
    return Advice(
        Forecast(now_s, start_s, SLOT_S, series, series),
        Plan(
            *(now_s, start_s, SLOT_S, now_s + expires_s, many, on, many, many, many, many, on, on),
            cost=0.0,
            solver="test",
        ),
    )


def day_of(today: Today) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(today.document())
    return found


def values(rows: list[list[float]]) -> dict[int, float]:
    return {int(row[0] - MIDNIGHT_S): row[1] for row in rows}


def test_a_minute_is_there_when_it_is_over(
    home: Site, parameters: SiteParameters, cycle: Telemetry
) -> None:
    today = Today(home, parameters)
    for second in range(0, 121, 10):
        today.publish(at(cycle, MIDNIGHT_S + second))
    day = day_of(today)
    assert [row[0] for row in day["minutes"]] == [MIDNIGHT_S, MIDNIGHT_S + 60]
    column = day["minute_columns"].index("load_kw")
    load_kw = cycle.decision.state.estimate.load_kw
    assert day["minutes"][0][column] == pytest.approx(load_kw, abs=1e-3)
    assert len(day["minutes"][0]) == len(day["minute_columns"])


def test_yesterday_goes_and_memory_stays_bounded(
    home: Site, parameters: SiteParameters, cycle: Telemetry
) -> None:
    today = Today(home, parameters)
    for minute in range(0, 3 * 1440, 3):
        utc_s = MIDNIGHT_S + 60 * minute
        today.publish(at(cycle, utc_s, advice(utc_s, 1.0) if minute % 60 == 0 else None))
    day = day_of(today)
    assert day["start_s"] == MIDNIGHT_S + 2 * DAY_S
    assert min(row[0] for row in day["minutes"]) >= day["start_s"]
    assert len(today._minutes) <= 1440
    assert len(today._plans) <= 2 * SLOTS + 1
    assert len(today._first_forecasts) <= 2 * SLOTS + 1
    assert len(today.events()) <= EVENTS


def test_a_slot_keeps_its_plan_as_it_stood_and_its_first_forecast(
    home: Site, parameters: SiteParameters, cycle: Telemetry
) -> None:
    today = Today(home, parameters)
    for minute, kw in ((1, 1.0), (16, 2.0), (31, 3.0)):
        utc_s = MIDNIGHT_S + 60 * minute
        today.publish(at(cycle, utc_s, advice(utc_s, kw)))
    day = day_of(today)
    plan, forecast = values(day["plan"]), values(day["forecast"])
    assert [plan[slot * SLOT_S] for slot in range(4)] == [1.0, 1.0, 2.0, 3.0]
    assert [forecast[slot * SLOT_S] for slot in range(4)] == [1.0, 1.0, 3.0, 3.0]
    assert max(plan) == (2 + SLOTS - 1) * SLOT_S
    assert len(day["plan"][0]) == len(day["plan_columns"])
    assert len(day["forecast"][0]) == len(day["forecast_columns"])


def test_a_plan_that_has_expired_says_nothing_of_what_comes(
    home: Site, parameters: SiteParameters, cycle: Telemetry
) -> None:
    today = Today(home, parameters)
    made = advice(MIDNIGHT_S + 60, 1.0, expires_s=600.0)
    today.publish(at(cycle, MIDNIGHT_S + 60, made))
    today.publish(at(cycle, MIDNIGHT_S + 1000, made))
    assert max(values(day_of(today)["plan"])) == SLOT_S


def test_ordered_prices_come_before_the_tariff(
    home: Site, parameters: SiteParameters, cycle: Telemetry
) -> None:
    today = Today(home, parameters)
    period = PricePeriod(MIDNIGHT_S + 3600, MIDNIGHT_S + 7200, 9.0, 8.0)
    orders = replace(cycle.orders, prices=(period,))
    today.publish(replace(at(cycle, MIDNIGHT_S + 60), orders=orders))
    prices = {int(start - MIDNIGHT_S): (buy, sell) for start, buy, sell in day_of(today)["prices"]}
    assert prices[3600] == (9.0, 8.0)
    assert prices[7200][0] < 1.0
    assert set(range(0, DAY_S, SLOT_S)) <= set(prices)


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (10, 25, 25), (6, 1, 24)])
def test_days_are_the_sites_own(
    site: Site, parameters: SiteParameters, month: int, day: int, hours: int
) -> None:
    place = site.site.model_copy(update={"timezone": "Europe/Copenhagen"})
    today = Today(site.model_copy(update={"site": place}), parameters)
    start_s, end_s = today.day(datetime(2026, month, day, 12, tzinfo=UTC).timestamp())
    assert end_s - start_s == hours * 3600
    assert today.day(end_s)[0] == end_s
    assert today.day(start_s) == today.day(end_s - 1) == (start_s, end_s)


def test_what_the_store_has_of_the_day_is_there_after_a_restart(
    home: Site, parameters: SiteParameters, cycle: Telemetry, tmp_path: Path
) -> None:
    settings = home.store.model_copy(update={"path": str(tmp_path / "state.db")})
    home = home.model_copy(update={"store": settings})
    store, before = Store(settings, parameters), Today(home, parameters)
    for second in range(-600, 1201, 20):
        store.publish(at(cycle, MIDNIGHT_S + second))
        before.publish(at(cycle, MIDNIGHT_S + second))
    store.close()
    today = Today(home, parameters)
    today.seed(MIDNIGHT_S + 1230)
    today.publish(at(cycle, MIDNIGHT_S + 1230))
    wait_for(lambda: len(day_of(today)["minutes"]) == 20)
    assert day_of(today)["minutes"] == day_of(before)["minutes"]


def test_a_store_that_cannot_be_read_costs_a_line(
    home: Site,
    parameters: SiteParameters,
    cycle: Telemetry,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = home.store.model_copy(update={"path": str(tmp_path / "none.db")})
    today = Today(home.model_copy(update={"store": settings}), parameters)
    today.seed(MIDNIGHT_S + 1230)
    wait_for(lambda: "the day begins now" in caplog.text)
    today.publish(at(cycle, MIDNIGHT_S + 1230))
    assert day_of(today)["minutes"] == []
