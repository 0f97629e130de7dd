"""Instances, the cost and the constraints: by hand, by another program, and when malformed."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import dispatch_instances, dispatch_referee
from control.dispatch import Schedule, evaluate, locked_steps, to_dict, violations
from control.dispatch_instance import Battery, Diesel, Instance
from control.planning_step import MeritOrder
from control.planning_storage import Storage

CONTRACTS = Path(__file__).parents[3] / "shared" / "contracts" / "dispatch"


def schedule_of(answer: dict[str, Any]) -> Schedule:
    keys = ("battery_kw", "diesel_kw", "grid_kw", "curtailed_kw", "unserved_kw", "dumped_kw")
    series = {key: np.array(answer[key], dtype=float) for key in keys}
    return Schedule(diesel_on=np.array(answer["diesel_on"], dtype=bool), **series)


def test_the_contract_s_best_plans_cost_what_it_says() -> None:
    found = sorted(CONTRACTS.glob("*.best.json"))
    if not found:
        pytest.skip(f"no instances in {CONTRACTS}")
    for path in found:
        best = json.loads(path.read_text())
        problem = json.loads(path.with_name(path.name.replace(".best", "")).read_text())
        cost = evaluate(Instance.from_dict(problem), schedule_of(best["schedule"]))
        assert cost.total == pytest.approx(best["best_known_cost"], abs=2e-7)
        assert cost.generation == pytest.approx(best["terms"]["Y1"], abs=2e-6)
        assert cost.equipment == pytest.approx(best["terms"]["Y2"], abs=2e-6)
        assert cost.pollution == pytest.approx(best["terms"]["Y3"], abs=2e-6)


def test_one_hour_by_hand() -> None:
    instance = Instance(
        step_h=0.5,
        load_kw=np.array([3.0, 3.0]),
        pv_kw=np.array([1.0, 0.0]),
        price_buy_per_kwh=0.2,
        import_max_kw=5.0,
        battery=Battery(
            capacity_kwh=10.0,
            soc_initial_frac=0.5,
            charge_max_kw=4.0,
            discharge_max_kw=4.0,
            inverter_rated_kw=4.0,
            inverter_load_frac=(0.0, 1.0),
            inverter_efficiency_frac=(0.8, 1.0),
            charge_efficiency_frac=0.9,
            discharge_efficiency_frac=0.5,
        ),
        diesel=Diesel(rated_kw=2.0, power_min_kw=1.0, power_max_kw=2.0, fuel_price_per_l=2.0),
        weight_generation=0.5,
        weight_equipment=0.3,
        weight_pollution=0.2,
        energy_value_per_kwh=0.1,
    )
    plan = Schedule(
        battery_kw=np.array([2.0, -2.0]),
        diesel_on=np.array([False, True]),
        diesel_kw=np.array([0.0, 2.0]),
        grid_kw=np.array([0.0, 3.0]),
        curtailed_kw=np.zeros(2),
        unserved_kw=np.zeros(2),
        dumped_kw=np.zeros(2),
    )
    assert violations(instance, plan) == []
    # At half load the inverter gives 0.9: 2 kW for half an hour takes 1 / 0.45 and gives 0.81.
    final = 5.0 - 1 / 0.45 + 0.81
    generation = 0.5 * (0.01 + 2 * 0.01 + 4 * 0.005 + 3 * 0.2)
    wear = 4 * (0.01 + 0.02 * 2 / 4)
    litres = 0.08 * 2 + 0.246 * 2
    equipment = 0.4 + 0.5 * (2 * 0.02 + 0.05 + 2.0 * litres + wear)
    pollution = 0.5 * (2 * instance.diesel_pollution_per_kwh + 3 * instance.grid_pollution_per_kwh)
    cost = evaluate(instance, plan)
    assert cost.final_kwh == pytest.approx(final)
    assert cost.generation == pytest.approx(generation)
    assert cost.equipment == pytest.approx(equipment)
    assert cost.pollution == pytest.approx(pollution)
    weighted = 0.5 * generation + 0.3 * equipment + 0.2 * pollution
    assert cost.total == pytest.approx(weighted - 0.1 * final)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("grid_kw", 5.0, "import limit"),
        ("battery_kw", 3.0, "power balance"),
        ("unserved_kw", -1.0, "unserved power"),
        ("diesel_kw", 1.0, "diesel power"),
    ],
)
def test_violations_are_named(key: str, value: float, message: str) -> None:
    instance = Instance(step_h=1.0, load_kw=np.array([1.0, 1.0]), import_max_kw=1.0)
    answer = {name: [0.0, 0.0] for name in to_dict(instance, _served(instance)) if "_kw" in name}
    answer |= {"grid_kw": [1.0, 1.0], "diesel_on": [0, 0]}
    assert violations(instance, schedule_of(answer)) == []
    answer[key] = [answer[key][0], value]
    assert any(line.startswith(message) for line in violations(instance, schedule_of(answer)))


def _served(instance: Instance) -> Schedule:
    none = np.zeros(instance.steps)
    return MeritOrder(instance).schedule(none, none.astype(bool))


def test_short_runs_of_the_diesel_are_violations() -> None:
    diesel = Diesel(rated_kw=2.0, power_max_kw=2.0, min_up_h=0.6, min_down_h=0.3)
    instance = Instance(step_h=0.25, load_kw=np.ones(8), diesel=diesel)
    merit = MeritOrder(instance)

    def complaints(pattern: str) -> int:
        on = np.array([c == "1" for c in pattern])
        return len(violations(instance, merit.schedule(np.zeros(8), on)))

    assert complaints("00111001") == 0  # the last run is cut by the horizon
    assert complaints("00110011") == 1
    assert complaints("11101110") == 1


@pytest.mark.parametrize(
    ("on", "hours", "steps"), [(True, 0.0, 3), (True, 0.3, 2), (True, 2.0, 0), (False, 0.25, 1)]
)
def test_the_initial_state_holds_for_the_rest_of_its_minimum_time(
    on: bool, hours: float, steps: int
) -> None:
    diesel = Diesel(min_up_h=0.6, min_down_h=0.5, initial_on=on, initial_time_in_state_h=hours)
    assert locked_steps(diesel, 0.25) == steps


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 100_000), data=st.data())
def test_no_dispatch_of_a_step_is_cheaper_than_the_merit_order(
    seed: int, data: st.DataObject
) -> None:
    """Moving power between any two sources by any amount never helps."""
    problem = dispatch_instances.instance(seed)
    problem["series"]["price_sell_usd_per_kwh"] = data.draw(
        st.lists(st.floats(-0.3, 0.6), min_size=24, max_size=24).map(
            lambda prices: np.resize(prices, problem["time"]["steps"]).tolist()
        )
    )
    instance = Instance.from_dict(problem)
    rng = np.random.default_rng(seed)
    storage, merit = Storage(instance), MeritOrder(instance)
    limit = instance.battery.charge_max_kw
    battery = storage.repaired_kw(rng.uniform(-limit, limit, instance.steps))
    on = rng.random(instance.steps) < 0.5
    base = merit.schedule(battery, on)
    cheapest = evaluate(instance, base).total
    answer = to_dict(instance, base)
    moves = {"diesel_kw": 1, "grid_kw": 1, "curtailed_kw": -1, "unserved_kw": 1, "dumped_kw": -1}
    for _ in range(40):
        t = int(rng.integers(instance.steps))
        one, other = rng.choice(list(moves), 2, replace=False)
        changed = copy.deepcopy(answer)
        amount = float(rng.choice([1e-3, 0.1, 1.0, rng.uniform(0, 8)]))
        changed[one][t] += amount * moves[one]
        changed[other][t] -= amount * moves[other]
        schedule = schedule_of(changed)
        if not [v for v in violations(instance, schedule) if not v.startswith("diesel:")]:
            assert evaluate(instance, schedule).total >= cheapest - 1e-9


@given(st.lists(st.floats(-7, 7), min_size=1, max_size=50), st.integers(2, 8), st.booleans())
def test_power_and_change_of_energy_are_inverse(
    powers: list[float], points: int, late: bool
) -> None:
    rng = np.random.default_rng(points)
    load = np.linspace(0.1 if late else 0.0, 1.0, points)
    battery = Battery(
        capacity_kwh=10.0,
        charge_max_kw=7.0,
        discharge_max_kw=7.0,
        inverter_rated_kw=5.0,
        inverter_load_frac=tuple(load),
        inverter_efficiency_frac=tuple(np.sort(rng.uniform(0.85, 1.0, points))),
    )
    storage = Storage(Instance(step_h=0.25, load_kw=np.ones(1), battery=battery))
    power = np.array(powers)
    assert storage.power_kw(storage.change_kwh(power)) == pytest.approx(power, abs=1e-9)


WRONG: list[tuple[str, Any, str]] = [
    ("battery.capacity_kwh", -1, "battery.capacity_kwh: -1 (allowed: a number >= 0)"),
    ("battery.soc_max_frac", 0.0, "(allowed: <= soc_max_frac)"),
    ("battery.soc_max_frac", "full", "'full' (allowed: a number >= 0 and <= 1)"),
    ("battery.charge_efficiency_frac", 0, "0 (allowed: a number > 0 and <= 1)"),
    ("battery", [], "battery: [] (allowed: an object with named values)"),
    ("inverter.load_frac", [0.5, 0.1], "inverter.load_frac"),
    ("inverter.efficiency_frac", [0.9], "inverter.efficiency_frac"),
    ("inverter.rated_kw", 0, "inverter.rated_kw: 0 (allowed: a number > 0)"),
    ("diesel.initial_on", 1, "diesel.initial_on: 1 (allowed: true, false)"),
    ("diesel.power_min_kw", 99.0, "diesel.power_min_kw: 99.0 (allowed: <= power_max_kw)"),
    ("diesel.min_up_h", None, "diesel.min_up_h: None"),
    ("diesel.rated_kw", True, "diesel.rated_kw: True"),
    ("time.steps", 0, "time.steps: 0"),
    ("time.steps", 7, "series.load_kw"),
    ("time.step_h", 0, "step_h: 0 (allowed: a number > 0)"),
    ("series.load_kw", "x", "series.load_kw: 'x'"),
    ("series.load_kw.3", float("nan"), "series.load_kw[3]: nan"),
    ("series.load_kw.3", -1.0, "series.load_kw[3]: -1.0 (allowed: finite numbers >= 0)"),
    ("series.price_buy_usd_per_kwh.0", 10**400, "series.price_buy_usd_per_kwh[0]"),
    ("penalties.unserved_usd_per_kwh", -1, "penalties.unserved_usd_per_kwh: -1"),
    (
        "series.load_kw.3",
        1e12,
        "series.load_kw[3]: 1000000000000.0 (allowed: finite numbers >= 0, at",
    ),
    ("battery.capacity_kwh", 1e12, "(allowed: a number >= 0 and <= 1e+09)"),
    ("weights", None, "weights: None"),
    ("emissions.diesel_kg_per_kwh", [1.0], "emissions.diesel_kg_per_kwh: 1 values"),
    ("schema", "other/2", "schema: 'other/2'"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_a_wrong_value_is_named_in_one_line(path: str, value: Any, message: str) -> None:
    problem = dispatch_instances.instance(0)
    *parents, last = path.split(".")
    place: Any = problem
    for name in parents:
        place = place[name]
    place[int(last) if isinstance(place, list) else last] = value
    with pytest.raises(ValueError, match=r"allowed|missing") as caught:
        Instance.from_dict(problem)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@settings(max_examples=150)
@given(st.data())
def test_any_missing_or_mistyped_part_is_a_value_error(data: st.DataObject) -> None:
    problem = dispatch_instances.instance(0)
    place: Any = problem
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or data.draw(st.booleans()):
            break
        place = place[key]
    if data.draw(st.booleans()):
        del place[key]
    else:
        place[key] = data.draw(
            st.sampled_from([None, "x", -1e400, [], {}, [[]], ["a"], {"a": 1}, True])
        )
    with contextlib.suppress(ValueError):  # nothing else may come out
        Instance.from_dict(problem)


@pytest.mark.parametrize("content", [None, [], 3, "x", {}])
def test_content_that_is_no_instance_at_all(content: object) -> None:
    with pytest.raises(ValueError, match=r"allowed|missing"):
        Instance.from_dict(content)


def test_a_site_without_diesel_battery_or_wind_may_leave_them_out() -> None:
    problem = dispatch_instances.instance(0)
    for key in ("diesel", "battery", "inverter", "wind"):
        del problem[key]
    del problem["series"]["wind_available_kw"]
    instance = Instance.from_dict(problem)
    assert instance.battery.capacity_kwh == instance.diesel.power_max_kw == 0
    assert not instance.wind_kw.any()


def test_arrays_must_fit_each_other_and_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="pv_kw: 2 values"):
        Instance(step_h=1.0, load_kw=np.ones(3), pv_kw=np.ones(2))
    instance = Instance(step_h=1.0, load_kw=np.ones(3), import_max_kw=4.0)
    assert instance.import_max_kw.tolist() == [4.0, 4.0, 4.0]
    with pytest.raises(ValueError, match="read-only"):
        instance.load_kw[0] = 2.0


@pytest.mark.parametrize("seed", range(8))
def test_two_programs_agree_on_cost_and_constraints_of_the_simple_rule(seed: int) -> None:
    problem = dispatch_instances.instance(seed)
    rule = dispatch_referee.rule_plan(problem)
    instance = Instance.from_dict(problem)
    assert dispatch_referee.broken(problem, rule) == []
    assert violations(instance, schedule_of(rule)) == []
    cost = evaluate(instance, schedule_of(rule)).total
    assert cost == pytest.approx(dispatch_referee.cost(problem, rule))
