"""Between two plans: the slot in force, and what the battery does with the net load as it is."""

import math
from dataclasses import replace
from typing import Any

import pytest

from control.follow import (
    Slot,
    counts_on_grid,
    current_slot,
    follow_beside_generator,
    follow_on_grid,
)


@pytest.mark.parametrize(
    ("now_s", "index"),
    [(999.9, None), (1000.0, 0), (1899.9, 0), (1900.0, 1), (2799.9, 1), (2800.0, None)],
)
def test_the_slot_in_force(build: Any, now_s: float, index: int | None) -> None:
    slot = current_slot(build.plan(), now_s)
    assert (slot.index if slot else None) == index


@pytest.mark.parametrize(("now_s", "there"), [(1499.9, True), (1500.0, False), (1600.0, False)])
def test_an_expired_plan_has_no_slot(build: Any, now_s: float, there: bool) -> None:
    assert (current_slot(build.plan(expires_t_s=1500.0), now_s) is not None) == there


def test_no_plan_no_slot() -> None:
    assert current_slot(None, 1000.0) is None


def test_a_slot_carries_the_plans_values(build: Any) -> None:
    plan = build.plan(
        battery_kw=(9.0, -1.0),
        grid_kw=(9.0, 2.0),
        generator_on=(False, True),
        generator_kw=(0.0, 3.0),
        cover_deficit=(False, True),
        store_surplus=(False, True),
    )
    assert current_slot(plan, 2000.0) == Slot(1, -1.0, 2.0, True, 3.0, True, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"step_s": 0.0},
        {"step_s": -900.0},
        {"step_s": math.nan},
        {"start_t_s": math.nan},
        {"start_t_s": -math.inf},
        {"expires_t_s": math.nan},
        {"battery_kw": (math.nan, 0.0)},
        {"grid_kw": (math.inf, 0.0)},
        {"generator_kw": (-math.inf, 0.0)},
        {"battery_kw": ()},
        {"grid_kw": ()},
        {"generator_on": ()},
        {"generator_kw": ()},
        {"cover_deficit": ()},
        {"store_surplus": ()},
    ],
)
def test_a_plan_that_makes_no_sense_has_no_slot(build: Any, changes: dict[str, Any]) -> None:
    assert current_slot(build.plan(**changes), 1000.0) is None


def test_a_plan_that_trades_with_the_grid_counts_on_it(build: Any) -> None:
    assert counts_on_grid(build.plan(grid_kw=(0.0, 1.0)))
    assert counts_on_grid(build.plan(grid_kw=(0.0, -1.0)))
    assert not counts_on_grid(build.plan(grid_kw=(0.0, 0.01)))


REST = Slot(0, 0.0, 0.0, False, 0.0, False, False)


@pytest.mark.parametrize(
    ("slot", "net_kw", "share", "result"),
    [
        # charging from the grid is held, and takes an unforeseen surplus on top
        ({"battery_kw": -2.0, "grid_kw": 3.0}, 1.0, 0.0, -2.0),
        ({"battery_kw": -2.0, "grid_kw": 3.0}, -3.0, 0.0, -3.0),
        # so is selling from the battery
        ({"battery_kw": 3.0, "grid_kw": -2.0}, 1.0, 0.0, 3.0),
        ({"battery_kw": 3.0, "grid_kw": -2.0}, -1.0, 0.0, 3.0),
        # a deficit: covered, or only as planned
        ({"cover_deficit": True}, 2.0, 0.0, 2.0),
        ({"cover_deficit": False}, 2.0, 0.0, 0.0),
        ({"battery_kw": 1.0, "grid_kw": 1.0}, 2.0, 0.0, 1.0),
        ({"battery_kw": 1.0, "grid_kw": 1.0}, 0.5, 0.0, 0.5),
        ({"battery_kw": -1.0, "grid_kw": -1.0}, 2.0, 0.0, 0.0),
        # a surplus: stored, or sold; of more than was foreseen a share is stored
        ({"store_surplus": True}, -2.0, 0.0, -2.0),
        ({"grid_kw": -2.0}, -2.0, 1.0, 0.0),
        ({"grid_kw": -2.0}, -3.0, 0.5, -0.5),
        ({"grid_kw": -2.0, "battery_kw": -1.0}, -3.0, 1.0, -1.0),
        ({"grid_kw": -2.0, "battery_kw": -1.0}, -5.0, 1.0, -3.0),
        ({"grid_kw": -2.0, "battery_kw": -1.0}, -0.5, 1.0, -0.5),
        ({"grid_kw": 0.0}, -2.0, 1.0, -2.0),
        ({}, 0.0, 1.0, 0.0),
        # powers that are next to nothing mean nothing
        ({"battery_kw": -0.02, "grid_kw": 3.0}, 1.0, 0.0, 0.0),
        ({"battery_kw": 0.02, "grid_kw": -2.0, "cover_deficit": True}, 1.0, 0.0, 1.0),
    ],
)
def test_beside_a_grid(slot: dict[str, Any], net_kw: float, share: float, result: float) -> None:
    made = follow_on_grid(replace(REST, **slot), net_kw, share)
    assert made.battery_kw == pytest.approx(result)
    assert made.reason.startswith("plan: ")


@pytest.mark.parametrize(
    ("net_kw", "reason"),
    [(1.0, "grid"), (-1.0, "grid"), (-1.99, "grid"), (-2.0, "surplus"), (-3.0, "surplus")],
)
def test_the_grid_is_named_only_where_it_gives_something(net_kw: float, reason: str) -> None:
    made = follow_on_grid(replace(REST, battery_kw=-2.0, grid_kw=3.0), net_kw, 0.0)
    assert made.reason == f"plan: charge from the {reason}"


def test_beside_a_generator_the_battery_holds_the_set_where_it_was_planned() -> None:
    made = follow_beside_generator(replace(REST, generator_on=True, generator_kw=3.0), 1.0)
    assert (made.battery_kw, made.reason) == (-2.0, "plan: hold the generator at 3.00 kW")
