"""One battery, one generator: what is known of each, and of several of them together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from control.fleet import sequences
from control.readings import Holder, Reading, at, plausible
from control.records import BatteryMeasurement, GeneratorMeasurement, Observed, Sample
from control.site import BatteryParameters, GeneratorParameters, SiteParameters
from control.state import BatteryEstimate, GeneratorEstimate, GeneratorState, State

LIMIT_HOLD_S = 5.0  # a battery's live limits stand in no longer than this
MOST_OF_RATING = 3.0  # a power beyond this is no measurement
BACKWARDS_OF_RATING = 0.5  # nor is one so far into a source
CARRIES_OF_RATING = 0.05  # a set whose phase is unknown runs when it gives this much
UNKNOWN = "unknown"
PHASES = ("stopped", "starting", "warming", "running", "cooling")
FOREMOST = ("running", "warming", "starting", "cooling", "stopped")  # of several sets
RESTS = Reading(0.0, fresh=True)


# --- batteries -----------------------------------------------------------------------------


def batteries(
    site: SiteParameters, sample: Sample, hold: Holder, missing: list[str]
) -> tuple[list[Reading], list[BatteryEstimate]]:
    """The power of every battery for the balance, and what is known of each.

    One of several that is silent for longer than its last value holds counts as part of the load:
    the others answer to what is left, whatever it still does until its lease is over.
    """
    units = site.battery_units
    readings = [
        _battery_power(unit, at(sample.batteries, index), hold, missing)
        for index, unit in enumerate(units)
    ]
    seen = [
        _charge(site, unit, at(sample.batteries, index), hold, missing, reading)
        for index, (unit, reading) in enumerate(zip(units, readings, strict=True))
    ]
    if any(reading.kw is not None for reading in readings):
        readings = [RESTS if reading.kw is None else reading for reading in readings]
    return readings or [RESTS], seen


def _battery_power(
    battery: BatteryParameters,
    observed: Observed[BatteryMeasurement],
    hold: Holder,
    missing: list[str],
) -> Reading:
    most_kw = MOST_OF_RATING * max(battery.charge_max_kw, battery.discharge_max_kw)
    measured_kw = observed.good.power_kw if observed.good else None
    reading = hold.reading(battery.name, plausible(measured_kw, -most_kw, most_kw), observed.age_s)
    if reading.kw is None:
        missing.append(battery.name)
    return reading


def _charge(
    site: SiteParameters,
    battery: BatteryParameters,
    observed: Observed[BatteryMeasurement],
    hold: Holder,
    missing: list[str],
    reading: Reading,
) -> BatteryEstimate:
    """State of charge, live charge and discharge limits; None is unknown."""
    measured = observed.good
    measured_frac = plausible(measured.soc_frac, 0.0, 1.0) if measured else None
    soc_frac = hold.value(f"{battery.name}.soc", measured_frac)
    if soc_frac is None:
        missing.append(battery.name)
    nothing = None if soc_frac is not None else float("nan")  # says nothing, or should say it
    charge_kw = discharge_kw = nothing
    if measured:
        charge_kw, discharge_kw = measured.charge_limit_kw, measured.discharge_limit_kw
    name, most_s = battery.name, min(site.hold_s, max(LIMIT_HOLD_S, 2.0 * site.period_s))
    charge_kw = hold.limit(f"{name}.charge_limit", charge_kw, battery.charge_max_kw, most_s)
    discharge_kw = hold.limit(
        f"{name}.discharge_limit", discharge_kw, battery.discharge_max_kw, most_s
    )
    if measured and measured.state == "fault":
        charge_kw = discharge_kw = 0.0
    return BatteryEstimate(reading.kw, soc_frac, charge_kw, discharge_kw)


# --- generators ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sets:
    """All generators: their powers for the balance, each by itself, and what they are as one."""

    readings: list[Reading]
    each: list[GeneratorEstimate]
    phase: str
    available: bool


def generators(
    site: SiteParameters, state: State, sample: Sample, hold: Holder, missing: list[str]
) -> Sets:
    """What is known of every generator.

    A silent one beside another that carries counts as load: the one that is seen balances the rest.
    """
    units, ours = site.generator_units, sequences(site, state)
    if not units:
        return Sets([RESTS], [], "none", available=False)
    readings, each = [], []
    for index, (unit, own) in enumerate(zip(units, ours, strict=True)):
        before = _before(state, index)
        reading, now = _generator(unit, own, before, at(sample.generators, index), hold, missing)
        readings.append(reading)
        each.append(replace(now, kw=reading.kw))
    if any(now.carries and now.kw is not None for now in each):
        readings = [RESTS if reading.kw is None else reading for reading in readings]
    return Sets(readings, each, _foremost(each, ours), any(now.available for now in each))


def _before(state: State, index: int) -> GeneratorEstimate:
    plant = state.estimate
    if index < len(plant.generators):
        return plant.generators[index]
    return GeneratorEstimate(None, plant.generator_phase, plant.generator_available)


def _foremost(each: Sequence[GeneratorEstimate], ours: Sequence[GeneratorState]) -> str:
    """The phase of several sets as one: that of the one that is furthest."""
    phases = [now.phase for now in each]
    unseen = any(own.run and phase == UNKNOWN for own, phase in zip(ours, phases, strict=True))
    if unseen and "running" not in phases:
        return UNKNOWN
    return next((phase for phase in FOREMOST if phase in phases), UNKNOWN)


def _generator(
    generator: GeneratorParameters,
    own: GeneratorState,
    before: GeneratorEstimate,
    observed: Observed[GeneratorMeasurement],
    hold: Holder,
    missing: list[str],
) -> tuple[Reading, GeneratorEstimate]:
    """Power, phase and whether it may be started."""
    measured = observed.good
    if measured is None:
        reading = hold.reading(generator.name, None, 0.0)
        if reading.kw is not None:
            return reading, before
        missing.append(generator.name)
        # Not asked to run, so most likely still: better than losing the load estimate.
        still = not own.run
        unknown = GeneratorEstimate(None, UNKNOWN, available=False)
        return Reading(0.0 if still else None, fresh=still), unknown
    rated_kw = generator.rated_kw
    low_kw, high_kw = -BACKWARDS_OF_RATING * rated_kw, MOST_OF_RATING * rated_kw
    power_kw = plausible(measured.power_kw, low_kw, high_kw)
    phase = measured.phase if measured.phase in PHASES else UNKNOWN
    if phase == UNKNOWN and power_kw is not None and power_kw > CARRIES_OF_RATING * rated_kw:
        phase = "running"
    if power_kw is None and phase not in ("running", UNKNOWN):
        power_kw = 0.0  # its breaker is open
    reading = hold.reading(generator.name, power_kw, observed.age_s)
    if reading.kw is None:
        missing.append(generator.name)
    return reading, GeneratorEstimate(None, phase, measured.available)
