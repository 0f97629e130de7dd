"""Planning with neighbours: every round helps or leaves it, and no battery leaves its limits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from control.neighbours import (
    Agreed,
    Floats,
    Market,
    Outlook,
    Storage,
    announcement,
    follow,
    respond,
    scarcity,
)
from control.neighbours_value import value_of_energy

STEPS = 12
ETA = float(np.sqrt(0.9))


def street(seed: int, houses: int) -> tuple[Storage, Outlook, Floats, Floats]:
    """Houses with and without batteries, net loads and what is stored."""
    chance = np.random.default_rng(seed)
    usable_kwh = np.where(chance.random(houses) < 0.8, chance.uniform(0.5, 8.0, houses), 0.0)
    storage = Storage(
        lowest_kwh=np.full(houses, 0.5),
        highest_kwh=0.5 + usable_kwh,
        charge_max_kw=np.where(usable_kwh > 0, chance.uniform(0.5, 5.0, houses), 0.0),
        discharge_max_kw=np.where(usable_kwh > 0, chance.uniform(0.5, 5.0, houses), 0.0),
        efficiency_frac=ETA,
    )
    buy = chance.uniform(0.1, 0.5, STEPS)
    outlook = Outlook(
        step_h=float(chance.choice([0.25, 1.0])),
        buy_per_kwh=buy,
        sell_per_kwh=buy * chance.uniform(0.0, 0.9, STEPS),
        sigma_kw=chance.uniform(0.2, 3.0, STEPS),
        fee_per_kwh=0.0,
        energy_value_per_kwh=float(chance.uniform(0.0, 0.2)),
    )
    net_kw = chance.normal(0.0, 2.0, (STEPS, houses))
    stored_kwh = storage.lowest_kwh + usable_kwh * chance.random(houses)
    return storage, outlook, net_kw, stored_kwh


def expected_cost(outlook: Outlook, drawn_kw: Floats, stored_kwh: Floats) -> float:
    """Of the whole community, by the definition of the expected price."""
    total_kw, scale = drawn_kw.sum(axis=1), outlook.spread_kw
    gap = outlook.buy_per_kwh - outlook.sell_per_kwh
    short_kw = scale * np.logaddexp(0.0, total_kw / scale)
    paid = outlook.step_h * (outlook.sell_per_kwh * total_kw + gap * short_kw).sum()
    return float(paid - outlook.energy_value_per_kwh * stored_kwh[-1].sum())


@given(st.integers(0, 10_000), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_round_makes_the_community_worse_off(seed: int, houses: int) -> None:
    storage, outlook, net_kw, stored_kwh = street(seed, houses)
    plan_kwh = np.tile(stored_kwh, (STEPS + 1, 1))
    announced_kw = announcement(storage, outlook.step_h, net_kw, plan_kwh)
    cost = expected_cost(outlook, announced_kw, plan_kwh)
    silent = np.random.default_rng(seed).random(houses) < 0.3
    for _ in range(3):
        market = Market(outlook, announced_kw.sum(axis=1), announced_kw, movers=houses)
        answer = respond(storage, market, net_kw, stored_kwh, plan_kwh)
        plan_kwh = np.where(silent, plan_kwh, answer.stored_kwh)
        announced_kw = np.where(silent, announced_kw, answer.drawn_kw)
        now = expected_cost(outlook, announced_kw, plan_kwh)
        assert now <= cost + 1e-9
        cost = now


@given(st.integers(0, 10_000), st.integers(1, 5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_plans_and_powers_stay_within_the_batteries_limits(
    seed: int, houses: int, begun: bool
) -> None:
    storage, outlook, net_kw, stored_kwh = street(seed, houses)
    market = Market(outlook, net_kw.sum(axis=1), net_kw, movers=houses)
    earlier_kwh = np.tile(storage.highest_kwh, (STEPS + 1, 1)) if begun else None
    answer = respond(storage, market, net_kw, stored_kwh, earlier_kwh)
    within_limits(storage, outlook.step_h, answer.stored_kwh)
    value = value_of_energy(storage, market, net_kw)
    agreed = Agreed(answer.drawn_kw[0], 0.3, 0.05)
    change_kwh = follow(storage, agreed, net_kw[1], stored_kwh, value, outlook.step_h)
    within_limits(storage, outlook.step_h, np.vstack([stored_kwh, stored_kwh + change_kwh]))


def within_limits(storage: Storage, step_h: float, stored_kwh: Floats) -> None:
    """Energy and power of a course of stored energy, (steps + 1, houses)."""
    assert (stored_kwh >= storage.lowest_kwh - 1e-6).all()
    assert (stored_kwh <= storage.highest_kwh + 1e-6).all()
    power_kw = storage.power_kw(np.diff(stored_kwh, axis=0), step_h)
    assert (power_kw <= storage.charge_max_kw + 1e-6).all()
    assert (power_kw >= -storage.discharge_max_kw - 1e-6).all()


def test_the_more_the_street_needs_the_surer_it_buys_outside() -> None:
    _, outlook, _, _ = street(1, 1)
    chances = [scarcity(outlook, np.full(STEPS, kw)) for kw in (-50.0, -1.0, 0.0, 1.0, 50.0)]
    assert (np.diff(chances, axis=0) >= 0).all()
    assert np.allclose([chances[0], chances[2], chances[4]], [[0.0], [0.5], [1.0]])


def test_a_street_without_batteries_plans_nothing() -> None:
    storage, outlook, net_kw, _ = street(3, 2)
    bare = Storage(storage.lowest_kwh, storage.lowest_kwh, np.zeros(2), np.zeros(2), ETA)
    market = Market(outlook, net_kw.sum(axis=1), net_kw, movers=2.0)
    answer = respond(bare, market, net_kw, bare.lowest_kwh)
    assert np.allclose(answer.drawn_kw, net_kw)
