"""Between two plans: what the battery does with the net load as it is, in the plan's intent."""

import math
from dataclasses import dataclass
from typing import TypeVar

from control.records import Plan

T = TypeVar("T")

IDLE_KW = 0.02  # a planned power below this is none


@dataclass(frozen=True, slots=True)
class Slot:
    """One step of a plan."""

    index: int
    battery_kw: float
    grid_kw: float  # beside what is traded
    generator_on: bool
    generator_kw: float
    cover_deficit: bool
    store_surplus: bool
    reserve: str = ""  # what the plan keeps for a bad day, in words
    battery_units_kw: tuple[float, ...] = ()  # each one's, where there are several
    generator_units_on: tuple[bool, ...] = ()


@dataclass(frozen=True, slots=True)
class Following:
    """The battery power that follows from a slot, and the words for it."""

    battery_kw: float
    reason: str
    splits: bool = False  # it stores a share of what the plan did not foresee


def current_slot(plan: Plan | None, now_s: float) -> Slot | None:
    """Return the step of `plan` at `now_s`; None outside it, past its expiry, or for nonsense."""
    if plan is None or not now_s < plan.expires_t_s or not plan.step_s > 0:
        return None
    if not 0 <= now_s - plan.start_t_s < plan.step_s * len(plan.battery_kw):
        return None
    index = int((now_s - plan.start_t_s) // plan.step_s)
    powers = (plan.battery_kw, plan.grid_kw, plan.generator_kw)
    flags = (plan.generator_on, plan.cover_deficit, plan.store_surplus)
    if any(index >= len(column) for column in (*powers, *flags)):
        return None
    battery_kw, grid_kw, generator_kw = (column[index] for column in powers)
    if index < len(plan.traded_kw):
        grid_kw -= plan.traded_kw[index]
    if not all(map(math.isfinite, (battery_kw, grid_kw, generator_kw))):
        return None
    return Slot(
        index,
        battery_kw,
        grid_kw,
        plan.generator_on[index],
        generator_kw,
        plan.cover_deficit[index],
        plan.store_surplus[index],
        plan.reserve[index] if index < len(plan.reserve) else "",
        _units(plan.battery_units_kw, index),
        _units(plan.generator_units_on, index),
    )


def _units(rows: tuple[tuple[T, ...], ...], index: int) -> tuple[T, ...]:
    """Every unit's value; none where a row is too short."""
    values = tuple(row[index] for row in rows if index < len(row))
    return values if len(values) == len(rows) else ()


def counts_on_grid(plan: Plan) -> bool:
    """Whether `plan` buys or sells anywhere: then it was not made for an island."""
    return any(abs(grid_kw) > IDLE_KW for grid_kw in plan.grid_kw)


def follow_on_grid(slot: Slot, net_kw: float, share_stored: float) -> Following:
    """Battery power beside a grid, for the net load (load minus other sources) as measured.

    What the plan buys to store or sells from store is held. Otherwise the battery follows the net
    load where stored energy is worth less (deficit) or more (surplus) than the grid's price; of a
    surplus that the plan would rather sell, what it did not foresee is split by `share_stored`.
    """
    planned_kw = slot.battery_kw
    if planned_kw < -IDLE_KW and slot.grid_kw > IDLE_KW:
        if net_kw <= planned_kw:
            return Following(net_kw, "plan: charge from the surplus")
        return Following(planned_kw, "plan: charge from the grid")
    if planned_kw > IDLE_KW and slot.grid_kw < -IDLE_KW:
        return Following(planned_kw, "plan: export from the battery")
    if net_kw > 0:
        if slot.cover_deficit:
            return Following(net_kw, "plan: the battery covers the load")
        return Following(max(0.0, min(planned_kw, net_kw)), "plan: keep the energy for later")
    if slot.store_surplus:
        return Following(net_kw, "plan: store the surplus")
    foreseen_kw = max(0.0, -planned_kw - slot.grid_kw)
    extra_kw = share_stored * max(0.0, -net_kw - foreseen_kw)
    battery_kw = max(net_kw, min(planned_kw, 0.0) - extra_kw)
    return Following(battery_kw, "plan: sell the surplus", splits=True)


def follow_beside_generator(slot: Slot, net_kw: float) -> Following:
    """Battery power on an island whose generator carries: it holds the set at its planned power."""
    return Following(
        net_kw - slot.generator_kw, f"plan: hold the generator at {slot.generator_kw:.2f} kW"
    )
