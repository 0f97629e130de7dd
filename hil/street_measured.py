"""A street that ran with real loops: its meters and its ledgers, settled slot by slot."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from control.settlement import Deal, Metered, Settlement, settle
from control.trading_records import Pact
from hil.live import LiveError
from hil.street import LoadedStreet
from hil.street_given import give
from hil.street_ledgers import Read
from hil.street_market import UNIT
from hil.street_meters import Meter
from hil.street_result import Floats, Given, MarketVerdict, Outcome

MONEY = 1e-8  # currency of the settlement's unit
WH = 1000.0  # per kWh


def measured(
    street: LoadedStreet, meters: Mapping[str, Meter], read: Read, title: str
) -> tuple[Given, Outcome, MarketVerdict]:
    """What was given, what the street did with it, and what the market says of it.

    Of whole slots only. Raises LiveError when there is none.
    """
    slot_s = street.head.slot_s
    seen = set.intersection(*(meter.whole() for meter in meters.values()))
    if not seen:
        raise LiveError("the run saw no whole market slot")
    epochs = range(min(seen), max(seen) + 1)
    step_h = slot_s / 3600.0

    def columns(name: str) -> Floats:
        return np.column_stack([meters[house].column(name, epochs) for house in street.houses])

    given = give(street, epochs[0] * slot_s, columns("load") / step_h, columns("sun") / step_h)
    imported_wh, exported_wh = _registers(columns("imported")), _registers(columns("exported"))
    pacts = [pact for pact in read.pacts if pact.epoch in epochs]
    bought_kwh, price = _trades(street, given, read.peers, pacts, epochs)
    slots = _Slots(street, read.peers, given, imported_wh, exported_wh)
    traded = [slots.settled(at, [p for p in pacts if p.epoch == e]) for at, e in enumerate(epochs)]
    untraded = [slots.settled(at, []) for at in range(len(epochs))]
    kept = given.energy_value_per_kwh * columns("gained").sum(axis=0)
    outcome = Outcome(
        title=title,
        battery_kw=columns("battery") / step_h,
        drawn_kw=(columns("imported") - columns("exported")) / step_h,
        bought_kwh=bought_kwh,
        price_per_kwh=price,
        bills=slots.bills(traded) - kept,
        bills_untraded=slots.bills(untraded) - kept,
    )
    left = sum(abs(sum(settlement.accounts().values())) for settlement in traded)
    return given, outcome, replace(read.verdict, money_left=left, trades=len(pacts))


def _registers(kwh: Floats) -> "np.ndarray[tuple[int, ...], np.dtype[np.int64]]":
    """Whole Wh per slot, as a meter's register counts them: nothing is lost by rounding."""
    registers = np.rint(WH * np.cumsum(kwh, axis=0)).astype(np.int64)
    return np.diff(registers, axis=0, prepend=0)


def _trades(
    street: LoadedStreet,
    given: Given,
    peers: Mapping[str, str],
    pacts: list[Pact],
    epochs: range,
) -> tuple[Floats, Floats]:
    """Energy bought by each house in each slot, kWh, and the slots' prices."""
    houses = {peers[name]: index for index, name in enumerate(street.houses)}
    bought_kwh = np.zeros_like(given.load_kw)
    price = np.full(len(epochs), np.nan)
    for pact in pacts:
        at = pact.epoch - epochs[0]
        bought_kwh[at, houses[pact.buyer]] += pact.wh / WH
        bought_kwh[at, houses[pact.seller]] -= pact.wh / WH
        price[at] = pact.price / UNIT
    return bought_kwh, price


class _Slots:
    """Settles the slots of a street by what its meters counted."""

    def __init__(
        self,
        street: LoadedStreet,
        peers: Mapping[str, str],
        given: Given,
        imported_wh: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
        exported_wh: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]",
    ) -> None:
        self._peers = [peers[name] for name in street.houses]
        self._given = given
        self._imported_wh, self._exported_wh = imported_wh, exported_wh

    def settled(self, at: int, pacts: list[Pact]) -> Settlement:
        """One slot with these trades."""
        rows = zip(self._peers, self._imported_wh[at], self._exported_wh[at], strict=True)
        metered = {peer: Metered(int(imported), int(exported)) for peer, imported, exported in rows}
        deals = [Deal(p.buyer, p.seller, p.wh, p.price, p.fee) for p in pacts]
        buy, sell = self._given.buy_per_kwh[at], self._given.sell_per_kwh[at]
        return settle(deals, metered, round(UNIT * float(buy)), round(UNIT * float(sell)))

    def bills(self, settlements: list[Settlement]) -> Floats:
        """What each house pays, in its order."""
        money: defaultdict[str, int] = defaultdict(int)
        for settlement in settlements:
            for line in settlement.lines:
                money[line.peer] += line.money
        return np.array([-MONEY * money[peer] for peer in self._peers])
