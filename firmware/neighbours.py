"""What the loop knows of the neighbours: the market as last heard, and trades on its own clock."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from control.delivery import Delivery
from control.trades import NO_MARKET, Market, Trade
from firmware.config import Site

SLOT_MAX_S = 86_400.0
AHEAD_MAX_S = 2 * SLOT_MAX_S  # of everything the market says
MOST_TRADES = 8
MOST_OVER = 200
MOST_PRICES = 2000
MOST_PRICE = 1e4  # per kWh
MOST_WH = 10**9
LIMIT_SLACK_FRAC = 0.01


@dataclass(frozen=True, slots=True)
class Said:
    """What whoever trades for the house says: the market, and who the house is in it."""

    market: Market = NO_MARKET
    community: str = ""  # empty: the box is in none
    house: str = ""  # this box in the list of members
    peer: str = ""
    connected: bool = False  # to the market's broker


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What one cycle goes by. The market's events are told elsewhere."""

    said: Said = Said()
    deliveries: tuple[Delivery, ...] = ()
    last: Trade | None = None  # that was committed
    bought_wh: int = 0  # since the start, committed
    sold_wh: int = 0

    @property
    def market(self) -> Market:
        """The market, as far as it holds now."""
        return self.said.market


NOBODY = Neighbours()


class Neighbourhood:
    """Holds what was said last, and committed trades until they are over."""

    def __init__(self, site: Site) -> None:
        grid = site.grid
        self._most_kw = (grid.export_max_kw, grid.import_max_kw) if grid else (0.0, 0.0)
        self._said = Said()
        self._traded: dict[int, tuple[Trade, Delivery]] = {}  # by epoch
        self._over: deque[int] = deque(maxlen=MOST_OVER)  # epochs that were traded
        self._last: Trade | None = None
        self._bought_wh = self._sold_wh = 0
        self._latest = NOBODY

    def take(self, said: Said, utc_s: float, t_s: float) -> str:
        """Go by this from now on, at the same moment by both clocks; what is wrong with it, if so.

        A trade gets its place on the loop's clock when it is heard of first: whatever the wall
        clock does later, it stays there, and what is over stays over.
        """
        if nonsense := _nonsense(said.market, utc_s, self._most_kw):
            return nonsense
        trades = [trade for trade in said.market.trades if trade.epoch not in self._over]
        if len(self._traded.keys() | {trade.epoch for trade in trades}) > MOST_TRADES:
            return "too many trades"
        self._said = said
        for trade in trades:
            known = self._traded.get(trade.epoch)
            if known is None or known[0] != trade:
                self._count(trade, known[0] if known else None)
                self._traded[trade.epoch] = trade, _delivery(trade, utc_s - t_s)
        return ""

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """Committed trades that are not over, on the loop's clock."""
        return tuple(delivery for _, delivery in self._traded.values())

    def fail(self, why: str) -> None:
        """Nobody trades for the house now; what is committed is delivered all the same."""
        market = replace(NO_MARKET, problem=why)
        self._said = replace(self._said, market=market, connected=False)

    def latest(self, utc_s: float, t_s: float, hindrance: str = "") -> Neighbours:
        """What holds now; the same object while nothing changes."""
        self._over.extend(e for e, item in self._traded.items() if t_s >= item[1].until_t_s)
        self._traded = {e: item for e, item in self._traded.items() if t_s < item[1].until_t_s}
        market = self._said.market
        if utc_s >= market.expires_utc_s:
            market = replace(NO_MARKET, problem=market.problem)
        trades = tuple(trade for trade, _ in self._traded.values())
        market = replace(
            market, trades=trades, events=(), problem=hindrance or market.problem, expires_utc_s=0.0
        )
        now = Neighbours(
            replace(self._said, market=market),
            self.deliveries,
            self._last,
            self._bought_wh,
            self._sold_wh,
        )
        if now != self._latest:
            self._latest = now
        return self._latest

    def _count(self, trade: Trade, before: Trade | None) -> None:
        """Add a trade up; `before` is what was known of the same slot."""
        self._last = trade
        for each, sign in ((trade, 1), (before, -1)):
            if each is not None:
                self._bought_wh += sign * max(0, each.net_wh)
                self._sold_wh += sign * max(0, -each.net_wh)


def _delivery(trade: Trade, utc_of_t_s: float) -> Delivery:
    return Delivery(
        trade.from_utc_s - utc_of_t_s,
        trade.until_utc_s - utc_of_t_s,
        trade.bought_kw,
        trade.price_per_kwh,
    )


# --- what is not believed -------------------------------------------------------------------


def _nonsense(market: Market, utc_s: float, most_kw: tuple[float, float]) -> str:
    """What is wrong with a market that decodes; empty when nothing is."""
    if not market.expires_utc_s <= utc_s + AHEAD_MAX_S:
        return "its expiry"
    if not 0.0 <= market.interest_frac <= 1.0:
        return "the buyers' interest"
    if len(market.trades) > MOST_TRADES or len(market.prices_per_kwh) > MOST_PRICES:
        return "too much of it"
    if not _are_prices(market.prices_per_kwh):
        return "agreed prices"
    if market.prices_per_kwh and not 0.0 < market.prices_step_s <= SLOT_MAX_S:
        return "the step of agreed prices"
    if market.prices_per_kwh and not abs(market.prices_from_utc_s - utc_s) <= AHEAD_MAX_S:
        return "the time of agreed prices"
    return next((why for trade in market.trades if (why := _wrong(trade, utc_s, most_kw))), "")


def _wrong(trade: Trade, utc_s: float, most_kw: tuple[float, float]) -> str:
    length_s = trade.until_utc_s - trade.from_utc_s
    if not 0.0 < length_s <= SLOT_MAX_S or not abs(trade.from_utc_s - utc_s) <= AHEAD_MAX_S:
        return "a trade's times"
    if not _are_prices((trade.price_per_kwh,)):
        return "a trade's price"
    if abs(trade.net_wh) > MOST_WH:
        return "a trade's energy"
    sold_kw, bought_kw = (kw * (1.0 + LIMIT_SLACK_FRAC) for kw in most_kw)
    if not -sold_kw <= trade.bought_kw <= bought_kw:
        return f"a trade of {trade.bought_kw:.2f} kW, beyond the connection's limits"
    return ""


def _are_prices(values: Iterable[float]) -> bool:
    return all(math.isfinite(value) and abs(value) <= MOST_PRICE for value in values)
