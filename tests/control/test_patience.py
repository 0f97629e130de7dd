"""Waiting to buy: when it is planned, and what the plan says that it costs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import dispatch_instances
from control.dispatch import evaluate
from control.dispatch_instance import Battery, Diesel, Floats, Instance
from control.patience import PREMIUM_FRAC, patient, premium
from control.planning import plan

PEAK = slice(76, 96)  # from 19 h after the start on
BATTERY = Battery(
    capacity_kwh=10.0,
    soc_min_frac=0.1,
    soc_initial_frac=0.1,
    charge_max_kw=4.0,
    discharge_max_kw=4.0,
    inverter_rated_kw=4.0,
    om_quadratic_per_kwh_at_max=0.0,
)


def evening(cheap: Floats) -> Instance:
    """A peak at the end of the day, and an empty battery that only the grid can fill."""
    buy = cheap.copy()
    buy[PEAK] = 0.54
    return Instance(
        step_h=0.25,
        load_kw=np.full(96, 1.0),
        pv_kw=np.zeros(96),
        price_buy_per_kwh=buy,
        price_sell_per_kwh=np.full(96, 0.05),
        import_max_kw=np.full(96, 10.0),
        export_max_kw=np.full(96, 10.0),
        battery=BATTERY,
        diesel=Diesel(),
    )


def charged_kwh(instance: Instance) -> Floats:
    """What the plan stores, per hour."""
    made = plan(instance, iterations=8).schedule
    return np.asarray(0.25 * np.maximum(-made.battery_kw, 0.0).reshape(24, 4).sum(axis=1))


def test_what_is_cheap_all_day_is_bought_shortly_before_it_is_needed() -> None:
    bought = charged_kwh(patient(evening(np.full(96, 0.21))))
    assert bought.sum() > 4.0
    assert bought[12:19].sum() > 0.95 * bought.sum()


def test_a_cheap_night_is_not_missed() -> None:
    night = np.where(np.arange(96) < 32, 0.17, 0.30)
    bought = charged_kwh(patient(evening(night)))
    assert bought[:8].sum() > 0.95 * bought.sum() > 3.8


@pytest.mark.parametrize("spike_per_kwh", [0.54, 17.5])
def test_a_spike_in_the_evening_leaves_the_rest_of_the_day_as_it_was(spike_per_kwh: float) -> None:
    instance = evening(np.where(np.arange(96) < 32, 0.17, 0.24))
    buy = instance.price_buy_per_kwh.copy()
    buy[PEAK] = spike_per_kwh
    spiked = replace(instance, price_buy_per_kwh=buy)
    waiting = patient(spiked)
    made, best = plan(waiting, iterations=8), plan(spiked, iterations=8)
    costs = made.cost.total - premium(spiked, waiting, made.schedule.grid_kw)
    assert costs <= 1.005 * best.cost.total


@given(st.integers(0, 200))
def test_the_premium_is_small_falls_and_is_taken_off_the_cost_again(seed: int) -> None:
    instance = Instance.from_dict(dispatch_instances.instance(seed))
    waiting = patient(instance)
    extra = waiting.price_buy_per_kwh - instance.price_buy_per_kwh
    gap = np.median(instance.price_buy_per_kwh - instance.price_sell_per_kwh)
    assert (extra >= 0.0).all()
    assert (np.diff(extra) <= 1e-12).all()
    assert extra.max() <= PREMIUM_FRAC * max(0.0, gap) + 1e-12
    made = plan(waiting, iterations=1)
    again = made.cost.total - premium(instance, waiting, made.schedule.grid_kw)
    assert again == pytest.approx(evaluate(instance, made.schedule).total, rel=1e-9, abs=1e-9)
