"""The day so far in minutes, beside what was planned and forecast for it, and what lies ahead.

Written by the loop's thread and, while it starts, by one that reads the store; read by the page's
thread. Each dict holds finished JSON text and is copied in one step: nobody waits for anybody.
"""

import json
import logging
import math
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from control.records import Advice, Event, Forecast, Plan, Sample
from control.site import SiteParameters
from control.trades import Market
from firmware.config import Site
from firmware.loop import Telemetry
from firmware.minutes import MINUTE_S
from firmware.status import utc_text
from firmware.store_reading import Span, read_steps
from firmware.store_records import COLUMNS, MinuteMeans, StoredMinute, cycle_values
from firmware.store_schema import StoreError
from firmware.tariff import Tariff
from firmware.unexpected import SteadyThread

log = logging.getLogger("nanogrid")

EVENTS = 40
PRICE_STEP_S = 900
PLANNED = ("battery_kw", "generator_kw", "grid_kw", "soc_frac")
QUANTILES = ("p10_kw", "p50_kw", "p90_kw")

Rows = dict[int, str]  # start of a minute or slot, UTC -> a JSON list that begins with it


class Today:
    """Publisher: the local day's minutes, its slots as planned and forecast, recent events.

    A slot keeps its plan as it stood when the slot began, and the first forecast that was made for
    it; slots to come have the newest of both.
    """

    def __init__(self, site: Site, parameters: SiteParameters) -> None:
        self._site, self._parameters = site, parameters
        self._zone = ZoneInfo(site.site.timezone)
        self._tariff = Tariff(site.prices, site.site.timezone)
        self._means = MinuteMeans()
        self._minutes: Rows = {}
        self._plans: Rows = {}
        self._first_forecasts: Rows = {}
        self._forecasts: Rows = {}
        self._trades: Rows = {}
        self._advice: Advice | None = None
        self._latest: Telemetry | None = None
        self._events: deque[dict[str, Any]] = deque(maxlen=EVENTS)

    def seed(self, utc_s: float) -> None:
        """Begin to read what the store has of the day, in a thread of its own."""
        if self._site.store.path:
            SteadyThread("the page's past", partial(self._seed, utc_s)).start()

    def publish(self, telemetry: Telemetry) -> None:
        """Take one cycle."""
        sample, state = telemetry.sample, telemetry.decision.state
        self._latest = telemetry
        values = cycle_values(state, sample, self._parameters.pv_rated_kw)
        minute = self._means.add(sample.utc_s, values, state.mode)
        if minute is not None:
            self._minutes[minute.start_utc_s] = _minute_row(minute)
            self._forget(minute.start_utc_s)
        if telemetry.advice is not self._advice:
            self._advice = telemetry.advice
            self._take(telemetry.advice, sample)
        for trade in telemetry.neighbours.market.trades:
            start, values = int(trade.from_utc_s), (trade.bought_kw, trade.price_per_kwh)
            self._trades[start] = _row(start, (trade.until_utc_s, *values))
        for event in telemetry.events:
            self._events.append(_event(event, sample.utc_s))

    def close(self) -> None:
        """Nothing is under way."""

    def events(self) -> list[dict[str, Any]]:
        """The last events, newest first."""
        return list(self._events)[::-1]

    def document(self) -> str:
        """The day as JSON; see docs/page.md."""
        telemetry = self._latest
        if telemetry is None:
            return "{}"
        sample = telemetry.sample
        start_s, end_s = self.day(sample.utc_s)
        slot_s = self._site.planner.slot_s
        slot = int(sample.utc_s // slot_s) * slot_s
        past = {start: row for start, row in self._first_forecasts.copy().items() if start < slot}
        ahead = {start: row for start, row in self._forecasts.copy().items() if start >= slot}
        plans, plan = self._plans.copy(), telemetry.advice.plan
        if plan is None or plan.expires_t_s <= sample.t_s:  # nobody follows it any more
            plans = {start: row for start, row in plans.items() if start <= slot}
        head = {
            "zone": self._site.site.timezone,
            "currency": self._site.site.currency,
            "start_s": start_s,
            "end_s": end_s,
            "slot_s": slot_s,
            "minute_columns": ["start_s", *COLUMNS],
            "plan_columns": ["start_s", *PLANNED],
            "forecast_columns": ["start_s", *_names("pv"), *_names("load")],
            "prices": list(self._prices(telemetry, start_s, end_s)),
            "agreed": list(_agreed(telemetry.neighbours.market)),
            "trade_columns": ["start_s", "end_s", "bought_kw", "price_per_kwh"],
        }
        parts = (
            ("minutes", self._minutes.copy()),
            ("plan", plans),
            ("forecast", past | ahead),
            ("trades", self._trades.copy()),
        )
        lists = "".join(f', "{name}": {_list(rows, start_s)}' for name, rows in parts)
        return f"{json.dumps(head, allow_nan=False)[:-1]}{lists}}}"

    def day(self, utc_s: float) -> tuple[int, int]:
        """Start and end of the site's local day around a moment, UTC."""
        midnight = datetime.fromtimestamp(utc_s, self._zone).replace(
            hour=0, minute=0, second=0, microsecond=0, fold=0
        )
        tomorrow = midnight + timedelta(days=1)
        return int(midnight.timestamp()), int(tomorrow.timestamp())

    def _seed(self, utc_s: float) -> None:
        start_s, _ = self.day(utc_s)
        end_s = int(utc_s // MINUTE_S) * MINUTE_S
        if end_s <= start_s:
            return
        try:
            for minute_s, values in read_steps(
                Path(self._site.store.path), Span(start_s, end_s, MINUTE_S)
            ):
                if any(value is not None for value in values):
                    self._minutes.setdefault(minute_s, _row(minute_s, values))
        except StoreError as error:
            log.warning("page: the day begins now: %s", error)

    def _take(self, advice: Advice, sample: Sample) -> None:
        """Place a new advice's slots on the UTC clock of this moment."""
        slot_s = self._site.planner.slot_s
        now = int(sample.utc_s // slot_s) * slot_s
        if advice.plan is not None:
            for start, row in _rows(advice.plan, _planned(advice.plan), sample):
                if start > now or start not in self._plans:
                    self._plans[start] = row
        if advice.forecast is not None:
            for start, row in _rows(advice.forecast, _forecast(advice.forecast), sample):
                self._first_forecasts.setdefault(start, row)
                self._forecasts[start] = row

    def _forget(self, utc_s: int) -> None:
        """Keep the day and what was thought of later."""
        start_s, end_s = self.day(utc_s)
        horizon_s = self._site.planner.horizon_h * 3600
        for rows, last_s in (
            (self._minutes, end_s),
            (self._plans, utc_s + horizon_s),
            (self._first_forecasts, utc_s + horizon_s),
            (self._forecasts, utc_s + horizon_s),
            (self._trades, utc_s + horizon_s),
        ):
            for start in list(rows):  # in one step: the store's thread may be adding
                if not start_s <= start <= last_s:
                    del rows[start]

    def _prices(
        self, telemetry: Telemetry, start_s: int, end_s: int
    ) -> Iterator[tuple[int, float, float]]:
        """Until the plan's end, as known now; ordered prices come before the tariff's."""
        horizon_s = self._site.planner.horizon_h * 3600
        last_s = max(end_s, int(telemetry.sample.utc_s) + horizon_s)
        starts = list(range(start_s, last_s, PRICE_STEP_S))
        buy, sell = self._tariff.prices_over(starts, telemetry.orders.prices)
        yield from zip(starts, buy.tolist(), sell.tolist(), strict=True)


def _agreed(market: Market) -> Iterator[tuple[float, float]]:
    """What neighbours expect energy to cost: start of each step, price."""
    for number, price in enumerate(market.prices_per_kwh):
        yield market.prices_from_utc_s + number * market.prices_step_s, price


def _planned(plan: Plan) -> Iterator[tuple[float, ...]]:
    return zip(*(getattr(plan, name) for name in PLANNED), strict=True)


def _forecast(forecast: Forecast) -> Iterator[tuple[float, ...]]:
    series = (forecast.pv, forecast.load)
    return zip(*(getattr(each, name) for each in series for name in QUANTILES), strict=True)


def _rows(
    advice: Plan | Forecast, values: Iterable[tuple[float, ...]], sample: Sample
) -> Iterator[tuple[int, str]]:
    """Each slot's start in UTC, on the grid of the slots, and its row."""
    start_utc_s = sample.utc_s - (sample.t_s - advice.start_t_s)
    first = round(start_utc_s / advice.step_s)
    for number, row in enumerate(values, start=first):
        start = round(number * advice.step_s)
        yield start, _row(start, row)


def _minute_row(minute: StoredMinute) -> str:
    return _row(minute.start_utc_s, minute.values)


def _row(start: int, values: Iterable[float | None]) -> str:
    cells = ("null" if v is None or not math.isfinite(v) else f"{v:.4f}" for v in values)
    return f"[{start},{','.join(cells)}]"


def _list(rows: Rows, start_s: int) -> str:
    return f"[{','.join(rows[start] for start in sorted(rows) if start >= start_s)}]"


def _names(quantity: str) -> tuple[str, ...]:
    return tuple(f"{quantity}_{name}" for name in QUANTILES)


def _event(event: Event, utc_s: float) -> dict[str, Any]:
    return {
        "utc": utc_text(utc_s),
        "severity": event.severity.value,
        "key": event.key,
        "text": event.text,
    }
