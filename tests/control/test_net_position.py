"""A house's position in a slot: what it lacks, what it can do, and what it cannot know."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.net_position import Slot, fault, mean_over, means, need, stored_at
from control.trades import Position, Quantiles, StoreFacts

STORE = StoreFacts(10.0, 4.0, 3.0, 0.9, 0.8, 0.02)
SLOT = Slot(1800.0, 2700.0)


def flat(*kw: float) -> Quantiles:
    return Quantiles(*((value,) * 4 for value in kw))


POSITION = Position(
    utc_s=900.0,
    t_s=900.0,
    clock_problem="",
    trading=True,
    from_utc_s=900.0,
    step_s=900.0,
    load_kw=flat(1.0, 2.0, 3.5),
    generation_kw=flat(0.0, 0.8, 1.2),
    grid_kw=(1.2,) * 4,
    battery_kw=(0.0,) * 4,
    buy_per_kwh=(0.3, 0.2, 0.3, 0.3),
    sell_per_kwh=(0.05,) * 4,
    soc_frac=0.5,
    soc_min_frac=0.1,
    soc_max_frac=0.9,
    stored_value_per_kwh=0.15,
    import_max_kw=8.0,
    export_max_kw=6.0,
    p2p_share_frac=None,
)


@pytest.mark.parametrize(
    ("slot", "mean"),
    [
        (Slot(900.0, 1800.0), 1.0),
        (Slot(1800.0, 2700.0), 2.0),
        (Slot(1350.0, 2250.0), 1.5),
        (Slot(900.0, 3600.0), 2.0),
        (Slot(1000.0, 1010.0), 1.0),
        (Slot(800.0, 1800.0), None),  # begins before what is known
        (Slot(3000.0, 3700.0), None),  # ends after it
    ],
)
def test_mean_over_a_slot(slot: Slot, mean: float | None) -> None:
    assert mean_over((1.0, 2.0, 3.0), 900.0, 900.0, slot) == mean


def test_need_adds_independent_errors() -> None:
    found = need(POSITION, SLOT)
    assert found is not None
    assert found.p50_kwh == pytest.approx(1.2 / 4)
    assert found.p10_kwh == pytest.approx((1.2 - math.hypot(1.0, 0.4)) / 4)
    assert found.p90_kwh == pytest.approx((1.2 + math.hypot(1.5, 0.8)) / 4)


def test_need_is_unknown_without_a_forecast() -> None:
    assert need(replace(POSITION, load_kw=Quantiles()), SLOT) is None
    assert need(POSITION, Slot(3600.0, 5000.0)) is None


def test_the_battery_keeps_to_its_plan_until_the_slot() -> None:
    assert stored_at(POSITION, STORE, 1800.0) == pytest.approx(5.0)
    giving = replace(POSITION, battery_kw=(1.6, 0.0))
    assert stored_at(giving, STORE, 1800.0) == pytest.approx(5.0 - 0.4 / 0.8)
    taking = replace(POSITION, battery_kw=(-4.0, 0.0))
    assert stored_at(taking, STORE, 1800.0) == pytest.approx(5.0 + 0.9)
    assert stored_at(replace(POSITION, battery_kw=(40.0, 0.0)), STORE, 1800.0) == 1.0
    assert stored_at(replace(POSITION, soc_frac=None), STORE, 1800.0) is None


def test_means_of_a_house_with_a_battery() -> None:
    lacks = need(POSITION, SLOT)
    assert lacks is not None
    can = means(POSITION, STORE, SLOT, lacks, 0.15)
    assert can is not None
    assert can.charge_kwh == pytest.approx(1.0)  # 4 kW for a quarter of an hour
    assert can.discharge_kwh == pytest.approx(0.75)
    assert (can.load_kwh, can.import_kwh, can.export_kwh) == (0.5, 2.0, 1.5)
    assert (can.buy_per_kwh, can.sell_per_kwh) == (0.2, 0.05)
    assert can.charging_per_kwh == pytest.approx(0.15 * 0.9 - 0.02)
    assert can.discharging_per_kwh == pytest.approx(0.15 / 0.8 + 0.02)


def test_a_battery_of_unknown_worth_or_content_stays_out() -> None:
    lacks = need(POSITION, SLOT)
    assert lacks is not None
    for position, value in ((POSITION, None), (replace(POSITION, soc_frac=None), 0.15)):
        can = means(position, STORE, SLOT, lacks, value)
        assert can is not None
        assert (can.charge_kwh, can.discharge_kwh) == (0.0, 0.0)


def test_peers_get_their_share_of_a_surplus_before_the_battery() -> None:
    sunny = replace(POSITION, generation_kw=flat(4.0, 4.0, 4.0), p2p_share_frac=0.75)
    lacks = need(sunny, SLOT)
    assert lacks is not None
    can = means(sunny, STORE, SLOT, lacks, 0.15)
    assert can is not None
    assert can.charge_kwh == pytest.approx(0.25 * 0.5)  # of 2 kW for a quarter of an hour
    planned = means(sunny, STORE, SLOT, lacks, 0.15, planned_kw=-0.4)
    assert planned is not None
    assert planned.charge_kwh == pytest.approx(0.4)  # the plan stores 1.6 kW


def test_prices_that_are_not_known() -> None:
    lacks = need(POSITION, SLOT)
    assert lacks is not None
    assert means(replace(POSITION, buy_per_kwh=(0.3,)), STORE, SLOT, lacks, 0.15) is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"load_kw": flat(1.0, math.nan, 2.0)}, "load_kw"),
        ({"generation_kw": flat(0.0, 1.0, 1e9)}, "generation_kw"),
        ({"grid_kw": (-math.inf,)}, "grid_kw"),
        ({"buy_per_kwh": (math.nan,)}, "buy_per_kwh"),
        ({"soc_frac": 1.2}, "soc_frac"),
        ({"soc_min_frac": 0.95}, "soc_min_frac"),
        ({"p2p_share_frac": math.nan}, "p2p_share_frac"),
        ({"stored_value_per_kwh": math.inf}, "stored_value_per_kwh"),
        ({"export_max_kw": -1.0}, "export_max_kw"),
        ({"step_s": 0.0}, "step_s"),
        ({"from_utc_s": 1000.0}, "step_s"),
        ({"from_utc_s": math.nan}, "step_s"),
    ],
)
def test_faults(changes: dict[str, object], word: str) -> None:
    assert fault(POSITION) == ""
    found = fault(replace(POSITION, **changes))  # type: ignore[arg-type]
    assert word in found
    assert "\n" not in found


@settings(deadline=None)
@given(
    battery=st.lists(st.floats(-1e6, 1e6), max_size=4),
    soc=st.floats(0, 1),
    low=st.floats(0, 1),
    until=st.floats(900, 4500),
)
def test_stored_energy_stays_within_the_battery(
    battery: list[float], soc: float, low: float, until: float
) -> None:
    position = replace(POSITION, battery_kw=tuple(battery), soc_frac=soc, soc_min_frac=low)
    stored = stored_at(position, STORE, until)
    assert stored is None or min(soc, low) * 10 - 1e-6 <= stored <= max(soc, 0.9) * 10 + 1e-6
