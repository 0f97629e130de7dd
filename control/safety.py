"""The last word: every setpoint inside every limit, and what moved it named.

Nothing here asks whether a plan is good. Each function turns the arbiter's verdict for one
quantity into a value that the plant can bear; where limits contradict, the later in the list, the
more important, holds: best effort, never "infeasible".
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from control.allotment import shared_out, with_own_orders
from control.arbiter import Target, Verdict
from control.battery_limits import Bound, clip, fade, is_stopped, own_limits, ramp
from control.curtail import GENERATOR_MARGIN_FRAC, GRID_MARGIN_FRAC, ahead_kw, comes, pv_limits
from control.fleet import sequences, sequences_together
from control.generator import sequence
from control.records import Level, Quantity
from control.sets import choose
from control.site import BatteryParameters, GeneratorParameters, GridParameters, SiteParameters
from control.state import Estimate, GeneratorState, Mode, State

OWN_JUDGEMENT = (Level.RULES.title, Level.PLAN.title, Level.COMMITTED_TRADES.title)

# Sets trip on reverse power after 5 s or more. A load that falls is seen a period later at worst,
# its reading may be another old, and the battery needs a second to follow.
SAFE_PERIOD_S = 2.0

Verdicts = dict[Target, Verdict]


@dataclass(frozen=True, slots=True)
class Planned:
    """What the plan has for every unit in this slot, where there are several; empty without one."""

    battery_kw: tuple[float, ...] = ()
    generator_on: tuple[bool, ...] = ()


NO_PLAN = Planned()


def guard(
    site: SiteParameters, state: State, verdicts: Verdicts, now_s: float
) -> tuple[Verdicts, GeneratorState]:
    """Return the verdicts inside all limits, and the generator's new state."""
    verdicts, after = guarded_units(site, state, verdicts, now_s)
    return verdicts, after.generator


def guarded_units(
    site: SiteParameters,
    state: State,
    verdicts: Verdicts,
    now_s: float,
    planned: Planned = NO_PLAN,
) -> tuple[Verdicts, State]:
    """Return the verdicts inside all limits, and the state with what they make of the units."""
    guarded: Verdicts = {}
    state = _guard_generators(site, state, verdicts, guarded, planned.generator_on, now_s)
    battery_kw, state = _guard_battery(site, state, verdicts, guarded, planned.battery_kw, now_s)
    _guard_pv(site, state, verdicts, guarded, battery_kw, now_s)
    return guarded, state


def _wish(verdicts: Verdicts, target: Target, otherwise: float) -> Verdict:
    nobody = Verdict(otherwise, otherwise, "rules", "nobody asks for anything", (), ())
    return verdicts.get(target, nobody)


# --- generator -----------------------------------------------------------------------------


def _guard_generators(
    site: SiteParameters,
    state: State,
    verdicts: Verdicts,
    guarded: Verdicts,
    planned_on: Sequence[bool],
    now_s: float,
) -> State:
    if site.generator is None:
        return state
    plant = replace(state.estimate, emergency_stop=is_stopped(state))
    wish = _wish(verdicts, (site.generator.name, Quantity.RUN), 0.0)
    if not site.generators:
        generator, done = _guard_generator(site.generator, state.generator, plant, wish, now_s)
        guarded[site.generator.name, Quantity.RUN] = done
        return replace(state, generator=generator)
    choice = choose(site, state, wish, verdicts, planned_on, now_s)
    together = replace(state.generator, short_since_s=choice.short_since_s)
    after = []
    units = zip(site.generators, sequences(site, state), plant.generators, strict=True)
    for (unit, own, seen), wished in zip(units, choice.wishes, strict=True):
        alone = replace(plant, generator_phase=seen.phase, generator_available=seen.available)
        generator, done = _guard_generator(unit, own, alone, wished, now_s)
        guarded[unit.name, Quantity.RUN] = done
        after.append(generator)
    together = sequences_together(after, together)
    return replace(state, generator=together, generators=tuple(after))


def _guard_generator(
    unit: GeneratorParameters, own: GeneratorState, plant: Estimate, wish: Verdict, now_s: float
) -> tuple[GeneratorState, Verdict]:
    """One set's sequence, and what becomes of the wish."""
    wanted = wish.value >= 0.5
    done = sequence(unit, own, plant, wanted, now_s)
    value = float(done.state.run)
    granted = done.state.run == wanted
    return done.state, replace(wish, value=value) if granted else wish.clipped(value, done.clip)


# --- battery -------------------------------------------------------------------------------


def _guard_battery(
    site: SiteParameters,
    state: State,
    verdicts: Verdicts,
    guarded: Verdicts,
    planned_kw: Sequence[float],
    now_s: float,
) -> tuple[float, State]:
    """Return the battery's power that PV has to leave room for: as told, or as ordered.

    Left to itself the battery makes way for PV at an export limit; for an order PV makes way.
    """
    battery = site.battery
    if battery is None:
        return 0.0, state
    target = (battery.name, Quantity.POWER_KW)
    wish = _wish(verdicts, target, 0.0)
    ordered: dict[int, Verdict] = {}
    if site.batteries:
        wish, ordered = with_own_orders(site, state, wish, verdicts, now_s)
    free = wish.source in OWN_JUDGEMENT and state.mode is not Mode.MANUAL and not ordered
    way_kw = ahead_kw(site, state, now_s) if free else 0.0
    outer = [*ramp(battery, state, now_s), *_other_sources(site, battery, state, now_s, way_kw)]
    own = own_limits(battery, state, now_s)
    told = clip(wish, outer + own)
    if site.batteries:
        shares = shared_out(site, state, told, ordered, planned_kw, now_s)
        guarded.update(shares)
        state = replace(state, battery_units_kw=tuple(each.value for each in shares.values()))
    else:
        guarded[target] = told
    told_kw = told.value
    return (told_kw if free else max(told_kw, clip(wish, own).value)), state


def _other_sources(
    site: SiteParameters, battery: BatteryParameters, state: State, now_s: float, way_kw: float
) -> list[Bound]:
    """What the grid or the generator can take or give bounds the battery.

    Beside the grid it makes way for PV by `way_kw`: 0 where somebody has ordered its power.
    """
    plant = state.estimate
    net_kw = plant.net_kw
    slow = site.period_s > SAFE_PERIOD_S
    with_set = plant.generator_carries or (slow and net_kw is not None and comes(state))
    beside = (plant.grid_present and site.grid) or (with_set and site.generator)
    if not beside:
        return []  # it forms the island's grid, whatever it is told
    if net_kw is None:
        return [fade(battery, state, now_s, "the load is unknown")]
    if isinstance(beside, GridParameters):
        net_kw -= plant.generator_kw or 0.0
        return _beside_grid(beside, net_kw, battery.charge_from_grid, way_kw)
    return _beside_generator(beside, net_kw, slow)


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


def _beside_generator(generator: GeneratorParameters, net_kw: float, slow: bool) -> list[Bound]:
    """A set's least load and rating; in a `slow` loop it gets no help that it can do without.

    What the battery gives becomes reverse power when the load falls, or when the set takes the bus,
    and the set trips before the next cycle.
    """
    margin_kw = GENERATOR_MARGIN_FRAC * generator.rated_kw
    lacking_kw = net_kw - generator.rated_kw + margin_kw
    bounds = [
        Bound(None, net_kw - generator.min_kw - margin_kw, "generator's minimum load"),
        Bound(lacking_kw, None, "generator's rating"),
    ]
    if slow:
        reason = "the load may fall between two cycles"
        bounds.insert(0, Bound(None, max(0.0, lacking_kw), reason))
    return bounds


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
        guarded[target] = clip(_wish(verdicts, target, pv.rated_kw), bounds)
