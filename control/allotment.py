"""One power for all batteries, shared among them: what each is told, and why.

Every battery stays inside its own limits and its own ramp, and the shares add up to the whole
wherever those allow it. Shares are those of the plan, where it is followed and its batteries all go
the same way; else they follow charge: what is above its floor (discharging) or below its ceiling
(charging), so that full ones give more, empty ones take more, and all get there together. Both move
smoothly, so nothing hunts. A battery that is told something by itself is told that.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from control.arbiter import Target, Verdict, clamp
from control.battery_limits import RAMP, Bound, clip, own_limits, ramp
from control.fleet import counting
from control.records import Level, Quantity
from control.site import BatteryParameters, SiteParameters
from control.state import State

LEVELS = {level.title: level for level in Level}
IDLE_KW = 0.02  # a planned power below this is none
SMALL_KW = 1e-9
ABSENT = Bound(0.0, 0.0, "it does not answer or can do nothing")
SHARE = "its share"  # of what all are told


@dataclass(frozen=True, slots=True)
class Box:
    """What one battery may be told; low <= high."""

    low_kw: float
    high_kw: float


def allot(total_kw: float, boxes: Sequence[Box], weights: Sequence[float]) -> tuple[float, ...]:
    """Return one power per box, adding up to `total_kw` as far as the boxes allow.

    Boxes of weight 0 get what is nearest to 0, the others share the rest by weight; what does not
    fit is taken over in proportion to the room that is left.
    """
    whole = sum(weights)
    rest_kw = total_kw - sum(
        clamp(0.0, box.low_kw, box.high_kw)
        for box, weight in zip(boxes, weights, strict=True)
        if weight <= 0.0
    )
    shares = [rest_kw * weight / whole if weight > 0.0 else 0.0 for weight in weights]
    return taken_over(
        total_kw,
        [clamp(kw, box.low_kw, box.high_kw) for kw, box in zip(shares, boxes, strict=True)],
        boxes,
    )


def taken_over(
    total_kw: float, powers_kw: Sequence[float], boxes: Sequence[Box]
) -> tuple[float, ...]:
    """Return the powers moved inside their boxes so that they add up, or as near as they can."""
    left_kw = total_kw - sum(powers_kw)
    pairs = list(zip(powers_kw, boxes, strict=True))
    if left_kw >= 0.0:
        room_kw = [max(0.0, box.high_kw - kw) for kw, box in pairs]
    else:
        room_kw = [min(0.0, box.low_kw - kw) for kw, box in pairs]
    most_kw = sum(room_kw)
    if abs(most_kw) <= SMALL_KW:
        return tuple(powers_kw)
    frac = min(1.0, left_kw / most_kw)
    moved = (kw + frac * room for kw, room in zip(powers_kw, room_kw, strict=True))
    return tuple(clamp(kw, box.low_kw, box.high_kw) for kw, box in zip(moved, boxes, strict=True))


# --- what each is told by itself ------------------------------------------------------------


def with_own_orders(
    site: SiteParameters,
    state: State,
    wish: Verdict,
    verdicts: Mapping[Target, Verdict],
    now_s: float,
) -> tuple[Verdict, dict[int, Verdict]]:
    """Return the wish for all with what single batteries are told, and those by index.

    An order of a lower level than the wish for all does not count. The others serve what is left
    of the wish, and do not feed a battery that is ordered to charge.
    """
    own = {}
    for index, battery in enumerate(site.batteries):
        order = verdicts.get((battery.name, Quantity.POWER_KW))
        if order is not None and LEVELS[order.source] >= LEVELS[wish.source]:
            limits = _limits(site, state, index, counting(state.estimate), now_s)
            own[index] = clip(order, [*ramp(battery, alone(state, index), now_s), *limits])
    if not own:
        return wish, own
    ordered_kw = sum(order.value for order in own.values())
    left_kw = wish.value
    if ordered_kw * wish.value > 0.0:
        left_kw = math.copysign(max(0.0, abs(wish.value) - abs(ordered_kw)), wish.value)
    names = ", ".join(site.batteries[index].name for index in own)
    total_kw = ordered_kw + left_kw
    return (wish if total_kw == wish.value else wish.clipped(total_kw, f"order for {names}")), own


def alone(state: State, index: int) -> State:
    """The state as if there were this one of several batteries only."""
    known = state.estimate.batteries[index]
    last = state.battery_units_kw
    plant = replace(
        state.estimate,
        battery_kw=known.kw,
        soc_frac=known.soc_frac,
        charge_limit_kw=known.charge_limit_kw,
        discharge_limit_kw=known.discharge_limit_kw,
    )
    return replace(state, estimate=plant, battery_kw=last[index] if index < len(last) else None)


# --- shares --------------------------------------------------------------------------------


def shared_out(
    site: SiteParameters,
    state: State,
    told: Verdict,
    own: Mapping[int, Verdict],
    planned_kw: Sequence[float],
    now_s: float,
) -> dict[Target, Verdict]:
    """Return every battery's verdict; `told` is what all get, inside all limits of the site.

    Ramps yield only where a limit has moved the whole faster than they allow.
    """
    counts, units = counting(state.estimate), site.batteries
    limits = [_limits(site, state, index, counts, now_s) for index in range(len(units))]
    hard = [_box(bounds) for bounds in limits]
    for index, order in own.items():
        hard[index] = Box(order.value, order.value)
    soft = []
    for index, (battery, box) in enumerate(zip(units, hard, strict=True)):
        (bound,) = ramp(battery, alone(state, index), now_s) or [Bound(None, None, RAMP)]
        low_kw, high_kw = (clamp(kw, bound.lower, bound.upper) for kw in (box.low_kw, box.high_kw))
        soft.append(
            Box(clamp(low_kw, box.low_kw, box.high_kw), clamp(high_kw, box.low_kw, box.high_kw))
        )
    weights, how = _weights(site, state, told, planned_kw)
    weights = [
        0.0 if index in own or not _may(box, told.value) else weight
        for index, (weight, box) in enumerate(zip(weights, hard, strict=True))
    ]
    powers_kw = allot(told.value, soft, weights)
    if told.clips and told.clips[-1] != RAMP:
        powers_kw = taken_over(told.value, powers_kw, hard)
    whole = sum(weights)
    verdicts = {}
    for index, (battery, value) in enumerate(zip(units, powers_kw, strict=True)):
        frac = weights[index] / whole if whole > 0.0 else 0.0
        verdict = own.get(index) or _explained(told, value, frac, how, limits[index])
        verdicts[battery.name, Quantity.POWER_KW] = verdict
    return verdicts


def _limits(
    site: SiteParameters, state: State, index: int, counts: Sequence[bool], now_s: float
) -> list[Bound]:
    bounds = own_limits(site.batteries[index], alone(state, index), now_s)
    return [*bounds, ABSENT] if any(counts) and not counts[index] else bounds


def _box(bounds: Sequence[Bound]) -> Box:
    low_kw, high_kw = -math.inf, math.inf
    for bound in bounds:
        low_kw, high_kw = (clamp(kw, bound.lower, bound.upper) for kw in (low_kw, high_kw))
    return Box(low_kw, high_kw)


def _may(box: Box, total_kw: float) -> bool:
    """It can go the way that all go."""
    return box.high_kw > 0.0 if total_kw > 0.0 else box.low_kw < 0.0


def _weights(
    site: SiteParameters, state: State, told: Verdict, planned_kw: Sequence[float]
) -> tuple[list[float], str]:
    """How the batteries share, and in words by what."""
    sign = math.copysign(1.0, told.value)
    along_kw = [sign * kw for kw in planned_kw]
    if (
        told.source == Level.PLAN.title
        and len(along_kw) == len(site.batteries)
        and all(math.isfinite(kw) and kw > -IDLE_KW for kw in along_kw)
        and sum(along_kw) > IDLE_KW
    ):
        return [max(0.0, kw) for kw in along_kw], "by the plan"
    return [
        _headroom_kwh(battery, known.soc_frac, told.value)
        for battery, known in zip(site.batteries, state.estimate.batteries, strict=True)
    ], "by charge"


def _headroom_kwh(battery: BatteryParameters, soc_frac: float | None, total_kw: float) -> float:
    if soc_frac is None:
        return 0.0
    frac = soc_frac - battery.soc_min_frac if total_kw > 0.0 else battery.soc_max_frac - soc_frac
    return max(0.0, frac) * battery.capacity_kwh


def _explained(
    told: Verdict, value: float, frac: float, how: str, limits: Sequence[Bound]
) -> Verdict:
    """The verdict for all with what became of it for this one."""
    if ABSENT in limits:
        return replace(told, value=value, clips=(*told.clips, ABSENT.reason))
    text = f"{SHARE} {how}: {frac:.0%} of {told.value:z.2f} kW"
    verdict = replace(told, value=frac * told.value, clips=(*told.clips, text))
    if frac == 0.0:  # none of it: by its own limits, if they forbid any
        verdict = told
    verdict = clip(verdict, list(limits))
    if frac == 0.0 and verdict.value != 0.0:
        verdict = verdict.clipped(0.0, text)
    if abs(value - verdict.value) > SMALL_KW:
        less = abs(value) < abs(verdict.value)
        verdict = verdict.clipped(value, RAMP if less else "takes over from the others")
    return replace(verdict, value=value)
