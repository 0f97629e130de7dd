"""What a stored kWh is worth along a plan: cases that can be worked out by hand."""

from typing import Any

import numpy as np
import pytest

from control.dispatch import Schedule
from control.dispatch_instance import Battery, Instance
from control.stored_value import guidance

LATER = 0.15  # what is left at the end is worth


def lossless(**changes: Any) -> Battery:
    normal = {
        "capacity_kwh": 4.0,
        "soc_initial_frac": 0.5,
        "charge_max_kw": 2.0,
        "discharge_max_kw": 2.0,
        "charge_efficiency_frac": 1.0,
        "discharge_efficiency_frac": 1.0,
        "generation_cost_per_kwh": 0.0,
        "om_linear_per_kwh": 0.0,
        "om_quadratic_per_kwh_at_max": 0.0,
        "inverter_rated_kw": 2.0,
        "inverter_load_frac": (0.0, 1.0),
        "inverter_efficiency_frac": (1.0, 1.0),
    }
    return Battery(**(normal | changes))


def instance(buy: list[float], sell: float = 0.05, battery: Battery | None = None) -> Instance:
    steps = len(buy)
    return Instance(
        step_h=1.0,
        load_kw=np.ones(steps),
        pv_kw=np.zeros(steps),
        wind_kw=np.zeros(steps),
        price_buy_per_kwh=np.array(buy),
        price_sell_per_kwh=np.full(steps, sell),
        import_max_kw=np.full(steps, 9.0),
        export_max_kw=np.full(steps, 9.0),
        battery=battery or lossless(),
        weight_generation=1.0,
        weight_equipment=0.0,
        weight_pollution=0.0,
        energy_value_per_kwh=LATER,
    )


def schedule(battery: list[float], grid: list[float], diesel: list[bool] | None = None) -> Schedule:
    nothing = np.zeros(len(battery))
    on = np.array(diesel if diesel else [False] * len(battery))
    powers = (np.array(battery), on, nothing, np.array(grid), nothing, nothing, nothing)
    return Schedule(*powers)


def value(buy: list[float], battery: list[float], grid: list[float], **more: Any) -> Any:
    return guidance(instance(buy, **more), schedule(battery, grid))


def test_energy_kept_for_a_dearer_hour_is_worth_something_between_both() -> None:
    made = value([0.1, 0.4], [0.0, 1.0], [1.0, 0.0])
    assert made.value_per_kwh == pytest.approx([0.25, 0.25])
    assert made.cover_deficit.tolist() == [False, True]
    assert made.store_surplus.tolist() == [True, True]


def test_energy_that_covers_all_is_worth_no_more_than_buying() -> None:
    made = value([0.1, 0.1], [1.0, 0.9], [0.0, 0.0], sell=-1.0)
    assert made.value_per_kwh == pytest.approx([-0.45, -0.45])  # between selling and buying
    assert made.cover_deficit.all()


def test_what_is_sold_from_the_battery_is_worth_no_more_than_the_price() -> None:
    made = value([0.4, 0.4], [2.0, 0.0], [-1.0, 0.0], sell=0.3)
    assert made.value_per_kwh == pytest.approx([LATER, LATER])
    made = value([0.4, 0.4], [1.5, 0.0], [-0.5, 0.0], sell=0.1)
    assert made.value_per_kwh == pytest.approx([0.098, 0.098])


def test_a_surplus_that_is_sold_although_there_is_room_is_not_worth_storing() -> None:
    made = value([0.4], [0.0], [-1.0], sell=0.1)
    assert made.value_per_kwh == pytest.approx([0.098])
    assert made.store_surplus[0]  # worth nearly the same: now rather than later
    assert made.cover_deficit[0]
    made = value([0.4, 0.4], [0.0, 1.0], [-1.0, -0.5], sell=0.3)
    assert made.value_per_kwh == pytest.approx([0.15, 0.15])
    assert not made.store_surplus[0]


def test_energy_bought_to_be_stored_is_worth_its_price() -> None:
    made = value([0.2, 0.15, 0.3], [-1.0, 0.0, 0.0], [2.0, 0.0, 0.0])
    assert made.value_per_kwh == pytest.approx([0.204, 0.204, 0.204])
    assert made.cover_deficit.tolist() == [True, False, True]


def test_a_stored_surplus_is_worth_at_least_what_selling_brings() -> None:
    made = value([0.4], [-1.0], [0.0], sell=0.2)
    assert made.value_per_kwh == pytest.approx([0.204])
    assert made.store_surplus[0]


def test_full_and_empty_end_what_energy_is_worth() -> None:
    made = value([0.1, 0.4, 0.2, 0.1], [-2.0, 4.0, 0.0, 0.0], [3.0, 0.0, 1.0, 1.0])
    assert made.value_per_kwh[:2] == pytest.approx([LATER, (0.05 + 0.4) / 2])
    assert made.cover_deficit.tolist()[:2] == [False, True]
    assert made.value_per_kwh[2] == pytest.approx(0.204)  # empty again: the dear hour counts


def test_negative_prices_are_passed_on_the_right_side() -> None:
    made = value([0.4], [0.0], [-1.0], sell=-0.1)
    assert made.value_per_kwh == pytest.approx([-0.102])
    assert not made.store_surplus[0]


def test_hours_beside_the_diesel_say_nothing_about_prices() -> None:
    made = guidance(instance([0.4]), schedule([-1.0], [0.0], diesel=[True]))
    assert made.value_per_kwh == pytest.approx([LATER])


def test_losses_and_wear_drive_storing_and_using_apart() -> None:
    """Round trip 0.81 and 0.02 per kWh of wear each way at the power that moves."""
    lossy = lossless(inverter_efficiency_frac=(0.9, 0.9), om_linear_per_kwh=0.02, capacity_kwh=40.0)
    problem = instance([0.4], sell=0.3, battery=lossy)
    worn = Instance(**{name: getattr(problem, name) for name in problem.__slots__} | {
        "weight_equipment": 1.0
    })  # fmt: skip
    bought = guidance(worn, schedule([-1.0], [2.0]))
    assert bought.value_per_kwh == pytest.approx([1.02 * (0.4 + 0.02) / 0.9])
    assert not bought.cover_deficit[0]
    used = guidance(worn, schedule([1.0], [0.0]))
    assert used.value_per_kwh == pytest.approx([(0.9 * 0.38 + 0.9 * 0.28) / 2])


def test_without_a_battery_there_is_nothing_to_guide() -> None:
    made = guidance(instance([0.4, 0.1], battery=Battery()), schedule([0.0, 0.0], [1.0, 1.0]))
    assert not made.cover_deficit.any()
    assert not made.store_surplus.any()
    assert made.value_per_kwh.tolist() == [0.0, 0.0]
