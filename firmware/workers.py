"""The loop's side of the second process: feed it, ask it, take its advice, outlive it."""

import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from control import off_band
from control.fleet import counting
from control.records import (
    Advice,
    Forecast,
    Orders,
    Plan,
    PricePeriod,
    Sample,
    Series,
    Severity,
)
from control.site import SiteParameters
from control.sky import free_pv_kw
from control.state import GeneratorEstimate, GeneratorState, Mode, State
from control.trades import NO_MARKET, Market, Trade
from firmware.config import Site
from firmware.day_plan import Situation
from firmware.day_units import SetNow
from firmware.minutes import Minute, Minutes
from firmware.supervised import Manners, Supervised

NICE = 10
KEPT_MINUTES = 1440  # a new process is told of the last day
PATIENCE_S = 300.0  # for an answer: a challenger learns from a year; the last plan holds for longer
LEARNING_S = 900.0  # more for the first: it learns from a year before, which takes a slow Pi long
RESTART_S = 30.0  # before a process that failed is started again; doubles ...
LAST_RESTART_S = 960.0  # ... up to this, until one has answered
MAX_KW = 1e6
MOST_PV_OF_RATING = 2.0  # cold modules under a cloud's edge give half more than they are rated
PV_YIELD_FRAC = 0.8  # of rating per 1000 W/m2: what a curtailed inverter could have given


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a change of makes a new plan worth while, apart from time."""

    slot: int
    mode: Mode
    grid_present: bool
    generator_locked: bool
    missing: tuple[str, ...]  # devices without a good measurement
    off_band: bool  # what is measured is off the forecast by more than its band
    sets_lost: tuple[bool, ...]
    batteries_count: tuple[bool, ...]
    import_max_kw: float | None
    export_max_kw: float | None
    reserve_soc_frac: float | None
    prices: tuple[PricePeriod, ...]
    replans: int
    trades: tuple[Trade, ...]


class Workers(Supervised[Advice]):
    """Holds the latest advice. No call waits for the worker, unless `iterations` makes it count.

    With `iterations` (lockstep) the planner counts instead of watching the clock, and every
    request is waited for: the same inputs give the same advice in the same cycle.
    """

    def __init__(
        self,
        site: Site,
        parameters: SiteParameters,
        *,
        iterations: int | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "firmware.worker"),
    ) -> None:
        """`start` brings the process up."""
        hello = {"site": site.model_dump(mode="json", by_alias=True), "nice": NICE}
        patience_s = PATIENCE_S + 10.0 * site.planner.budget_s
        manners = Manners(
            "planning process",
            "advice",
            RESTART_S,
            LAST_RESTART_S,
            patience_s,
            first_s=LEARNING_S,
        )
        super().__init__(Advice, manners, command, hello)
        self._planner = site.planner
        self._parameters = parameters
        self._iterations = iterations
        self._minutes = Minutes()
        self._recent: deque[Minute] = deque(maxlen=KEPT_MINUTES)
        self._untold = 0  # of them, by the end of the queue
        self._advice = Advice(detail="no advice yet")
        self._trigger: Trigger | None = None
        self._off_band = off_band.OffBand()
        self._problem = ""  # what is wrong with the process, as told

    def start(self) -> None:
        """Start the process; its models load while the loop already runs."""
        super().start()
        self._untold = len(self._recent)

    def latest(self, now_s: float) -> Advice:
        """Return the last advice; an expired plan stays in it, the follower does not use it."""
        self._supervise(now_s)
        return self._advice

    def observe(
        self, sample: Sample, state: State, orders: Orders, market: Market = NO_MARKET
    ) -> None:
        """Note what this cycle saw, and ask for new advice when it is time or is ordered."""
        plant = state.estimate
        pv_kw = self._available_pv(sample, state)
        minute = self._minutes.add(sample.utc_s, pv_kw, plant.load_kw)
        if minute is not None:
            self._recent.append(minute)
            self._untold = min(self._untold + 1, KEPT_MINUTES)
        sun_kw = pv_kw if self._parameters.pv else 0.0
        self._off_band = off_band.watch(
            self._off_band, self._advice.forecast, sample.t_s, plant.load_kw, sun_kw
        )
        known = plant.load_kw is not None and (
            plant.soc_frac is not None or self._parameters.battery is None
        )
        if not known or not self._may_ask:
            return
        slot = int(sample.utc_s // self._planner.slot_s)
        trigger = _trigger(slot, self._off_band.off, state, orders, market)
        if trigger == self._trigger and sample.t_s - self._last_t_s < self._planner.interval_s:
            return
        self._trigger = trigger
        self._ask(sample, _situation(sample, state, orders, market))

    def _available_pv(self, sample: Sample, state: State) -> float | None:
        """PV power as it would be without a limit: curtailed power is not the weather."""
        plant, site = state.estimate, self._parameters
        pv_kw, rated_kw = plant.pv_kw, site.pv_rated_kw
        free_kw = free_pv_kw(site, pv_kw, state.pv_limit_kw, throttled=plant.pv_throttled)
        if pv_kw is None or free_kw is not None:
            return free_kw
        sun = sample.irradiance_w_m2.good if sample.irradiance_w_m2 else None
        return None if sun is None else max(pv_kw, rated_kw * PV_YIELD_FRAC * sun / 1000.0)

    def _ask(self, sample: Sample, situation: Situation) -> None:
        question: Mapping[str, Any] = {
            "situation": situation,
            "minutes": list(self._recent)[len(self._recent) - self._untold :],
            "iterations": self._iterations,
        }
        self._put(question, sample.t_s)
        self._untold = 0
        if self._iterations is not None:
            self._await(sample.t_s)

    def _accept(self, content: Advice, asked_t_s: float) -> str:
        if nonsense := self._nonsense(content, asked_t_s):
            return nonsense
        self._advice = content
        if self._problem:
            self._problem = ""
            self._tell(Severity.INFO, "advice", "the planning process answers again")
        for text in content.events:
            self._tell(Severity.INFO, "forecast", text)
        return ""

    def _nonsense(self, advice: Advice, asked_t_s: float) -> str:
        """Return what is wrong with an advice that decodes; empty when nothing is."""
        if advice.forecast is not None:
            wrong = _forecast_nonsense(
                advice.forecast, asked_t_s, MOST_PV_OF_RATING * self._parameters.pv_rated_kw
            )
            if wrong:
                return wrong
        plan = advice.plan
        if plan is None:
            return ""
        if not _is_placed(plan, asked_t_s):
            return "the plan's times"
        if not asked_t_s <= plan.expires_t_s <= asked_t_s + self._planner.expiry_s:
            return "the plan's expiry"
        return _plan_nonsense(plan)

    def _fail(self, now_s: float, why: str) -> None:
        self._trigger = None
        super()._fail(now_s, why)

    def _fault(self, why: str, now_s: float) -> None:
        """Keep the last advice until it expires, and say what is wrong and what serves now."""
        self._advice = replace(self._advice, detail=why)
        if why != self._problem:
            self._problem = why
            plan = self._advice.plan
            left_s = plan.expires_t_s - now_s if plan else 0.0
            serves = f"the last plan for {left_s / 60:.0f} min at most, then " if left_s > 0 else ""
            self._tell(Severity.WARNING, "advice", f"{why}: {serves}the rules decide")


def _trigger(slot: int, off: bool, state: State, orders: Orders, market: Market) -> Trigger:
    return Trigger(
        slot,
        state.mode,
        state.estimate.grid_present,
        bool(state.generator.locked),
        state.estimate.missing,
        off,
        tuple(bool(each.locked) or not seen.available for each, seen in _sets(state)),
        counting(state.estimate),
        orders.import_max_kw,
        orders.export_max_kw,
        orders.reserve_soc_frac,
        orders.prices,
        orders.replans,
        market.trades,
    )


def _sets(state: State) -> Iterator[tuple[GeneratorState, GeneratorEstimate]]:
    """Of several generators each one's sequence and what is known of it."""
    yield from zip(state.generators, state.estimate.generators, strict=False)


def _situation(sample: Sample, state: State, orders: Orders, market: Market) -> Situation:
    plant, generator = state.estimate, state.generator
    # Behind a transfer switch the set and the grid never carry the site together.
    usable = not plant.grid_present and not generator.locked and plant.generator_available
    return Situation(
        t_s=sample.t_s,
        utc_s=sample.utc_s,
        soc_frac=plant.soc_frac,
        wind_kw=plant.wind_kw or 0.0,
        grid_present=plant.grid_present,
        generator_run=generator.run,
        generator_for_s=min(1e9, sample.t_s - generator.since_s),
        generator_usable=usable,
        import_max_kw=orders.import_max_kw,
        export_max_kw=orders.export_max_kw,
        reserve_soc_frac=orders.reserve_soc_frac,
        prices=orders.prices,
        market=market,
        pv_ahead=state.sky.ahead,
        soc_units_frac=tuple(
            each.soc_frac if counts else None
            for each, counts in zip(plant.batteries, counting(plant), strict=True)
        ),
        sets=tuple(
            SetNow(
                own.run,
                min(1e9, sample.t_s - own.since_s),
                not plant.grid_present and not own.locked and seen.available,
            )
            for own, seen in _sets(state)
        ),
    )


def _forecast_nonsense(forecast: Forecast, asked_t_s: float, most_pv_kw: float) -> str:
    if not _is_placed(forecast, asked_t_s):
        return "the forecast's times"
    for name, series in (("PV", forecast.pv), ("load", forecast.load)):
        if not _is_sane(series):
            return f"{name} forecast"
    if max(forecast.pv.p90_kw) > most_pv_kw:
        return f"PV forecast of {max(forecast.pv.p90_kw):g} kW, {most_pv_kw:g} kW at most"
    return ""


def _is_placed(item: Forecast | Plan, asked_t_s: float) -> bool:
    """Made for the moment that was asked about, which lies in its first step."""
    since_start_s = asked_t_s - item.start_t_s
    return item.issued_t_s == asked_t_s and 0.0 <= since_start_s < item.step_s <= 3600.0


def _is_sane(series: Series) -> bool:
    parts = (series.p10_kw, series.p50_kw, series.p90_kw)
    alike = len({len(part) for part in parts}) == 1 and len(series.p50_kw) > 0
    return alike and all(  # false for NaN too
        0.0 <= low <= middle <= high < MAX_KW for low, middle, high in zip(*parts, strict=True)
    )


def _plan_nonsense(plan: Plan) -> str:
    rows = (*plan.battery_units_kw, *plan.generator_units_kw)
    means = (plan.battery_kw, plan.generator_kw, plan.grid_kw, plan.curtailed_kw, plan.soc_frac)
    parts = (*means, *rows)
    flags = (plan.generator_on, plan.cover_deficit, plan.store_surplus, *plan.generator_units_on)
    if len({len(part) for part in (*parts, *flags)}) != 1 or not plan.battery_kw:
        return "the plan's parts differ in length"
    if not all(abs(value) < MAX_KW for part in parts for value in part):  # false for NaN too
        return "the plan's numbers"
    return ""
