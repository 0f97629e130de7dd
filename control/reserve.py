"""How much energy a plan keeps for a day that turns out worse than its forecast's median.

The forecast's band says how far load and sun may be off. A kWh that is then missing is not served
unless something else can serve it: the grid at once, a generator after its rest, nothing on an
island without one. So the reserve after each step is what a bad day, one in ten, would take
more than foreseen until help is there; a kWh short of it costs what it would then fail to serve.
"""

from dataclasses import dataclass

import numpy as np

from control.dispatch_instance import Floats
from control.records import Series

BAD_DAY_SHARE = 0.1  # of days are worse than the band
LASTING_SHARE = 0.5  # of an error lasts for hours, the rest comes and goes
USABLE_SHARE = 0.5  # of the battery at most: the rest is there to be used
WORDS_KWH = 0.5  # told in steps of so much: no new words for every slot


@dataclass(frozen=True, slots=True, eq=False)
class Reserve:
    """Energy above the battery's lower limit that is wanted after every step."""

    kwh: Floats
    short_per_kwh_h: float  # in the objective, for a kWh that is missing for an hour

    def words(self, step: int) -> str:
        """What a person should know of it in a step; empty if there is none."""
        kwh = WORDS_KWH * round(float(self.kwh[step]) / WORDS_KWH)
        return f"keeps {kwh:g} kWh for a bad day" if kwh else ""


def reserve(
    load: Series,
    pv: Series,
    *,
    step_h: float,
    help_after_h: float,
    usable_kwh: float,
    unserved_per_kwh: float,
) -> Reserve:
    """Return the reserve of a horizon; none where help is there at once (`help_after_h` 0)."""
    steps = len(load.p50_kw)
    if help_after_h <= 0 or usable_kwh <= 0:
        return Reserve(np.zeros(steps), 0.0)
    more_load = np.maximum(np.array(load.p90_kw) - np.array(load.p50_kw), 0.0)
    less_sun = np.maximum(np.array(pv.p50_kw) - np.array(pv.p10_kw), 0.0)
    error_kwh = step_h * np.hypot(more_load, less_sun)
    window = max(1, round(help_after_h / step_h))
    # Of an error that lasts the steps add up; of one that comes and goes their squares do.
    lasting = _ahead(error_kwh, window)
    passing = np.sqrt(_ahead(error_kwh**2, window))
    wanted = np.hypot(LASTING_SHARE * lasting, (1 - LASTING_SHARE) * passing)
    kwh = np.minimum(wanted, USABLE_SHARE * usable_kwh)
    return Reserve(kwh, BAD_DAY_SHARE * unserved_per_kwh / (window * step_h))


def _ahead(values: Floats, window: int) -> Floats:
    """After every step, the sum over the next `window` ones within the horizon."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    after = np.arange(1, values.size + 1)
    return np.asarray(total[np.minimum(after + window, values.size)] - total[after])
