"""This house's bill of each slot in which it traded: in the ledger, corrected when more is known.

A statement is made once the slot is over. What comes later - a trade that was in doubt turns out
committed, a slot that was billed by a clock that was ahead is read after all - is a correction
beside it: the sum of both is the bill, and nothing is overwritten.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from control.order_pricing import UNIT
from control.settlement import Deal, Settlement, correction, settle
from control.trading_records import Entry, Pact
from firmware.trading.slot_meter import Quality, Reading

BETTER: tuple[Quality, ...] = ("missing", "est", "ok")


@dataclass(frozen=True, slots=True)
class Tariff:
    """The grid's prices in a slot, in the market's units."""

    retail: int
    feed_in: int

    @classmethod
    def of(cls, buy_per_kwh: float, sell_per_kwh: float) -> "Tariff":
        """From currency per kWh; a deviation never earns more than it costs."""
        retail = round(UNIT * buy_per_kwh)
        return cls(retail, min(retail, round(UNIT * sell_per_kwh)))

    @classmethod
    def of_body(cls, body: Mapping[str, Any]) -> "Tariff":
        """From an entry of the ledger."""
        return cls(body["retail"], body["feed_in"])

    def body(self) -> dict[str, int]:
        """For an entry of the ledger."""
        return {"retail": self.retail, "feed_in": self.feed_in}


@dataclass(frozen=True, slots=True)
class _Slot:
    """What one slot's bill was made of."""

    pacts: tuple[Pact, ...]
    reading: Reading
    tariff: Tariff

    def settled(self, me: str) -> Settlement:
        peers = {peer for pact in self.pacts for peer in (pact.buyer, pact.seller)} | {me}
        metered = {peer: self.reading.metered if peer == me else None for peer in peers}
        deals = [Deal(p.buyer, p.seller, p.wh, p.price, p.fee) for p in self.pacts]
        return settle(deals, metered, self.tariff.retail, self.tariff.feed_in)


class Statements:
    """Bills of this house's slots."""

    def __init__(self, me: str, entries: Iterable[Mapping[str, Any]]) -> None:
        """`entries`: the bodies of "statement" and "correct" entries, oldest first."""
        self._me = me
        self._slots: dict[int, _Slot] = {}
        self._oldest = 0  # slots before it are closed
        for body in entries:
            self._slots[body["e"]] = _slot(body)

    def is_made(self, epoch: int) -> bool:
        """Whether there is a bill."""
        return epoch in self._slots

    def make(self, epoch: int, pacts: Iterable[Pact], reading: Reading, tariff: Tariff) -> Entry:
        """The bill of a slot that is over."""
        slot = self._slots[epoch] = _Slot(_sorted(pacts), _bare(reading), tariff)
        settled = slot.settled(self._me)
        line = next(line for line in settled.lines if line.peer == self._me)
        body = {
            "bought": line.bought_wh,
            "sold": line.sold_wh,
            "deviation": line.deviation_wh,
            "trade_money": line.trade_money,
            "grid_money": line.grid_money,
        }
        return Entry("statement", {"e": epoch, **body, **_body(slot)})

    def correct(self, epoch: int, pacts: Iterable[Pact], reading: Reading) -> Entry | None:
        """What changes once more of a slot is known; None when nothing does.

        What was committed stays so, and a reading gives way to a better one only.
        """
        before = self._slots[epoch]
        known = {pact.id: pact for pact in (*before.pacts, *pacts)}
        better = max(before.reading, _bare(reading), key=lambda one: BETTER.index(one.quality))
        after = _Slot(_sorted(known.values()), better, before.tariff)
        if after == before:
            return None
        self._slots[epoch] = after
        changes = correction(before.settled(self._me), after.settled(self._me))
        money = changes.get(("peer", self._me), 0)
        return Entry("correct", {"e": epoch, "money": money, **_body(after)})

    def forget(self, most: int) -> None:
        """Close all but the newest.

        Old is what many bills came after, whatever the clock says: one that was ahead for a while
        must not have us bill a slot again.
        """
        for epoch in sorted(self._slots)[:-most]:
            del self._slots[epoch]
            self._oldest = epoch + 1

    def is_closed(self, epoch: int) -> bool:
        """Whether nothing about a slot can change any more."""
        return epoch < self._oldest


def _sorted(pacts: Iterable[Pact]) -> tuple[Pact, ...]:
    return tuple(sorted(pacts, key=lambda pact: pact.id))


def _bare(reading: Reading) -> Reading:
    """Without the registers, which no bill depends on."""
    return replace(reading, import_register_wh=0, export_register_wh=0)


def _body(slot: _Slot) -> dict[str, Any]:
    """What a bill was made of, so that a correction can be made after a restart."""
    reading = slot.reading
    return {
        "trades": [pact.row() for pact in slot.pacts],
        "imp": reading.import_wh,
        "exp": reading.export_wh,
        "q": reading.quality,
        **slot.tariff.body(),
    }


def _slot(body: Mapping[str, Any]) -> _Slot:
    pacts = tuple(Pact.of_row(body["e"], row) for row in body["trades"])
    reading = Reading(body["imp"], body["exp"], 0, 0, body["q"])
    return _Slot(pacts, reading, Tariff.of_body(body))
