"""`nanogrid log`: events of the store in order, for people and for programs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from firmware.cli import cli
from firmware.store_schema import connect
from models.history import parse_utc_s

START_UTC_S = parse_utc_s("2026-05-13T11:00:00Z")
EVENTS = [
    ("info", "mode", "auto: all devices answer"),
    ("alarm", "generator", "locked: 3 failed starts"),
    ("warning", "supply", "grid lost: running as an island"),
]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    connection = connect(tmp_path / "state.db")
    for minute, event in enumerate(EVENTS):
        row = (START_UTC_S + 60 * minute, *event)
        connection.execute(
            "INSERT INTO event (utc_s, severity, key, text) VALUES (?, ?, ?, ?)", row
        )
    connection.close()
    return tmp_path / "state.db"


def log(*words: object) -> Result:
    return CliRunner().invoke(cli, ["log", *map(str, words)])


def test_lines_for_people(db: Path) -> None:
    assert log("--db", db).output.splitlines() == [
        "     1 2026-05-13T11:00:00Z info    mode: auto: all devices answer",
        "     2 2026-05-13T11:01:00Z alarm   generator: locked: 3 failed starts",
        "     3 2026-05-13T11:02:00Z warning supply: grid lost: running as an island",
    ]


def test_objects_for_programs_since_a_time(db: Path) -> None:
    result = log("--db", db, "--json", "--since", "2026-05-13T11:01:00Z")
    objects = [json.loads(line) for line in result.output.splitlines()]
    assert [each["seq"] for each in objects] == [2, 3]
    assert objects[0] == {
        "seq": 2,
        "utc_s": START_UTC_S + 60,
        "ts_utc": "2026-05-13T11:01:00Z",
        "severity": "alarm",
        "key": "generator",
        "text": "locked: 3 failed starts",
    }


def test_bad_input_is_one_line(db: Path, tmp_path: Path) -> None:
    for words in (["--db", tmp_path / "none"], [], ["--db", db, "--since", "noon"]):
        result = log(*words)
        assert result.exit_code == 2
        assert result.output.count("\n") == 1
