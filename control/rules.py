"""The rules that hold when there is no plan, and that a plan has to beat: no forecast, no memory
but a hysteresis.
"""

from control.site import BatteryParameters, GeneratorParameters

START_MARGIN_FRAC = 0.08  # of capacity above the floor: an island starts its generator here
STOP_SPAN_FRAC = 0.6  # of the usable range: and stops it here
BEST_LOAD_FRAC = 0.75  # of rating: where a diesel set burns least per kWh


def self_consumption_kw(
    net_kw: float, soc_frac: float, battery: BatteryParameters, share_stored: float = 1.0
) -> float:
    """Battery power (kW, > 0 discharges) beside a grid: cover the deficit, store the surplus.

    `net_kw` is load minus all other sources; `share_stored` of a surplus is charged. Below the
    reserve nothing is discharged: the grid serves.
    """
    if net_kw <= 0:
        return share_stored * net_kw
    return net_kw if soc_frac > battery.reserve_soc_frac else 0.0


def charge_beside_generator_kw(net_kw: float, generator: GeneratorParameters) -> float:
    """Battery power that lets a running set carry its best load; `net_kw` is without the set."""
    return net_kw - max(generator.min_kw, BEST_LOAD_FRAC * generator.rated_kw)


def generator_wanted(soc_frac: float, battery: BatteryParameters, running: bool) -> bool:
    """Whether an island wants its generator, by state of charge with hysteresis."""
    start = battery.soc_min_frac + START_MARGIN_FRAC
    stop = battery.soc_min_frac + STOP_SPAN_FRAC * (battery.soc_max_frac - battery.soc_min_frac)
    return soc_frac < max(stop, start) if running else soc_frac < start
