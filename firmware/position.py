"""What the market is told of the house: from a cycle's glance at it, the forecast and the plan."""

import math
from dataclasses import dataclass

import numpy as np

from control.records import Advice, Forecast, Orders, Plan, PricePeriod, Sample, Series
from control.state import State
from control.surplus_share import surplus_shares
from control.tighten import higher_reserve_frac, tighter_kw
from control.trades import Position, Quantiles, StoreFacts
from firmware.config import Site
from firmware.parameters import site_parameters
from firmware.tariff import Tariff

TYPICAL_LOAD_FRAC = 0.4  # of the inverter: its efficiency and the battery's wear are taken there
INVERTER_EFFICIENCY_FRAC = 0.965
LATELY_S = 300.0
STAYS_S = 3600.0


@dataclass(frozen=True, slots=True)
class Glance:
    """What one cycle saw that the market has to know; times as in the sample."""

    utc_s: float
    t_s: float
    clock_problem: str
    trading: bool  # nothing in the house speaks against new orders
    grid_present: bool
    soc_frac: float | None
    wind_kw: float
    price_buy_per_kwh: float
    temperature_degc: float | None
    hour_local: float
    interest_frac: float
    import_kwh: float | None
    export_kwh: float | None
    import_max_kw: float | None  # ordered, as the two below
    export_max_kw: float | None
    reserve_soc_frac: float | None
    prices: tuple[PricePeriod, ...]
    load_kw: float | None = None
    pv_kw: float | None = None  # None also where something holds it back


def glance(
    sample: Sample, state: State, orders: Orders, *, trading: bool, clock_problem: str
) -> Glance:
    """The market's part of a cycle."""
    plant = state.estimate
    meter = sample.grid.good if sample.grid else None
    return Glance(
        utc_s=sample.utc_s,
        t_s=sample.t_s,
        clock_problem=clock_problem,
        trading=trading,
        grid_present=plant.grid_present,
        soc_frac=plant.soc_frac,
        wind_kw=plant.wind_kw or 0.0,
        price_buy_per_kwh=sample.price_buy_per_kwh,
        temperature_degc=sample.temperature_degc,
        hour_local=sample.hour_local,
        interest_frac=sample.interest_frac,
        import_kwh=meter.import_kwh if meter else None,
        export_kwh=meter.export_kwh if meter else None,
        import_max_kw=orders.import_max_kw,
        export_max_kw=orders.export_max_kw,
        reserve_soc_frac=orders.reserve_soc_frac,
        prices=orders.prices,
        load_kw=plant.load_kw,
        pv_kw=None if plant.pv_throttled else plant.pv_kw,
    )


def store_facts(site: Site) -> StoreFacts:
    """The batteries as one, at their terminals; wear as the plan's objective has it."""
    batteries = site.battery
    capacity_kwh = sum(battery.capacity_kwh for battery in batteries)
    if not capacity_kwh:
        return StoreFacts()

    def mean(values: list[float]) -> float:
        weighed = zip(values, batteries, strict=True)
        return sum(value * battery.capacity_kwh for value, battery in weighed) / capacity_kwh

    return StoreFacts(
        capacity_kwh=capacity_kwh,
        charge_max_kw=sum(battery.charge_max_kw for battery in batteries),
        discharge_max_kw=sum(battery.discharge_max_kw for battery in batteries),
        charge_efficiency_frac=INVERTER_EFFICIENCY_FRAC
        * mean([battery.charge_efficiency_frac for battery in batteries]),
        discharge_efficiency_frac=INVERTER_EFFICIENCY_FRAC
        * mean([battery.discharge_efficiency_frac for battery in batteries]),
        wear_per_kwh=mean(
            [
                battery.om_linear_per_kwh
                + 2.0 * TYPICAL_LOAD_FRAC * battery.om_quadratic_per_kwh_at_max
                + battery.generation_cost_per_kwh
                for battery in batteries
            ]
        ),
        charge_from_grid=all(battery.charge_from_grid for battery in batteries),
    )


class Lately:
    """A quantity's mean over the last minutes, the newest counting most."""

    def __init__(self) -> None:
        self.mean_kw: float | None = None
        self._t_s = 0.0

    def note(self, value_kw: float | None, now_s: float) -> None:
        """What is measured now; None: nothing."""
        if value_kw is None:
            return
        if self.mean_kw is None or now_s < self._t_s:
            self.mean_kw = value_kw
        else:
            share = 1.0 - math.exp((self._t_s - now_s) / LATELY_S)
            self.mean_kw += share * (value_kw - self.mean_kw)
        self._t_s = now_s


class Positions:
    """Makes positions of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._parameters = site_parameters(site)
        self._tariff = Tariff(site.prices, site.site.timezone)
        self._lately = {"load": Lately(), "pv": Lately()}

    def of(self, seen: Glance, advice: Advice) -> Position:
        """The position; what has expired, or lies in the past, is not in it."""
        self._lately["load"].note(seen.load_kw, seen.t_s)
        self._lately["pv"].note(seen.pv_kw, seen.t_s)
        site, step_s = self._site, float(self._site.planner.slot_s)
        from_utc_s = seen.utc_s // step_s * step_s
        steps = site.planner.horizon_h * 3600 // site.planner.slot_s
        starts_s = from_utc_s + step_s * np.arange(steps)
        buy, sell = self._tariff.prices_over(starts_s, seen.prices)
        plan = _valid(advice.plan, seen)
        gone = 0 if plan is None else _gone(plan, seen)
        low_frac, high_frac = self._soc_limits(seen)
        return Position(
            utc_s=seen.utc_s,
            t_s=seen.t_s,
            clock_problem=seen.clock_problem,
            trading=seen.trading,
            from_utc_s=from_utc_s,
            step_s=step_s,
            load_kw=self._series(advice.forecast, "load", seen),
            generation_kw=self._series(advice.forecast, "pv", seen),
            grid_kw=plan.grid_kw[gone:] if plan else (),
            battery_kw=plan.battery_kw[gone:] if plan else (),
            buy_per_kwh=tuple(buy.tolist()),
            sell_per_kwh=tuple(sell.tolist()),
            soc_frac=seen.soc_frac,
            soc_min_frac=low_frac,
            soc_max_frac=high_frac,
            stored_value_per_kwh=_at(plan.stored_value_per_kwh, gone) if plan else None,
            import_max_kw=self._limit_kw("import_max_kw", seen),
            export_max_kw=self._limit_kw("export_max_kw", seen),
            p2p_share_frac=self._p2p_share(seen),
            import_kwh=seen.import_kwh,
            export_kwh=seen.export_kwh,
        )

    def _series(self, forecast: Forecast | None, name: str, seen: Glance) -> Quantiles:
        """A forecast from the running step on, wind with PV; empty when it is too old."""
        if forecast is None or seen.t_s - forecast.issued_t_s > self._site.planner.expiry_s:
            return Quantiles()
        series: Series = getattr(forecast, name)
        wind_kw = seen.wind_kw if name == "pv" else 0.0  # persistence: there is no wind forecaster
        gone = _gone(forecast, seen)
        rows = [row[gone:] for row in (series.p10_kw, series.p50_kw, series.p90_kw)]
        lately_kw = self._lately[name].mean_kw
        if lately_kw is not None and not any(skill is not None for skill in series.skill[:1]):
            rows = [_towards(row, lately_kw, forecast.step_s) for row in rows]
        return Quantiles(*(tuple(kw + wind_kw for kw in row) for row in rows))

    def _soc_limits(self, seen: Glance) -> tuple[float, float]:
        """What the market may use of all batteries together: above minimum and reserve."""
        low_kwh = high_kwh = capacity_kwh = 0.0
        for battery in self._site.battery:
            reserve = higher_reserve_frac(
                battery.reserve_soc_frac, seen.reserve_soc_frac, battery.soc_max_frac
            )
            low_kwh += battery.capacity_kwh * max(battery.soc_min_frac, reserve)
            high_kwh += battery.capacity_kwh * battery.soc_max_frac
            capacity_kwh += battery.capacity_kwh
        if not capacity_kwh:
            return 0.0, 0.0
        return low_kwh / capacity_kwh, high_kwh / capacity_kwh

    def _limit_kw(self, name: str, seen: Glance) -> float:
        grid = self._site.grid
        if grid is None or not seen.grid_present:
            return 0.0
        return tighter_kw(getattr(grid, name), getattr(seen, name))

    def _p2p_share(self, seen: Glance) -> float | None:
        if seen.soc_frac is None:
            return None
        shares = surplus_shares(
            self._parameters,
            price_buy_per_kwh=seen.price_buy_per_kwh,
            temperature_degc=seen.temperature_degc,
            hour_local=seen.hour_local,
            interest_frac=seen.interest_frac,
            soc_frac=seen.soc_frac,
        )
        return shares.p2p if shares else None


def _towards(row: tuple[float, ...], lately_kw: float, step_s: float) -> tuple[float, ...]:
    """A forecast that has not shown yet what it can: what is now may well stay for a while."""
    weights = (math.exp(-n * step_s / STAYS_S) for n in range(len(row)))
    return tuple(w * lately_kw + (1.0 - w) * kw for w, kw in zip(weights, row, strict=True))


def _valid(plan: Plan | None, seen: Glance) -> Plan | None:
    return plan if plan is not None and seen.t_s < plan.expires_t_s else None


def _gone(made: Plan | Forecast, seen: Glance) -> int:
    """Steps that are over: by the wall clock's grid of steps, on which both were made."""
    start_utc_s = seen.utc_s - (seen.t_s - made.start_t_s)
    first = round(start_utc_s / made.step_s)
    return max(0, int(seen.utc_s // made.step_s) - first)


def _at(values: tuple[float, ...], index: int) -> float | None:
    return values[index] if index < len(values) else None
