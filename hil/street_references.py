"""What a street would have done under other controllers, and the least that it could have cost.

By slot means, with the batteries' nominal figures. Without trade each battery follows its own
house; with trade a surplus goes to the neighbours first (Qayyum 2023), PV, then the seller's
battery, and what is left charges. The bound lets all houses be one, with foresight and without fee.
"""

from collections.abc import Callable

import numpy as np

from control.community_swarm import Houses, storage_powers
from control.neighbours import Market, Outlook, Storage, respond
from hil.street_result import Floats, Given, Outcome

Powers = Callable[[Houses], Floats]  # of the batteries in one slot, from what each house has
SHARP_KW = 1e-3  # spread of a balance that is known


def without_trade(given: Given) -> Outcome:
    """Every house for itself: own surplus charges, own deficit discharges."""
    nothing = np.zeros_like(given.load_kw)
    return settled("No trade", given, _played(given, _own), nothing, np.full(given.slots, np.nan))


def with_leftovers(given: Given) -> Outcome:
    """The same batteries; what is left over is traded."""
    return _traded("Leftovers traded", given, _own)


def with_trade(given: Given) -> Outcome:
    """The paper's rule: neighbours first."""
    return _traded("Trade", given, _neighbours_first)


def by_swarm(given: Given, seed: int) -> Outcome:
    """The paper's Algorithm 1, slot by slot."""
    rng = np.random.default_rng(seed)
    return _traded("Algorithm 1", given, lambda houses: storage_powers(houses, rng))


def bound(given: Given) -> float:
    """Cost of all houses as one, planned with foresight."""
    one = _pooled(given.storage)
    net_kw = (given.load_kw - given.pv_kw).sum(axis=1)[:, None]
    outlook = Outlook(
        step_h=given.step_h,
        buy_per_kwh=given.buy_per_kwh,
        sell_per_kwh=given.sell_per_kwh,
        sigma_kw=np.full(given.slots, SHARP_KW),
        fee_per_kwh=0.0,
        energy_value_per_kwh=given.energy_value_per_kwh,
    )
    market = Market(outlook, net_kw[:, 0], net_kw, movers=1.0)
    began_kwh = np.array([float(given.stored_kwh.sum())])
    plan_kwh = None
    for _ in range(3):
        answer = respond(one, market, net_kw, began_kwh, plan_kwh)
        plan_kwh = answer.stored_kwh
    drawn_kw = answer.drawn_kw[:, 0]
    prices = np.where(drawn_kw > 0, given.buy_per_kwh, given.sell_per_kwh)
    left_kwh = float(answer.stored_kwh[-1, 0]) - float(began_kwh[0])
    return given.step_h * float((prices * drawn_kw).sum()) - given.energy_value_per_kwh * left_kwh


def _pooled(storage: Storage) -> Storage:
    """All batteries as one."""
    return Storage(
        lowest_kwh=storage.lowest_kwh.sum(keepdims=True),
        highest_kwh=storage.highest_kwh.sum(keepdims=True),
        charge_max_kw=storage.charge_max_kw.sum(keepdims=True),
        discharge_max_kw=storage.discharge_max_kw.sum(keepdims=True),
        efficiency_frac=storage.efficiency_frac,
    )


def _own(houses: Houses) -> Floats:
    return np.clip(-houses.surplus_kw, -houses.room_kw, houses.held_kw)


def _neighbours_first(houses: Houses) -> Floats:
    """Own deficits from own batteries; what neighbours still lack from PV, then batteries."""
    low, high = houses.limits_kw()
    selling = houses.roles > 0
    asked_kw = float(np.maximum(-houses.offered_kw(high)[~selling], 0.0).sum())
    surplus_kw = np.where(selling, np.minimum(houses.surplus_kw, houses.offer_max_kw), 0.0)
    short_kw = max(0.0, asked_kw - float(surplus_kw.sum()))
    held_kw = np.where(selling, houses.held_kw, 0.0)
    discharging = held_kw * min(1.0, short_kw / max(float(held_kw.sum()), 1e-9))
    share = min(1.0, asked_kw / max(float(surplus_kw.sum()), 1e-9))
    charging = np.clip(surplus_kw * (1.0 - share), 0.0, houses.room_kw)
    return np.where(selling, np.maximum(low, discharging - charging), high)


def _played(given: Given, powers: Powers) -> Floats:
    """Battery powers of all slots, (slots, houses), > 0 discharging."""
    storage, step_h = given.storage, given.step_h
    eta = storage.efficiency_frac
    stored_kwh = given.stored_kwh
    battery_kw = np.zeros_like(given.load_kw)
    everything = np.full(len(given.names), np.inf)
    for slot in range(given.slots):
        room_kwh = np.maximum(storage.highest_kwh - stored_kwh, 0.0)
        held_kwh = np.maximum(stored_kwh - storage.lowest_kwh, 0.0)
        houses = Houses(
            load_kw=given.load_kw[slot],
            pv_kw=given.pv_kw[slot],
            room_kw=np.minimum(storage.charge_max_kw, room_kwh / (eta * step_h)),
            held_kw=np.minimum(storage.discharge_max_kw, held_kwh * eta / step_h),
            offer_max_kw=everything,
        )
        battery_kw[slot] = powers(houses)
        stored_kwh = stored_kwh + stored_change(storage, battery_kw[slot], step_h)
    return battery_kw


def stored_change(storage: Storage, battery_kw: Floats, step_h: float) -> Floats:
    """Change of the stored energy, kWh, for a power at the terminals."""
    eta = storage.efficiency_frac
    return np.asarray(-step_h * np.where(battery_kw > 0, battery_kw / eta, battery_kw * eta))


def _traded(title: str, given: Given, powers: Powers) -> Outcome:
    """Surpluses and deficits meet in each slot at the middle price; the long side is rationed."""
    battery_kw = _played(given, powers)
    drawn_kw = given.load_kw - given.pv_kw - battery_kw
    short_kw = np.maximum(drawn_kw, 0.0).sum(axis=1, keepdims=True)
    long_kw = np.maximum(-drawn_kw, 0.0).sum(axis=1, keepdims=True)
    met_kw = np.minimum(short_kw, long_kw)
    side_kw = np.where(drawn_kw > 0, short_kw, long_kw)
    bought_kwh = given.step_h * drawn_kw * met_kw / np.maximum(side_kw, 1e-9)
    middle = (given.buy_per_kwh + given.sell_per_kwh + given.fee_per_kwh) / 2.0
    price = np.where(met_kw[:, 0] > 0, middle, np.nan)
    return settled(title, given, battery_kw, bought_kwh, price)


def settled(
    title: str,
    given: Given,
    battery_kw: Floats,
    bought_kwh: Floats,
    price_per_kwh: Floats,
    left_kwh: Floats | None = None,
) -> Outcome:
    """Batteries and trades with their bills: what differs from the trades is the grid's.

    `left_kwh` (houses,) is what the batteries gained, where it is known better than by their power.
    """
    drawn_kw = given.load_kw - given.pv_kw - battery_kw
    drawn_kwh = given.step_h * drawn_kw
    paid = np.nan_to_num(price_per_kwh)[:, None]
    trades = np.where(bought_kwh > 0, paid, paid - given.fee_per_kwh) * bought_kwh
    if left_kwh is None:
        left_kwh = stored_change(given.storage, battery_kw, given.step_h).sum(axis=0)
    kept = given.energy_value_per_kwh * left_kwh
    untraded = _at_the_grid(given, drawn_kwh).sum(axis=0) - kept
    bills = (_at_the_grid(given, drawn_kwh - bought_kwh) + trades).sum(axis=0) - kept
    return Outcome(title, battery_kw, drawn_kw, bought_kwh, price_per_kwh, bills, untraded)


def _at_the_grid(given: Given, drawn_kwh: Floats) -> Floats:
    buy, sell = given.buy_per_kwh[:, None], given.sell_per_kwh[:, None]
    return np.asarray(np.where(drawn_kwh > 0, buy, sell) * drawn_kwh)
