"""The second process: forecasts and plans, one line of JSON in, one line out.

    in   {"site": {...}, "nice": 10}                                          once
    in   {"id", "situation": Situation, "minutes": [Minute...], "iterations": n or null}
    out  {"id", "advice": Advice}

It may be late, die or talk nonsense: `firmware.workers` copes. Only the forecasters' scores are
written to disk (`firmware.forecast_watch`).
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from control.dispatch_fleet import FleetSchedule
from control.dispatch_instance import Instance
from control.patience import patient, premium
from control.records import Advice, Forecast, Series
from firmware.codec import decode, encode
from firmware.config import Site, site_from_dict
from firmware.day_plan import (
    Situation,
    build_instance,
    day_units,
    plan_day,
    slot_start,
    to_plan,
)
from firmware.day_units import Places, later
from firmware.forecast_watch import NO_NETWORK, Watch
from firmware.minutes import MINUTE_S, Minute
from firmware.pv_nowcast import with_nowcast
from firmware.standard_streams import talk
from firmware.store_reading import read_minutes, read_sparse_means
from firmware.store_schema import StoreError
from firmware.tariff import Tariff
from firmware.traded_day import beside_neighbours, with_traded
from models.forecaster import Forecaster
from models.history import DAY_S, Floats, History, HistoryError, Target, read_history

GRID_S = 900  # the forecasters' grid
KEEP_DAYS = 400  # learning on site looks back so far; so much a store keeps by default
PER_DAY = DAY_S // GRID_S
KEEP_SLOTS = KEEP_DAYS * PER_DAY
MIN_MINUTES = 8  # of a quarter of an hour, for its mean to count
TARGETS: tuple[Target, ...] = ("pv", "load")


class Past:
    """One quantity's past on the forecasters' grid, by UTC days: those that came in last.

    What is dropped depends on how much there is, not on the time: a wall clock that is wrong for a
    while does not cost the past.
    """

    def __init__(self, history: History | None) -> None:
        """Start from a measured history, or from nothing."""
        self._days: dict[int, Floats] = {}  # means of each, NaN where unknown
        self._open: dict[int, list[float]] = {}
        if history is not None:
            starts_utc_s = history.start_utc_s + GRID_S * np.arange(len(history.values))
            for slot, value in zip(starts_utc_s.tolist(), history.values, strict=True):
                if np.isfinite(value):
                    self.know(slot, float(value))

    def add(self, minute_utc_s: int, value_kw: float | None) -> None:
        """Add one minute's mean."""
        if value_kw is None:
            return
        slot = minute_utc_s // GRID_S * GRID_S
        values = self._open.setdefault(slot, [])
        values.append(value_kw)
        if len(values) >= MIN_MINUTES:
            self.know(slot, sum(values) / len(values))
        for old in [start for start in self._open if abs(start - slot) > DAY_S]:
            del self._open[old]

    def know(self, slot_utc_s: int, mean_kw: float) -> None:
        """Take over the mean of a whole quarter of an hour."""
        day, second = divmod(slot_utc_s, DAY_S)
        if day not in self._days:
            self._days[day] = np.full(PER_DAY, np.nan)
        self._days[day][second // GRID_S] = mean_kw
        while len(self._days) > KEEP_DAYS + 1:  # of which today has only begun
            del self._days[next(iter(self._days))]

    def history(self, now_utc_s: float) -> History:
        """The last weeks up to the quarter of an hour that is not over yet."""
        end = int(now_utc_s) // GRID_S * GRID_S
        today = end // DAY_S
        unknown = np.full(PER_DAY, np.nan)
        days = [self._days.get(day, unknown) for day in range(today - KEEP_DAYS, today + 1)]
        begun = end % DAY_S // GRID_S
        values = np.concatenate(days)[begun : begun + KEEP_SLOTS]
        return History(end - KEEP_DAYS * DAY_S, GRID_S, values)


class Worker:
    """Forecasters, planner and what they remember."""

    def __init__(self, site: Site) -> None:
        """Load the models and the measured past that the site names."""
        self._site = site
        self._tariff = Tariff(site.prices, site.site.timezone)
        self._notes: list[str] = []
        targets = TARGETS if site.pv else TARGETS[1:]
        self._watches = {target: self._watch(target) for target in targets}
        self._pasts = {target: Past(self._history(target)) for target in targets}
        self._recall()
        self._last: tuple[float, Places, FleetSchedule] | None = None  # start (UTC), for whom

    def advise(self, situation: Situation, minutes: list[Minute], iterations: int | None) -> Advice:
        """Return a forecast and a plan for the slots from the current one on."""
        self._remember(minutes)
        forecast = self._forecast(situation)
        detail, events = "; ".join(self._notes), self._events()
        if not self._site.planner.enabled:
            return Advice(forecast, None, detail, events)
        instance = build_instance(self._site, self._tariff, forecast, situation)
        instance, traded_kw = beside_neighbours(instance, situation)
        waiting = patient(instance)
        units = day_units(self._site, situation)
        schedule, cost, how = plan_day(
            self._site,
            units.fleet(waiting),
            self._warm_start(instance, situation, units.places),
            spent=_budget(None if iterations else self._site.planner.budget_s),
            iterations=iterations,
        )
        _, start_utc_s = slot_start(situation, self._site.planner.slot_s)
        self._last = (start_utc_s, units.places, schedule)
        cost -= premium(instance, waiting, schedule.grid_kw)
        made = to_plan(self._site, forecast, waiting, schedule, cost, how, units)
        return Advice(forecast, with_traded(made, traded_kw), detail, events)

    def _watch(self, target: Target) -> Watch:
        """The quantity's forecasters; scores and challengers lie beside the store."""
        place, settings = self._site.site, self._site.forecast
        capacity = sum(pv.rated_kw for pv in self._site.pv) if target == "pv" else None
        own = settings.pv_model if target == "pv" else settings.load_model

        def make(weights: Path | None) -> Forecaster:
            path = weights or (Path(own) if own else None)
            forecaster = Forecaster(
                target,
                place.latitude_deg,
                place.longitude_deg,
                capacity,
                path if settings.enabled else NO_NETWORK,
            )
            if not settings.enabled:
                forecaster.problem = "[forecast] enabled = false"
            return forecaster

        store = self._site.store.path
        folder = Path(store).parent / "forecast" if store else None
        watch = Watch(target, make, folder, networks=settings.enabled)
        if settings.enabled and watch.problem:
            self._notes.append(watch.problem)
        return watch

    def _events(self) -> tuple[str, ...]:
        """What has changed among the forecasters since the last time."""
        return tuple(text for watch in self._watches.values() for text in watch.take_events())

    def _remember(self, minutes: list[Minute]) -> None:
        for target, past in self._pasts.items():
            for minute in minutes:
                value_kw = minute.pv_kw if target == "pv" else minute.load_kw
                past.add(minute.start_utc_s, value_kw)

    def _recall(self) -> None:
        """Take over what the service has kept: whole quarters of an hour, and the last one's."""
        path = self._site.store.path
        if not path:
            return
        try:
            last = read_minutes(Path(path), GRID_S // MINUTE_S)
            open_utc_s = last[-1].start_utc_s // GRID_S * GRID_S if last else 0
            means = read_sparse_means(Path(path), GRID_S, MIN_MINUTES, KEEP_SLOTS)
            for slot, pv_kw, load_kw in means:
                for target, mean_kw in zip(TARGETS, (pv_kw, load_kw), strict=True):
                    if mean_kw is not None and slot != open_utc_s and target in self._pasts:
                        self._pasts[target].know(slot, mean_kw)
        except StoreError as error:
            self._notes.append(str(error))
            return
        self._remember([minute for minute in last if minute.start_utc_s >= open_utc_s])

    def _history(self, target: Target) -> History | None:
        path = self._site.forecast.history
        if not path:
            return None
        try:
            history, _ = read_history(Path(path), target)
            return _on_grid(history)
        except HistoryError as error:
            self._notes.append(str(error))
            return None

    def _forecast(self, situation: Situation) -> Forecast:
        planner = self._site.planner
        start_t_s, start_utc_s = slot_start(situation, planner.slot_s)
        steps = planner.horizon_h * 3600 // planner.slot_s
        slot_s = float(planner.slot_s)
        pv, load = (self._series(target, situation.utc_s, start_utc_s, steps) for target in TARGETS)
        pv = with_nowcast(pv, situation.pv_ahead, situation.t_s, start_t_s, slot_s)
        return Forecast(situation.t_s, start_t_s, slot_s, pv, load)

    def _series(self, target: Target, now_utc_s: float, start_utc_s: float, steps: int) -> Series:
        """The forecast on the planner's slots, from the forecasters' quarters of an hour."""
        slot_s = self._site.planner.slot_s
        if target not in self._watches:
            none = (0.0,) * steps
            return Series(none, none, none, "no PV")
        history = self._pasts[target].history(now_utc_s)
        count = -(-int(steps * slot_s + GRID_S) // GRID_S) + 1
        made = self._watches[target].forecast(history, count)
        offset = int(start_utc_s - history.end_utc_s)
        return Series(
            _on_slots(made.p10_kw, offset, slot_s, steps),
            _on_slots(made.p50_kw, offset, slot_s, steps),
            _on_slots(made.p90_kw, offset, slot_s, steps),
            made.source,
            made.skill,
            made.coverage,
            made.shadow,
        )

    def _warm_start(
        self, instance: Instance, situation: Situation, places: Places
    ) -> FleetSchedule | None:
        """The last schedule, moved to the current slot; none where it was for other units."""
        if self._last is None or self._last[1] != places:
            return None
        before_utc_s, _, schedule = self._last
        _, start_utc_s = slot_start(situation, self._site.planner.slot_s)
        shift = int((start_utc_s - before_utc_s) // self._site.planner.slot_s)
        return later(schedule, shift) if 0 <= shift < instance.steps else None


def _on_grid(history: History) -> History:
    """The history on the forecasters' grid; a coarser one is repeated."""
    if history.step_s <= GRID_S:
        return history.resampled(GRID_S)
    repeated = np.repeat(history.values, history.step_s // GRID_S)
    return History(history.start_utc_s, GRID_S, repeated).resampled(GRID_S)


def _on_slots(
    values: tuple[float, ...], offset_s: int, slot_s: int, steps: int
) -> tuple[float, ...]:
    """Means per slot of a step function on the forecasters' grid, `offset_s` after its start."""
    minutes = offset_s // MINUTE_S + np.arange(steps * slot_s // MINUTE_S)
    index = np.clip(minutes * MINUTE_S // GRID_S, 0, len(values) - 1)
    means = np.array(values)[index].reshape(steps, -1).mean(axis=1)
    return tuple(float(mean) for mean in means)


def _budget(seconds: float | None) -> Callable[[float], bool]:
    """A question that is answered with yes once a share of this much CPU time is spent."""
    if seconds is None:
        return lambda _: False
    start_s = time.process_time()
    return lambda share: time.process_time() > start_s + share * seconds


def serve(requests: TextIO, answers: TextIO) -> None:
    """Answer requests until the input ends."""
    first: dict[str, Any] = json.loads(requests.readline())
    os.nice(first["nice"])
    worker = Worker(site_from_dict(first["site"], "the service's site"))
    for line in requests:
        request = json.loads(line)
        advice = worker.advise(
            decode(Situation, request["situation"]),
            list(decode(tuple[Minute, ...], request["minutes"])),
            request["iterations"],
        )
        answers.write(json.dumps({"id": request["id"], "advice": encode(advice)}) + "\n")
        answers.flush()


def main() -> None:
    """Talk over standard input and output."""
    talk(serve)


if __name__ == "__main__":
    main()
