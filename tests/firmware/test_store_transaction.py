"""Jobs of others in the store's thread: one transaction each, on the disk, or a StoreError."""

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import pytest

from control.site import SiteParameters
from firmware import store as store_module
from firmware import store_writer
from firmware.config_tables import Store as Settings
from firmware.store import Store
from firmware.store_schema import StoreError

DEADLINE_S = 60.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(path=str(tmp_path / "state.db"))


def put(source: str, seq: int) -> Any:
    return lambda db: db.execute("INSERT INTO sequence VALUES (?, ?)", (source, seq)).rowcount


def found(path: str) -> list[tuple[str, int]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute("SELECT * FROM sequence ORDER BY source").fetchall()
    finally:
        connection.close()


def test_it_is_on_the_disk_when_the_future_is_done(
    settings: Settings, parameters: SiteParameters
) -> None:
    store = Store(settings, parameters)
    assert store.transaction(put("a", 1)).result(DEADLINE_S) == 1
    assert found(settings.path) == [("a", 1)]
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.transaction(put("b", 1)).result(DEADLINE_S)


def test_a_job_that_fails_keeps_nothing_and_the_next_one_works(
    settings: Settings, parameters: SiteParameters
) -> None:
    store = Store(settings, parameters)

    def half(db: sqlite3.Connection) -> None:
        put("a", 1)(db)
        put("a", 2)(db)

    with pytest.raises(StoreError, match="UNIQUE"):
        store.transaction(half).result(DEADLINE_S)
    store.transaction(put("b", 1)).result(DEADLINE_S)
    assert not store.problem
    store.close()
    assert found(settings.path) == [("b", 1)]


def test_jobs_of_many_threads_all_happen(settings: Settings, parameters: SiteParameters) -> None:
    store, futures = Store(settings, parameters), list[Future[int]]()

    def work(name: str) -> None:
        for number in range(20):
            future = store.transaction(put(f"{name}{number}", number))
            futures.append(future)
            wait([future], DEADLINE_S)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    store.close()
    assert [future.result(0) for future in futures] == [1] * 80
    assert len(found(settings.path)) == 80


def test_a_full_disk_is_told_to_each_job(settings: Settings, parameters: SiteParameters) -> None:
    store = Store(settings, parameters)
    store.transaction(lambda db: db.execute("PRAGMA max_page_count = 1")).result(DEADLINE_S)
    large = "x" * 100_000
    with pytest.raises(StoreError, match=r"state\.db: database or disk is full"):
        store.transaction(put(large, 1)).result(DEADLINE_S)
    assert "full" in store.problem
    assert store.transaction(put("a", 1)).result(DEADLINE_S) == 1  # there is room again
    assert not store.problem
    store.close()


def test_a_place_that_takes_no_file(parameters: SiteParameters) -> None:
    store = Store(Settings(path="/proc/state.db"), parameters)
    with pytest.raises(StoreError, match=r"/proc/state\.db"):
        store.transaction(put("a", 1)).result(DEADLINE_S)
    assert store.problem
    store.close()


def test_a_disk_that_hangs_fails_what_is_too_much(
    settings: Settings, parameters: SiteParameters
) -> None:
    store, go_on = Store(settings, parameters), threading.Event()
    hanging = store.transaction(lambda _: go_on.wait(DEADLINE_S))
    more = [store.transaction(put(str(number), 1)) for number in range(store_module.QUEUED + 10)]
    refused = [future for future in more if future.done()]
    assert len(refused) >= 9
    with pytest.raises(StoreError, match="too much waits"):
        refused[0].result(0)
    go_on.set()
    assert hanging.result(DEADLINE_S)
    store.close()
    assert len(found(settings.path)) == len(more) - len(refused)


WRITER = """
import sys
from firmware.config import load_site
from firmware.config_tables import Store as Settings
from firmware.parameters import site_parameters
from firmware.store import Store

store = Store(Settings(path=sys.argv[1]), site_parameters(load_site(sys.argv[2])))
for number in range(1_000_000):
    job = lambda db: db.execute("INSERT OR REPLACE INTO sequence VALUES ('a', ?)", (number,))
    store.transaction(job).result()
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_done(tmp_path: Path) -> None:
    path, example = tmp_path / "state.db", Path(__file__).parents[2] / "examples" / "site.toml"
    arguments = [sys.executable, "-c", WRITER, str(path), str(example)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(30):
        process.stdout.readline()
    process.kill()
    told = [int(line) for line in process.stdout.read().splitlines(keepends=True) if "\n" in line]
    process.wait()
    ((_, kept),) = found(str(path))
    assert kept >= max([29, *told])


def test_reading_works_where_nothing_can_be_written(
    settings: Settings, parameters: SiteParameters, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(settings, parameters)
    store.transaction(put("a", 7)).result(DEADLINE_S)
    store.close()
    real = store_writer.connect

    def read_only(path: Path) -> sqlite3.Connection:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(store_writer, "connect", read_only)
    store = Store(settings, parameters)

    def look(db: sqlite3.Connection) -> Any:
        return db.execute("SELECT * FROM sequence").fetchall()

    assert store.reading(look).result(DEADLINE_S) == [("a", 7)]
    with pytest.raises(StoreError, match="readonly"):
        store.transaction(look).result(DEADLINE_S)
    monkeypatch.setattr(store_writer, "connect", real)
    assert store.transaction(look).result(DEADLINE_S) == [("a", 7)]
    store.close()
