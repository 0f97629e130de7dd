"""The last word: every setpoint inside every limit, and what moved it named.

Nothing here asks whether a plan is good. Each function turns the arbiter's verdict for one
quantity into a value that the plant can bear; where limits contradict, the later in the list, the
more important, holds: best effort, never "infeasible".
"""

from dataclasses import dataclass, replace

from control.arbiter import Target, Verdict, clamp
from control.curtail import GENERATOR_MARGIN_FRAC, GRID_MARGIN_FRAC, TAPER_H, ahead_kw, pv_limits
from control.generator import sequence
from control.records import Level, Quantity
from control.site import BatteryParameters, GeneratorParameters, GridParameters, SiteParameters
from control.state import GeneratorState, Mode, State

OWN_JUDGEMENT = (Level.RULES.title, Level.PLAN.title, Level.COMMITTED_TRADES.title)
FADE_S = 10.0  # a battery at full power whose limits are no longer known is taken back in this time

Verdicts = dict[Target, Verdict]


@dataclass(frozen=True, slots=True)
class Bound:
    """An interval and why; None is open."""

    lower: float | None
    upper: float | None
    reason: str


def guard(
    site: SiteParameters, state: State, verdicts: Verdicts, now_s: float
) -> tuple[Verdicts, GeneratorState]:
    """Return the verdicts inside all limits, and the generator's new state."""
    guarded: Verdicts = {}
    generator_state = _guard_generator(site, state, verdicts, guarded, now_s)
    battery_kw = _guard_battery(site, state, verdicts, guarded, now_s)
    _guard_pv(site, state, verdicts, guarded, battery_kw, now_s)
    return guarded, generator_state


def is_stopped(state: State) -> bool:
    """The emergency stop is pressed, unreadable, or was pressed and is not acknowledged."""
    return state.estimate.emergency_stop or state.emergency_latched


def _clip(verdict: Verdict, bounds: list[Bound]) -> Verdict:
    for bound in bounds:
        value = clamp(verdict.value, bound.lower, bound.upper)
        if value != verdict.value:
            verdict = verdict.clipped(value, bound.reason)
    return verdict


def _wish(verdicts: Verdicts, target: Target, otherwise: float) -> Verdict:
    nobody = Verdict(otherwise, otherwise, "rules", "nobody asks for anything", (), ())
    return verdicts.get(target, nobody)


# --- generator -----------------------------------------------------------------------------


def _guard_generator(
    site: SiteParameters, state: State, verdicts: Verdicts, guarded: Verdicts, now_s: float
) -> GeneratorState:
    parameters = site.generator
    if parameters is None:
        return state.generator
    target = (parameters.name, Quantity.RUN)
    wish = _wish(verdicts, target, 0.0)
    wanted = wish.value >= 0.5
    plant = replace(state.estimate, emergency_stop=is_stopped(state))
    done = sequence(parameters, state.generator, plant, wanted, now_s)
    value = float(done.state.run)
    granted = done.state.run == wanted
    guarded[target] = replace(wish, value=value) if granted else wish.clipped(value, done.clip)
    return done.state


# --- battery -------------------------------------------------------------------------------


def _guard_battery(
    site: SiteParameters, state: State, verdicts: Verdicts, guarded: Verdicts, now_s: float
) -> float:
    """Return the battery's power that PV has to leave room for: as told, or as ordered.

    Left to itself the battery makes way for PV at an export limit; for an order PV makes way.
    """
    battery = site.battery
    if battery is None:
        return 0.0
    target = (battery.name, Quantity.POWER_KW)
    wish = _wish(verdicts, target, 0.0)
    free = wish.source in OWN_JUDGEMENT and state.mode is not Mode.MANUAL
    way_kw = ahead_kw(site, state, now_s) if free else 0.0
    outer = [*_ramp(battery, state, now_s), *_other_sources(site, battery, state, now_s, way_kw)]
    own = [
        *_charge(battery, state, now_s),
        *_own_limits(battery, state, now_s),
        Bound(-battery.charge_max_kw, battery.discharge_max_kw, "rating"),
    ]
    if is_stopped(state):
        own.append(Bound(0.0, 0.0, "emergency stop"))
    guarded[target] = _clip(wish, outer + own)
    told_kw = guarded[target].value
    return told_kw if free else max(told_kw, _clip(wish, own).value)


def _step_s(state: State, now_s: float) -> float:
    return 0.0 if state.t_s is None else max(0.0, now_s - state.t_s)


def _ramp(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    """From the last setpoint, or from where the battery is when there was none."""
    last_kw = state.estimate.battery_kw if state.battery_kw is None else state.battery_kw
    if last_kw is None:
        return []
    step_kw = battery.ramp_kw_per_s * _step_s(state, now_s)
    return [Bound(last_kw - step_kw, last_kw + step_kw, "ramp")]


def _fade(battery: BatteryParameters, state: State, now_s: float, reason: str) -> Bound:
    """Nothing is known: back towards zero, without a jump."""
    last_kw = state.battery_kw or 0.0
    step_kw = _step_s(state, now_s) / FADE_S * max(battery.charge_max_kw, battery.discharge_max_kw)
    return Bound(min(0.0, last_kw + step_kw), max(0.0, last_kw - step_kw), reason)


def _other_sources(
    site: SiteParameters, battery: BatteryParameters, state: State, now_s: float, way_kw: float
) -> list[Bound]:
    """What the grid or the generator can take or give bounds the battery.

    Beside the grid it makes way for PV by `way_kw`: 0 where somebody has ordered its power.
    """
    plant = state.estimate
    net_kw = plant.net_kw
    beside = (plant.grid_present and site.grid) or (plant.generator_carries and site.generator)
    if not beside:
        return []  # it forms the island's grid, whatever it is told
    if net_kw is None:
        return [_fade(battery, state, now_s, "the load is unknown")]
    if isinstance(beside, GridParameters):
        net_kw -= plant.generator_kw or 0.0
        return _beside_grid(beside, net_kw, battery.charge_from_grid, way_kw)
    return _beside_generator(beside, net_kw)


def _beside_grid(
    grid: GridParameters, net_kw: float, charge_from_grid: bool, way_kw: float
) -> list[Bound]:
    keep = 1.0 - GRID_MARGIN_FRAC
    most_kw = net_kw + keep * grid.export_max_kw - way_kw
    bounds = [
        Bound(None, most_kw, grid.export_text),
        Bound(net_kw - keep * grid.import_max_kw, None, grid.import_text),
    ]
    if not charge_from_grid:
        bounds.insert(0, Bound(min(0.0, net_kw), None, "no charging from the grid"))
    return bounds


def _beside_generator(generator: GeneratorParameters, net_kw: float) -> list[Bound]:
    margin_kw = GENERATOR_MARGIN_FRAC * generator.rated_kw
    return [
        Bound(None, net_kw - generator.min_kw - margin_kw, "generator's minimum load"),
        Bound(net_kw - generator.rated_kw + margin_kw, None, "generator's rating"),
    ]


def _charge(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    """No discharge below the floor, no charge above the ceiling, gently towards either."""
    soc_frac = state.estimate.soc_frac
    if soc_frac is None:
        return [_fade(battery, state, now_s, "the state of charge is unknown")]
    above_kwh = max(0.0, soc_frac - battery.soc_min_frac) * battery.capacity_kwh
    below_kwh = max(0.0, battery.soc_max_frac - soc_frac) * battery.capacity_kwh
    floor = f"floor of the state of charge {battery.soc_min_frac:.0%}"
    ceiling = f"ceiling of the state of charge {battery.soc_max_frac:.0%}"
    return [
        Bound(None, above_kwh / TAPER_H, floor),
        Bound(0.0 - below_kwh / TAPER_H, None, ceiling),
    ]


def _own_limits(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    """The live limits of the BMS; what it no longer tells fades."""
    charge_kw, discharge_kw = state.estimate.charge_limit_kw, state.estimate.discharge_limit_kw
    unknown = _fade(battery, state, now_s, "the battery's own limit is unknown")
    reason = "the battery's own limit"
    return [
        Bound(unknown.lower, None, unknown.reason)
        if charge_kw is None
        else Bound(0.0 - charge_kw, None, reason),
        Bound(None, unknown.upper, unknown.reason)
        if discharge_kw is None
        else Bound(None, discharge_kw, reason),
    ]


# --- PV ------------------------------------------------------------------------------------


def _guard_pv(
    site: SiteParameters,
    state: State,
    verdicts: Verdicts,
    guarded: Verdicts,
    battery_kw: float,
    now_s: float,
) -> None:
    limits_kw, reason = pv_limits(site, state, battery_kw, now_s)
    for pv, limit_kw in zip(site.pv, limits_kw, strict=True):
        target = (pv.name, Quantity.LIMIT_KW)
        bounds = [Bound(0.0, pv.rated_kw, "rating"), Bound(None, limit_kw, reason)]
        if is_stopped(state):
            bounds.append(Bound(None, 0.0, "emergency stop"))
        guarded[target] = _clip(_wish(verdicts, target, pv.rated_kw), bounds)
