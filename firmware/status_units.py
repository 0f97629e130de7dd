"""Each battery and each generator in the status document."""

from collections.abc import Iterator
from typing import Any

from control.records import Plan
from control.site import BatteryParameters, GeneratorParameters, SiteParameters
from control.state import BatteryEstimate, GeneratorEstimate, GeneratorState, State


def generators_as_one(site: GeneratorParameters, state: State, now_s: float) -> dict[str, Any]:
    """The generator, or all of several as one."""
    plant = state.estimate
    seen = GeneratorEstimate(plant.generator_kw, plant.generator_phase, plant.generator_available)
    return _sequence(site, state.generator, seen, now_s)


def battery_status(site: BatteryParameters, known: BatteryEstimate) -> dict[str, Any]:
    """One battery; its limits are its own, live."""
    return {
        "name": site.name,
        "power_kw": known.kw,
        "soc_frac": known.soc_frac,
        "charge_limit_kw": known.charge_limit_kw,
        "discharge_limit_kw": known.discharge_limit_kw,
    }


def set_status(
    site: GeneratorParameters, own: GeneratorState, seen: GeneratorEstimate, now_s: float
) -> dict[str, Any]:
    """One generator: power and sequence."""
    return {"name": site.name, "power_kw": seen.kw, **_sequence(site, own, seen, now_s)}


def _sequence(
    site: GeneratorParameters, generator: GeneratorState, seen: GeneratorEstimate, now_s: float
) -> dict[str, Any]:
    """Our side of the sequence; a timer that does not run now is None."""
    for_s = now_s - generator.since_s
    run = generator.run
    return {
        "asked_to_run": run,
        "for_s": for_s,
        "phase": seen.phase,
        "available": seen.available,
        "min_run_left_s": max(0.0, site.min_run_s - for_s) if run else None,
        "max_run_left_s": max(0.0, site.max_run_s - for_s) if run else None,
        "min_rest_left_s": None if run else max(0.0, site.min_rest_s - for_s),
        "failed_starts": generator.attempts,
        "locked": generator.locked,
    }


def planned_units(
    site: SiteParameters, plan: Plan, slot: int
) -> Iterator[tuple[str, float | bool]]:
    """Where there are several: a battery's kW, whether a generator is on."""
    for battery, powers_kw in zip(site.batteries, plan.battery_units_kw, strict=False):
        yield battery.name, powers_kw[slot]
    for generator, on in zip(site.generators, plan.generator_units_on, strict=False):
        yield generator.name, on[slot]
