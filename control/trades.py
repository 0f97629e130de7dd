"""What passes between the loop and its trading process: the house's position in, the market out.

Plain records that `firmware.codec` writes as JSON. Powers in kW with the signs of the plant (grid
> 0 drawn, battery > 0 discharging), energies of the market in Wh, times in UTC seconds unless they
are called `t_s` (monotonic). Nothing is 0 for unknown: it is None, or empty where it is a series.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantiles:
    """What is expected of one quantity in each step: it stays below with 10, 50 and 90 %."""

    p10_kw: tuple[float, ...] = ()
    p50_kw: tuple[float, ...] = ()
    p90_kw: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """The battery as the market sees it: at its AC terminals; no capacity: there is none."""

    capacity_kwh: float = 0.0
    charge_max_kw: float = 0.0
    discharge_max_kw: float = 0.0
    charge_efficiency_frac: float = 1.0  # AC to stored, with the inverter
    discharge_efficiency_frac: float = 1.0  # stored to AC
    wear_per_kwh: float = 0.0  # per kWh through the terminals, either way
    charge_from_grid: bool = True  # what the connection brings may be stored


@dataclass(frozen=True, slots=True)
class Position:
    """The house now, and what it expects of the day: sent about once a second."""

    utc_s: float
    t_s: float
    clock_problem: str  # why the wall clock is not to be trusted; empty: it is
    trading: bool  # the operator's switch
    # what is ahead: steps of `step_s` from `from_utc_s` on (the step that `utc_s` lies in)
    from_utc_s: float
    step_s: float
    load_kw: Quantiles
    generation_kw: Quantiles  # PV and wind, before curtailment
    grid_kw: tuple[float, ...]  # the plan's; empty: there is no plan
    battery_kw: tuple[float, ...]
    buy_per_kwh: tuple[float, ...]  # the grid's prices
    sell_per_kwh: tuple[float, ...]
    # the battery and the connection, with every order that tightens them
    soc_frac: float | None
    soc_min_frac: float  # the market may use what lies above it: minimum or reserve, the higher one
    soc_max_frac: float
    stored_value_per_kwh: float | None  # of one kWh more in the battery, by the plan
    import_max_kw: float  # 0 while there is no grid
    export_max_kw: float
    p2p_share_frac: float | None  # of a surplus, by the fuzzy split; None: it was not asked
    # the meter's registers, None without a meter
    import_kwh: float | None = None
    export_kwh: float | None = None


@dataclass(frozen=True, slots=True)
class Trade:
    """All that this house has traded for one slot: committed, and known in time to be delivered."""

    epoch: int
    from_utc_s: float
    until_utc_s: float
    net_wh: int  # > 0 bought, < 0 sold
    price_per_kwh: float  # paid, or received after the fee

    @property
    def bought_kw(self) -> float:
        """Its constant power; < 0: sold."""
        return 3.6 * self.net_wh / (self.until_utc_s - self.from_utc_s)


@dataclass(frozen=True, slots=True)
class Market:
    """What the market says to the house; not to be used after `expires_utc_s`.

    The agreed day ahead (prices, stored energy) is empty while the house plans alone.
    """

    expires_utc_s: float
    trades: tuple[Trade, ...] = ()  # of the running slot and the next one; each ends by itself
    interest_frac: float = 0.0  # members with a buying order in the last book, of all others
    prices_from_utc_s: float = 0.0
    prices_step_s: float = 0.0
    prices_per_kwh: tuple[float, ...] = ()  # what energy is expected to cost among neighbours
    stored_kwh: tuple[
        float, ...
    ] = ()  # agreed trajectory: at the start of each step and at the end
    stored_value_per_kwh: float | None = None  # of one kWh more in the battery, with neighbours
    role: int = 0  # in the coming slot: +1 sells, -1 buys (Qayyum 2023), 0 neither
    detail: str = ""  # what it does now, in words
    problem: str = ""  # why it does not trade; empty: it does
    events: tuple[str, ...] = ()  # what has happened since the last time, told once


NO_MARKET = Market(expires_utc_s=0.0)
