"""A street of two houses: trades, sound ledgers, money that adds up, the same twice."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from firmware.config import site_from_dict
from firmware.recording import Recording
from firmware.replay import replay
from hil.cli import hil
from hil.plant import Controls, Plant, PlantParameters, Weather
from hil.run import Speed
from hil.scenario import LoadedScenario, ScenarioError
from hil.site_file import to_toml
from hil.street import LoadedStreet
from hil.street_given import read_street
from hil.street_meters import Meter
from hil.street_run import run_slots, run_street

SITES = Path(__file__).parents[2] / "hil" / "scenarios" / "sites"
STREETS = Path(__file__).parents[2] / "hil" / "scenarios" / "streets"
STREET = f"""
[street]
title = "Two houses"
start = "2026-05-13T18:45:00Z"
duration_h = 0.25
seed = 7
history_days = 3
plan_iterations = 2
slot_s = 180

[weather]
kind = "clear"

[[house]]
name = "home"
site = "{SITES / "street-home.toml"}"
load = {{ kind = "home", kwh_per_day = 10.0 }}
plant.battery.initial_soc_frac = 0.9

[[house]]
name = "flat"
site = "{SITES / "street-flat.toml"}"
load = {{ kind = "home", kwh_per_day = 12.0 }}
"""
LISTED = {
    *("cycles", "cycles_missed", "limit_violations", "energy_balance_error_frac", "cost"),
    *("cost_rule_based", "unserved_kwh", "fuel_l", "generator_starts", "sim_s", "wall_s"),
    "recording",
}


def load(folder: Path, text: str = STREET) -> LoadedStreet:
    file = folder / "street.toml"
    file.write_text(text)
    return LoadedStreet(file)


def run(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return run_street(load(folder), folder / "out", Speed(), lambda *_: None)


def errors(folder: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load(folder, text)
    assert all("\n" not in line for line in caught.value.errors)
    return [line.removeprefix(f"{folder / 'street.toml'}: ") for line in caught.value.errors]


def replays(recording: Path) -> int:
    """How many cycles, none of which differs."""
    replayed = list(replay(Recording(recording)))
    assert not any(each.differs for each in replayed)
    return len(replayed)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run that several tests look at."""
    folder = tmp_path_factory.mktemp("street") / "run"
    return folder / "out", run(folder)


def test_neighbours_trade_and_the_books_are_in_order(ran: tuple[Path, dict[str, Any]]) -> None:
    _, summary = ran
    market = summary["market"]
    assert market["trades"] > 0
    assert summary["traded_kwh"] > 0
    assert market["sound"]
    assert market["money_left"] == 0
    assert market["disagreements"] == ()
    assert [ledger["fault"] for ledger in market["ledgers"]] == ["", ""]
    home, flat = summary["houses"]["home"], summary["houses"]["flat"]
    assert home["sold_kwh"] == pytest.approx(flat["bought_kwh"])


def test_a_summary_has_the_listed_figures_over_all_houses(
    ran: tuple[Path, dict[str, Any]],
) -> None:
    folder, summary = ran
    assert set(summary) >= LISTED
    assert json.loads((folder / "summary.json").read_text())["cycles"] == summary["cycles"]
    houses = summary["houses"].values()
    assert summary["cycles"] == sum(house["cycles"] for house in houses) == 180
    assert summary["cost"] == pytest.approx(sum(house["cost"] for house in houses))
    assert summary["limit_violations"] == 0
    page = (folder / "report.html").read_text()
    for name in ("traded-by-house", "bills", "mean-power", "street-prices", "self-sufficiency"):
        assert f'id="{name}"' in page
    for name in ("home", "flat"):
        assert f'href="{name}/report.html"' in page
        assert (folder / name / "report.html").exists()


def test_every_recording_replays_to_the_bit(ran: tuple[Path, dict[str, Any]]) -> None:
    _, summary = ran
    assert summary["recording"] == summary["recordings"][0]
    assert [replays(Path(recording)) for recording in summary["recordings"]] == [90, 90]


def test_the_same_seed_gives_the_same_summary(
    ran: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    def told(summary: dict[str, Any]) -> str:
        def kept(value: Any) -> Any:
            if isinstance(value, dict):
                changing = ("wall_s", "recording", "recordings")
                return {key: kept(item) for key, item in value.items() if key not in changing}
            return value

        return json.dumps(kept(summary), sort_keys=True)

    assert told(run(tmp_path / "again")) == told(ran[1])


@pytest.mark.parametrize("path", sorted(STREETS.glob("*.toml")), ids=lambda path: path.stem)
def test_those_that_come_with_it_are_in_order(path: Path) -> None:
    assert len(LoadedStreet(path).houses) >= 2


def test_houses_share_the_sky_and_not_the_load(tmp_path: Path) -> None:
    text = STREET.replace('name = "flat"', 'name = "flat"\ncount = 2')
    street = load(tmp_path, text)
    assert list(street.houses) == ["home", "flat-1", "flat-2"]
    scenarios = [house.scenario for house in street.houses.values()]
    assert {scenario.weather.seed for scenario in scenarios} == {7}
    assert [scenario.scenario.seed for scenario in scenarios] == [7, 8, 9]


def test_what_is_wrong_with_a_street_is_said_in_lines(tmp_path: Path) -> None:
    assert errors(tmp_path, "[scenario]\n") == ["holds no [street]"]
    with pytest.raises(ScenarioError, match=r"holds a \[street\], not a single house"):
        LoadedScenario(STREETS / "three.toml")
    second = STREET[: STREET.rindex("[[house]]")]
    assert errors(tmp_path, second) == ["house: at least 2 houses needed"]
    twice = STREET.replace('name = "flat"', 'name = "home"')
    assert errors(tmp_path, twice) == ["house home: the same name twice"]
    kind = STREET.replace('load = { kind = "home", kwh_per_day = 12.0 }', "load.kind = 3")
    assert errors(tmp_path, kind)[0].startswith("house[1].load.kind = 3: must be")
    fault = STREET + '\n[[house.fault]]\nkind = "hang"\ntarget = "mill"\nat_h = 0\nfor_s = 9\n'
    said = "fault[0].target = 'mill': must be, for hang, one of balcony, grid, lan"
    assert errors(tmp_path, fault) == [f"house flat: {said}"]
    island = STREET.replace("street-flat", "island")
    assert "house flat: its site has no [grid] to trade over" in errors(tmp_path, island)
    prices = STREET.replace("street-flat", "fontana")
    said = "house flat: [prices] of its site differ from the first house's"
    assert said in errors(tmp_path, prices)


def test_in_virtual_time_one_house_has_the_pi(tmp_path: Path) -> None:
    text = STREET.replace("street-home", "street-workshop").replace(
        "street-flat", "street-workshop"
    )
    street = load(tmp_path, text)
    with pytest.raises(ScenarioError, match="one house may, not home, flat"):
        run_street(street, tmp_path / "out", Speed(), lambda *_: None)


SLOTS = (
    STREET.replace("duration_h = 0.25", "duration_h = 48.0")
    .replace("slot_s = 180", "slot_s = 3600")
    .replace("history_days = 3", "history_days = 7")
)


@pytest.mark.parametrize("strategy", ["neighbours", "qayyum2023"])
def test_two_days_by_slots(tmp_path: Path, strategy: str) -> None:
    text = SLOTS.replace("slot_s", f'strategy = "{strategy}"\nslot_s')
    summary = run_slots(load(tmp_path, text), tmp_path / "out", lambda *_: None)
    assert summary["slots"] == 48
    assert summary["bill_bound"] <= min(summary["bill"], summary["bill_alone"]) + 1e-6
    assert summary["bill"] < summary["bill_alone"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert 'id="traded-by-day"' in page


def test_where_agents_plan_another_strategy_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "street.toml"
    file.write_text(STREET.replace("slot_s", 'strategy = "qayyum2023"\nslot_s'))
    refused = CliRunner().invoke(hil, ["run", str(file), "--report", str(tmp_path / "out")])
    said = "street.strategy = 'qayyum2023': must be 'neighbours' in nanogrid hil run"
    assert refused.exit_code == 2
    assert refused.stderr == f"{file}: {said}, or play it with nanogrid hil street\n"
    assert not (tmp_path / "out" / "home").exists()


def test_slots_fit_a_day_and_know_a_week(tmp_path: Path) -> None:
    for wrong, said in (
        (SLOTS.replace("slot_s = 3600", "slot_s = 1000"), "slot_s = 1000"),
        (SLOTS.replace("history_days = 7", "history_days = 2"), "history_days = 2"),
    ):
        with pytest.raises(ScenarioError, match=said):
            run_slots(load(tmp_path, wrong), tmp_path / "out", lambda *_: None)


def test_a_street_may_have_its_own_prices_and_period(tmp_path: Path) -> None:
    prices = "[prices]\nbuy_per_kwh = 0.3\nsell_per_kwh = 0.1\n[[prices.period]]\n"
    prices += 'from = "10:00"\nto = "14:00"\nbuy_per_kwh = 0.4\n'
    text = STREET.replace("slot_s", "period_s = 2.0\nslot_s").replace(
        "[weather]", f"{prices}[weather]"
    )
    for house in load(tmp_path, text).houses.values():
        assert house.site.loop.period_s == 2.0
        assert house.site.prices is not None
        assert (house.site.prices.buy_per_kwh, len(house.site.prices.period)) == (0.3, 1)
        assert site_from_dict(tomllib.loads(to_toml(house.site_table)), "site") == house.site
    wrong = text.replace("buy_per_kwh = 0.3", 'buy_per_kwh = "much"')
    assert "prices.buy_per_kwh" in errors(tmp_path, wrong)[0]


def test_real_processes_over_a_real_broker(tmp_path: Path) -> None:
    hours = "duration_h = 0.004\nperiod_s = 1.0"
    text = STREET.replace("duration_h = 0.25", hours).replace("slot_s = 180", "slot_s = 5")
    text = text.replace("history_days = 3", "history_days = 0")
    summary = run_street(load(tmp_path, text), tmp_path / "out", Speed(live=True), lambda *_: None)
    assert summary["market"]["sound"]
    assert [ledger["house"] for ledger in summary["market"]["ledgers"]] == ["home", "flat"]
    for name, house in summary["houses"].items():
        assert house["cycles"] > 0
        assert "connected to 127.0.0.1" in (tmp_path / "out" / name / "controller.log").read_text()
        assert replays(Path(house["recording"]))


def test_a_step_across_the_end_of_a_slot_counts_in_both() -> None:
    parameters = PlantParameters.from_site(
        tomllib.loads((SITES / "street-flat.toml").read_text()), {}
    )
    dark = Weather(0.0, 0.0, 20.0)
    plant = Plant(parameters, dark, 1.8)
    state = plant.step(1.0, dark, 1.8, Controls())
    meter = Meter(slot_s=10.0)
    for number in range(40):  # 0.7 s each: 28 s from 5.3 s on
        meter.watch(state, 1e9 + 6.0 + 0.7 * number, 0.7)
    assert meter.whole() == {100_000_001, 100_000_002}
    for epoch in meter.whole():
        assert meter.slots[epoch].load == pytest.approx(0.005)
        assert meter.slots[epoch].seconds == pytest.approx(10.0, abs=1e-3)


def test_the_commands_say_what_is_wrong_and_where_the_report_is(tmp_path: Path) -> None:
    house = STREETS.parent / "demo.toml"
    refused = CliRunner().invoke(hil, ["street", str(house)])
    assert (refused.exit_code, refused.stderr) == (2, f"{house}: holds no [street]\n")
    file = tmp_path / "street.toml"
    file.write_text(SLOTS.replace("duration_h = 48.0", "duration_h = 24.0"))
    done = CliRunner().invoke(hil, ["street", str(file), "--report", str(tmp_path / "out")])
    assert done.exit_code == 0, done.stderr
    assert "Two houses" in done.stdout
    assert (tmp_path / "out" / "report.html").exists()
    header = (tmp_path / "out" / "slots.csv").read_text().splitlines()[0]
    assert header.startswith("ts_utc,buy_per_kwh,sell_per_kwh,paid_per_kwh,home_load_kw")


def test_several_batteries_of_a_house_count_as_one(tmp_path: Path) -> None:
    one = read_street(load(tmp_path, SLOTS))[0]
    site = (SITES / "street-home.toml").read_text()
    second = site[site.index("[[battery]]") : site.index("[grid]")]
    second = second.replace('name = "battery"', 'name = "second"').replace("unit = 1", "unit = 2")
    (tmp_path / "home.toml").write_text(site.replace("[grid]", second + "[grid]"))
    text = SLOTS.replace(str(SITES / "street-home.toml"), "home.toml")
    two = read_street(load(tmp_path, text.replace("plant.battery.initial_soc_frac = 0.9\n", "")))[0]
    for name in ("lowest_kwh", "highest_kwh", "charge_max_kw", "discharge_max_kw"):
        before, after = getattr(one.storage, name), getattr(two.storage, name)
        assert after.tolist() == pytest.approx((2.0 * before).tolist())
    assert two.storage.efficiency_frac == one.storage.efficiency_frac
    assert two.stored_kwh[0] > two.storage.lowest_kwh[0]
