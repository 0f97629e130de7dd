"""An island's battery near the most it can give, for longer than a kettle boils: time for the set.

Load-dependent start, as generator controllers of the field have it beside start by state of charge.
"""

from control.site import BatteryParameters, SiteParameters
from control.state import Estimate, State

STRAINED_FRAC = 0.9  # of the power the battery can give
RELIEVED_FRAC = 0.6  # the strain has ended
LASTING_S = 60.0


def strained_since(site: SiteParameters, state: State, now_s: float) -> float | None:
    """Since when the load that sun and wind leave strains the battery; None while it does not."""
    battery, plant, before = site.battery, state.estimate, state.generator.strained_since_s
    if battery is None or plant.grid_present or plant.net_kw is None:
        return None
    limit = RELIEVED_FRAC if before is not None else STRAINED_FRAC
    if plant.net_kw < limit * ability_kw(battery, plant):
        return None
    return now_s if before is None else before


def is_strained(state: State, now_s: float) -> bool:
    """The strain has lasted."""
    since_s = state.generator.strained_since_s
    return since_s is not None and now_s - since_s >= LASTING_S


def ability_kw(battery: BatteryParameters, plant: Estimate) -> float:
    """Most that the battery can give now."""
    live_kw = plant.discharge_limit_kw
    nameplate_kw = battery.discharge_max_kw
    return nameplate_kw if live_kw is None else min(live_kw, nameplate_kw)
