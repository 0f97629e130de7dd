"""Clock changes, in whole and in half hours: UTC goes on evenly under tariff, plan and history."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from firmware.config import Site
from firmware.config_tables import Prices
from firmware.day_plan import Situation, slot_start
from firmware.minutes import Minute, Minutes
from firmware.ports import _hour
from firmware.tariff import Tariff
from firmware.worker import Past, Worker
from models.forecaster import Forecaster
from models.history import DAY_S, History, read_history

# Place, how much its clocks change, and the two days of 2026 on which they do.
CHANGES = [
    ("Europe/Berlin", 1.0, "2026-03-29", "2026-10-25"),
    ("America/Los_Angeles", 1.0, "2026-03-08", "2026-11-01"),
    ("Australia/Adelaide", 1.0, "2026-10-04", "2026-04-05"),  # half an hour off the others
    ("Australia/Lord_Howe", 0.5, "2026-10-04", "2026-04-05"),  # and changes by half an hour
]
CASES = [
    pytest.param(zone, day, sign * hours, id=f"{zone}-{day}")
    for zone, hours, forward, back in CHANGES
    for day, sign in ((forward, 1), (back, -1))
]
everywhere = pytest.mark.parametrize(("zone", "day", "forward_h"), CASES)


def hour_local(utc_s: float, zone: ZoneInfo) -> float:
    return _hour(datetime.fromtimestamp(utc_s, zone))


def midnight(zone: str, day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone)).timestamp())


def quarters(zone: str, day: str) -> np.ndarray:
    """Starts of the quarters of an hour of a local day."""
    following = datetime.fromisoformat(day) + timedelta(days=1)
    return np.arange(midnight(zone, day), midnight(zone, following.date().isoformat()), 900)


@everywhere
def test_the_day_is_as_long_as_it_is(zone: str, day: str, forward_h: float) -> None:
    assert len(quarters(zone, day)) == 96 - 4 * forward_h
    hours = [hour_local(float(t), ZoneInfo(zone)) for t in quarters(zone, day)]
    assert all(0.0 <= hour < 24.0 for hour in hours)
    steps = np.diff(hours)
    assert sorted({*steps.round(6).tolist()}) == sorted({0.25, 0.25 + forward_h})


@everywhere
def test_prices_follow_the_wall_clock(zone: str, day: str, forward_h: float) -> None:
    """The evening's peak is four hours on every day; what the clock skips or repeats, so it is."""
    evening = {"from": "18:00", "to": "22:00", "buy_per_kwh": 0.5}
    night = {"from": "01:00", "to": "04:00", "buy_per_kwh": 0.1}
    prices = {"buy_per_kwh": 0.3, "sell_per_kwh": 0.05, "period": (evening, night)}
    tariff = Tariff(Prices.model_validate(prices), zone)
    times = quarters(zone, day)
    buy, _ = tariff.prices_over(times)
    assert np.count_nonzero(buy == 0.5) == 16
    assert np.count_nonzero(buy == 0.1) == 4 * (3 - forward_h)
    hours = np.array([hour_local(float(t), ZoneInfo(zone)) for t in times])
    np.testing.assert_array_equal(buy == 0.5, (hours >= 18) & (hours < 22))
    np.testing.assert_array_equal(buy == 0.1, (hours >= 1) & (hours < 4))
    assert [tariff.price_at(float(t)).buy_per_kwh for t in times[:30]] == buy[:30].tolist()


@everywhere
def test_a_plan_over_the_change_has_even_slots(
    site: Site, zone: str, day: str, forward_h: float
) -> None:
    place = site.site.model_copy(update={"timezone": zone})
    here = site.model_copy(
        update={
            "site": place,
            "forecast": site.forecast.model_copy(update={"enabled": False}),
            "planner": site.planner.model_copy(update={"horizon_h": 8}),
        }
    )
    utc_s = midnight(zone, day) - 3600.0 + 77.0
    moment = Situation(1000.0, utc_s, 0.5, 0.0, True, False, 1e9, False)
    assert slot_start(moment, 900.0) == (1000.0 - utc_s % 900.0, utc_s // 900.0 * 900.0)
    advice = Worker(here).advise(moment, [], 1)
    assert advice.plan is not None
    assert advice.forecast is not None
    assert len(advice.plan.battery_kw) == len(advice.forecast.load.p50_kw) == 32
    assert advice.plan.start_t_s == 1000.0 - utc_s % 900.0


@everywhere
def test_history_over_the_change_has_neither_gap_nor_double(
    tmp_path: Path, zone: str, day: str, forward_h: float
) -> None:
    times = quarters(zone, day)
    local = [datetime.fromtimestamp(int(t), ZoneInfo(zone)).isoformat() for t in times]
    path = tmp_path / "history.csv"
    rows = [f"{moment},{number}" for number, moment in enumerate(local)]
    path.write_text("\n".join(["ts_utc,load_kw", *rows]))
    history, _ = read_history(path, "load")
    assert (history.start_utc_s, history.step_s) == (times[0], 900)
    np.testing.assert_array_equal(history.values, np.arange(len(times)))
    past, minutes = Past(None), Minutes()
    found: list[Minute] = []
    for second in range(int(times[0]), int(times[-1]) + 961, 30):
        if minute := minutes.add(float(second), 1.0, float(second)):
            found.append(minute)
            past.add(minute.start_utc_s, minute.load_kw)
    starts = [minute.start_utc_s for minute in found]
    assert starts == list(range(starts[0], starts[-1] + 60, 60))
    values = past.history(float(times[-1] + 960)).window(int(times[0]), int(times[-1]) + 900)
    np.testing.assert_allclose(np.diff(values), 900.0)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Adelaide"])
def test_a_house_that_lives_by_the_wall_clock_is_foreseen_again_after_a_change(zone: str) -> None:
    """Breakfast and dinner by the local clock: an hour off in UTC, learnt within four weeks."""
    day = "2026-03-29" if zone == "Europe/Berlin" else "2026-10-04"
    start = midnight(zone, day) // DAY_S * DAY_S - 40 * DAY_S
    times = start + 900 * np.arange(75 * 96)
    hours = np.array([hour_local(float(t), ZoneInfo(zone)) for t in times])
    load_kw = 0.3 + 1.5 * np.exp(-((hours - 7.5) ** 2)) + 2.5 * np.exp(-((hours - 19.0) ** 2) / 2)
    load_kw += np.random.default_rng(1).normal(0.0, 0.05, len(load_kw)).clip(-0.2, 0.2)
    forecaster = Forecaster("load", learning=False)

    def error(days_after: float) -> float:
        origin = 96 * 40 + round(96 * days_after)
        made = forecaster.forecast(History(start, 900, load_kw[:origin]), times[origin], 96)
        assert min(made.p10_kw) >= 0.0
        return float(np.sqrt(np.mean((np.array(made.p50_kw) - load_kw[origin : origin + 96]) ** 2)))

    before, just_after, later = error(-2.0), error(1.5), error(33.0)
    assert before < 0.25
    assert just_after < 1.0  # less than to foresee nothing: the load's own spread is 0.8 kW
    assert later < 0.25


def test_pv_follows_the_sun_whatever_the_clocks_say() -> None:
    change = datetime(2026, 3, 29, tzinfo=UTC).timestamp()
    start = int(change) - 30 * DAY_S
    clock = 900 * np.arange(33 * 96) % DAY_S
    pv_kw = np.maximum(0.0, 4.0 * np.sin(np.pi * (clock / 3600.0 - 6.0) / 12.0))
    past = History(start, 900, pv_kw[: 30 * 96])
    made = Forecaster("pv", learning=False).forecast(past, change, 96)
    truth = pv_kw[30 * 96 : 31 * 96]
    assert np.sqrt(np.mean((np.array(made.p50_kw) - truth) ** 2)) < 0.3
    assert max(np.array(made.p90_kw)[truth == 0.0]) < 0.05
