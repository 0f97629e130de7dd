"""The last word: every setpoint inside every limit, and what moved it named.

Nothing here asks whether a plan is good. Each function turns the arbiter's verdict for one
quantity into a value that the plant can bear; where limits contradict, the later in the list, the
more important, holds: best effort, never "infeasible".
"""

from dataclasses import dataclass

from control.arbiter import Target, Verdict, clamp
from control.generator import Sequenced, sequence
from control.records import Quantity
from control.site import BatteryParameters, SiteParameters
from control.state import Estimate, GeneratorState, Mode, State

GRID_MARGIN_FRAC = 0.03  # of the limit, for what moves between two cycles
GENERATOR_MARGIN_FRAC = 0.05  # of rating, likewise
TAPER_H = 0.05  # the battery approaches its SOC limits with this time constant
PV_RISE_PER_S = 0.05  # of rating: a limit falls at once and rises slowly, so it cannot hunt

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


def _clip(verdict: Verdict, bounds: list[Bound]) -> Verdict:
    for bound in bounds:
        value = clamp(verdict.value, bound.lower, bound.upper)
        if abs(value - verdict.value) > 1e-9:
            verdict = verdict.clipped(value, bound.reason)
    return verdict


# --- generator -----------------------------------------------------------------------------


def _guard_generator(
    site: SiteParameters, state: State, verdicts: Verdicts, guarded: Verdicts, now_s: float
) -> GeneratorState:
    parameters = site.generator
    if parameters is None:
        return state.generator
    target = (parameters.name, Quantity.RUN)
    wish = verdicts.get(target) or Verdict(0.0, 0.0, "rules", "nobody asks for it", (), ())
    wanted = wish.value >= 0.5
    done: Sequenced = sequence(parameters, state.generator, state.estimate, wanted, now_s)
    value = float(done.state.run)
    guarded[target] = wish if value == wish.value else wish.clipped(value, done.clip)
    return done.state


# --- battery -------------------------------------------------------------------------------


def _guard_battery(
    site: SiteParameters, state: State, verdicts: Verdicts, guarded: Verdicts, now_s: float
) -> float:
    battery = site.battery
    if battery is None:
        return 0.0
    target = (battery.name, Quantity.POWER_KW)
    wish = verdicts.get(target) or Verdict(0.0, 0.0, "rules", "nobody asks for it", (), ())
    bounds = [
        *_ramp(battery, state, now_s),
        *_other_sources(site, state.estimate),
        *_charge(battery, state.estimate),
        Bound(
            -state.estimate.charge_limit_kw,
            state.estimate.discharge_limit_kw,
            "the battery's own limit",
        ),
        Bound(-battery.charge_max_kw, battery.discharge_max_kw, "rating"),
    ]
    if state.estimate.emergency_stop or state.mode is Mode.SAFE:
        bounds.append(Bound(0.0, 0.0, "safe mode"))
    verdict = _clip(wish, bounds)
    guarded[target] = verdict
    return verdict.value


def _ramp(battery: BatteryParameters, state: State, now_s: float) -> list[Bound]:
    if state.battery_kw is None or state.t_s is None:
        return []
    step_kw = battery.ramp_kw_per_s * max(0.0, now_s - state.t_s)
    return [Bound(state.battery_kw - step_kw, state.battery_kw + step_kw, "ramp")]


def _other_sources(site: SiteParameters, plant: Estimate) -> list[Bound]:
    """What the grid or the generator can take or give bounds the battery."""
    if plant.load_kw is None:
        return [Bound(0.0, 0.0, "the load is unknown")] if site.grid else []
    net_kw = plant.load_kw - plant.sources_kw
    if plant.grid_present and site.grid is not None:
        net_kw -= plant.generator_kw or 0.0
        keep = 1.0 - GRID_MARGIN_FRAC
        upper = max(net_kw + keep * site.grid.export_max_kw, 0.0)
        return [
            Bound(None, upper, f"grid export limit {site.grid.export_max_kw:g} kW"),
            Bound(
                net_kw - keep * site.grid.import_max_kw,
                None,
                f"grid import limit {site.grid.import_max_kw:g} kW",
            ),
        ]
    if plant.generator_carries and site.generator is not None:
        margin_kw = GENERATOR_MARGIN_FRAC * site.generator.rated_kw
        return [
            Bound(None, net_kw - site.generator.min_kw - margin_kw, "generator's minimum load"),
            Bound(net_kw - site.generator.rated_kw + margin_kw, None, "generator's rating"),
        ]
    return []


def _charge(battery: BatteryParameters, plant: Estimate) -> list[Bound]:
    """No discharge below the floor, no charge above the ceiling, gently towards either."""
    if plant.soc_frac is None:
        return [Bound(0.0, 0.0, "the state of charge is unknown")]
    above_kwh = max(0.0, plant.soc_frac - battery.soc_min_frac) * battery.capacity_kwh
    below_kwh = max(0.0, battery.soc_max_frac - plant.soc_frac) * battery.capacity_kwh
    return [
        Bound(None, above_kwh / TAPER_H, f"floor of the state of charge {battery.soc_min_frac:.0%}")
        if plant.soc_frac >= battery.soc_min_frac
        else Bound(None, 0.0, f"below the floor {battery.soc_min_frac:.0%}"),
        Bound(
            -below_kwh / TAPER_H, None, f"ceiling of the state of charge {battery.soc_max_frac:.0%}"
        ),
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
    """Share what the site can take among the inverters in proportion to their ratings."""
    rated_kw = site.pv_rated_kw
    room_kw, reason = _room_for_pv(site, state.estimate, battery_kw)
    if state.pv_limit_kw is not None and state.t_s is not None:
        rise_kw = PV_RISE_PER_S * rated_kw * max(0.0, now_s - state.t_s)
        if room_kw > state.pv_limit_kw + rise_kw:
            room_kw, reason = state.pv_limit_kw + rise_kw, "limit rises slowly"
    for pv in site.pv:
        target = (pv.name, Quantity.LIMIT_KW)
        wish = verdicts.get(target)
        if wish is None:
            continue
        room = Bound(None, max(0.0, room_kw) * pv.rated_kw / rated_kw, reason)
        guarded[target] = _clip(wish, [Bound(0.0, pv.rated_kw, "rating"), room])


def _room_for_pv(site: SiteParameters, plant: Estimate, battery_kw: float) -> tuple[float, str]:
    """Most PV power that load, battery, generator and grid can take now, and what limits it."""
    wind_kw = plant.wind_kw or 0.0
    generator_kw = plant.generator_kw or 0.0
    if plant.grid_present and site.grid is not None:
        export_kw = (1.0 - GRID_MARGIN_FRAC) * site.grid.export_max_kw
        reason = f"grid export limit {site.grid.export_max_kw:g} kW"
        if plant.load_kw is None:
            return export_kw, reason + ", the load is unknown"
        return plant.load_kw - wind_kw - generator_kw - battery_kw + export_kw, reason
    if plant.load_kw is None or site.battery is None:
        return site.pv_rated_kw, "rating"
    generator = site.generator
    least_kw = 0.0
    if plant.generator_carries and generator is not None:
        least_kw = generator.min_kw + GENERATOR_MARGIN_FRAC * generator.rated_kw
    room_kw = plant.load_kw - wind_kw - least_kw + _can_charge_kw(site.battery, plant)
    return room_kw, "island: the battery can charge no faster"


def _can_charge_kw(battery: BatteryParameters, plant: Estimate) -> float:
    if plant.soc_frac is None:
        return 0.0
    below_kwh = max(0.0, battery.soc_max_frac - plant.soc_frac) * battery.capacity_kwh
    return min(plant.charge_limit_kw, battery.charge_max_kw, below_kwh / TAPER_H)
