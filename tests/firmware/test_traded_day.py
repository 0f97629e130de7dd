"""Neighbours in the day plan: what is traded is no longer the planner's to decide."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.dispatch_instance import Instance
from control.trades import NO_MARKET, Market, Trade
from firmware.config import Site
from firmware.day_plan import Situation
from firmware.minutes import Minute
from firmware.traded_day import traded_kw, with_agreed_prices, with_trades
from firmware.worker import Worker

HOUR_S = 3600.0
NOON_UTC_S = 1_760_011_200.0  # on the grid of quarters of an hour
EVENING_UTC_S = NOON_UTC_S + 5 * HOUR_S  # the dearest time of the example
STEPS = 4
power = st.floats(0.0, 20.0)


def trade(net_wh: int, from_utc_s: float = NOON_UTC_S, for_s: float = 900.0) -> Trade:
    return Trade(7, from_utc_s, from_utc_s + for_s, net_wh, 0.12)


def starts(step_s: float = 900.0) -> np.ndarray:
    return NOON_UTC_S + step_s * np.arange(STEPS)


# --- power per step -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trades", "step_s", "expected"),
    [
        ((), 900.0, [0, 0, 0, 0]),
        ((trade(-250), trade(500, NOON_UTC_S + 900.0)), 900.0, [-1, 2, 0, 0]),
        ((trade(500),), 1800.0, [1, 0, 0, 0]),  # half of a step
        ((trade(400),), 600.0, [1.6, 0.8, 0, 0]),
        ((trade(400, NOON_UTC_S - 450.0),), 900.0, [0.8, 0, 0, 0]),  # the half that is left
        ((trade(-10, for_s=10.0),), 900.0, [-0.04, 0, 0, 0]),
    ],
)
def test_power_traded_in_each_step(
    trades: tuple[Trade, ...], step_s: float, expected: list[float]
) -> None:
    assert traded_kw(trades, starts(step_s), step_s) == pytest.approx(expected)


# --- the problem that is left ---------------------------------------------------------------


@given(
    load=power, pv=power, limits=st.tuples(power, power), bought=st.floats(-30.0, 30.0), grid=power
)
def test_any_trade_leaves_a_problem_within_the_connections_limits(
    load: float, pv: float, limits: tuple[float, float], bought: float, grid: float
) -> None:
    whole = Instance(
        step_h=0.25,
        load_kw=np.array([load]),
        pv_kw=np.array([pv]),
        import_max_kw=np.array([limits[0]]),
        export_max_kw=np.array([limits[1]]),
    )
    left, taken_kw = with_trades(whole, np.array([bought]))  # checks every number itself
    assert abs(taken_kw[0]) <= abs(bought)
    assert taken_kw[0] <= load  # what is bought is not stored
    for edge_kw, most_kw in ((left.import_max_kw, limits[0]), (-left.export_max_kw, -limits[1])):
        assert edge_kw[0] + taken_kw[0] == pytest.approx(most_kw)
    assert left.load_kw[0] + taken_kw[0] == pytest.approx(load)


def test_agreed_prices_come_between_the_grids(site: Site) -> None:
    whole = Instance(
        step_h=0.25,
        load_kw=np.ones(STEPS),
        price_buy_per_kwh=np.full(STEPS, 0.30),
        price_sell_per_kwh=np.full(STEPS, 0.05),
    )
    agreed = Market(
        0.0,
        prices_from_utc_s=NOON_UTC_S + 900.0,
        prices_step_s=900.0,
        prices_per_kwh=(0.12, 0.5),
    )
    priced = with_agreed_prices(whole, agreed, starts(), NOON_UTC_S)
    assert priced.price_buy_per_kwh.tolist() == [0.30, 0.12, 0.30, 0.30]
    assert priced.price_sell_per_kwh.tolist() == [0.05, 0.12, 0.30, 0.05]
    assert with_agreed_prices(whole, NO_MARKET, starts(), NOON_UTC_S) is whole
    running = with_agreed_prices(whole, agreed, starts(), NOON_UTC_S + 900.0)
    assert running.price_buy_per_kwh.tolist() == [0.30] * 4


# --- the plan -------------------------------------------------------------------------------

Plans = Callable[..., Any]


@pytest.fixture
def plans(site: Site) -> Plans:
    """The plan of a dark evening with half a battery; load 1 kW from what was seen before."""
    seen = [Minute(int(EVENING_UTC_S) - 60 * n, 0.0, 1.0) for n in range(60, 0, -1)]

    def made(*trades: Trade, **changes: Any) -> Any:
        known = Situation(
            t_s=1000.0,
            utc_s=EVENING_UTC_S + 10.0,
            soc_frac=0.5,
            wind_kw=0.0,
            grid_present=True,
            generator_run=False,
            generator_for_s=1e9,
            generator_usable=False,
            market=Market(0.0, trades=trades),
        )
        plan = Worker(site).advise(replace(known, **changes), seen, 3).plan
        assert plan is not None
        return plan

    return made


def test_the_plans_grid_power_is_the_connections(plans: Plans) -> None:
    alone, selling = plans(), plans(trade(-500, EVENING_UTC_S))
    balance = np.array(selling.battery_kw[0]) + selling.grid_kw[0]
    assert balance == pytest.approx(alone.battery_kw[0] + alone.grid_kw[0], abs=1e-6)
    assert selling.grid_kw[0] < alone.grid_kw[0] - 0.5
    assert selling.battery_kw[0] > alone.battery_kw[0] + 0.5  # from store, not from the grid


def test_an_island_plans_without_its_trades(plans: Plans) -> None:
    dark = {"grid_present": False, "generator_usable": True}
    assert plans(trade(-500, EVENING_UTC_S), **dark) == plans(**dark)


def test_the_plan_says_what_stored_energy_is_worth(plans: Plans) -> None:
    worth = plans().stored_value_per_kwh
    assert len(worth) == len(plans().battery_kw)
    assert all(0.0 < value < 1.0 for value in worth)
