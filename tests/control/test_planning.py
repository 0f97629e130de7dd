"""The planner against a judge that shares no code with it, on ordinary and on hostile instances."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import dispatch_instances, dispatch_referee
from control.dispatch import Schedule, to_dict, violations
from control.dispatch_instance import Battery, Diesel, Instance
from control.planning import PlanResult, plan

SEEDS = range(14)


def judged(problem: dict[str, Any], result: PlanResult) -> float:
    """The judge's cost of a plan that the judge finds feasible and priced right."""
    answer = to_dict(Instance.from_dict(problem), result.schedule)
    assert dispatch_referee.broken(problem, answer) == []
    cost = dispatch_referee.cost(problem, answer)
    assert answer["cost"] == pytest.approx(cost, rel=1e-9, abs=1e-9)
    return cost


@pytest.mark.parametrize("seed", SEEDS)
def test_plans_beat_the_simple_rule(seed: int) -> None:
    problem = dispatch_instances.instance(seed)
    cost = judged(problem, plan(Instance.from_dict(problem), iterations=8))
    rule = dispatch_referee.rule_plan(problem)
    assert cost <= dispatch_referee.cost(problem, rule) + 1e-9


@pytest.mark.parametrize("seed", [3, 11, 35])
def test_more_iterations_never_cost_more_and_end(seed: int) -> None:
    instance = Instance.from_dict(dispatch_instances.instance(seed))
    costs = [plan(instance, iterations=n).cost.total for n in (0, 1, 4, 9)]
    full = plan(instance)
    assert full.stopped_by == "converged"
    assert all(a >= b for a, b in itertools.pairwise([*costs, full.cost.total]))


def test_search_is_near_the_optimum_of_an_instance_small_enough_to_enumerate() -> None:
    """Battery and diesel over six steps, against every on/off pattern on a grid of energies."""
    instance = Instance(
        step_h=1.0,
        load_kw=np.array([1.0, 3.0, 2.0, 0.5, 4.0, 1.0]),
        pv_kw=np.array([0.0, 0.0, 3.0, 3.0, 0.0, 0.0]),
        battery=Battery(
            capacity_kwh=4.0,
            soc_min_frac=0.25,
            soc_initial_frac=0.5,
            charge_max_kw=2.0,
            discharge_max_kw=2.0,
            inverter_rated_kw=2.0,
            inverter_load_frac=(0.0,),
            inverter_efficiency_frac=(1.0,),
            charge_efficiency_frac=1.0,
            discharge_efficiency_frac=1.0,
        ),
        diesel=Diesel(rated_kw=3.0, power_min_kw=1.0, power_max_kw=3.0, min_up_h=2.0),
    )
    found = plan(instance).cost.total
    best = min(
        _enumerated(instance, pattern) for pattern in itertools.product((False, True), repeat=6)
    )
    assert found <= best + 1e-6  # the enumeration knows only multiples of 0.25 kWh


def _enumerated(instance: Instance, pattern: tuple[bool, ...]) -> float:
    """The least cost of a diesel pattern over energies in steps of 0.25 kWh."""
    ups = "".join("1" if on else "0" for on in pattern).split("0")
    if any(len(run) == 1 for run in ups[:-1]):
        return float("inf")
    third, diesel, battery = 1 / 3, instance.diesel, instance.battery
    levels = [k / 4 for k in range(4, 17)]
    cost = {2.0: 0.0}
    was = False
    for t, on in enumerate(pattern):
        reached: dict[float, float] = {}
        for energy, so_far in cost.items():
            for after in levels:
                power = energy - after
                if abs(power) > 2.0:
                    continue
                need = instance.load_kw[t] - instance.pv_kw[t] - power
                made = min(max(need, diesel.power_min_kw), diesel.power_max_kw) if on else 0.0
                need -= made
                spilt = min(max(-need, 0.0), instance.pv_kw[t])
                price = 5.0 * max(need, 0.0) + 0.002 * spilt + 0.05 * max(-need - spilt, 0.0)
                wear = abs(power) * (0.005 + 0.01 + 0.02 * abs(power) / 2.0)
                fuel = 1.5 * (0.08 * 3.0 + 0.246 * made) + 0.02 * made + 0.05 if on else 0.0
                dirt = instance.diesel_pollution_per_kwh * made
                start = diesel.startup if on and not was else 0.0
                total = (
                    so_far
                    + price
                    + third * (wear + fuel + dirt + start + 0.01 * made + 0.01 * instance.pv_kw[t])
                )
                reached[after] = min(total, reached.get(after, float("inf")))
        cost, was = reached, on
    assert battery.soc_min_frac * battery.capacity_kwh == min(levels)
    return min(cost.values())


def test_the_same_seed_and_iterations_give_the_same_plan() -> None:
    instance = Instance.from_dict(dispatch_instances.instance(5))
    first, second = (plan(instance, seed=7, iterations=5) for _ in range(2))
    assert to_dict(instance, first.schedule) == to_dict(instance, second.schedule)
    assert first.evaluations == second.evaluations


def test_a_budget_of_nothing_still_gives_a_feasible_plan() -> None:
    problem = dispatch_instances.instance(1)
    result = plan(Instance.from_dict(problem), out_of_time=lambda: True)
    judged(problem, result)
    assert result.stopped_by == "budget"


def test_the_budget_ends_the_search_wherever_it_is() -> None:
    problem = dispatch_instances.instance(11)
    for allowed in (1, 50, 200, 400, 1000):
        calls = itertools.count()
        result = plan(
            Instance.from_dict(problem), out_of_time=lambda c=calls, n=allowed: next(c) >= n
        )
        judged(problem, result)
        assert result.stopped_by == "budget"


@pytest.mark.parametrize("seed", [2, 11, 30])
def test_a_warm_start_is_never_made_worse(seed: int) -> None:
    problem = dispatch_instances.instance(seed)
    instance = Instance.from_dict(problem)
    good = plan(instance, iterations=12)
    again = plan(instance, iterations=0, warm_start=good.schedule)
    assert judged(problem, again) <= good.cost.total + 1e-9
    assert again.stage == "warm start"


def test_a_warm_start_from_another_day_is_made_feasible() -> None:
    problem = dispatch_instances.instance(11)
    instance = Instance.from_dict(problem)
    wild = Schedule(*[np.resize([9.0, -9.0, 9.0], instance.steps) for _ in range(7)])
    judged(problem, plan(instance, iterations=0, warm_start=wild))


def test_a_warm_start_of_another_length_is_refused() -> None:
    instance = Instance(step_h=1.0, load_kw=np.ones(4))
    other = plan(Instance(step_h=1.0, load_kw=np.ones(3)), iterations=0).schedule
    with pytest.raises(ValueError, match="3 steps"):
        plan(instance, iterations=0, warm_start=other)


kw = st.one_of(st.just(0.0), st.floats(0.0, 20.0))
price = st.one_of(st.just(0.0), st.floats(-0.5, 0.8))


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, Any]:
    """Instances that nobody would wish for, yet well formed."""
    problem = dispatch_instances.instance(draw(st.integers(0, 10_000)))
    steps = draw(st.sampled_from([1, 2, 5, 24]))
    step_h = draw(st.sampled_from([1 / 60, 0.25, 1.0, 3.0]))
    problem["time"] |= {"steps": steps, "step_h": step_h}

    def series(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=steps, max_size=steps))

    problem["series"] = {
        "load_kw": series(kw),
        "pv_available_kw": series(kw),
        "wind_available_kw": series(kw),
        "price_buy_usd_per_kwh": series(price),
        "price_sell_usd_per_kwh": series(price),
        "grid_import_max_kw": series(kw),
        "grid_export_max_kw": series(kw),
    }
    low, high = sorted(draw(st.tuples(st.floats(0, 1), st.floats(0, 1))))
    problem["battery"] |= {
        "capacity_kwh": draw(st.sampled_from([0.0, 0.1, 5.0, 1000.0])),
        "soc_min_frac": low,
        "soc_max_frac": high,
        "soc_initial_frac": draw(st.sampled_from([0.0, 0.5, 1.0])),
        "charge_max_kw": draw(st.sampled_from([0.0, 3.0, 50.0])),
        "discharge_max_kw": draw(st.sampled_from([0.0, 3.0, 50.0])),
    }
    if draw(st.booleans()):
        problem["inverter"] |= {"load_frac": [0.1, 0.5], "efficiency_frac": [0.9, 0.2]}
    most = draw(st.sampled_from([0.0, 2.0, 10.0]))
    problem["diesel"] |= {
        "power_max_kw": most,
        "power_min_kw": most * draw(st.sampled_from([0.0, 0.5, 1.0])),
        "min_up_h": draw(st.sampled_from([0.0, 0.6, 5.0, 100.0])),
        "min_down_h": draw(st.sampled_from([0.0, 0.6, 5.0, 100.0])),
        "initial_on": draw(st.booleans()),
        "initial_time_in_state_h": draw(st.sampled_from([0.0, 0.25, 50.0])),
    }
    return problem


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(hostile())
def test_hostile_instances_get_a_feasible_best_effort(problem: dict[str, Any]) -> None:
    instance = Instance.from_dict(problem)
    result = plan(instance, iterations=6)
    assert violations(instance, result.schedule) == []
    judged(problem, result)


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1e4, 1e7])
@pytest.mark.parametrize("seed", [0, 11])
def test_tiny_and_huge_sites(scale: float, seed: int) -> None:
    problem = dispatch_instances.instance(seed)
    sizes = {key for part in problem.values() if isinstance(part, dict) for key in part}
    sizes = {key for key in sizes if key.endswith("_kw") or key == "capacity_kwh"}
    for part in ("series", "battery", "inverter", "diesel"):
        for key in sizes & set(problem[part]):
            old = problem[part][key]
            problem[part][key] = [scale * v for v in old] if isinstance(old, list) else scale * old
    instance = Instance.from_dict(problem)
    idle, found = (plan(instance, iterations=n) for n in (0, 5))
    answer = to_dict(instance, found.schedule)
    assert dispatch_referee.broken(problem, answer) == []
    assert found.cost.total <= idle.cost.total


def test_a_thousand_steps_with_a_long_minimum_time() -> None:
    problem = dispatch_instances.instance(11)
    day = problem["time"]["steps"]
    problem["time"] |= {"steps": 1000, "step_h": 1 / 60}
    problem["series"] = {
        key: [values[t % day] for t in range(1000)] for key, values in problem["series"].items()
    }
    problem["diesel"] |= {"min_up_h": 8.0, "min_down_h": 4.0}
    instance = Instance.from_dict(problem)
    idle = plan(instance, iterations=0)
    assert judged(problem, plan(instance, iterations=5)) < idle.cost.total


@pytest.mark.parametrize(("step_h", "stage"), [(0.25, "plane"), (1 / 60, "polish")])
def test_a_long_horizon_is_soon_near_its_best(step_h: float, stage: str) -> None:
    """Days of quarters of an hour, or minutes with minimum times of many steps each."""
    problem = dispatch_instances.instance(11)
    day = problem["time"]["steps"]
    problem["time"] |= {"steps": 700, "step_h": step_h}
    problem["series"] = {
        key: [values[round(t * step_h / 0.25) % day] for t in range(700)]
        for key, values in problem["series"].items()
    }
    problem["diesel"] |= {"min_up_h": 2.0, "min_down_h": 1.0}
    instance = Instance.from_dict(problem)
    soon = plan(instance, iterations=4 if stage == "polish" else 1)
    assert soon.stage == stage
    assert judged(problem, soon) <= 1.03 * judged(problem, plan(instance, iterations=9))


def test_minimum_times_too_long_to_search_leave_the_diesel_to_the_swarm() -> None:
    problem = dispatch_instances.instance(11)
    problem["time"] |= {"steps": 200, "step_h": 0.1}
    problem["series"] = {
        key: np.resize(values, 200).tolist() for key, values in problem["series"].items()
    }
    problem["diesel"] |= {"min_up_h": 20.0, "min_down_h": 20.0, "initial_on": True}
    instance = Instance.from_dict(problem)
    swarm = plan(instance, iterations=30)
    polished = plan(instance, iterations=34)
    assert swarm.stage == "swarm"
    assert polished.stage == "polish"
    assert judged(problem, polished) < judged(problem, swarm)


def test_without_battery_or_diesel_only_the_merit_order_decides() -> None:
    instance = Instance(
        step_h=1.0,
        load_kw=np.array([2.0, 2.0, 2.0]),
        pv_kw=np.array([0.0, 1.0, 5.0]),
        price_buy_per_kwh=0.2,
        price_sell_per_kwh=np.array([0.1, 0.1, -0.1]),
        import_max_kw=1.5,
        export_max_kw=2.0,
    )
    schedule = plan(instance).schedule
    assert schedule.grid_kw.tolist() == [1.5, 1.0, 0.0]
    assert schedule.unserved_kw.tolist() == [0.5, 0.0, 0.0]
    assert schedule.curtailed_kw.tolist() == [0.0, 0.0, 3.0]  # paying to sell is worse
