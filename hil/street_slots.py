"""Weeks and months of a street at slot resolution: energy balances, no devices, no messages.

Every slot each house forecasts its day, answers a few rounds of announcements
(`control.neighbours`) and puts one order into the book, which is cleared before the slot begins.
Within the slot the batteries follow measured load and PV; what differs from the trades is the
grid's. Nobody sees the future.
"""

from collections.abc import Callable

import numpy as np

from control.market import clear
from control.market_book import Book, Order
from control.neighbours import Agreed, Outlook, follow
from control.neighbours_value import value_of_energy
from hil.street_forecast import Forecaster
from hil.street_given import Past
from hil.street_references import settled
from hil.street_result import Floats, Given, Outcome
from hil.street_rounds import Rounds, announced

ROUNDS = 3
UNIT = 100_000  # of the market's prices per currency unit
TITLE = "Trade, planned storage"


def play(given: Given, past: Past, progress: Callable[[int], None]) -> Outcome:
    """All slots; `progress` is told how many are done."""
    street = _Street(given, past)
    for slot in range(given.slots):
        street.step(slot)
        progress(slot + 1)
    return settled(TITLE, given, street.battery_kw, street.bought_kwh, street.price_per_kwh)


class _Street:
    def __init__(self, given: Given, past: Past) -> None:
        self._given = given
        self._before = len(past.load_kw)
        load_kw = np.vstack([past.load_kw, given.load_kw])
        pv_kw = np.vstack([past.pv_kw, given.pv_kw])
        self._forecaster = Forecaster(load_kw, pv_kw, given.step_h)
        self._errors = self._forecaster.errors(self._before)
        self._stored_kwh = given.stored_kwh
        self._rounds = Rounds(given.storage, ROUNDS)
        self.battery_kw = np.zeros_like(given.load_kw)
        self.bought_kwh = np.zeros_like(given.load_kw)
        self.price_per_kwh = np.full(given.slots, np.nan)

    def step(self, slot: int) -> None:
        """Plan, trade, live through one slot."""
        given, storage, step_h = self._given, self._given.storage, self._given.step_h
        net_kw = self._forecaster.net_kw(self._before + slot)
        outlook = self._outlook(slot, len(net_kw))
        announced_kw = self._rounds.agreed(outlook, net_kw, self._stored_kwh).drawn_kw
        bought_kwh, price = self._trade(slot, announced_kw[0])
        change_kwh = follow(
            storage,
            Agreed(
                bought_kwh / step_h, float(outlook.buy_per_kwh[0]), float(outlook.sell_per_kwh[0])
            ),
            given.load_kw[slot] - given.pv_kw[slot],
            self._stored_kwh,
            value_of_energy(storage, announced(outlook, announced_kw), net_kw),
            step_h,
        )
        self._stored_kwh = self._stored_kwh + change_kwh
        self.battery_kw[slot] = -storage.power_kw(change_kwh, step_h)
        self.bought_kwh[slot], self.price_per_kwh[slot] = bought_kwh, price

    def _outlook(self, slot: int, steps: int) -> Outlook:
        given = self._given
        ahead = (slot + np.arange(steps)) % given.slots  # beyond the end prices are as at the start
        return Outlook(
            step_h=given.step_h,
            buy_per_kwh=given.buy_per_kwh[ahead],
            sell_per_kwh=given.sell_per_kwh[ahead],
            sigma_kw=self._errors.street_kw(self._before + slot),
            fee_per_kwh=given.fee_per_kwh,
            energy_value_per_kwh=given.energy_value_per_kwh,
        )

    def _trade(self, slot: int, wanted_kw: Floats) -> tuple[Floats, float]:
        """Energy bought (> 0) and sold by each house, kWh, and the price that buyers pay."""
        given = self._given
        floor = round(UNIT * float(given.sell_per_kwh[slot]))
        ceiling = round(UNIT * float(given.buy_per_kwh[slot]))
        wanted_wh = np.rint(1000.0 * given.step_h * wanted_kw).astype(int)
        orders = tuple(
            Order(name, "buy", ((ceiling, int(wh)),))
            if wh > 0
            else Order(name, "sell", ((floor, int(-wh)),))
            for name, wh in zip(given.names, wanted_wh, strict=True)
            if wh != 0
        )
        fee = round(UNIT * given.fee_per_kwh)
        clearing = clear(Book(slot, slot.to_bytes(32, "big"), fee, floor, ceiling, orders))
        bought_kwh = np.zeros(len(given.names))
        for trade in clearing.trades:
            bought_kwh[given.names.index(trade.buyer)] += trade.wh / 1000.0
            bought_kwh[given.names.index(trade.seller)] -= trade.wh / 1000.0
        price = np.nan if clearing.price is None else clearing.price / UNIT
        return bought_kwh, price
