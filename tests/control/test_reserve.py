"""The energy that a plan keeps for a bad day."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import dispatch_instances
from control.dispatch import energy_kwh, evaluate, reserve_cost
from control.dispatch_instance import Battery, Instance
from control.planning import plan
from control.records import Series
from control.reserve import USABLE_SHARE, reserve


def series(p10: float, p50: float, p90: float, steps: int = 96) -> Series:
    return Series((p10,) * steps, (p50,) * steps, (p90,) * steps, "test")


def kept(
    load: Series, pv: Series, help_after_h: float = 12.0, usable_kwh: float = 50.0
) -> np.ndarray:
    return reserve(
        load,
        pv,
        step_h=0.25,
        help_after_h=help_after_h,
        usable_kwh=usable_kwh,
        unserved_per_kwh=5.0,
    ).kwh


def test_none_is_kept_where_help_is_there_at_once_or_nothing_is_uncertain() -> None:
    unsure, sure = series(0.5, 1.0, 1.5), series(1.0, 1.0, 1.0)
    assert not kept(unsure, unsure, help_after_h=0.0).any()
    assert not kept(unsure, unsure, usable_kwh=0.0).any()
    assert not kept(sure, sure).any()


def test_a_lasting_error_of_half_a_kilowatt_over_twelve_hours() -> None:
    energy = kept(series(0.5, 1.0, 1.5), series(0.0, 0.0, 0.0))
    lasting, passing = 0.5 * 12.0, 0.5 * 0.25 * np.sqrt(48)
    assert energy[0] == pytest.approx(np.hypot(0.5 * lasting, 0.5 * passing))
    assert energy[-1] == 0.0  # nothing is known of what comes after


@given(st.floats(0.0, 3.0), st.floats(0.0, 3.0), st.floats(0.25, 24.0), st.floats(0.1, 30.0))
def test_more_doubt_or_later_help_never_keeps_less_and_half_the_battery_is_the_most(
    load_doubt: float, sun_doubt: float, help_after_h: float, usable_kwh: float
) -> None:
    def energy(doubt: float, hours: float) -> np.ndarray:
        load = series(0.0, 1.0, 1.0 + doubt)
        return kept(load, series(3.0 - sun_doubt, 3.0, 9.0), hours, usable_kwh)

    some = energy(load_doubt, help_after_h)
    assert np.all(energy(load_doubt + 0.5, help_after_h) >= some - 1e-12)
    assert np.all(energy(load_doubt, help_after_h + 1.0) >= some - 1e-12)
    assert np.all(some <= USABLE_SHARE * usable_kwh + 1e-12)


def test_it_is_told_in_few_words() -> None:
    made = reserve(
        series(0.5, 1.0, 1.5),
        series(0.0, 0.0, 0.0),
        step_h=0.25,
        help_after_h=12.0,
        usable_kwh=50.0,
        unserved_per_kwh=5.0,
    )
    assert made.words(0) == "keeps 3 kWh for a bad day"
    assert made.words(95) == ""


def test_a_plan_keeps_the_reserve_unless_using_it_pays_more() -> None:
    """An empty hour is bridged from the reserve; a cheap sale is not."""
    battery = Battery(
        capacity_kwh=10.0,
        soc_initial_frac=0.5,
        charge_max_kw=4.0,
        discharge_max_kw=4.0,
        inverter_rated_kw=4.0,
    )
    load = np.array([0.0, 0.0, 3.0, 0.0, 0.0, 0.0])
    instance = Instance(
        step_h=1.0,
        load_kw=load,
        battery=battery,
        price_sell_per_kwh=0.3,
        export_max_kw=5.0,
        reserve_kwh=np.full(6, 4.0),
        reserve_short_per_kwh_h=0.04,
    )
    careful = plan(instance)
    bold = plan(dataclasses.replace(instance, reserve_short_per_kwh_h=0.0))
    stored = energy_kwh(instance, careful.schedule.battery_kw)[1:]
    assert stored[1] >= 4.0 - 1e-6 > energy_kwh(instance, bold.schedule.battery_kw)[-1]
    assert careful.schedule.unserved_kw.sum() == pytest.approx(0.0, abs=1e-6)
    assert careful.cost.penalty == pytest.approx(reserve_cost(instance, stored[:, None]).sum())


@pytest.mark.parametrize("seed", [1, 4, 8])
def test_the_planner_finds_no_better_plan_from_elsewhere(seed: int) -> None:
    """With a reserve too, the plan beats what is best without it, at the same cost function."""
    instance = Instance.from_dict(dispatch_instances.instance(seed))
    careful = dataclasses.replace(
        instance,
        reserve_kwh=0.4 * instance.battery.capacity_kwh,
        reserve_short_per_kwh_h=0.05,
    )
    other = plan(instance).schedule
    assert plan(careful).cost.total <= evaluate(careful, other).total + 1e-9
