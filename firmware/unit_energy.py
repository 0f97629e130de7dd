"""Energy of each battery and each generator, where there are several; beside that of all together.

The counters are named `<device>.charged`, `<device>.discharged`, `<device>.generator`.
"""

from control.fleet import each_battery, each_set
from control.site import SiteParameters
from control.state import State
from firmware.store_records import GAP_CYCLES, S_PER_H


class UnitEnergy:
    """Integrates the units' powers; what is unknown counts for nothing, as a gap in time does."""

    def __init__(self, site: SiteParameters) -> None:
        """Start with no cycle."""
        self._site = site
        self._gap_s = GAP_CYCLES * site.period_s
        self._t_s: float | None = None

    def add(self, t_s: float, state: State) -> dict[str, float]:
        """kWh per counter since the cycle before, at this cycle's powers."""
        before_s, self._t_s = self._t_s, t_s
        if before_s is None or not 0.0 < t_s - before_s <= self._gap_s:
            return {}
        powers_kw = unit_powers_kw(self._site, state)
        return {name: kw * (t_s - before_s) / S_PER_H for name, kw in powers_kw.items() if kw > 0.0}


def unit_powers_kw(site: SiteParameters, state: State) -> dict[str, float]:
    """Power of each counter, >= 0; without those of units that are unknown or the only ones."""
    found = {}
    for battery, known in each_battery(site, state.estimate) if site.batteries else ():
        if known.kw is not None:
            found[f"{battery.name}.discharged"] = max(0.0, known.kw)
            found[f"{battery.name}.charged"] = max(0.0, -known.kw)
    for generator, _, seen in each_set(site, state) if site.generators else ():
        if seen.kw is not None:
            found[f"{generator.name}.generator"] = max(0.0, seen.kw)
    return found
