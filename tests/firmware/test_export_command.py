"""`nanogrid export`: a regular grid that `train` and `forecast` read; bad input is one line."""

import csv
import gzip
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from firmware.cli import cli
from firmware.store_records import COLUMNS
from firmware.store_schema import connect
from models.history import parse_utc_s, read_history

START_UTC_S = parse_utc_s("2026-05-13T11:00:00Z")


def fill(path: Path, minutes: Sequence[int]) -> Path:
    """A store with a load of 1 kW, 2 kW from the first half hour on, in these minutes."""
    connection = connect(path)
    for minute in minutes:
        load_kw = 1.0 + minute // 30
        known = {"load_kw": load_kw, "pv_kw": 0.5, "soc_frac": 1 / 3}
        row = (START_UTC_S + 60 * minute, *(known.get(name) for name in COLUMNS), "auto")
        connection.execute(f"INSERT INTO minute VALUES ({', '.join('?' * len(row))})", row)
    connection.close()
    return path


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """70 minutes, of which 20 to 39 are missing."""
    return fill(tmp_path / "state.db", [*range(20), *range(40, 70)])


def export(*words: object) -> Result:
    return CliRunner().invoke(cli, ["export", *map(str, words)])


def table(path: Path) -> list[dict[str, str]]:
    text = gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
    return list(csv.DictReader(text.splitlines()))


@pytest.mark.parametrize(("minutes", "said"), [(10, "1 row from"), (20, "2 rows from")])
def test_what_was_written_is_counted(tmp_path: Path, minutes: int, said: str) -> None:
    path = fill(tmp_path / "state.db", [*range(minutes)])
    assert f"out.csv: {said}" in export("--db", path, "-o", tmp_path / "out.csv").stderr


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz"])
def test_a_quarter_of_an_hour_per_row(db: Path, tmp_path: Path, name: str) -> None:
    result = export("--db", db, "-o", tmp_path / name)
    assert result.exit_code == 0, result.output
    rows = table(tmp_path / name)
    assert list(rows[0])[:2] == ["ts_utc", "pv_kw"]
    assert [(row["ts_utc"][11:16], row["load_kw"]) for row in rows] == [
        ("11:00", "1"),
        ("11:15", ""),
        ("11:30", ""),
        ("11:45", "2"),
        ("12:00", "3"),
    ]
    assert rows[0]["soc_frac"] == "0.333333"
    assert rows[0]["wind_kw"] == ""
    assert list(tmp_path.glob("*.part")) == []


@pytest.mark.parametrize("step_min", [5, 15, 30, 60])
def test_what_forecasting_reads(db: Path, tmp_path: Path, step_min: int) -> None:
    assert export("--db", db, "--step", step_min, "-o", tmp_path / "o.csv").exit_code == 0
    for target in ("pv", "load"):
        history, name = read_history(tmp_path / "o.csv", target)  # type: ignore[arg-type]
        assert name == f"{target}_kw"
        assert (history.start_utc_s, history.step_s) == (START_UTC_S, 60 * step_min)


def test_pv_that_was_held_back_is_not_what_is_trained_on(db: Path, tmp_path: Path) -> None:
    with sqlite3.connect(db) as writer:
        writer.execute("UPDATE minute SET pv_kw = 2.0, curtailed_frac = 0.0")
        first = writer.execute("SELECT min(start_utc_s) FROM minute").fetchone()[0] // 900 * 900
        writer.execute(
            "UPDATE minute SET curtailed_frac = 1.0 WHERE start_utc_s BETWEEN ? AND ?",
            (first, first + 899),
        )
    path = tmp_path / "history.csv"
    assert export("--db", db, "-o", path).exit_code == 0
    held, *free = read_history(path, "pv")[0].values
    assert held != held  # not known
    assert {value for value in free if value == value} == {2.0}
    load = read_history(path, "load")[0].values
    assert load[0] == load[0]


def test_a_part_of_it(db: Path, tmp_path: Path) -> None:
    limits = ("--from", "2026-05-13T13:10:00+02:00", "--to", "2026-05-13T11:13")
    result = export("--db", db, "--step", 1, *limits, "-o", tmp_path / "o.csv")
    assert result.exit_code == 0, result.output
    assert [row["ts_utc"][11:16] for row in table(tmp_path / "o.csv")] == [
        "11:10",
        "11:11",
        "11:12",
    ]


def test_the_site_names_the_store(db: Path, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "site.toml"
    site = tmp_path / "site.toml"
    site.write_text(
        example.read_text().replace(
            '# path = ""                    # e.g. "/var/lib/nanogrid/state.db"',
            'path = "state.db"  #',
        )
    )
    assert export("--config", site, "-o", tmp_path / "o.csv").exit_code == 0
    result = export("--config", example, "-o", tmp_path / "o.csv")
    assert (result.exit_code, "[store] path is empty" in result.output) == (2, True)


def test_bad_input_is_one_line_and_leaves_no_file(db: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.csv"
    text = tmp_path / "text"
    text.write_text("no database\n" * 100)
    empty = tmp_path / "empty.db"
    connect(empty).close()
    far = fill(tmp_path / "far.db", [0, 30 * 366 * 1440])
    cases = [
        ((), "give either --config or --db", 2),
        (("--db", db, "--config", db), "give either --config or --db", 2),
        (("--db", tmp_path / "none.db"), "no such file", 2),
        (("--db", text), "not a database", 2),
        (("--db", empty), "no history in that time", 2),
        (("--db", far), "more than 20 years", 2),
        (("--db", db, "--from", "tomorrow"), "is not a time like", 2),
        (("--db", db, "--step", "7"), "'7'", 2),
        (("--db", db, "-o", tmp_path / "no" / "o.csv"), "No such file or directory", 1),
    ]
    for words, said, status in cases:
        result = export("-o", out, *words)
        assert (result.exit_code, said in result.output) == (status, True), result.output
        assert result.output.count("\n") == 1, result.output
        assert not out.exists()


def test_a_service_may_be_writing(db: Path, tmp_path: Path) -> None:
    writer = sqlite3.connect(db, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM minute")
    result = export("--db", db, "-o", tmp_path / "o.csv")
    writer.close()
    assert result.exit_code == 0, result.output
    assert len(table(tmp_path / "o.csv")) == 5
