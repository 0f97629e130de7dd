"""A cycle in which nothing was measured: for decisions that are given an estimate of their own."""

from control.records import Sample


def blank_sample(
    t_s: float, utc_s: float, hour_local: float = 12.0, prices: tuple[float, float] = (0.3, 0.05)
) -> Sample:
    """`prices`: of the grid, per kWh bought and sold."""
    return Sample(
        cycle=0,
        t_s=t_s,
        utc_s=utc_s,
        irradiance_w_m2=None,
        emergency_stop=None,
        pv=(),
        wind=(),
        batteries=(),
        generators=(),
        grid=None,
        sun_elevation_deg=0.0,
        hour_local=hour_local,
        price_buy_per_kwh=prices[0],
        price_sell_per_kwh=prices[1],
    )
