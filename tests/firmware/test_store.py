"""The store: what it keeps, that nothing about its disk holds up the loop, kill -9, damage."""

import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.cycle import Decision
from control.records import Event, GridMeasurement, Observed, Quality, Sample, Severity
from control.site import SiteParameters
from control.state import Estimate, GeneratorState, State
from firmware import store as store_module
from firmware import store_records, store_schema, store_writer
from firmware.config_tables import Store as Settings
from firmware.energy_tail import EnergyTail
from firmware.loop import Telemetry
from firmware.store import Store
from firmware.store_reading import read_events
from firmware.store_records import COLUMNS, EnergyMeter
from firmware.store_schema import StoreError, connect, connect_to_read

Run = Callable[[int], list[Telemetry]]
DEADLINE_S = 60.0
T_S = 5000.0
UTC_S = 1_760_000_040.0  # a full minute


def until(what: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def cycle(
    like: Telemetry,
    after_s: float,
    *events: Event,
    generator: GeneratorState | None = None,
    latched: bool = False,
    **estimate: float,
) -> Telemetry:
    """A cycle `after_s` after T_S, with these events and this much known of the plant."""
    sample = replace(like.sample, t_s=T_S + after_s, utc_s=UTC_S + after_s)
    state = State(
        t_s=sample.t_s,
        estimate=Estimate(**estimate),  # type: ignore[arg-type]
        generator=generator or GeneratorState(),
        emergency_latched=latched,
    )
    return replace(like, sample=sample, decision=Decision(state, like.decision.command, events))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(path=str(tmp_path / "state.db"))


# --- what it keeps --------------------------------------------------------------------------


def test_minutes_energy_and_events(
    settings: Settings, parameters: SiteParameters, run_cycles: Run
) -> None:
    like, store = run_cycles(1)[0], Store(settings, parameters)
    note = Event(Severity.WARNING, "mode", "degraded: nothing usable from roof")
    for second in range(181):
        known = {"pv_kw": 3.0, "grid_kw": -1.8} if second != 70 else {}
        store.publish(cycle(like, second, *[note] * (second == 65), **known))
    store.close()
    path = Path(settings.path)
    found = rows(path, "SELECT start_utc_s, pv_kw, grid_kw, load_kw, mode FROM minute")
    assert [row[0] for row in found] == [UTC_S, UTC_S + 60, UTC_S + 120]
    assert found[1][1:] == pytest.approx((3.0, -1.8, None, "starting"))
    kwh = dict(rows(path, "SELECT name, kwh FROM counter"))  # type: ignore[arg-type]
    assert kwh["pv"] == pytest.approx(3.0 * 179 / 3600)
    assert kwh["exported"] == pytest.approx(1.8 * 179 / 3600)
    assert kwh["imported"] == 0.0
    (event,) = read_events(path, None)
    assert (event.seq, event.utc_s, event.key) == (1, UTC_S + 65, "mode")


def test_counters_and_event_numbers_go_on(
    settings: Settings, parameters: SiteParameters, run_cycles: Run
) -> None:
    like = run_cycles(1)[0]
    for life in range(3):
        store = Store(settings, parameters)
        for second in range(11):
            told = [Event(Severity.INFO, "life", str(life))] * (second == 5)
            store.publish(cycle(like, 1000 * life + second, *told, load_kw=3.6))
        store.close()
    kwh = dict(rows(Path(settings.path), "SELECT name, kwh FROM counter"))  # type: ignore[arg-type]
    assert kwh["load"] == pytest.approx(0.03)
    assert [(e.seq, e.text) for e in read_events(Path(settings.path), None)] == [
        (1, "0"),
        (2, "1"),
        (3, "2"),
    ]


def test_a_generator_transition_is_on_disk_at_once(
    settings: Settings, parameters: SiteParameters, run_cycles: Run
) -> None:
    like, store = run_cycles(1)[0], Store(settings, parameters)
    store.publish(cycle(like, 0))
    running = GeneratorState(run=True, since_s=T_S + 1, carried=True, attempts=1)
    store.publish(cycle(like, 1, generator=running))
    query = "SELECT content FROM checkpoint"
    until(lambda: "true" in str(rows(Path(settings.path), query)))
    store.close()
    after = Store(settings, parameters).state(T_S + 2, UTC_S)
    assert after.generator == running


def test_energy_goes_to_the_disk_soon_at_first_and_every_20_s_later(
    settings: Settings, parameters: SiteParameters, run_cycles: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[float] = []
    monkeypatch.setattr(Store, "_hand_over", noting(handed, Store._hand_over))
    like, store = run_cycles(1)[0], Store(settings, parameters)
    for second in range(100):
        store.publish(cycle(like, second + 3.0, load_kw=3.6))
    store.close()
    steps_s = [b - a for a, b in pairwise(handed)]
    assert steps_s[:5] == [1.0, 2.0, 4.0, 8.0, 16.0]
    assert max(steps_s) == 20.0
    assert len(steps_s) <= 12


def noting(
    times_s: list[float], hand_over: Callable[[Store, float], None]
) -> Callable[[Store, float], None]:
    """As before, with a note of when."""

    def noted(store: Store, t_s: float) -> None:
        times_s.append(t_s)
        hand_over(store, t_s)

    return noted


def test_old_minutes_and_events_go_by_their_number(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_writer, "MINUTES_PER_DAY", 150)
    settings = Settings(path=str(tmp_path / "state.db"), history_days=1, events=100)
    like, store = run_cycles(1)[0], Store(settings, parameters)
    for minute in range(331):
        after_s = 60.0 * minute + (1e9 if minute == 70 else 0.0)  # a clock that was wrong once
        store.publish(cycle(like, after_s, Event(Severity.INFO, "tick", str(minute))))
        until(lambda: not store._queue.full())
    store.close()
    starts = [row[0] for row in rows(Path(settings.path), "SELECT start_utc_s FROM minute")]
    assert 150 <= len(starts) <= 182
    assert UTC_S + 60 * 329 in starts
    numbers = [event.seq for event in read_events(Path(settings.path), None)]
    assert 100 <= len(numbers) <= 133
    assert numbers[-1] == 331


@given(st.lists(st.tuples(st.floats(-2, 9), st.one_of(st.none(), st.floats(-50, 50))), max_size=60))
def test_energy_never_shrinks_and_balances(
    make_sample: Callable[..., Sample], cycles: list[tuple[float, float | None]]
) -> None:
    meter, t_s, total = EnergyMeter(1.0), 0.0, dict.fromkeys(store_records.COUNTERS, 0.0)
    sample = replace(make_sample(0), t_s=t_s)
    meter.add(sample, (None,) * len(COLUMNS))
    net_kwh = 0.0
    for passed_s, grid_kw in cycles:
        before_s, t_s = t_s, t_s + passed_s
        values = tuple(grid_kw if name == "grid_kw" else None for name in COLUMNS)
        for name, kwh in meter.add(replace(sample, t_s=t_s), values).items():
            assert kwh >= 0.0
            total[name] += kwh
        if grid_kw is not None and 0 < t_s - before_s <= 5.0:
            net_kwh += grid_kw * (t_s - before_s) / 3600
    assert total["imported"] - total["exported"] == pytest.approx(net_kwh, abs=1e-9)


def metered(sample: Sample, t_s: float, import_kwh: float | None, utc_s: float = 0.0) -> Sample:
    """A cycle whose grid meter has that register."""
    grid = Observed(GridMeasurement(1.0, 230.0, 50.0, import_kwh, 7.0), 0.1, Quality.GOOD, "")
    return replace(sample, t_s=t_s, utc_s=utc_s, grid=grid)


@pytest.mark.parametrize(
    ("away_s", "then_kwh", "expected_kwh"),
    [
        (3600.0, 103.0, 3.0),  # what passed while nobody was there
        (3600.0, 100.0, 2.0 / 3600.0),  # no more than the two cycles before the meter answers
        (3600.0, 99.0, 2.0 / 3600.0),  # reset
        (3600.0, 5000.0, 2.0 / 3600.0),  # another meter
        (10.0, 101.0, 2.0 / 3600.0),  # more than the connection can in that time
    ],
)
def test_what_passed_between_two_processes_is_counted_once(
    parameters: SiteParameters,
    make_sample: Callable[..., Sample],
    away_s: float,
    then_kwh: float,
    expected_kwh: float,
) -> None:
    last = metered(make_sample(0), 50.0, 100.0)
    left = store_records.checkpoint_of(State(), last, "boot", "genset")
    left = store_records.checkpoint_from_text(store_records.checkpoint_to_text(left))
    limits_kw = store_records.most_kw(parameters)
    for boot in ("boot", "other"):
        t_s = 50.0 + away_s if boot == "boot" else 1.0
        meter = EnergyMeter(1.0, limits_kw, left, boot)
        values = tuple(1.0 if name == "grid_kw" else None for name in COLUMNS)
        total_kwh = 0.0
        for cycle, register_kwh in enumerate((None, None, then_kwh, then_kwh + 1.0)):
            sample = metered(make_sample(0), t_s + cycle, register_kwh, away_s + cycle)
            total_kwh += meter.add(sample, values).get("imported", 0.0)
        assert total_kwh == pytest.approx(expected_kwh + 1.0 / 3600.0)


def test_a_checkpoint_without_registers_is_still_one(make_sample: Callable[..., Sample]) -> None:
    left = store_records.checkpoint_of(State(), make_sample(0), "boot", "genset")
    plain = json.loads(store_records.checkpoint_to_text(left))
    del plain["registers_kwh"]
    found = store_records.checkpoint_from_text(json.dumps(plain))
    assert found == replace(left, registers_kwh=())


# --- disks and files ------------------------------------------------------------------------


def test_a_disk_that_hangs_holds_up_nobody(
    settings: Settings, parameters: SiteParameters, run_cycles: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "CLOSE_S", 0.1)
    like, go_on = run_cycles(1)[0], threading.Event()
    insert = store_writer.Writer._insert

    def hang(*given: object) -> dict[str, float]:
        assert go_on.wait(DEADLINE_S)
        return insert(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(store_writer.Writer, "_insert", hang)
    store = Store(settings, parameters)
    for minute in range(3000):
        store.publish(cycle(like, 60.0 * minute, load_kw=1.0))
    assert len(store._next.minutes) == store_records.MAX_MINUTES
    store.close()
    assert store._thread.is_alive()
    go_on.set()
    until(store._queue.empty)
    store._queue.put(None)
    store._thread.join(DEADLINE_S)


def test_a_full_disk_is_told_once_and_forgotten_when_there_is_room(
    settings: Settings,
    parameters: SiteParameters,
    run_cycles: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    like, path = run_cycles(1)[0], Path(settings.path)
    store = Store(settings, parameters)
    store.publish(cycle(like, 0, load_kw=1.0))
    until(lambda: bool(rows(path, "SELECT * FROM checkpoint")))
    store._writer._connection.execute("PRAGMA max_page_count = 1")  # type: ignore[union-attr]
    many = [Event(Severity.INFO, "long", 3000 * "x")] * 20
    for second in (60, 120, 180):
        store.publish(cycle(like, second, *many, load_kw=1.0))
        until(store._queue.empty)
    store.close()  # by now with a new connection, without that limit
    told = [record.getMessage() for record in caplog.records]
    assert len([text for text in told if "disk is full" in text]) == 1
    assert told[-1].endswith("works again")
    assert len(rows(path, "SELECT * FROM event")) == 60
    assert len(rows(path, "SELECT * FROM minute")) == 3


@pytest.mark.parametrize("place", ["/proc/state.db", "/dev/full/state.db"])
def test_a_place_that_takes_no_file(
    place: str, parameters: SiteParameters, run_cycles: Run, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(Settings(path=place), parameters)
    assert store.state(T_S, UTC_S) == State()
    for telemetry in run_cycles(5):
        store.publish(telemetry)
    store.close()
    assert not store._thread.is_alive()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "control goes on without it" in caplog.text


@pytest.mark.parametrize("damage", ["not a database", "torn pages"])
def test_a_damaged_file_is_set_aside(
    damage: str,
    settings: Settings,
    parameters: SiteParameters,
    run_cycles: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    like, path = run_cycles(1)[0], Path(settings.path)
    first = Store(settings, parameters)
    for minute in range(500):
        first.publish(cycle(like, 60.0 * minute, latched=True, load_kw=1.0))
        until(lambda: not first._queue.full())
    first.close()
    content = bytearray(path.read_bytes())
    start = 0 if damage == "not a database" else 8 * 4096
    content[start : start + 4096] = random.Random(4).randbytes(4096)
    path.write_bytes(content)

    second = Store(settings, parameters)
    assert second.state(T_S, UTC_S).emergency_latched == (damage == "torn pages")
    second.publish(cycle(like, 1e6, latched=True))
    second.close()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    (aside,) = path.parent.glob("state.db.damaged-*Z")
    assert aside.read_bytes() == bytes(content)
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert len(rows(path, "SELECT * FROM checkpoint")) == 1


def test_a_checkpoint_of_another_kind_is_not_used(
    settings: Settings, parameters: SiteParameters, caplog: pytest.LogCaptureFixture
) -> None:
    connection = connect(Path(settings.path))
    connection.execute("INSERT INTO checkpoint VALUES (1, '[1, 2]')")
    connection.close()
    store = Store(settings, parameters)
    store.close()
    assert store.state(T_S, UTC_S) == State()
    assert "checkpoint not usable" in caplog.text


# --- versions of the schema -----------------------------------------------------------------


def test_an_empty_file_and_an_older_one_are_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    path.touch()
    connect(path).close()
    today = len(store_schema.MIGRATIONS)
    assert rows(path, "PRAGMA user_version") == [(today,)]
    newer = (*store_schema.MIGRATIONS, ("CREATE TABLE later (x)", "INSERT INTO later VALUES (1)"))
    monkeypatch.setattr(store_schema, "MIGRATIONS", newer)
    with pytest.raises(StoreError, match=f"schema version {today}, this program reads {today + 1}"):
        connect_to_read(path)
    connect(path).close()
    connect(path).close()
    assert rows(path, "SELECT * FROM later") == [(1,)]
    monkeypatch.undo()
    with pytest.raises(StoreError, match=f"version {today + 1} is newer than this program"):
        connect(path)


def test_a_file_of_the_first_version_keeps_what_it_has(
    settings: Settings, parameters: SiteParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(settings.path)
    with monkeypatch.context() as older:
        older.setattr(store_schema, "MIGRATIONS", store_schema.MIGRATIONS[:1])
        connect(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE counter SET kwh = 7.0 WHERE name = 'pv'")
    Store(settings, parameters).close()
    assert rows(path, "SELECT kwh FROM counter WHERE name = 'pv'") == [(7.0,)]
    for table in ("sequence", "command", "standing", "outbox"):
        assert rows(path, f"SELECT * FROM {table}") == []


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    connect(path).close()
    today = len(store_schema.MIGRATIONS)
    broken = (
        *store_schema.MIGRATIONS,
        ("CREATE TABLE later (x)", "INSERT INTO nowhere VALUES (1)"),
    )
    monkeypatch.setattr(store_schema, "MIGRATIONS", broken)
    with pytest.raises(sqlite3.Error):
        connect(path)
    assert rows(path, "PRAGMA user_version") == [(today,)]
    assert rows(path, "SELECT * FROM sqlite_master WHERE name = 'later'") == []


def test_a_counter_is_on_the_disk_with_its_first_value(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Callable[[int], list[Telemetry]]
) -> None:
    path = tmp_path / "state.db"
    store = Store(Settings(path=str(path)), parameters)
    first, second = run_cycles(2)
    soon = replace(second, sample=replace(second.sample, t_s=first.sample.t_s + 0.01))
    for telemetry in (first, soon):
        store.publish(telemetry)
    until(lambda: ("load",) in rows(path, "SELECT name FROM counter"))
    store.close()


# --- kill -9 --------------------------------------------------------------------------------

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from control.cycle import Decision
from control.records import Advice, Command, Event, Orders, Sample, Severity
from control.state import Estimate, GeneratorState, State
from firmware.config import load_site
from firmware.config_tables import Store as Settings
from firmware.energy_tail import EnergyTail
from firmware.loop import Telemetry
from firmware.parameters import site_parameters
from firmware.store import Store
import time

store = Store(Settings(path=sys.argv[1]), site_parameters(load_site(sys.argv[2])))
empty = Sample(0, 0.0, 0.0, None, None, (), (), (), (), None, 0.0, 0.0, 0.0, 0.0)
number = store.state(time.monotonic(), time.time()).generator.attempts
t_s = 60.0 * number
while True:
    number += 1
    t_s += 1.0
    utc_s = 1.76e9 + 60.0 * number
    generator = GeneratorState(run=False, since_s=float("inf"), attempts=number)
    state = State(t_s=t_s, estimate=Estimate(load_kw=3600.0), generator=generator)
    event = Event(Severity.INFO, "number", str(number))
    decision = Decision(state, Command((), ()), (event,))
    sample = replace(empty, t_s=t_s, utc_s=utc_s)
    store.publish(Telemetry(state, sample, (), Advice(), Orders(), decision))
    while not store._queue.empty():
        time.sleep(0.0005)
"""


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    path, chance = tmp_path / "state.db", random.Random(9)
    example = Path(__file__).parents[2] / "examples" / "site.toml"
    reached = 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(example)])
        until(lambda before=reached: _attempts(path) > before)  # type: ignore[misc]
        time.sleep(chance.uniform(0.0, 0.1))
        process.kill()
        process.wait()
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]
        now = _attempts(path)
        assert now > reached
        reached = now
        texts = [int(event.text) for event in read_events(path, None)]
        assert texts == list(
            range(1, reached + 1)
        )  # none lost that the checkpoint knows, none twice
    assert not list(tmp_path.glob("*damaged*"))


def _attempts(path: Path) -> int:
    """Of the generator's checkpoint; 0 before the first."""
    try:
        found = rows(path, "SELECT content FROM checkpoint")
    except sqlite3.OperationalError:
        return 0
    return int(json.loads(str(found[0][0]))["attempts"]) if found else 0


ENERGY = """
import sys, time
from dataclasses import replace
from pathlib import Path
from control.cycle import Decision
from control.records import Advice, Command, Orders, Sample
from control.state import Estimate, State
from firmware.config import load_site
from firmware.config_tables import Store as Settings
from firmware.energy_tail import EnergyTail
from firmware.loop import Telemetry
from firmware.parameters import site_parameters
from firmware.store import Store

path = Path(sys.argv[1])
site = site_parameters(load_site(sys.argv[2]))
store = Store(Settings(path=str(path)), site, EnergyTail(path.with_suffix(".energy")))
sample = Sample(0, 0.0, 1.76e9, None, None, (), (), (), (), None, 0.0, 0.0, 0.0, 0.0)
for second in range(1001):
    state = State(t_s=float(second), estimate=Estimate(load_kw=3.6))
    sample = replace(sample, t_s=float(second))
    decision = Decision(state, Command((), ()))
    store.publish(Telemetry(state, sample, (), Advice(), Orders(), decision))
print("counted", flush=True)
time.sleep(60.0)
"""


def test_energy_counted_by_a_killed_process_is_not_lost(
    tmp_path: Path, parameters: SiteParameters
) -> None:
    path = tmp_path / "state.db"
    example = Path(__file__).parents[2] / "examples" / "site.toml"
    for lives in (1, 2):
        process = subprocess.Popen(
            [sys.executable, "-c", ENERGY, str(path), str(example)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        process.kill()
        process.wait()
        process.stdout.close()
        Store(Settings(path=str(path)), parameters, EnergyTail(tmp_path / "state.energy")).close()
        kwh = dict(rows(path, "SELECT name, kwh FROM counter"))  # type: ignore[arg-type]
        assert kwh["load"] == pytest.approx(lives * 1.0, rel=1e-9)
