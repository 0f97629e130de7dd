"""Neighbours in the day plan: committed trades as load, agreed prices in place of the grid's.

What a house has traded is settled whatever it does; what it draws beside that costs the grid's
prices. So a sold kWh is planned as load, a bought one as load already served, and the connection's
limits are shifted back. Steps that are not traded yet have the price agreed among neighbours.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from control.dispatch_instance import Floats, Instance
from control.records import Plan
from control.trades import Market, Trade
from firmware.day_plan import Situation, slot_start


def beside_neighbours(instance: Instance, situation: Situation) -> tuple[Instance, Floats]:
    """The problem that the market leaves, and the power that is traded in each step.

    An island does not trade.
    """
    if not situation.grid_present:
        return instance, np.zeros(instance.steps)
    step_s = 3600.0 * instance.step_h
    _, start_utc_s = slot_start(situation, step_s)
    starts_utc_s = np.asarray(start_utc_s + step_s * np.arange(instance.steps), dtype=np.float64)
    priced = with_agreed_prices(instance, situation.market, starts_utc_s, situation.utc_s)
    return with_trades(priced, traded_kw(situation.market.trades, starts_utc_s, step_s))


def with_traded(plan: Plan, bought_kw: Floats) -> Plan:
    """The plan of what the trades left, with them: its grid power is the connection's."""
    if not bought_kw.any():
        return plan
    grid_kw = np.array(plan.grid_kw) + bought_kw
    return replace(plan, grid_kw=tuple(grid_kw.tolist()), traded_kw=tuple(bought_kw.tolist()))


def traded_kw(trades: Iterable[Trade], starts_utc_s: Floats, step_s: float) -> Floats:
    """Mean power bought (> 0) or sold in each step."""
    bought_kw = np.zeros(starts_utc_s.size)
    for trade in trades:
        ends_s = np.minimum(starts_utc_s + step_s, trade.until_utc_s)
        overlap_s = ends_s - np.maximum(starts_utc_s, trade.from_utc_s)
        bought_kw += trade.bought_kw * np.maximum(0.0, overlap_s) / step_s
    return bought_kw


def with_trades(instance: Instance, bought_kw: Floats) -> tuple[Instance, Floats]:
    """The problem that committed trades leave, and how much of them it takes into account.

    What is bought beyond the load is not planned with: it is not stored. What is sold beyond the
    connection's limit cannot leave.
    """
    most_kw = np.minimum(instance.load_kw, instance.import_max_kw)
    taken_kw = np.clip(bought_kw, -instance.export_max_kw, most_kw)
    left = replace(
        instance,
        load_kw=instance.load_kw - taken_kw,
        import_max_kw=instance.import_max_kw - taken_kw,
        export_max_kw=instance.export_max_kw + taken_kw,
    )
    return left, taken_kw


def with_agreed_prices(
    instance: Instance, market: Market, starts_utc_s: Floats, now_utc_s: float
) -> Instance:
    """The problem with the neighbours' prices, where they are better than the grid's.

    Not in the running step: what is not traded by now is the grid's.
    """
    if not market.prices_per_kwh:
        return instance
    index = np.floor((starts_utc_s - market.prices_from_utc_s) / market.prices_step_s).astype(int)
    known = (index >= 0) & (index < len(market.prices_per_kwh)) & (starts_utc_s > now_utc_s)
    agreed = np.array(market.prices_per_kwh)[np.where(known, index, 0)]
    buy, sell = instance.price_buy_per_kwh, instance.price_sell_per_kwh
    return replace(
        instance,
        price_buy_per_kwh=np.where(known, np.minimum(buy, agreed), buy),
        price_sell_per_kwh=np.where(known, np.clip(agreed, sell, np.maximum(sell, buy)), sell),
    )
