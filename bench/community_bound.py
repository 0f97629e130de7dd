"""What a street could cost at best, and what it costs when everybody acts alone."""

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from bench.community_sets import (
    CAPACITY_KWH,
    ETA,
    FEE_PER_KWH,
    LOWEST_KWH,
    POWER_KW,
    START_KWH,
    Community,
    Floats,
)


def rule_bills(community: Community, first: int, last: int, *, traded: bool) -> Floats:
    """Each house's cost of a week by the self-consumption rule, (houses,).

    What is left over is traded at the middle price, or not at all.
    """
    step_h, has = community.step_h, np.array(community.batteries)
    stored = np.where(has, START_KWH, 0.0)
    began, bills = stored, np.zeros(community.houses)
    for slot in range(first, last):
        surplus_kw = community.pv_kw[slot] - community.load_kw[slot]
        room_kw = np.minimum(POWER_KW, (CAPACITY_KWH - stored) / (ETA * step_h))
        left_kw = np.minimum(POWER_KW, np.maximum(0.0, stored - LOWEST_KWH) * ETA / step_h)
        battery_kw = np.where(has, np.clip(surplus_kw, -left_kw, room_kw), 0.0)
        changed = np.where(battery_kw > 0, ETA * battery_kw, battery_kw / ETA)
        stored = stored + step_h * changed
        bills += step_h * _slot_bills(community, slot, battery_kw - surplus_kw, traded)
    return bills - community.energy_value_per_kwh * (stored - began)


def _slot_bills(community: Community, slot: int, drawn_kw: Floats, traded: bool) -> Floats:
    buy, sell = float(community.retail_per_kwh[slot]), community.feed_in_per_kwh
    short_kw, long_kw = np.maximum(drawn_kw, 0.0), np.maximum(-drawn_kw, 0.0)
    traded_kw = min(short_kw.sum(), long_kw.sum()) if traded else 0.0
    bought_kw = short_kw * traded_kw / max(short_kw.sum(), 1e-9)
    sold_kw = long_kw * traded_kw / max(long_kw.sum(), 1e-9)
    middle, half_fee = (buy + sell) / 2.0, FEE_PER_KWH / 2.0
    outside = buy * (short_kw - bought_kw) - sell * (long_kw - sold_kw)
    return np.asarray(outside + (middle + half_fee) * bought_kw - (middle - half_fee) * sold_kw)


def bound(community: Community, first: int, last: int) -> float:
    """Cost of a week with perfect foresight: one linear programme over all houses."""
    steps, houses, step_h = last - first, community.houses, community.step_h
    size = steps * houses
    one, none = sparse.identity(size), sparse.csr_matrix((size, size))
    nothing = sparse.csr_matrix((size, steps))
    before = sparse.eye(size, size, -houses)
    balance = sparse.hstack([-one, one, none, one, -one, nothing])
    energy = sparse.hstack(
        [-step_h * ETA * one, step_h / ETA * one, one - before, none, none, nothing]
    )
    began = np.where(np.array(community.batteries), START_KWH, 0.0)
    net_kw = (community.load_kw - community.pv_kw)[first:last].ravel()
    equals = np.concatenate([net_kw, began, np.zeros(size - houses)])
    together = sparse.kron(sparse.identity(steps), np.ones((1, houses)))
    zero, traded = sparse.csr_matrix((steps, size)), sparse.identity(steps)
    at_most = sparse.vstack(
        [
            sparse.hstack([zero, zero, zero, -together, zero, traded]),
            sparse.hstack([zero, zero, zero, zero, -together, traded]),
        ]
    )
    found = linprog(
        _prices(community, first, last),
        at_most,
        np.zeros(2 * steps),
        sparse.vstack([balance, energy]),
        equals,
        _limits(community, steps),
        method="highs",
    )
    return float(found.fun + community.energy_value_per_kwh * began.sum())


def _prices(community: Community, first: int, last: int) -> Floats:
    """Cost of each variable: charge, discharge, stored, bought, sold, traded."""
    buy, sell = community.retail_per_kwh[first:last], community.feed_in_per_kwh
    houses, step_h = community.houses, community.step_h
    size = len(buy) * houses
    stored = np.zeros(size)
    stored[-houses:] = -community.energy_value_per_kwh
    bought = step_h * np.repeat(buy, houses)
    sold = np.full(size, -step_h * sell)
    traded = step_h * (sell - buy + FEE_PER_KWH)
    return np.concatenate([np.zeros(2 * size), stored, bought, sold, traded])


def _limits(community: Community, steps: int) -> Floats:
    has = np.array(community.batteries)
    power = np.tile(np.where(has, POWER_KW, 0.0), 2 * steps)
    low = np.tile(np.where(has, LOWEST_KWH, 0.0), steps)
    high = np.tile(np.where(has, CAPACITY_KWH, 0.0), steps)
    free = 2 * steps * community.houses + steps
    lower = np.concatenate([np.zeros(len(power)), low, np.zeros(free)])
    return np.column_stack([lower, np.concatenate([power, high, np.full(free, np.inf)])])
