"""How a surplus is split now: between battery, grid and the neighbours who ask for it."""

import math
from dataclasses import replace

from control.site import SiteParameters
from control.surplus import Parts, split

NEUTRAL_DEGC = 20.0


def surplus_shares(
    site: SiteParameters,
    *,
    price_buy_per_kwh: float,
    temperature_degc: float | None,
    hour_local: float,
    interest_frac: float,
    soc_frac: float,
) -> Parts | None:
    """The shares of the fuzzy split (Shahzad 2021); None where something is not a number.

    Peers have a share only while some of them want to buy.
    """
    degc = NEUTRAL_DEGC if temperature_degc is None else temperature_degc
    inputs = (price_buy_per_kwh, degc, hour_local, interest_frac, 1.0 - soc_frac)
    if not all(map(math.isfinite, inputs)):
        return None
    settings = replace(
        site.surplus,
        price_low_per_kwh=site.price_low_per_kwh,
        price_high_per_kwh=site.price_high_per_kwh,
    )
    buyers = ("p2p",) if interest_frac > 0 else ()
    return split(*inputs, settings).raw.shared_among("store", "export", *buyers)
