"""Scenario files: what they mean, and one line for everything that is wrong."""

from pathlib import Path

import pytest

from hil.scenario import LoadedScenario, Scenario, ScenarioError
from hil.world import World

SCENARIOS = Path(__file__).parents[2] / "hil" / "scenarios"
CLINIC = SCENARIOS / "sites" / "clinic.toml"
HEAD = f"""
[scenario]
title = "a day"
site = "{CLINIC}"
start = "2026-05-13T02:00:00+02:00"
"""


def load(folder: Path, text: str) -> LoadedScenario:
    file = folder / "day.toml"
    file.write_text(text)
    return LoadedScenario(file)


def errors(folder: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioError) as caught:
        load(folder, text)
    assert all("\n" not in line for line in caught.value.errors)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def test_a_head_is_enough(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD)
    head = loaded.scenario.scenario
    assert head.start_utc_s == 1_778_630_400.0
    assert (head.duration_h, head.seed, head.history_days) == (24.0, 0, 28)
    assert loaded.site.site.name == "clinic-01"
    assert (loaded.scenario.fault, loaded.scenario.outage) == ((), ())


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_those_that_come_with_it_are_in_order(path: Path) -> None:
    assert LoadedScenario(path).scenario.scenario.duration_h > 0


def test_steps_add_up_on_the_load(tmp_path: Path) -> None:
    kettle = "[[step]]\nat_s = 10\nfor_s = 5\nkw = 2\n"
    oven = "[[step]]\nat_s = 12\nfor_s = 9\nkw = 1\n"
    scenario = load(tmp_path, HEAD + kettle + oven).scenario
    assert [scenario.steps_kw(s) for s in (9.0, 10.0, 13.0, 15.0, 21.0)] == [
        0.0,
        2.0,
        3.0,
        1.0,
        0.0,
    ]


def test_an_outage_ends_when_it_says(tmp_path: Path) -> None:
    scenario = load(tmp_path, HEAD + "[[outage]]\nfrom_h = 1.0\nto_h = 1.5\n").scenario
    hours = [h for h in range(0, 9000, 600) if scenario.outage_at(float(h))]
    assert hours == [3600, 4200, 4800]


def test_files_are_looked_for_beside_the_scenario(tmp_path: Path) -> None:
    text = HEAD.replace(str(CLINIC), "site.toml")
    assert errors(tmp_path, text) == [f"{tmp_path / 'site.toml'}: No such file or directory"]
    (tmp_path / "site.toml").write_text(CLINIC.read_text())
    assert load(tmp_path, text).site_path == tmp_path / "site.toml"


def faulty(**keys: str) -> str:
    found = {"at_h": "1.0", "for_s": "1.0", **{key: repr(value) for key, value in keys.items()}}
    return HEAD + "[[fault]]\n" + "\n".join(f"{key} = {value}" for key, value in found.items())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (faulty(kind="hang"), "fault[0].target = ''"),
        (faulty(kind="hang", target="attic"), "'attic'"),
        (faulty(kind="hang", target="0"), "'0'"),
        (faulty(kind="open", target="9"), "'9'"),
        (HEAD + "[[fault]\n", "line 6"),
        (b"\xff\xfe".decode("latin-1"), "day.toml"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (line,) = errors(tmp_path, text)
    assert line.startswith(str(tmp_path / "day.toml"))
    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "scenario: missing"),
        (HEAD.replace('"a day"', "3"), "scenario.title = 3"),
        (HEAD + "colour = 1", "scenario.colour: unknown key"),
        (HEAD.replace("+02:00", ""), "must have an offset"),
        (HEAD.replace("2026-05-13T", "noon on "), "must be an ISO 8601 time"),
        (HEAD + "duration_h = 0.0", "scenario.duration_h = 0.0"),
        (HEAD + "duration_h = nan", "duration_h = nan"),
        (HEAD + 'seed = "7"', 'scenario.seed = "7"'),
        (HEAD + "[weather]\nkind = 'sunny'", "'clear'"),
        (HEAD + "[weather]\ncsv = 'x.csv'", "weather.column: missing"),
        (faulty(kind="gremlins"), 'fault[0].kind = "gremlins": must be one of bad_crc'),
        (HEAD + "[[outage]]\nfrom_h = 3.0\nto_h = 2.0", "to_h"),
    ],
)
def test_a_key_that_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (line,) = errors(tmp_path, text)
    assert line.startswith(str(tmp_path / "day.toml"))
    assert said in line


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = HEAD + "seed = -1\n[weather]\ntilt_deg = 100.0\n[load]\nkind = 'pub'\n"
    assert [line.partition(": ")[2] for line in errors(tmp_path, text)] == [
        "scenario.seed = -1: must be at least 0",
        "weather.tilt_deg = 100.0: must be at most 90",
        "load.kind = \"pub\": must be 'home', 'clinic' or 'workshop'",
    ]


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("miso-low", "roof"),  # the converter is no device on a bus
        ("miso-low", "3"),  # the whole converter
        ("open", ""),  # one of its channels
        ("generator_trip", "roof"),
    ],
)
def test_a_fault_befalls_only_what_it_can(tmp_path: Path, kind: str, target: str) -> None:
    (line,) = errors(tmp_path, faulty(kind=kind, target=target))
    assert f"fault[0].target = {target!r}" in line


def test_a_site_that_is_wrong_speaks_for_itself(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(CLINIC.read_text().replace("rated_kw", "rated_w"))
    found = errors(tmp_path, HEAD.replace(str(CLINIC), str(site)))
    assert all(line.startswith(f"{site}: ") for line in found)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "[plant.battery]\nvolume_l = 3.0", "volume_l"),
        (HEAD + "[plant]\nexact = 1", "exact"),
        (HEAD + "[load]\ncsv = 'absent.csv'\ncolumn = 'load_kw'", "absent.csv"),
    ],
)
def test_what_only_the_world_can_tell_is_a_scenario_error_too(
    tmp_path: Path, text: str, said: str
) -> None:
    loaded = load(tmp_path, text)
    with pytest.raises(ScenarioError, match=said):
        World(loaded, loaded.scenario.scenario.start_utc_s).close()


def test_faults_come_and_go(tmp_path: Path) -> None:
    faults = """
[[fault]]
kind = "emergency_stop"
at_h = 0.01
for_s = 20.0
[[fault]]
kind = "generator_trip"
at_h = 0.01
for_s = 20.0
"""
    loaded = load(tmp_path, HEAD + faults)
    assert isinstance(loaded.scenario, Scenario)
    world = World(loaded, loaded.scenario.scenario.start_utc_s)
    pin = loaded.site.gpio.emergency_stop_pin
    seen = []
    try:
        for elapsed_s in (30.0, 40.0, 50.0, 60.0):
            world.advance(elapsed_s)
            seen.append((pin in world.pi._inputs, world._controls(elapsed_s).generator_trip))
    finally:
        world.close()
    assert seen == [(True, False), (False, True), (False, True), (True, False)]
