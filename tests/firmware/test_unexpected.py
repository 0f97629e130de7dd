"""Errors that nobody foresaw: said once, shown, gone on from; no part is missing in silence."""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.site import SiteParameters
from firmware import log as log_module
from firmware import unexpected
from firmware.clock import SystemClock
from firmware.config_tables import Store as Settings
from firmware.local_client import LocalError, ask
from firmware.local_server import LocalServer
from firmware.log import background_log
from firmware.loop import Telemetry
from firmware.orders.desk import Desk
from firmware.orders.telling import Way
from firmware.publishers import BackgroundRecording, Sheltered
from firmware.recording import Recorder, Recording
from firmware.replay import replay
from firmware.store import Store
from firmware.store_schema import StoreError
from firmware.unexpected import SteadyThread, failures, note_thread

Run = Callable[[int], list[Telemetry]]
DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unexpected, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(unexpected, "_failures", {})


def until(what: Callable[[], object]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.005)


class Trouble:
    """Fails so many times, then does what it stands for."""

    def __init__(self, real: Callable[..., Any], times: int = 1) -> None:
        self.real, self.left = real, times

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.left:
            self.left -= 1
            raise KeyError("nobody thought of that")
        return self.real(*args, **kwargs)


# --- the thread -----------------------------------------------------------------------------


def test_work_begins_anew_and_its_error_is_said_once_with_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = threading.Event()
    thread = SteadyThread("page", Trouble(done.set, 3))
    thread.start()
    assert done.wait(DEADLINE_S)
    thread.join(DEADLINE_S)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "internal error in page" in record.getMessage()
    assert "nobody thought of that" in caplog.text
    assert "Traceback" in caplog.text
    (alarm,) = failures()
    assert "page, 3 times" in alarm


def test_the_alarm_ends_some_time_after_the_last_error(monkeypatch: pytest.MonkeyPatch) -> None:
    unexpected.note("page", KeyError("x"))
    assert failures()
    monkeypatch.setattr(unexpected, "SHOWN_S", 0.0)
    assert failures() == ()


def test_pauses_grow_and_the_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unexpected, "FIRST_PAUSE_S", 1000.0)
    tried: list[float] = []

    def work() -> None:
        tried.append(time.monotonic())
        raise ValueError("again")

    thread = SteadyThread("page", work)
    thread.start()
    until(lambda: tried)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    assert len(tried) <= 1 + unexpected.TRIES_AT_END


def test_other_threads_do_not_die_in_silence(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threading, "excepthook", note_thread)
    thread = threading.Thread(target=Trouble(print), name="requests")
    thread.start()
    thread.join()
    assert "internal error in requests" in caplog.text


# --- the parts ------------------------------------------------------------------------------


def test_a_publisher_that_fails_costs_nobody_else(run_cycles: Run) -> None:
    seen: list[int] = []

    class Broken:
        def publish(self, telemetry: Telemetry) -> None:
            raise KeyError("publish")

        def close(self) -> None:
            raise KeyError("close")

    class Whole:
        def publish(self, telemetry: Telemetry) -> None:
            seen.append(telemetry.sample.cycle)

        def close(self) -> None:
            seen.append(-1)

    sheltered = Sheltered([Whole(), Broken(), Whole()])
    for telemetry in run_cycles(2):
        sheltered.publish(telemetry)
    sheltered.close()
    assert seen == [0, 0, 1, 1, -1, -1]
    assert "Broken, 3 times" in failures()[0]


def test_the_store_answers_everybody_and_loses_nothing_that_waits(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    path = tmp_path / "state.db"
    store = Store(Settings(path=str(path)), parameters)
    store._writer.write = Trouble(store._writer.write)  # type: ignore[method-assign]
    store.publish(run_cycles(1)[0])  # handed over at once: the first checkpoint

    def wrong(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO sequence VALUES ('x', 1)")
        raise KeyError("in the middle of a transaction")

    with pytest.raises(StoreError, match="internal error"):
        store.transaction(wrong).result(DEADLINE_S)
    assert store.transaction(_sequences).result(DEADLINE_S) == 0
    store.close()
    assert Store(Settings(path=str(path)), parameters)._checkpoint is not None


def _sequences(db: sqlite3.Connection) -> int:
    return int(db.execute("SELECT count(*) FROM sequence").fetchone()[0])


def test_the_desk_goes_on_with_the_next_command(parameters: SiteParameters) -> None:
    desk = Desk(parameters, (), None, SystemClock(), lambda _: "")
    desk._clerk.take = Trouble(desk._clerk.take)  # type: ignore[method-assign]
    now_s = time.time()
    made = {"v": 1, "iat": now_s, "exp": now_s + 60, "op": "plan.replan", "args": {}}
    told: list[dict[str, Any]] = []
    for number in range(2):
        raw = json.dumps({**made, "id": f"command-{number}"}).encode()
        desk.submit(raw, Way("local"), told.append)
    until(lambda: len(told) == 2)
    desk.close()
    assert {ack["id"] for ack in told} == {"command-1"}
    assert "commands, 1 times" in failures()[0]


def test_the_local_interface_answers_again(tmp_path: Path) -> None:
    path = tmp_path / "s"
    server = LocalServer(path, Trouble(lambda _request, _who: b'{"ok": true}\n'))
    server.start()
    with pytest.raises(LocalError):
        ask(path, {"get": "status"})
    assert ask(path, {"get": "status"}) == {"ok": True}
    server.stop()


def test_the_log_goes_on_after_a_line_that_it_cannot_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    sink = Trouble(lambda record: written.append(record.getMessage()))
    monkeypatch.setattr(log_module, "_sink", lambda _descriptor, _site: sink)
    with background_log():
        logging.getLogger("nanogrid").error("first")
        logging.getLogger("nanogrid").error("second")
        until(lambda: len(written) == 2)
    assert written[0] == "second"
    assert "internal error in log" in written[1]


def test_a_recording_marks_the_cycle_that_it_lost(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    cycles = run_cycles(6)
    recording = BackgroundRecording(tmp_path / "r.gz", parameters)
    write = Recorder.write

    def spoiled(self: Recorder, *args: Any, **kwargs: Any) -> None:
        if args[1].cycle == 3:
            raise KeyError("3")
        write(self, *args, **kwargs)

    monkeypatch.setattr(Recorder, "write", spoiled)
    for telemetry in cycles:
        recording.publish(replace(telemetry))
    recording.close()
    replayed = list(replay(Recording(tmp_path / "r.gz")))
    assert [each.cycle.sample.cycle for each in replayed] == [0, 1, 2, 4, 5]
    assert not any(each.differs for each in replayed)
