"""The second process: what it answers, what it survives."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from control.records import Advice
from firmware.codec import decode, encode
from firmware.config import Site
from firmware.day_plan import Situation
from firmware.minutes import Minute
from firmware.store_schema import connect
from firmware.worker import KEEP_SLOTS, Past, Worker
from models.baselines import MEMORY_DAYS
from models.history import DAY_S, History

NOON_UTC_S = 1_760_000_000.0 // DAY_S * DAY_S + 12 * 3600.0 + 421.0
ITERATIONS = 3
Change = Callable[..., Site]


def situation(**changes: Any) -> Situation:
    known = {
        "t_s": 777.5,
        "utc_s": NOON_UTC_S,
        "soc_frac": 0.5,
        "wind_kw": 0.0,
        "grid_present": True,
        "generator_run": False,
        "generator_for_s": 1e9,
        "generator_usable": False,
    }
    return Situation(**{**known, **changes})


@pytest.fixture
def change(site: Site) -> Change:
    """The example with other keys in some tables: change(planner={"slot_s": 600})."""

    def made(**tables: dict[str, Any]) -> Site:
        changed = {k: getattr(site, k).model_copy(update=keys) for k, keys in tables.items()}
        return site.model_copy(update=changed)

    return made


def write_history(path: Path, step_s: int = 900, days: int = 10, **columns: float) -> Path:
    """A sine of a day per column, up to noon."""
    count = days * DAY_S // step_s
    start = int(NOON_UTC_S) // step_s * step_s - count * step_s
    rows = [",".join(("ts_utc", *columns))]
    for n in range(count):
        moment = datetime.fromtimestamp(start + n * step_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        wave = 1.5 + np.sin(2 * np.pi * n * step_s / DAY_S)
        rows.append(",".join((moment, *(f"{top * wave:.4f}" for top in columns.values()))))
    path.write_text("\n".join([*rows, ""]))
    return path


def advise(site: Site, minutes: list[Minute] | None = None, **changes: Any) -> Advice:
    return Worker(site).advise(situation(**changes), minutes or [], ITERATIONS)


# --- what it answers ------------------------------------------------------------------------


def test_the_first_plan_needs_nothing_but_the_moment(site: Site) -> None:
    advice = advise(site)
    forecast, plan = advice.forecast, advice.plan
    assert forecast is not None
    assert plan is not None
    assert len(plan.battery_kw) == len(forecast.pv.p50_kw) == 96
    assert forecast.issued_t_s == plan.issued_t_s == 777.5
    assert plan.start_t_s == 777.5 - 421.0
    assert plan.expires_t_s == 777.5 + 3600.0
    assert "no history" in forecast.load.source


def test_the_same_question_gives_the_same_answer(site: Site) -> None:
    assert advise(site) == advise(site)


def test_slots_of_the_plan_are_the_sites(change: Change) -> None:
    advice = advise(change(planner={"slot_s": 600, "horizon_h": 6}))
    assert advice.forecast is not None
    assert advice.plan is not None
    assert len(advice.plan.battery_kw) == len(advice.forecast.load.p90_kw) == 36
    assert advice.plan.start_t_s == 777.5 - 421.0


def test_without_the_planner_there_is_a_forecast(change: Change) -> None:
    advice = advise(change(planner={"enabled": False}))
    assert advice.plan is None
    assert advice.forecast is not None


def test_an_island_with_an_unknown_battery_gets_a_plan(site: Site) -> None:
    advice = advise(site, soc_frac=None, grid_present=False, generator_usable=True)
    assert advice.plan is not None
    assert max(advice.plan.grid_kw) == 0.0


def test_a_site_without_pv_needs_no_history_of_it(change: Change, tmp_path: Path) -> None:
    path = write_history(tmp_path / "history.csv", load_kw=0.8)
    site = change(forecast={"history": str(path)}).model_copy(update={"pv": ()})
    advice = advise(site)
    assert advice.forecast is not None
    assert set(advice.forecast.pv.p90_kw) == {0.0}
    assert advice.forecast.pv.source == "no PV"
    assert advice.detail == ""


# --- the past -------------------------------------------------------------------------------


@pytest.mark.parametrize("step_s", [300, 900, 1800, 3600])
def test_a_history_of_any_grid_is_used(change: Change, tmp_path: Path, step_s: int) -> None:
    path = write_history(tmp_path / "history.csv", step_s, pv_kw=2.0, load_kw=0.8)
    advice = advise(change(forecast={"history": str(path), "enabled": False}))
    assert advice.detail == ""
    assert advice.forecast is not None
    assert "10.0 days" in advice.forecast.load.source
    assert max(advice.forecast.load.p50_kw) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        (b"\xff\xfe\x00", "history.csv"),
        (b"", "ts_utc"),
        (b"ts_utc,pv_kw\n2026-01-01T00:00:00Z,1\n2026-01-01T00:15:00Z,1\n", "load"),
        (b"ts_utc,pv_kw,load_kw\nyesterday,1,1\n", "not an ISO 8601 time"),
        (b"ts_utc,pv_kw,load_kw\n2026-01-01T00:00:00Z,a lot,1\n", "not a number"),
        (b"\x1f\x8b\x08 this is not gzip", "history.csv"),
    ],
)
def test_a_bad_history_is_a_note_and_no_more(
    change: Change, tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_bytes(content)
    advice = advise(change(forecast={"history": str(path)}))
    assert advice.plan is not None
    assert said in advice.detail
    assert "\n" not in advice.detail


def test_infinite_history_does_not_reach_a_forecast(change: Change, tmp_path: Path) -> None:
    path = write_history(tmp_path / "history.csv", pv_kw=2.0, load_kw=0.8)
    rows = path.read_text().splitlines()
    rows[-40:] = [row.rpartition(",")[0] + ",inf" for row in rows[-40:]]
    path.write_text("\n".join(rows))
    advice = advise(change(forecast={"history": str(path)}))
    assert advice.forecast is not None
    assert 0.0 < max(advice.forecast.load.p90_kw) < 10.0


def minutes(first_utc_s: float, count: int, load_kw: float = 3.0) -> list[Minute]:
    start = int(first_utc_s) // 60 * 60
    return [Minute(start + 60 * n, 1.0, load_kw) for n in range(count)]


def test_what_the_loop_saw_becomes_the_past(change: Change) -> None:
    site = change(forecast={"enabled": False})
    advice = advise(site, minutes(NOON_UTC_S - 2 * DAY_S, 2 * 1440))
    assert advice.forecast is not None
    assert advice.forecast.load.p50_kw == pytest.approx([3.0] * 96)


def test_a_quarter_of_an_hour_counts_with_eight_of_its_minutes() -> None:
    past, slot = Past(None), int(NOON_UTC_S) // 900 * 900
    for minute in minutes(slot, 7):
        past.add(minute.start_utc_s, 2.0)
    assert np.isnan(past.history(slot + 900).values[-1])
    past.add(slot + 420, 4.0)
    assert past.history(slot + 900).values[-1] == pytest.approx(18 / 8)
    past.add(slot + 480, None)
    assert past.history(slot + 900).values[-1] == pytest.approx(18 / 8)
    assert len(past.history(slot + 899).values) == KEEP_SLOTS  # not over yet: not in it


def test_a_clock_that_was_wrong_for_a_day_does_not_cost_the_past() -> None:
    start = int(NOON_UTC_S) // 900 * 900 - 20 * DAY_S
    past = Past(History(start, 900, np.full(20 * 96, 1.25)))
    for wrong_s in (0, 4_000_000_000):
        for minute in minutes(wrong_s, 600):
            past.add(minute.start_utc_s, 9.0)
        past.history(wrong_s + 36_000)
    values = past.history(int(NOON_UTC_S)).values
    assert np.nansum(values) == pytest.approx(1.25 * 20 * 96)


def test_the_past_is_bounded() -> None:
    past = Past(History(0, 900, np.ones(KEEP_SLOTS + 96)))
    for minute in minutes(KEEP_SLOTS * 900 + DAY_S, 5 * 1440):
        past.add(minute.start_utc_s, 2.0)
    assert len(past._days) == KEEP_SLOTS // 96 + 1
    assert len(past._open) <= 97


def stored(path: Path, first_utc_s: int, pv_kw: list[float | None], curtailed: int = 0) -> None:
    """A store that holds these minutes; in the last `curtailed` of them a limit held PV down."""
    names = ("start_utc_s", "pv_kw", "load_kw", "curtailed_frac", "mode")
    rows = [
        (first_utc_s + 60 * n, value, 2.0, float(n >= len(pv_kw) - curtailed), "auto")
        for n, value in enumerate(pv_kw)
    ]
    with closing(connect(path)) as connection:
        marks = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO minute ({', '.join(names)}) VALUES ({marks})", rows)


def test_after_a_restart_it_knows_what_the_store_has_kept(change: Change, tmp_path: Path) -> None:
    begin = int(NOON_UTC_S) // 900 * 900 - DAY_S
    pv_kw: list[float | None] = [1.0] * 15 + [3.0] * 7 + [None] * 8 + [0.5] * 15
    stored(tmp_path / "state.db", begin, pv_kw + [4.0] * 10, curtailed=25)
    worker = Worker(change(store={"path": tmp_path / "state.db"}))
    pasts = {name: past.history(begin + DAY_S) for name, past in worker._pasts.items()}
    pv, load = (pasts[name].window(begin, begin + 3600) for name in ("pv", "load"))
    np.testing.assert_array_equal(pv, [1.0, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(load, [2.0, 2.0, 2.0, 2.0])
    later = [Minute(begin + 2700 + 60 * n, 1.0, 4.0) for n in range(10, 15)]  # the quarter goes on
    worker._remember(later)
    past = worker._pasts["load"].history(begin + DAY_S).window(begin + 2700, begin + 3600)
    assert past == pytest.approx([(10 * 2.0 + 5 * 4.0) / 15])


def test_what_the_store_keeps_by_default_is_what_the_forecasters_look_back_on(site: Site) -> None:
    assert site.store.history_days == KEEP_SLOTS * 900 // DAY_S >= MEMORY_DAYS


def test_an_empty_store_and_a_broken_one_are_no_harm(change: Change, tmp_path: Path) -> None:
    connect(tmp_path / "empty.db").close()
    assert advise(change(store={"path": tmp_path / "empty.db"})).detail == ""
    (tmp_path / "broken.db").write_bytes(b"not a database" * 100)
    assert "broken.db" in advise(change(store={"path": tmp_path / "broken.db"})).detail


# --- switched off, or not to be had ---------------------------------------------------------


def test_switched_off_forecasts_are_same_clock_means_without_any_network(
    change: Change, tmp_path: Path
) -> None:
    path = write_history(tmp_path / "history.csv", pv_kw=1.0, load_kw=0.8)
    advice = advise(change(forecast={"enabled": False, "history": str(path)}))
    assert advice.forecast is not None
    for series in (advice.forecast.pv, advice.forecast.load):
        assert "same-clock mean" in series.source
        assert "[forecast] enabled = false" in series.source
    assert advice.detail == ""  # it is as the site wants it
    script = (
        "import sys; from firmware.config import load_site; from firmware.worker import Worker;"
        f"site = load_site({str(Path(__file__).parents[2] / 'examples' / 'site.toml')!r});"
        "off = site.forecast.model_copy(update={'enabled': False});"
        "Worker(site.model_copy(update={'forecast': off}));"
        "print(any('litert' in name or 'tflite' in name for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_weights_that_cannot_be_used_are_a_note(change: Change, tmp_path: Path) -> None:
    path = tmp_path / "mine.tflite"
    path.write_bytes(b"nothing")
    advice = advise(change(forecast={"load_model": str(path)}))
    assert advice.plan is not None
    assert "mine" in advice.detail


# --- as a process ---------------------------------------------------------------------------


def test_one_line_in_one_line_out_until_the_input_ends(site: Site) -> None:
    hello = {"site": site.model_dump(mode="json", by_alias=True), "nice": 3}
    question = {
        "id": 41,
        "situation": encode(situation()),
        "minutes": encode(minutes(NOON_UTC_S - 600, 9)),
        "iterations": ITERATIONS,
    }
    text = "".join(json.dumps(line) + "\n" for line in (hello, question, {**question, "id": 42}))
    done = subprocess.run(
        [sys.executable, "-m", "firmware.worker"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [41, 42]
    assert all(decode(Advice, answer["advice"]).plan for answer in answers)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_a_reader_that_is_gone_ends_it_quietly(site: Site) -> None:
    hello = {"site": site.model_dump(mode="json", by_alias=True), "nice": 0}
    question = {"id": 1, "situation": encode(situation()), "minutes": [], "iterations": 1}
    process = subprocess.Popen(
        [sys.executable, "-m", "firmware.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write(json.dumps(hello) + "\n" + json.dumps(question) + "\n")
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stderr is not None
    with process.stderr as errors:
        assert "Traceback" not in errors.read()
