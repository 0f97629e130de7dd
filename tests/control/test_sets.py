"""Which of two generators run: merit, plan, need, orders, and what happens when one is lost."""

from dataclasses import replace
from typing import Any

import pytest

from control.records import Advice, Level, Orders, Proposal, Quantity
from control.state import Mode
from tests.control.tiny_fleet import TinyFleet, fleet_site


@pytest.fixture
def fleet(build: Any) -> TinyFleet:
    """Both batteries nearly empty: a set has to run."""
    made = TinyFleet(fleet_site(build), load_kw=1.0)
    for unit in made.batteries:
        unit.soc_frac = 0.16
    return made


def runs(fleet: TinyFleet) -> list[str]:
    return [unit.name for unit in fleet.sets if unit.run]


def until(fleet: TinyFleet, wanted: list[str], limit_s: float = 400.0, **more: Any) -> float:
    start_s = fleet.t_s
    while runs(fleet) != wanted:
        fleet.step(**more)
        assert fleet.t_s - start_s < limit_s, (runs(fleet), wanted)
    return fleet.t_s - start_s


def test_the_cheaper_one_runs_alone_where_it_suffices(fleet: TinyFleet) -> None:
    made = fleet.run(300.0)
    assert runs(fleet) == ["gen-b"]
    assert fleet["gen-b"].phase == "running"
    why = {item.device: item for item in made.command.why}
    assert why["gen-a"].reason == "enough run without it"
    assert made.state.generator.run
    fleet.run(1200.0)
    assert runs(fleet) == ["gen-b"]


def test_both_run_where_one_does_not_suffice(fleet: TinyFleet) -> None:
    fleet.load_kw = 4.5
    until(fleet, ["gen-a", "gen-b"])
    fleet.run(200.0)
    assert fleet["gen-a"].kw + fleet["gen-b"].kw > 4.4
    assert fleet["gen-a"].kw == pytest.approx(5.0 / 3.0 * fleet["gen-b"].kw)
    fleet.load_kw = 1.0
    fleet.run(1000.0)
    assert runs(fleet) == ["gen-a", "gen-b"]  # the minimum run of the other
    fleet.run(1000.0)
    assert runs(fleet) == ["gen-b"]


def test_a_second_one_helps_a_battery_that_gives_all_it_can(build: Any) -> None:
    fleet = TinyFleet(fleet_site(build), load_kw=6.3)
    fleet["bat-a"].soc_frac = fleet["bat-b"].soc_frac = 0.6
    until(fleet, ["gen-b"])  # strained
    fleet.load_kw = 9.2
    assert until(fleet, ["gen-a", "gen-b"]) >= 60.0


def test_the_next_starts_when_one_is_lost(fleet: TinyFleet) -> None:
    fleet.run(200.0)
    fleet["gen-b"].available = False
    assert until(fleet, ["gen-a", "gen-b"]) <= 2.0  # it may still come back
    fleet.run(15.0)
    assert runs(fleet) == ["gen-a"]
    made = fleet.run(200.0)
    assert fleet["gen-a"].phase == "running"
    assert [each.locked for each in made.state.generators] == ["", "the set stopped by itself"]
    assert made.state.generator.locked == ""
    assert made.command.alarm


def test_the_next_starts_when_one_does_not(fleet: TinyFleet) -> None:
    fleet["gen-b"].cranks = False
    fleet.run(100.0)
    assert runs(fleet) == ["gen-b"]
    until(fleet, ["gen-a"])
    fleet.run(700.0)
    assert runs(fleet) == ["gen-a"]  # it is not changed for the cheaper one while it runs


def test_a_silent_one_is_kept_and_another_started(fleet: TinyFleet) -> None:
    fleet.run(200.0)
    fleet.silent = {"gen-b"}
    fleet.run(30.0)
    assert runs(fleet) == ["gen-a", "gen-b"]
    made = fleet.run(100.0)
    assert fleet["gen-a"].phase == "running"
    assert made.state.estimate.load_kw is not None  # what the silent one gives counts as less load
    assert made.state.mode is Mode.DEGRADED


def test_the_plan_s_choice_comes_first(build: Any, fleet: TinyFleet) -> None:
    for unit in fleet.batteries:
        unit.soc_frac = 0.35
    plan = build.plan(
        start_t_s=1000.0,
        grid_kw=(0.0, 0.0),
        generator_on=(True, True),
        generator_kw=(3.5, 3.5),
        generator_units_on=((True, True), (False, True)),
        battery_units_kw=((0.0, 0.0), (0.0, 0.0)),
    )
    advice = Advice(plan=plan)
    until(fleet, ["gen-a"], advice=advice)
    fleet.run(600.0, advice=advice)
    assert runs(fleet) == ["gen-a"]
    fleet.run(400.0, advice=advice)  # the second slot
    assert runs(fleet) == ["gen-a", "gen-b"]


def order(device: str, run: bool, level: Level = Level.LOCAL_OPERATOR) -> Orders:
    return Orders(proposals=(Proposal(level, device, Quantity.RUN, "an order", float(run)),))


def test_orders_for_one_set(build: Any, fleet: TinyFleet) -> None:
    fleet.run(200.0)
    until(fleet, ["gen-a", "gen-b"], orders=order("gen-a", run=True))
    full = TinyFleet(fleet_site(build))
    for unit in full.batteries:
        unit.soc_frac = 0.9
    full.run(20.0)
    until(full, ["gen-a"], orders=order("gen-a", run=True))
    full.run(2000.0, orders=order("gen-a", run=True))
    assert runs(full) == ["gen-a"]
    until(full, [])


def test_an_order_for_all_goes_to_the_first_that_fits(build: Any) -> None:
    fleet = TinyFleet(fleet_site(build))
    fleet.run(20.0)
    fleet["gen-b"].available = False
    fleet.run(2.0)
    until(fleet, ["gen-a"], orders=order("all generators", run=True))


def test_a_set_that_is_ordered_to_rest_is_replaced(fleet: TinyFleet) -> None:
    orders = order("gen-b", run=False, level=Level.SUPERVISOR)
    fleet.run(40.0, orders=orders)
    assert runs(fleet) == ["gen-a"]
    fleet["gen-a"].available = False
    made = fleet.run(40.0, orders=orders)
    assert runs(fleet) == ["gen-a", "gen-b"]  # safety starts it, whoever is against it
    why = {item.device: item for item in made.command.why}
    assert why["gen-b"].source == "safety"


def test_all_stop_for_the_emergency_stop_and_when_the_site_is_stopped(fleet: TinyFleet) -> None:
    fleet.load_kw = 4.5
    until(fleet, ["gen-a", "gen-b"])
    fleet.run(100.0)
    made = fleet.step(orders=Orders(stop=True))
    assert not any(each.run for each in made.state.generators)
    assert not made.state.generator.run


def test_by_relay_the_contact_is_that_of_its_set(build: Any) -> None:
    site = fleet_site(build)
    generators = (replace(site.generators[0], by_relay=True), site.generators[1])
    fleet = TinyFleet(replace(site, generators=generators))
    for unit in fleet.batteries:
        unit.soc_frac = 0.16
    made = fleet.run(100.0)
    assert runs(fleet) == ["gen-b"]
    assert made.command.generator_relay is False
    fleet["gen-b"].available = False
    made = fleet.run(100.0)
    assert made.command.generator_relay is True


def test_without_an_order_or_a_need_nothing_runs(build: Any) -> None:
    fleet = TinyFleet(fleet_site(build))
    fleet.run(600.0)
    assert runs(fleet) == []
    assert fleet.unserved_kw == 0.0


@pytest.mark.parametrize("lost", ["bat-a", "bat-b"])
def test_an_island_goes_on_with_one_battery(build: Any, lost: str) -> None:
    fleet = TinyFleet(fleet_site(build), load_kw=1.5)
    fleet.run(60.0)
    fleet.silent = {lost}
    unit = fleet[lost]
    unit.charge_limit_kw = unit.discharge_limit_kw = 0.0  # its breaker is open as well
    made = fleet.run(60.0)
    other = "bat-a" if lost == "bat-b" else "bat-b"
    assert fleet.told(made)[other] == pytest.approx(1.5, abs=0.01)
    assert fleet.told(made)[lost] == 0.0
    assert made.state.estimate.load_kw == pytest.approx(1.5, abs=0.05)
