"""Ordered limits as the site's own: tighter, never looser."""

import math
from dataclasses import replace

from control.records import Orders
from control.site import BatteryParameters, GridParameters, SiteParameters


def tightened(site: SiteParameters, orders: Orders) -> SiteParameters:
    """Return `site` with the limits and the reserve that `orders` tighten.

    What is not finite is no order; a limit below 0 is 0.
    """
    return replace(
        site,
        grid=site.grid and _grid(site.grid, orders),
        battery=site.battery and _battery(site.battery, orders.reserve_soc_frac),
        batteries=tuple(_battery(each, orders.reserve_soc_frac) for each in site.batteries),
    )


def _grid(grid: GridParameters, orders: Orders) -> GridParameters:
    import_kw = tighter_kw(grid.import_max_kw, orders.import_max_kw)
    export_kw = tighter_kw(grid.export_max_kw, orders.export_max_kw)
    return replace(
        grid,
        import_max_kw=import_kw,
        export_max_kw=export_kw,
        import_ordered=import_kw < grid.import_max_kw,
        export_ordered=export_kw < grid.export_max_kw,
    )


def _battery(battery: BatteryParameters, ordered_frac: float | None) -> BatteryParameters:
    reserve = higher_reserve_frac(battery.reserve_soc_frac, ordered_frac, battery.soc_max_frac)
    return replace(battery, reserve_soc_frac=reserve)


def tighter_kw(limit_kw: float, ordered_kw: float | None) -> float:
    """Return the site's limit or the ordered one, whichever is tighter."""
    if ordered_kw is None or not math.isfinite(ordered_kw):
        return limit_kw
    return min(limit_kw, max(0.0, ordered_kw))


def higher_reserve_frac(
    reserve_frac: float, ordered_frac: float | None, soc_max_frac: float
) -> float:
    """Return the site's reserve or the ordered one, whichever is higher; a full battery at most."""
    if ordered_frac is None or not math.isfinite(ordered_frac):
        return reserve_frac
    return max(reserve_frac, min(ordered_frac, soc_max_frac))
