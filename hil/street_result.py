"""What a run of a street leaves behind for its summary and its report.

Arrays are (slots, houses) unless they say otherwise, powers are means over a slot in kW.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from control.neighbours import Storage

Floats = NDArray[np.float64]
LEAST_GAIN = 1e-6  # currency
LEAST_H = 20.0  # of a run whose share of the gain is told


@dataclass(frozen=True)
class Given:
    """What no controller can change: houses, load, sun, prices."""

    names: tuple[str, ...]
    start_utc_s: float
    step_h: float
    load_kw: Floats  # less what a generator gave, and what went unserved
    pv_kw: Floats  # PV and wind that could be had
    buy_per_kwh: Floats  # (slots,)
    sell_per_kwh: Floats  # (slots,)
    lowest_buy_per_kwh: float  # of the whole tariff
    fee_per_kwh: float
    storage: Storage
    stored_kwh: Floats  # (houses,) at the start

    @property
    def slots(self) -> int:
        """How many."""
        return len(self.load_kw)

    @property
    def has_battery(self) -> NDArray[np.bool_]:
        """(houses,)"""
        return np.asarray(self.storage.highest_kwh > self.storage.lowest_kwh)

    @property
    def energy_value_per_kwh(self) -> float:
        """What a kWh that is left in a battery is worth: it saves buying at the lowest price."""
        return self.storage.efficiency_frac * self.lowest_buy_per_kwh


@dataclass(frozen=True)
class Outcome:
    """What a street did under one controller, and what it cost."""

    title: str
    battery_kw: Floats  # > 0 discharging
    drawn_kw: Floats  # > 0 taken from the others and the grid together, < 0 given
    bought_kwh: Floats  # from neighbours; < 0 sold
    price_per_kwh: Floats  # (slots,) that buyers pay; NaN where nothing was traded
    bills: Floats  # (houses,) the worth of what stayed in the battery taken off
    bills_untraded: Floats  # (houses,) of the same powers, had nobody traded

    @property
    def cost(self) -> float:
        """Of the whole street."""
        return float(self.bills.sum())

    def charging_kw(self, has_battery: NDArray[np.bool_]) -> Floats:
        """Mean over the houses with a battery, (slots,)."""
        return _mean(np.maximum(-self.battery_kw, 0.0), has_battery)

    def discharging_kw(self, has_battery: NDArray[np.bool_]) -> Floats:
        """Mean over the houses with a battery, (slots,)."""
        return _mean(np.maximum(self.battery_kw, 0.0), has_battery)

    def traded_kwh(self) -> Floats:
        """Within the street, (slots,)."""
        return np.asarray(np.maximum(self.bought_kwh, 0.0).sum(axis=1))

    def imported_kwh(self, step_h: float) -> Floats:
        """From the grid, (slots, houses)."""
        return np.maximum(step_h * self.drawn_kw - self.bought_kwh, 0.0)

    def self_sufficiency_frac(self, given: Given) -> float:
        """The share of the load that did not come from the grid."""
        load_kwh = given.step_h * float(given.load_kw.sum())
        return 1.0 - float(self.imported_kwh(given.step_h).sum()) / max(load_kwh, 1e-9)


@dataclass(frozen=True)
class LedgerVerdict:
    """What became of one house's ledger."""

    house: str
    peer: str
    entries: int
    countersigned: int
    fault: str  # empty: sound


@dataclass(frozen=True)
class MarketVerdict:
    """What the market did, from the ledgers."""

    ledgers: tuple[LedgerVerdict, ...] = ()
    disagreements: tuple[str, ...] = ()
    trades: int = 0
    in_doubt: int = 0
    money_left: int = 0  # 1e-8 currency that the accounts do not add up by: 0
    messages: int | None = None  # delivered; unknown where a broker carries them

    @property
    def sound(self) -> bool:
        """Every ledger is what its owner wrote, all agree, and the money adds up."""
        faults = any(ledger.fault for ledger in self.ledgers)
        return not (faults or self.disagreements or self.in_doubt or self.money_left)


@dataclass(frozen=True)
class StreetResult:
    """A run: the street as it was, what it would have been, and the bound."""

    title: str
    currency: str
    timezone: str
    given: Given
    ran: Outcome
    others: tuple[Outcome, ...]  # first the one without trade, then the one with
    bound_cost: float
    verdict: MarketVerdict = field(default_factory=MarketVerdict)

    @property
    def alone(self) -> Outcome:
        """Every house for itself, by the self-consumption rule."""
        return self.others[0]

    def share_of_gain(self, outcome: Outcome) -> float:
        """0: as alone; 1: what is physically there to gain. NaN where that means nothing.

        A part of a day says little: what is stored then counts for more than what is saved.
        """
        possible = self.alone.cost - self.bound_cost
        if possible < LEAST_GAIN or self.given.slots * self.given.step_h < LEAST_H:
            return float("nan")
        return (self.alone.cost - outcome.cost) / possible


def _mean(values: Floats, chosen: NDArray[np.bool_]) -> Floats:
    return values[:, chosen].mean(axis=1) if chosen.any() else np.zeros(len(values))
