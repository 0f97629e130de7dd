"""What one battery can bear: ramp, floor and ceiling, live limits, rating; each with its reason."""

from dataclasses import dataclass

from control.arbiter import Verdict, clamp
from control.curtail import TAPER_H
from control.site import BatteryParameters
from control.state import State

FADE_S = 10.0  # a battery at full power whose limits are no longer known is taken back in this time
RAMP = "ramp"
STOP = "emergency stop"


@dataclass(frozen=True, slots=True)
class Bound:
    """An interval and why; None is open."""

    lower: float | None
    upper: float | None
    reason: str


def clip(verdict: Verdict, bounds: list[Bound]) -> Verdict:
    """The verdict inside all bounds, the later ones last; each that moves it is named."""
    for bound in bounds:
        value = clamp(verdict.value, bound.lower, bound.upper)
        if value != verdict.value:
            verdict = verdict.clipped(value, bound.reason)
    return verdict


def own_limits(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    """All that the battery itself asks for, the most important last."""
    own = [
        *_charge(battery, state, now_s),
        *_live_limits(battery, state, now_s),
        Bound(-battery.charge_max_kw, battery.discharge_max_kw, "rating"),
    ]
    if is_stopped(state):
        own.append(Bound(0.0, 0.0, STOP))
    return own


def is_stopped(state: State) -> bool:
    """The emergency stop is pressed, unreadable, or was pressed and is not acknowledged."""
    return state.estimate.emergency_stop or state.emergency_latched


def _step_s(state: State, now_s: float) -> float:
    return 0.0 if state.t_s is None else max(0.0, now_s - state.t_s)


def ramp(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    """From the last setpoint, or from where the battery is when there was none."""
    last_kw = state.estimate.battery_kw if state.battery_kw is None else state.battery_kw
    if last_kw is None:
        return []
    step_kw = battery.ramp_kw_per_s * _step_s(state, now_s)
    return [Bound(last_kw - step_kw, last_kw + step_kw, RAMP)]


def fade(battery: BatteryParameters, state: State, now_s: float, reason: str) -> Bound:
    """Nothing is known: back towards zero, without a jump."""
    last_kw = state.battery_kw or 0.0
    step_kw = _step_s(state, now_s) / FADE_S * max(battery.charge_max_kw, battery.discharge_max_kw)
    return Bound(min(0.0, last_kw + step_kw), max(0.0, last_kw - step_kw), reason)


def _charge(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    """No discharge below the floor, no charge above the ceiling, gently towards either."""
    soc_frac = state.estimate.soc_frac
    if soc_frac is None:
        return [fade(battery, state, now_s, "the state of charge is unknown")]
    above_kwh = max(0.0, soc_frac - battery.soc_min_frac) * battery.capacity_kwh
    below_kwh = max(0.0, battery.soc_max_frac - soc_frac) * battery.capacity_kwh
    floor = f"floor of the state of charge {battery.soc_min_frac:.0%}"
    ceiling = f"ceiling of the state of charge {battery.soc_max_frac:.0%}"
    return [
        Bound(None, above_kwh / TAPER_H, floor),
        Bound(0.0 - below_kwh / TAPER_H, None, ceiling),
    ]


def _live_limits(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    """The live limits of the BMS; what it no longer tells fades."""
    charge_kw, discharge_kw = state.estimate.charge_limit_kw, state.estimate.discharge_limit_kw
    unknown = fade(battery, state, now_s, "the battery's own limit is unknown")
    reason = "the battery's own limit"
    return [
        Bound(unknown.lower, None, unknown.reason)
        if charge_kw is None
        else Bound(0.0 - charge_kw, None, reason),
        Bound(None, unknown.upper, unknown.reason)
        if discharge_kw is None
        else Bound(None, discharge_kw, reason),
    ]
