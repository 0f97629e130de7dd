"""Several batteries and diesels: the planner against a judge that shares no code with it."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench import dispatch_instances, dispatch_referee
from control import planning_fleet
from control.dispatch_fleet import Fleet, FleetSchedule, evaluate, to_dict, violations
from control.dispatch_instance import Instance
from control.planning import plan
from control.planning_candidates import FleetPlan
from control.planning_fleet import plan_fleet
from control.planning_pareto import Preference, front, line, plan_preferred, preferred, triangle
from control.planning_qian import plan_qian


def judged(problem: dict[str, Any], result: FleetPlan) -> float:
    """The judge's cost of a plan that the judge finds feasible and priced right."""
    fleet = Fleet.from_dict(problem)
    answer = to_dict(fleet, result.schedule, problem)
    assert dispatch_referee.broken(problem, answer) == []
    assert violations(fleet, result.schedule) == []
    cost = dispatch_referee.cost(problem, answer)
    assert answer["cost"] == pytest.approx(cost, rel=1e-9, abs=1e-9)
    return cost


@pytest.mark.parametrize("seed", range(6))
def test_plans_beat_the_simple_rule(seed: int) -> None:
    problem = dispatch_instances.fleet(seed)
    cost = judged(problem, plan_fleet(Fleet.from_dict(problem), iterations=8))
    rule = dispatch_referee.cost(problem, dispatch_referee.rule_plan(problem))
    assert cost <= rule + 1e-9


@pytest.mark.parametrize(("batteries", "diesels"), [(0, 2), (2, 0), (3, 1), (1, 3), (5, 6), (0, 0)])
def test_any_number_of_units(batteries: int, diesels: int) -> None:
    problem = dispatch_instances.fleet(4, max(batteries, 1), max(diesels, 1))
    problem["battery"] = problem["battery"][:batteries]
    problem["inverter"] = problem["inverter"][:batteries]
    problem["diesel"] = problem["diesel"][:diesels]
    result = plan_fleet(Fleet.from_dict(problem), iterations=12)
    assert result.schedule.battery_kw.shape == (batteries, problem["time"]["steps"])
    assert result.schedule.diesel_on.shape == (diesels, problem["time"]["steps"])
    idle = plan_fleet(Fleet.from_dict(problem), iterations=0)
    assert judged(problem, result) <= judged(problem, idle)


def test_two_halves_of_a_battery_and_of_a_diesel_do_at_least_what_the_whole_does() -> None:
    """Unlike the whole, one half can rest; started together, they cost the same."""
    whole = dispatch_instances.instance(4)
    whole["diesel"] |= {"startup_usd": 0.0, "fuel_quadratic_l_per_h_per_kw2": 0.0}
    best = plan(Instance.from_dict(whole)).cost.total
    problem = {**whole, "battery": [_half(whole["battery"])] * 2}
    problem["diesel"] = [_half(whole["diesel"]) | {"om_usd_per_h_on": 0.025}] * 2
    problem["inverter"] = whole["inverter"] | {"rated_kw": whole["inverter"]["rated_kw"] / 2}
    found = judged(problem, plan_fleet(Fleet.from_dict(problem), iterations=60))
    assert found <= best + 1e-3 * abs(best)


def _half(unit: dict[str, Any]) -> dict[str, Any]:
    sizes = ("capacity_kwh", "rated_kw")
    return {
        key: value / 2
        if key in sizes or key.endswith("_max_kw") or key == "power_min_kw"
        else value
        for key, value in unit.items()
    }


@pytest.mark.parametrize("seed", [7, 9])
def test_a_fleet_of_one_each_is_planned_as_one_instance(seed: int) -> None:
    problem = dispatch_instances.instance(seed)
    single = plan(Instance.from_dict(problem), iterations=4)
    listed = problem | {"battery": [problem["battery"]], "diesel": [problem["diesel"]]}
    fleet = Fleet.from_dict(listed)
    result = plan_fleet(fleet, iterations=4)
    assert judged(listed, result) == pytest.approx(single.cost.total)
    answer = to_dict(fleet, result.schedule, listed)
    assert answer["battery_kw"] == [single.schedule.battery_kw.tolist()]
    mixed = listed | {"battery": problem["battery"]}
    answer = to_dict(fleet, result.schedule, mixed)
    assert answer["battery_kw"] == single.schedule.battery_kw.tolist()
    assert answer["diesel_on"] == [single.schedule.diesel_on.astype(int).tolist()]


def test_more_iterations_never_cost_more_and_the_same_give_the_same() -> None:
    fleet = Fleet.from_dict(dispatch_instances.fleet(5))
    plans = [plan_fleet(fleet, seed=3, iterations=n) for n in (0, 1, 6, 25, 25)]
    costs = [p.cost.total for p in plans]
    assert all(a >= b for a, b in itertools.pairwise(costs))
    assert plans[3].schedule.battery_kw.tolist() == plans[4].schedule.battery_kw.tolist()


def test_the_budget_ends_the_search_wherever_it_is() -> None:
    problem = dispatch_instances.fleet(4)
    for allowed in (0, 1, 30, 100, 300, 1000):
        calls = itertools.count()
        result = plan_fleet(
            Fleet.from_dict(problem), out_of_time=lambda c=calls, n=allowed: next(c) >= n
        )
        judged(problem, result)
        assert result.stopped_by == "budget"


def test_it_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning_fleet, "SWARM_MOVES", (1,))
    problem = dispatch_instances.fleet(4)
    result = plan_fleet(Fleet.from_dict(problem))
    assert result.stopped_by == "converged"
    judged(problem, result)


def test_a_warm_start_is_never_made_worse_and_must_fit() -> None:
    problem = dispatch_instances.fleet(9)
    fleet = Fleet.from_dict(problem)
    good = plan_fleet(fleet, iterations=10)
    again = plan_fleet(fleet, iterations=0, warm_start=good.schedule)
    assert judged(problem, again) <= good.cost.total + 1e-9
    assert again.stage == "warm start"
    other = plan_fleet(Fleet.from_dict(dispatch_instances.fleet(9, 3, 2)), iterations=0)
    with pytest.raises(ValueError, match="warm start"):
        plan_fleet(fleet, iterations=0, warm_start=other.schedule)


def test_minimum_times_too_long_to_search_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning_fleet, "SIZE_MAX", 60_000)
    problem = dispatch_instances.fleet(4)
    result = plan_fleet(Fleet.from_dict(problem), iterations=10)
    idle = plan_fleet(Fleet.from_dict(problem), iterations=0)
    assert judged(problem, result) < judged(problem, idle)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3), st.data())
def test_hostile_fleets_get_a_feasible_best_effort(
    seed: int, batteries: int, diesels: int, data: st.DataObject
) -> None:
    problem = dispatch_instances.fleet(seed, batteries, diesels)
    steps = data.draw(st.sampled_from([1, 2, 12]))
    problem["time"] |= {"steps": steps, "step_h": data.draw(st.sampled_from([1 / 60, 0.5, 3.0]))}
    problem["series"] = {
        key: data.draw(st.lists(_level(key), min_size=steps, max_size=steps))
        for key in problem["series"]
    }
    for battery in problem["battery"]:
        battery["capacity_kwh"] = data.draw(st.sampled_from([0.0, 0.1, 5.0, 1e6]))
        battery["soc_initial_frac"] = data.draw(st.sampled_from([0.0, 0.5, 1.0]))
        battery["charge_max_kw"] = data.draw(st.sampled_from([0.0, 3.0, 1e4]))
    for diesel in problem["diesel"]:
        diesel["power_max_kw"] = data.draw(st.sampled_from([0.0, 2.0, 1e4]))
        diesel["power_min_kw"] = diesel["power_max_kw"] * data.draw(st.sampled_from([0.0, 1.0]))
        diesel["min_up_h"] = data.draw(st.sampled_from([0.0, 1.0, 1e5]))
        diesel["initial_on"] = data.draw(st.booleans())
        diesel["initial_time_in_state_h"] = data.draw(st.sampled_from([0.0, 0.5]))
    judged(problem, plan_fleet(Fleet.from_dict(problem), iterations=5))


def _level(key: str) -> st.SearchStrategy[float]:
    low = -0.5 if key.startswith("price") else 0.0
    return st.one_of(st.just(0.0), st.floats(low, 1.0), st.floats(low, 20.0))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("battery", 1, "capacity_kwh"), -1, "battery[1].capacity_kwh: -1"),
        (("battery", 0), None, "battery[0]: None"),
        (("diesel", 1, "min_up_h"), "x", "diesel[1].min_up_h: 'x'"),
        (("diesel", 0), [], "diesel[0]: []"),
        (("inverter", 1, "rated_kw"), 0, "battery[1].inverter.rated_kw: 0"),
        (("inverter",), [], "inverter: 0 given (allowed: one object, or 2 in a list)"),
        (("inverter",), None, "battery[0].inverter: None"),
        (("series", "load_kw", 0), float("nan"), "series.load_kw[0]: nan"),
    ],
)
def test_a_wrong_unit_is_named_with_its_number(
    path: tuple[Any, ...], value: Any, message: str
) -> None:
    problem = dispatch_instances.fleet(0)
    place: Any = problem
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=r"allowed") as caught:
        Fleet.from_dict(problem)
    assert message in str(caught.value)


def test_an_inverter_of_its_own_or_one_for_all() -> None:
    problem = dispatch_instances.fleet(0)
    curves = problem.pop("inverter")
    own = [{**b, "inverter": c} for b, c in zip(problem["battery"], curves, strict=True)]
    fleet = Fleet.from_dict(problem | {"battery": own})
    assert [b.inverter_rated_kw for b in fleet.batteries] == [c["rated_kw"] for c in curves]
    fleet = Fleet.from_dict(problem | {"inverter": curves[0]})
    assert [b.inverter_rated_kw for b in fleet.batteries] == [curves[0]["rated_kw"]] * 2


@pytest.mark.parametrize("seed", range(6))
def test_two_programs_agree_on_the_simple_rule(seed: int) -> None:
    problem = dispatch_instances.fleet(seed, 3, 2)
    rule = dispatch_referee.rule_plan(problem)
    arrays = {k: np.array(v, dtype=bool if k == "diesel_on" else float) for k, v in rule.items()}
    schedule, fleet = FleetSchedule(**arrays), Fleet.from_dict(problem)
    assert dispatch_referee.broken(problem, rule) == []
    assert violations(fleet, schedule) == []
    cost = evaluate(fleet, schedule).total
    assert cost == pytest.approx(dispatch_referee.cost(problem, rule))
    schedule.battery_kw[1, 0] += 1e3
    assert any(line.startswith("[1] discharging") for line in violations(fleet, schedule))


def test_the_printed_algorithm_is_feasible_priced_right_and_repeatable() -> None:
    problem = dispatch_instances.fleet(4)
    fleet = Fleet.from_dict(problem)
    first, second = (plan_qian(fleet, seed=2, iterations=30) for _ in range(2))
    assert judged(problem, first) == judged(problem, second)
    assert first.cost.total <= plan_qian(fleet, iterations=0).cost.total


def test_no_plan_of_the_front_is_beaten_by_another() -> None:
    fleet = Fleet.from_dict(dispatch_instances.instance(4))
    points = front(fleet, triangle(3), iterations=4)
    assert len(points) > 3
    for one, other in itertools.permutations(points, 2):
        assert any(a < b for a, b in zip(one.objectives, other.objectives, strict=True))
    assert [p.objectives[0] for p in points] == sorted(p.objectives[0] for p in points)


def test_no_weights_make_it_pay_to_leave_load_unserved() -> None:
    problem = dispatch_instances.instance(11)
    fleet = Fleet.from_dict(problem)
    usual = plan_fleet(fleet, iterations=8).schedule.unserved_kw.sum()
    for point in front(fleet, triangle(1), iterations=8):
        assert point.schedule.unserved_kw.sum() <= usual + 1e-3


def test_the_cheapest_within_five_percent_of_the_cleanest() -> None:
    fleet = Fleet.from_dict(dispatch_instances.instance(4))
    points = front(fleet, line(0, 2, 6), iterations=6)
    chosen = preferred(points, Preference.parse("cheapest within 5 % of the cleanest"))
    cleanest = min(p.objectives[2] for p in points)
    assert chosen.objectives[2] <= cleanest * 1.05 + 1e-9
    near = [p.objectives[0] for p in points if p.objectives[2] <= cleanest * 1.05 + 1e-9]
    assert chosen.objectives[0] == min(near)
    same = plan_preferred(fleet, Preference(0, 0.05, 2), iterations=6)
    assert same.objectives == chosen.objectives
