"""Forecasters in service: scored, challenged, replaced, and what lies on disk."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from control.records import Series
from firmware.forecast_watch import Watch
from models.challenger import BASELINE, CHALLENGER, CHAMPION
from models.forecaster import Forecaster
from models.gru import WEIGHTS
from models.history import DAY_S, History

START = 1_700_000_000 // DAY_S * DAY_S
STEPS = 8


class Constant(Forecaster):
    """Always says the same; the truth is about 1 kW."""

    def __init__(self, says_kw: float, problem: str | None = None) -> None:
        self.says_kw, self.problem = says_kw, problem

    @property
    def network_name(self) -> str:
        return "constant"

    def forecast(self, history: History, origin_utc_s: float, steps: int) -> Series:
        values = (self.says_kw,) * steps
        return Series(values, values, values, f"constant {self.says_kw}")


def _watch(folder: Path | None, champion: float, challenger: float = 1.0) -> Watch:
    def make(path: Path | None) -> Forecaster:
        if path is None:
            return Constant(champion)
        if path.name == "none":
            return Constant(1.5)
        return Constant(challenger)

    return Watch("load", make, folder)


def _live(watch: Watch, days: float, begin_day: float = 0.0) -> list[str]:
    """Ask at every quarter of an hour, about a load that is 1 +- 0.3 kW; returns the events."""
    events = []
    truth = np.random.default_rng(0).normal(1.0, 0.3, 96 * 30)
    for quarter in range(round(begin_day * 96), round((begin_day + days) * 96)):
        end = START + quarter * 900
        values = np.full(3 * 96, truth[quarter])
        watch.forecast(History(end - 3 * DAY_S, 900, values), STEPS)
        events += watch.take_events()
    return events


def _put(folder: Path, name: str = "challenger") -> Path:
    path = folder / name / "load.tflite"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    path.with_suffix(".json").write_text("{}")
    return path


def test_skill_is_told_once_it_is_known() -> None:
    watch = _watch(None, champion=1.1)
    first = watch.forecast(History(START - DAY_S, 900, np.ones(96)), STEPS)
    assert first.skill == ()
    _live(watch, 3)
    series = watch.forecast(History(START, 900, np.ones(4 * 96)), STEPS)
    assert len(series.p50_kw) == STEPS
    assert len(series.skill) == 4
    assert all(value is not None and value > 0.1 for value in series.skill)
    assert series.coverage == (0.0,) * 4  # a constant has no band to speak of


def test_drift_is_an_event_and_survives_a_restart(tmp_path: Path) -> None:
    watch = _watch(tmp_path, champion=3.0)
    events = _live(watch, 4)
    assert watch.serving == BASELINE
    assert [text for text in events if "the baseline serves" in text]
    again = _watch(tmp_path, champion=3.0)
    assert again.serving == BASELINE
    series = again.forecast(History(START, 900, np.ones(96)), STEPS)
    assert "the network errs" in str(again._forecasters[BASELINE].problem)
    assert len(series.skill) == len(series.coverage) == 4
    plain = json.loads((tmp_path / "load_scores.json").read_text())
    assert set(plain["sums"]["slow"]) >= {CHAMPION, BASELINE, "persistence"}


def test_a_challenger_is_taken_up_and_takes_over(tmp_path: Path) -> None:
    watch = _watch(tmp_path, champion=1.4, challenger=1.1)
    assert not any("challenger" in text for text in _live(watch, 1))
    path = _put(tmp_path)
    events = _live(watch, 17, begin_day=1)
    assert "load forecast: a challenger runs in shadow: constant" in events
    assert any("takes over" in text for text in events)
    assert not path.exists()
    assert (tmp_path / "champion" / "load.json").exists()
    assert watch.forecast(History(START, 900, np.ones(96)), 1).p50_kw == (1.1,)
    again = _watch(tmp_path, champion=1.4, challenger=1.1)
    assert again.forecast(History(START, 900, np.ones(96)), 1).p50_kw == (1.1,)


def test_the_trial_goes_on_after_a_restart_and_status_shows_it(tmp_path: Path) -> None:
    path = _put(tmp_path)
    events = []
    for day in range(0, 18, 3):  # a restart every third day
        watch = _watch(tmp_path, champion=1.4, challenger=1.1)
        events += _live(watch, 3, begin_day=day)
        standing = watch.standing()
        assert not standing or standing.startswith("challenger constant: RMSE 0.6")
    assert any("takes over" in text for text in events)
    assert standing == ""
    assert not path.exists()


def test_another_challenger_begins_anew(tmp_path: Path) -> None:
    path = _put(tmp_path)
    _live(_watch(tmp_path, champion=1.4, challenger=1.1), 3)
    os.utime(path, ns=(0, 0))
    watch = _watch(tmp_path, champion=1.4, challenger=1.1)
    _live(watch, 0.05, begin_day=3)
    assert watch.standing().endswith("in 0.0 days")


def test_a_challenger_that_has_gone_is_dropped(tmp_path: Path) -> None:
    watch, path = _watch(tmp_path, champion=1.2), _put(tmp_path)
    _live(watch, 0.1)
    path.unlink()
    assert "load forecast: the challenger is gone" in _live(watch, 0.1, begin_day=0.1)
    assert CHALLENGER not in watch._forecasters


def test_weights_that_took_the_process_with_them_are_refused_by_its_successor(
    tmp_path: Path,
) -> None:
    path, watch = _put(tmp_path), _watch(tmp_path, champion=1.2)
    watch._mark_trying(tuple(p.stat().st_mtime_ns for p in (path, path.with_suffix(".json"))))
    again = _watch(tmp_path, champion=1.2)  # the process died before it could say how it went
    assert any("the process died of it" in text for text in _live(again, 0.1))
    assert CHALLENGER not in again._forecasters
    _put(tmp_path)
    assert any("runs in shadow" in text for text in _live(again, 0.1, begin_day=0.1))
    assert not list((tmp_path / "challenger").glob("*.trying"))


def test_broken_shipped_weights_are_told_and_can_still_be_challenged(tmp_path: Path) -> None:
    def make(path: Path | None) -> Forecaster:
        good = path is not None and path.name != "none"
        return Constant(1.0 if good else 1.5, None if good else "load.json: sha256 does not fit")

    watch = Watch("load", make, tmp_path)
    assert watch.take_events() == ["load forecast: network refused: load.json: sha256 does not fit"]
    _put(tmp_path)
    events = _live(watch, 17)
    assert any("takes over" in text for text in events)


def test_without_networks_nobody_is_compared(tmp_path: Path) -> None:
    _put(tmp_path)
    watch = Watch("load", lambda path: Constant(1.0, "off"), tmp_path, networks=False)
    assert _live(watch, 1) == []
    assert not list(tmp_path.glob("*.json"))


def test_a_restart_a_day_does_not_keep_the_day_ahead_from_being_judged(tmp_path: Path) -> None:
    for day in range(4):
        _live(_watch(tmp_path, champion=1.1), 1, begin_day=day)
    watch = _watch(tmp_path, champion=1.1)
    assert watch.forecast(History(START, 900, np.ones(96)), STEPS).skill[3] is not None


def test_real_weights_as_challenger_and_broken_ones(tmp_path: Path) -> None:
    watch = Watch("load", lambda path: Forecaster("load", weights=path), tmp_path)
    for suffix in (".tflite", ".json"):
        (tmp_path / "challenger").mkdir(exist_ok=True)
        shutil.copy(WEIGHTS / f"load{suffix}", tmp_path / "challenger" / f"load{suffix}")
    history = History(START - 2 * DAY_S, 900, np.ones(2 * 96))
    watch.forecast(history, STEPS)
    assert any("runs in shadow: load " in text for text in watch.take_events())
    (tmp_path / "challenger" / "load.tflite").write_bytes(b"broken")
    watch.forecast(History(START - 2 * DAY_S, 900, np.ones(2 * 96 + 1)), STEPS)
    assert any("challenger refused" in text and "sha256" in text for text in watch.take_events())


def test_weights_that_are_overwritten_while_they_serve_change_nothing(tmp_path: Path) -> None:
    """As by scp, in place: the file must not be mapped into the process."""
    for suffix in (".tflite", ".json"):
        shutil.copy(WEIGHTS / f"load{suffix}", tmp_path / f"load{suffix}")
    path = tmp_path / "load.tflite"
    forecaster = Forecaster("load", weights=path, learning=False)
    past = History(0, 900, 1.0 + np.abs(np.sin(np.arange(12 * 96) / 15.0)))
    before = forecaster.forecast(past, 12 * DAY_S, 96)
    with path.open("r+b") as file:
        file.write(b"\xff" * 40_000)
        file.truncate(50_000)
    assert forecaster.forecast(past, 12 * DAY_S, 96) == before


@pytest.mark.parametrize(
    "sick",
    [np.full(60, np.nan), np.full(28 * 4, 0.7), np.full(60, 1e6), np.full(60, -3.0)],
    ids=["dead", "stuck", "absurd", "negative"],
)
def test_a_sick_meter_is_an_event_and_never_a_forecast(sick: np.ndarray) -> None:
    watch = Watch("load", lambda path: Forecaster("load", weights=path, learning=False), None)
    values = 1.0 + np.abs(np.sin(np.arange(12 * 96) / 15.0))
    first = watch.forecast(History(START - 12 * DAY_S, 900, values), STEPS)
    assert first.source.startswith("load ")
    assert any("served by load" in text for text in watch.take_events())
    history = History(START - 12 * DAY_S, 900, np.concatenate([values, sick]))
    series = watch.forecast(history, STEPS)
    assert "same-clock mean" in series.source
    assert "of the last 24 h known" in series.source
    assert 0.0 <= min(series.p10_kw) <= max(series.p90_kw) < 4.0
    assert any("fallback to same-clock mean" in text for text in watch.take_events())
    back = np.concatenate([history.values, values[: 2 * 96]])
    again = watch.forecast(History(START - 12 * DAY_S, 900, back), STEPS)
    assert again.source.startswith("load ")
    assert any("served by load" in text for text in watch.take_events())


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "nanogrid-scores-1"}', "\xff"])
def test_scores_that_cannot_be_read_begin_anew(tmp_path: Path, content: str) -> None:
    (tmp_path / "load_scores.json").write_text(content, encoding="latin-1")
    watch = _watch(tmp_path, champion=1.0)
    assert any("scores begin anew" in text for text in watch.take_events())
    _live(watch, 0.1)


def test_a_folder_that_takes_nothing_costs_nothing_but_the_scores(tmp_path: Path) -> None:
    (tmp_path / "forecast").write_text("a file where a folder should be")
    watch = _watch(tmp_path / "forecast", champion=1.2)
    _live(watch, 0.1)
    assert watch.serving == CHAMPION
