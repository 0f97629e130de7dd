"""The kill campaign, short; and that its judges see what is wrong."""

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bench import kills
from bench.kills_store import Left, look, problems
from bench.kills_truth import Edge, Life, Run, runs, short

EDGES = [Edge(10.0, True), Edge(30.0, False), Edge(34.0, True), Edge(90.0, False)]
LEFT = Left("ok", {"load": 2.0}, [(1, 5.0, "a"), (2, 6.0, "b")], {"s-1": 7}, 100.0)


@pytest.mark.timeout(300)
def test_what_must_outlive_a_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (
        ("OUTAGE_FIRST_S", 4),
        ("ORDERS_EVERY_S", 9.0),
        ("YOUNG_S", 1.0),
        ("LONG_S", 1.5),
        ("AWAY_S", 0.5),
    ):
        monkeypatch.setattr(kills, name, value)
    bad = kills.campaign(tmp_path, "gencomm", 5, random.Random(3))
    said = capsys.readouterr().out
    assert bad == 0, said
    assert said.count(" ok\n") == 5
    assert "limits: none broken" in said
    assert look(tmp_path / "state.db") is not None


def test_runs_are_told_from_gaps_that_a_death_made() -> None:
    lives = [Life(0.0, 29.9), Life(32.0)]
    assert runs(EDGES, lives, 10.0) == [Run(10.0, 90.0)]
    assert short(runs(EDGES, lives, 10.0), 60.0, 20.0) == []
    assert runs(EDGES, lives, 2.0) == [Run(10.0, 30.0, died=True), Run(34.0, 90.0)]
    broken_off = [replace(edge, carried=edge.t_s > 30.0) for edge in EDGES]
    assert runs(broken_off, lives, 10.0) == [Run(34.0, 90.0)]


def test_short_runs_and_rests_are_seen() -> None:
    found = runs(EDGES, [Life(0.0)], 10.0)
    assert short(found, 40.0, 20.0) == [
        "generator ran for 20.0 s, minimum 40 s",
        "generator rested for 4.0 s, minimum 20 s",
    ]


def test_a_store_that_forgets_is_seen(tmp_path: Path) -> None:
    assert problems(LEFT, LEFT) == []
    assert problems(LEFT, None) == ["the store is gone"]
    forgot = Left("row missing", {"load": 1.0}, [(1, 5.0, "a"), (3, 6.0, "c")], {"s-1": 6}, 1.0)
    assert problems(LEFT, forgot) == [
        "integrity_check: row missing",
        "event numbers are not consecutive",
        "events of the past have changed",
        "counter load went back from 2.0000 to 1.0 kWh",
        "sequence of s-1 went back from 7",
    ]
    path = tmp_path / "state.db"
    assert look(path) is None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (x)")
    assert look(path) is None
