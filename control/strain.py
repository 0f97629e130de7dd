"""An island's battery near the most it can give, for longer than a kettle boils: time for the set.

Load-dependent start, as generator controllers of the field have it beside start by state of charge.
Where an irradiance sensor foresees clouds, the set starts before they come.
"""

import math

from control.nowcast import MINUTES
from control.site import BatteryParameters, SiteParameters
from control.state import Estimate, State

STRAINED_FRAC = 0.9  # of the power the battery can give
RELIEVED_FRAC = 0.6  # the strain has ended
LASTING_S = 60.0
CRANKING_S = 120.0  # and the nowcast's age, before a set that is asked for begins to warm up
RAMP_RELIEVED_FRAC = 0.8  # a running set may rest when the battery could bear the ramp so easily


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


def ramp_ahead(site: SiteParameters, state: State, now_s: float) -> str:
    """Why clouds may ask more of an island's battery than it can give, before a set would carry.

    Empty when they do not, or without a nowcast of PV.
    """
    battery, plant, ahead = site.battery, state.estimate, state.sky.ahead
    if battery is None or site.generator is None or plant.grid_present or plant.net_kw is None:
        return ""
    if ahead is None or not ahead.is_fresh(now_s):
        return ""
    minutes = min(MINUTES, math.ceil((site.generator.warm_up_s + CRANKING_S) / 60.0))
    loss_kw = max(0.0, (plant.pv_kw or 0.0) - ahead.lowest_kw(minutes))
    bearable = RAMP_RELIEVED_FRAC if state.generator.run else 1.0
    if loss_kw <= 0.0 or plant.net_kw + loss_kw <= bearable * ability_kw(battery, plant):
        return ""
    return f"clouds may take {loss_kw:.1f} kW within {minutes} min, more than the battery can bear"


def ability_kw(battery: BatteryParameters, plant: Estimate) -> float:
    """Most that the battery can give now."""
    live_kw = plant.discharge_limit_kw
    nameplate_kw = battery.discharge_max_kw
    return nameplate_kw if live_kw is None else min(live_kw, nameplate_kw)
