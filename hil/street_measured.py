"""A street that ran with real loops: its meters and its ledgers, settled slot by slot."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from control.settlement import Deal, Metered, Settlement, settle
from control.trading_records import Pact
from hil.live import LiveError
from hil.street import LoadedStreet
from hil.street_given import give
from hil.street_house import RanHouse
from hil.street_ledgers import Read
from hil.street_market import UNIT
from hil.street_meters import Meter
from hil.street_result import Floats, Given, MarketVerdict, Outcome

MONEY = 1e-8  # currency of the settlement's unit
WH = 1000.0  # per kWh


@dataclass(frozen=True)
class Measured:
    """What a street had, what it did with it, what the same plants did by rules."""

    given: Given
    ran: Outcome
    alone: Outcome
    verdict: MarketVerdict


def measured(street: LoadedStreet, houses: Mapping[str, RanHouse], read: Read) -> Measured:
    """The whole slots of a run. Raises LiveError when there is none."""
    meters = _Meters(street, {name: house.meter for name, house in houses.items()})
    ruled = _Meters(street, {name: house.rule_meter for name, house in houses.items()})
    epochs = meters.epochs()
    start_utc_s, step_h = epochs[0] * street.head.slot_s, street.head.slot_s / 3600.0
    load_kw, sun_kw = (meters.columns(name, epochs) / step_h for name in ("load", "sun"))
    given = give(street, start_utc_s, load_kw, sun_kw)
    peers = [read.peers[name] for name in street.houses]
    pacts = [pact for pact in read.pacts if pact.epoch in epochs]
    settled = _settled(given, peers, meters, epochs, pacts)
    left = sum(abs(sum(settlement.accounts().values())) for settlement in settled)
    verdict = replace(read.verdict, money_left=left, trades=len(pacts))
    ran = _outcome("Trade, planned storage", given, peers, meters, epochs, pacts)
    alone = _outcome("No trade", given, peers, ruled, epochs, [])
    return Measured(given, ran, alone, verdict)


class _Meters:
    """The meters of all houses."""

    def __init__(self, street: LoadedStreet, meters: Mapping[str, Meter]) -> None:
        self._meters = [meters[name] for name in street.houses]

    def epochs(self) -> range:
        """Slots that all saw from beginning to end. Raises LiveError when there is none."""
        seen = set.intersection(*(meter.whole() for meter in self._meters))
        if not seen:
            raise LiveError("the run saw no whole market slot")
        return range(min(seen), max(seen) + 1)

    def columns(self, name: str, epochs: range) -> Floats:
        """One of the meters' sums, kWh, (slots, houses)."""
        return np.column_stack([meter.column(name, epochs) for meter in self._meters])


def _outcome(
    title: str,
    given: Given,
    peers: list[str],
    meters: _Meters,
    epochs: range,
    pacts: list[Pact],
) -> Outcome:
    bought_kwh, price = _trades(given, peers, pacts, epochs)
    kept = given.energy_value_per_kwh * meters.columns("gained", epochs).sum(axis=0)
    drawn_kwh = meters.columns("imported", epochs) - meters.columns("exported", epochs)
    untraded = _settled(given, peers, meters, epochs, [])
    return Outcome(
        title=title,
        battery_kw=meters.columns("battery", epochs) / given.step_h,
        drawn_kw=drawn_kwh / given.step_h,
        bought_kwh=bought_kwh,
        price_per_kwh=price,
        bills=_bills(peers, _settled(given, peers, meters, epochs, pacts)) - kept,
        bills_untraded=_bills(peers, untraded) - kept,
    )


def _registers(kwh: Floats) -> NDArray[np.int64]:
    """Whole Wh per slot, as a meter's register counts them: nothing is lost by rounding."""
    registers = np.rint(WH * np.cumsum(kwh, axis=0)).astype(np.int64)
    return np.diff(registers, axis=0, prepend=0)


def _trades(
    given: Given, peers: list[str], pacts: list[Pact], epochs: range
) -> tuple[Floats, Floats]:
    """Energy bought by each house in each slot, kWh, and the slots' prices."""
    bought_kwh = np.zeros_like(given.load_kw)
    price = np.full(len(epochs), np.nan)
    for pact in pacts:
        at = pact.epoch - epochs[0]
        bought_kwh[at, peers.index(pact.buyer)] += pact.wh / WH
        bought_kwh[at, peers.index(pact.seller)] -= pact.wh / WH
        price[at] = pact.price / UNIT
    return bought_kwh, price


def _settled(
    given: Given, peers: list[str], meters: _Meters, epochs: range, pacts: list[Pact]
) -> list[Settlement]:
    """Every slot: trades at their price, what the meters say beside them at the grid's."""
    imported_wh = _registers(meters.columns("imported", epochs))
    exported_wh = _registers(meters.columns("exported", epochs))
    settled = []
    for at, epoch in enumerate(epochs):
        rows = zip(peers, imported_wh[at], exported_wh[at], strict=True)
        metered = {peer: Metered(int(imported), int(exported)) for peer, imported, exported in rows}
        here = [pact for pact in pacts if pact.epoch == epoch]
        deals = [Deal(p.buyer, p.seller, p.wh, p.price, p.fee) for p in here]
        buy, sell = float(given.buy_per_kwh[at]), float(given.sell_per_kwh[at])
        settled.append(settle(deals, metered, round(UNIT * buy), round(UNIT * sell)))
    return settled


def _bills(peers: list[str], settlements: list[Settlement]) -> Floats:
    """What each house pays."""
    money: defaultdict[str, int] = defaultdict(int)
    for settlement in settlements:
        for line in settlement.lines:
            money[line.peer] += line.money
    return np.array([-MONEY * money[peer] for peer in peers])
