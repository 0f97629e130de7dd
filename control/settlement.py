"""Settling one slot: committed trades against what the meters say. Integers only.

Prices are 1e-5 currency per kWh and energies Wh, so every product is money in 1e-8 currency without
rounding, and the accounts of peers, grid and fee add up to zero to the last unit.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deal:
    """A trade that binds both: the buyer pays `price` per kWh, the seller gets it less the fee."""

    buyer: str
    seller: str
    wh: int
    price: int
    fee: int


@dataclass(frozen=True, slots=True)
class Metered:
    """What one peer's meter counted in the slot, both >= 0."""

    import_wh: int
    export_wh: int


@dataclass(frozen=True, slots=True)
class Line:
    """One peer's slot. Money > 0 is received, < 0 paid."""

    peer: str
    bought_wh: int
    sold_wh: int
    deviation_wh: int  # metered import less export less what was bought and not sold on
    trade_money: int
    grid_money: int
    provisional: bool  # no reading: counted as if it had kept to its trades

    @property
    def money(self) -> int:
        """All that the peer receives or pays."""
        return self.trade_money + self.grid_money


@dataclass(frozen=True, slots=True)
class Settlement:
    """All accounts of one slot; their money adds up to zero."""

    lines: tuple[Line, ...]  # by peer
    grid_money: int
    fee_money: int

    def accounts(self) -> dict[tuple[str, str], int]:
        """Money of each account: ("peer", id), ("grid", ""), ("fee", "")."""
        peers = {("peer", line.peer): line.money for line in self.lines}
        return peers | {("grid", ""): self.grid_money, ("fee", ""): self.fee_money}


def settle(
    deals: Iterable[Deal], metered: Mapping[str, Metered | None], retail: int, feed_in: int
) -> Settlement:
    """Trades at their price, deviations at the grid's: `retail` for taking, `feed_in` for giving.

    `metered` names every peer that is settled, None where no reading came. Raises ValueError for a
    party that it does not name, negative energies, and a feed-in price above retail.
    """
    if feed_in > retail:
        raise ValueError(f"feed-in price {feed_in}: at most retail = {retail} allowed")
    bought, sold, traded = _per_peer(deals, metered)
    lines = []
    for peer in sorted(metered):
        reading = metered[peer]
        deviation_wh = 0
        if reading is not None:
            if min(reading.import_wh, reading.export_wh) < 0:
                raise ValueError(f"meter of {peer}: energies of at least 0 Wh allowed")
            net_wh = reading.import_wh - reading.export_wh
            deviation_wh = net_wh - (bought[peer] - sold[peer])
        lines.append(
            Line(
                peer=peer,
                bought_wh=bought[peer],
                sold_wh=sold[peer],
                deviation_wh=deviation_wh,
                trade_money=traded[peer],
                grid_money=-deviation_wh * (retail if deviation_wh > 0 else feed_in),
                provisional=reading is None,
            )
        )
    return Settlement(
        lines=tuple(lines),
        grid_money=-sum(line.grid_money for line in lines),
        fee_money=-sum(line.trade_money for line in lines),
    )


def correction(before: Settlement, after: Settlement) -> dict[tuple[str, str], int]:
    """What is still to be paid or received once a late reading is known; adds up to zero too."""
    old, new = before.accounts(), after.accounts()
    changes = {key: new.get(key, 0) - old.get(key, 0) for key in sorted(old | new)}
    return {key: money for key, money in changes.items() if money}


def _per_peer(
    deals: Iterable[Deal], metered: Mapping[str, Metered | None]
) -> tuple[defaultdict[str, int], defaultdict[str, int], defaultdict[str, int]]:
    """Wh bought, Wh sold and money of the trades."""
    bought: defaultdict[str, int] = defaultdict(int)
    sold: defaultdict[str, int] = defaultdict(int)
    money: defaultdict[str, int] = defaultdict(int)
    for deal in deals:
        for party in (deal.buyer, deal.seller):
            if party not in metered:
                raise ValueError(f"{party} traded but is not settled")
        if deal.wh < 1 or deal.fee < 0:
            raise ValueError(f"deal of {deal.wh} Wh, fee {deal.fee}: at least 1 and 0 allowed")
        bought[deal.buyer] += deal.wh
        sold[deal.seller] += deal.wh
        money[deal.buyer] -= deal.wh * deal.price
        money[deal.seller] += deal.wh * (deal.price - deal.fee)
    return bought, sold, money
