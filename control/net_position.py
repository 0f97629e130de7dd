"""A house's position in one market slot: what it will lack, and what it can do about it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from control.order_pricing import Means, Need
from control.trades import Position, Quantiles, StoreFacts

QUANTILES = 3
LEAST_STEP_S, LONGEST_STEP_S = 1.0, 86_400.0
ABSURD = 1e6  # kW, or currency per kWh


@dataclass(frozen=True, slots=True)
class Slot:
    """The time of a slot, UTC."""

    from_utc_s: float
    until_utc_s: float

    @property
    def hours(self) -> float:
        """Its length."""
        return (self.until_utc_s - self.from_utc_s) / 3600.0


def fault(position: Position) -> str:
    """What in a position cannot be traded by; empty: it is sane. What is missing is no fault."""
    for name, numbers, low in _numbers(position):
        high = 1.0 if name.endswith("_frac") else ABSURD
        for number in numbers:
            if number is not None and not low <= number <= high:  # nor is NaN
                return f"position: {name} = {number:g}: {low:g} to {high:g} allowed"
    if position.soc_min_frac > position.soc_max_frac:
        low, high = position.soc_min_frac, position.soc_max_frac
        return f"position: soc_min_frac = {low:g}: at most soc_max_frac = {high:g} allowed"
    begun_s = position.utc_s - position.from_utc_s
    if not (LEAST_STEP_S <= position.step_s <= LONGEST_STEP_S and 0.0 <= begun_s < LONGEST_STEP_S):
        return f"position: step_s = {position.step_s:g}, {begun_s:g} s begun: no steps from now on"
    return ""


def _numbers(position: Position) -> Iterator[tuple[str, Sequence[float | None], float]]:
    """Numbers by name, and the lowest that is allowed."""
    for name in ("load_kw", "generation_kw"):
        quantiles = getattr(position, name)
        for row in (quantiles.p10_kw, quantiles.p50_kw, quantiles.p90_kw):
            yield name, row, -ABSURD
    for name in ("grid_kw", "battery_kw", "buy_per_kwh", "sell_per_kwh"):
        yield name, getattr(position, name), -ABSURD
    yield "stored_value_per_kwh", (position.stored_value_per_kwh,), -ABSURD
    for name in ("soc_frac", "soc_min_frac", "soc_max_frac", "p2p_share_frac"):
        yield name, (getattr(position, name),), 0.0
    for name in ("import_max_kw", "export_max_kw"):
        yield name, (getattr(position, name),), 0.0


def mean_over(
    series: Sequence[float], from_utc_s: float, step_s: float, slot: Slot
) -> float | None:
    """Mean of a series of steps over a slot; None where it does not cover the slot."""
    if step_s < LEAST_STEP_S or slot.from_utc_s < from_utc_s - 1e-6:
        return None
    total, at_s = 0.0, slot.from_utc_s
    while at_s < slot.until_utc_s - 1e-6:
        step = int((at_s - from_utc_s + 1e-6) // step_s)
        if step >= len(series):
            return None
        until_s = min(slot.until_utc_s, from_utc_s + (step + 1) * step_s)
        total += series[step] * (until_s - at_s)
        at_s = until_s
    mean = total / (slot.until_utc_s - slot.from_utc_s)
    return mean if math.isfinite(mean) else None


def need(position: Position, slot: Slot) -> Need | None:
    """Load less own generation; None where the forecast does not say. Errors are independent."""
    load, generation = (
        _quantiles(position, series, slot) for series in (position.load_kw, position.generation_kw)
    )
    if load is None or generation is None:
        return None
    middle_kw = load[1] - generation[1]
    low_kw = middle_kw - math.hypot(load[1] - load[0], generation[2] - generation[1])
    high_kw = middle_kw + math.hypot(load[2] - load[1], generation[1] - generation[0])
    return Need(low_kw * slot.hours, middle_kw * slot.hours, high_kw * slot.hours)


def _quantiles(position: Position, series: Quantiles, slot: Slot) -> tuple[float, ...] | None:
    rows = (series.p10_kw, series.p50_kw, series.p90_kw)
    means = [mean_over(row, position.from_utc_s, position.step_s, slot) for row in rows]
    known = tuple(mean for mean in means if mean is not None)
    return known if len(known) == QUANTILES else None


def stored_at(position: Position, store: StoreFacts, utc_s: float) -> float | None:
    """Energy in the battery at a later time when it keeps to its plan, kWh; None: unknown."""
    if position.soc_frac is None or not math.isfinite(position.soc_frac):
        return None
    stored_kwh = position.soc_frac * store.capacity_kwh
    until = Slot(position.utc_s, utc_s)
    if utc_s <= position.utc_s or not position.battery_kw:
        return stored_kwh
    power_kw = mean_over(position.battery_kw, position.from_utc_s, position.step_s, until)
    if power_kw is None:
        return None
    efficiency = store.charge_efficiency_frac
    stored_kw = -power_kw * efficiency if power_kw < 0 else -power_kw / _giving(store)
    low_kwh, high_kwh = bounds_kwh(position, store)
    moved_kwh = stored_kwh + stored_kw * until.hours
    return min(max(moved_kwh, min(low_kwh, stored_kwh)), max(high_kwh, stored_kwh))


def bounds_kwh(position: Position, store: StoreFacts) -> tuple[float, float]:
    """Least and most stored energy that the market may use."""
    return (
        position.soc_min_frac * store.capacity_kwh,
        position.soc_max_frac * store.capacity_kwh,
    )


def means(
    position: Position,
    store: StoreFacts,
    slot: Slot,
    need: Need,
    value_per_kwh: float | None,
    planned_kw: float | None = None,
) -> Means | None:
    """What the house can do in a slot; None where prices are unknown.

    `value_per_kwh` is that of a stored kWh. Without it, or without a state of charge, the battery
    stays out of the market. `planned_kw` is what the house plans to draw.
    """
    load_kw, buy, sell = (
        mean_over(series, position.from_utc_s, position.step_s, slot)
        for series in (position.load_kw.p50_kw, position.buy_per_kwh, position.sell_per_kwh)
    )
    if load_kw is None or buy is None or sell is None:
        return None
    stored_kwh = stored_at(position, store, slot.from_utc_s)
    takes_kwh = gives_kwh = 0.0
    value = 0.0
    if stored_kwh is not None and value_per_kwh is not None and math.isfinite(value_per_kwh):
        value = max(0.0, value_per_kwh)
        low_kwh, high_kwh = bounds_kwh(position, store)
        room_kwh = max(0.0, high_kwh - stored_kwh) / store.charge_efficiency_frac
        left_kwh = max(0.0, stored_kwh - low_kwh) * _giving(store)
        takes_kwh = min(store.charge_max_kw * slot.hours, room_kwh)
        gives_kwh = min(store.discharge_max_kw * slot.hours, left_kwh)
    return Means(
        load_kwh=max(0.0, load_kw) * slot.hours,
        charge_kwh=min(takes_kwh, _kept_kwh(position, need, slot, planned_kw)),
        discharge_kwh=gives_kwh,
        import_kwh=max(0.0, position.import_max_kw) * slot.hours,
        export_kwh=max(0.0, position.export_max_kw) * slot.hours,
        buy_per_kwh=buy,
        sell_per_kwh=min(sell, buy),
        charging_per_kwh=value * store.charge_efficiency_frac - store.wear_per_kwh,
        discharging_per_kwh=value / _giving(store) + store.wear_per_kwh,
    )


def _giving(store: StoreFacts) -> float:
    return store.discharge_efficiency_frac


def _kept_kwh(position: Position, need: Need, slot: Slot, planned_kw: float | None) -> float:
    """What the battery may take before peers: what is planned, else what the fuzzy split leaves.

    The peers' share of a surplus is offered as if it went to the grid otherwise (Shahzad 2021); the
    remainder is still offered, but only for more than storing it is worth.
    """
    share = position.p2p_share_frac
    if share is None or need.p50_kwh >= 0.0:
        return math.inf
    planned_kwh = 0.0 if planned_kw is None else planned_kw * slot.hours - need.p50_kwh
    return max(planned_kwh, (1.0 - share) * -need.p50_kwh)
