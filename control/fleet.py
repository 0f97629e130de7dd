"""Several batteries as one, several generators as one: what the rules decide on.

Rules, plan, safety and orders know one battery power and one wish to run. What each unit makes of
it is decided afterwards, in `control.allotment` and `control.sets`. Where there is one unit of a
kind, it is itself "all of them" and nothing here changes anything.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from control.curtail import TAPER_H
from control.site import BatteryParameters, GeneratorParameters, SiteParameters
from control.state import (
    BatteryEstimate,
    Estimate,
    GeneratorEstimate,
    GeneratorState,
    State,
)

BATTERIES = "all batteries"  # no device can have a name with a space
GENERATORS = "all generators"


# --- batteries -----------------------------------------------------------------------------


def joined_battery(units: Sequence[BatteryParameters]) -> BatteryParameters | None:
    """Return the batteries as one: powers add up, charges count by capacity; None for none."""
    if len(units) < 2:
        return units[0] if units else None
    capacity_kwh = sum(unit.capacity_kwh for unit in units)

    def mean(fracs: Sequence[float]) -> float:
        kwh = (frac * unit.capacity_kwh for frac, unit in zip(fracs, units, strict=True))
        return sum(kwh) / capacity_kwh

    return BatteryParameters(
        name=BATTERIES,
        capacity_kwh=capacity_kwh,
        charge_max_kw=sum(unit.charge_max_kw for unit in units),
        discharge_max_kw=sum(unit.discharge_max_kw for unit in units),
        soc_min_frac=mean([unit.soc_min_frac for unit in units]),
        soc_max_frac=mean([unit.soc_max_frac for unit in units]),
        reserve_soc_frac=mean([unit.reserve_soc_frac for unit in units]),
        ramp_kw_per_s=sum(unit.ramp_kw_per_s for unit in units),
        charge_from_grid=all(unit.charge_from_grid for unit in units),
    )


def counting(plant: Estimate) -> tuple[bool, ...]:
    """Which of several batteries can do anything: a charge that is known, and a limit above 0."""
    return tuple(
        unit.soc_frac is not None
        and ((unit.charge_limit_kw or 0.0) > 0.0 or (unit.discharge_limit_kw or 0.0) > 0.0)
        for unit in plant.batteries
    )


def batteries_together(
    units: Sequence[BatteryParameters], plant: Estimate, seen: Sequence[BatteryEstimate]
) -> Estimate:
    """Return `plant` with several batteries' estimates and what they are together.

    A battery that does not count adds nothing, while another does.
    """
    plant = replace(plant, batteries=tuple(seen))
    counts = counting(plant)
    pairs = list(zip(units, seen, strict=True))
    if any(counts):
        pairs = [pair for pair, yes in zip(pairs, counts, strict=True) if yes]
    elif any(None in (k.soc_frac, k.charge_limit_kw, k.discharge_limit_kw) for k in seen):
        return replace(plant, soc_frac=None, charge_limit_kw=None, discharge_limit_kw=None)
    capacity_kwh = sum(unit.capacity_kwh for unit, _ in pairs)
    stored_kwh = sum(unit.capacity_kwh * (known.soc_frac or 0.0) for unit, known in pairs)
    rooms = [room_kw(unit, known) for unit, known in pairs]
    return replace(
        plant,
        soc_frac=stored_kwh / capacity_kwh,
        charge_limit_kw=sum(charge for charge, _ in rooms),
        discharge_limit_kw=sum(discharge for _, discharge in rooms),
    )


def room_kw(unit: BatteryParameters, known: BatteryEstimate) -> tuple[float, float]:
    """Most that one battery may be charged and discharged with now, both >= 0."""
    if known.soc_frac is None:
        return 0.0, 0.0
    below_kwh = max(0.0, unit.soc_max_frac - known.soc_frac) * unit.capacity_kwh
    above_kwh = max(0.0, known.soc_frac - unit.soc_min_frac) * unit.capacity_kwh
    return (
        min(unit.charge_max_kw, known.charge_limit_kw or 0.0, below_kwh / TAPER_H),
        min(unit.discharge_max_kw, known.discharge_limit_kw or 0.0, above_kwh / TAPER_H),
    )


# --- generators ----------------------------------------------------------------------------


def joined_generator(units: Sequence[GeneratorParameters]) -> GeneratorParameters | None:
    """Return the sets as one; None for none.

    Governors share load by rating, so the set with the highest minimum load sets it for all.
    """
    if len(units) < 2:
        return units[0] if units else None
    return GeneratorParameters(
        name=GENERATORS,
        by_relay=False,
        rated_kw=sum(unit.rated_kw for unit in units),
        min_load_frac=max(unit.min_load_frac for unit in units),
        min_run_s=max(unit.min_run_s for unit in units),
        min_rest_s=max(unit.min_rest_s for unit in units),
        warm_up_s=max(unit.warm_up_s for unit in units),
        cool_down_s=max(unit.cool_down_s for unit in units),
        max_run_s=max(unit.max_run_s for unit in units),
        start_timeout_s=max(unit.start_timeout_s for unit in units),
    )


def each_battery(
    site: SiteParameters, plant: Estimate
) -> Iterator[tuple[BatteryParameters, BatteryEstimate]]:
    """Every battery with what is known of it, also where there is one."""
    known = plant.batteries
    if not site.batteries:
        limits = plant.charge_limit_kw, plant.discharge_limit_kw
        known = (BatteryEstimate(plant.battery_kw, plant.soc_frac, *limits),)
    known = known or (BatteryEstimate(),) * len(site.batteries)
    yield from zip(site.battery_units, known, strict=False)


def each_set(
    site: SiteParameters, state: State
) -> Iterator[tuple[GeneratorParameters, GeneratorState, GeneratorEstimate]]:
    """Every generator with its sequence and what is known of it, also where there is one."""
    plant = state.estimate
    seen = plant.generators
    if not site.generators:
        phase, available = plant.generator_phase, plant.generator_available
        seen = (GeneratorEstimate(plant.generator_kw, phase, available),)
    seen = seen or (GeneratorEstimate(),) * len(site.generators)
    yield from zip(site.generator_units, sequences(site, state), seen, strict=False)


def sequences(site: SiteParameters, state: State) -> tuple[GeneratorState, ...]:
    """Every generator's own sequence, in the site's order."""
    if not site.generators:
        return (state.generator,) if site.generator else ()
    known = state.generators[: len(site.generators)]
    return known + (GeneratorState(),) * (len(site.generators) - len(known))


def sequences_together(units: Sequence[GeneratorState], before: GeneratorState) -> GeneratorState:
    """Return the sets' sequences as one; what belongs to no set is kept from `before`."""
    running = [unit for unit in units if unit.run]
    since_s = [unit.since_s for unit in running or units]
    locked = [unit.locked for unit in units]
    return replace(
        before,
        run=bool(running),
        since_s=min(since_s) if running else max(since_s),
        carried=any(unit.carried for unit in running),
        still_since_s=None,
        attempts=max(unit.attempts for unit in units),
        locked=locked[0] if all(locked) else "",
    )


# --- of this cycle -------------------------------------------------------------------------


def of_now(site: SiteParameters, state: State) -> tuple[SiteParameters, State]:
    """Return the site whose "all" are the batteries that count and the sets that carry load.

    The battery's last setpoint becomes that of those that count, where ramps begin.
    """
    plant = state.estimate
    if site.batteries:
        counts = counting(plant)
        if any(counts):
            units = [unit for unit, yes in zip(site.batteries, counts, strict=True) if yes]
            site = replace(site, battery=replace(_joined(units), name=BATTERIES))
        if any(counts) and len(state.battery_units_kw) == len(counts):
            last = zip(state.battery_units_kw, counts, strict=True)
            state = replace(state, battery_kw=sum(kw for kw, yes in last if yes))
    if site.generators:
        ours = sequences(site, state)
        known = zip(site.generators, plant.generators, ours, strict=True)
        carrying = [unit for unit, seen, _ in known if seen.carries]
        asked = [unit for unit, own in zip(site.generators, ours, strict=True) if own.run]
        generator = joined_generator(carrying or asked or site.generators)
        if generator is not None:
            site = replace(site, generator=replace(generator, name=GENERATORS))
    return site, state


def _joined(units: Sequence[BatteryParameters]) -> BatteryParameters:
    battery = joined_battery(units)
    assert battery is not None
    return battery
