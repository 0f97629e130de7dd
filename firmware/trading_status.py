"""The market's part of the status document."""

from typing import Any

from control.delivery import due
from control.trades import Market
from firmware.neighbours import NOBODY, Neighbours

ROLES = {1: "sells", -1: "buys", 0: "neither"}
WH_PER_KWH = 1000.0


def trading_status(neighbours: Neighbours, utc_s: float, now_s: float) -> dict[str, Any] | None:
    """What the market does for the house now; None: nobody trades for it. Times are UTC seconds."""
    if neighbours is NOBODY:
        return None
    said, market = neighbours.said, neighbours.market
    now, last = due(neighbours.deliveries, now_s), neighbours.last
    return {
        "community": said.community or None,
        "house": said.house or None,
        "peer": said.peer or None,
        "connected": said.connected,
        "problem": market.problem or None,
        "doing": market.detail or None,
        "role": ROLES.get(market.role),
        "interest_frac": market.interest_frac,
        "now": now
        and {
            "bought_kw": now.bought_kw,
            "price_per_kwh": now.price_per_kwh,
            "left_s": now.until_t_s - now_s,
        },
        "trades": [
            {
                "from_utc_s": trade.from_utc_s,
                "until_utc_s": trade.until_utc_s,
                "bought_kwh": trade.net_wh / WH_PER_KWH,
                "price_per_kwh": trade.price_per_kwh,
            }
            for trade in market.trades
        ],
        "bought_kwh": neighbours.bought_wh / WH_PER_KWH,
        "sold_kwh": neighbours.sold_wh / WH_PER_KWH,
        "last_price_per_kwh": last.price_per_kwh if last else None,
        "agreed_price_per_kwh": _agreed(market, utc_s),
    }


def _agreed(market: Market, utc_s: float) -> float | None:
    """What energy is expected to cost among neighbours: now, or in the first step agreed on."""
    if not market.prices_per_kwh:
        return None
    index = int(max(0.0, utc_s - market.prices_from_utc_s) // market.prices_step_s)
    return market.prices_per_kwh[index] if index < len(market.prices_per_kwh) else None
