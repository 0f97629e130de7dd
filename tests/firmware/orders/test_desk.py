"""The desk: nobody waits for it, it answers in order, and the loop tells what it decided."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from control.records import Event, Orders, Severity
from control.site import SiteParameters
from firmware.clock import SystemClock
from firmware.config_tables import Store as Settings
from firmware.loop import Telemetry
from firmware.orders import desk as desk_module
from firmware.orders.clock_sync import clock_problem
from firmware.orders.desk import Desk, Way
from firmware.orders.pace import Allowance
from firmware.publishers import EventLog
from firmware.store import Store
from firmware.store_reading import read_events
from tests.firmware.orders.conftest import MQTT, SOURCES

DEADLINE_S = 60.0


def until(what: Callable[[], object]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.005)


@contextmanager
def opened(parameters: SiteParameters) -> Iterator[Desk]:
    desk = Desk(parameters, SOURCES, None, SystemClock(), lambda _: "")
    yield desk
    desk.close()


def envelope(number: int, **changes: Any) -> bytes:
    now_s = time.time()
    made = {"v": 1, "id": f"command-{number}", "iat": now_s, "exp": now_s + 60, "op": "plan.replan"}
    return json.dumps({**made, "args": {}, "src": "supervisor", "seq": number, **changes}).encode()


def test_answers_come_in_order_and_orders_follow(parameters: SiteParameters) -> None:
    told: list[dict[str, Any]] = []
    with opened(parameters) as desk:
        for number in range(1, 4):
            desk.submit(envelope(number), MQTT, told.append)
        until(lambda: len(told) == 6)
        short = [ack["id"][-1] + ack["status"][0] for ack in told]
        assert short == ["1r", "1a", "2r", "2a", "3r", "3a"]
        assert desk.orders().replans == 3
        assert desk.acknowledgement("command-2") == told[3]
        assert desk.acknowledgement("command-9") is None
        assert [event.text.split(":")[1] for event in desk.notices()] == 3 * [" accepted"]
        assert desk.notices() == ()


def test_too_many_are_dropped_and_logged(
    parameters: SiteParameters, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "INBOX", 5)
    go_on, told = threading.Event(), list[dict[str, Any]]()
    with opened(parameters) as desk:

        def hold(acknowledgement: dict[str, Any]) -> None:
            told.append(acknowledgement)
            go_on.wait(DEADLINE_S)

        desk.submit(envelope(1), MQTT, hold)
        until(lambda: told)
        start_s = time.monotonic()
        for number in range(2, 1000):
            desk.submit(envelope(number), MQTT, told.append)
        assert isinstance(desk.orders(), Orders)
        assert time.monotonic() - start_s < DEADLINE_S / 2
        go_on.set()
        until(lambda: "commands: 993 dropped: more than 5 waited" in caplog.text)
        assert len({ack["id"] for ack in told}) == 6


def test_hostile_bytes_from_many_threads(parameters: SiteParameters) -> None:
    with opened(parameters) as desk:

        def shout(start: int) -> None:
            for number in range(start, start + 50):
                desk.submit(bytes([number % 256]) * number, Way("mqtt", number % 2 == 0), print)

        threads = [threading.Thread(target=shout, args=(100 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE_S)
        until(desk._inbox.empty)
        told: list[dict[str, Any]] = []
        desk.submit(envelope(1), MQTT, told.append)
        until(lambda: told)
        assert desk._thread.is_alive()


def test_what_was_decided_reaches_log_and_store(
    parameters: SiteParameters,
    run_cycles: Callable[[int], list[Telemetry]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (cycle,) = run_cycles(1)
    notice = Event(Severity.WARNING, "command", "plan.replan, by x: rejected: because")
    telemetry = Telemetry(
        cycle.before,
        cycle.sample,
        cycle.applied,
        cycle.advice,
        cycle.orders,
        cycle.decision,
        (notice,),
    )
    assert telemetry.events == (notice, *cycle.decision.events)
    path = tmp_path / "state.db"
    store = Store(Settings(path=str(path)), parameters)
    for publisher in (EventLog(), store):
        publisher.publish(telemetry)
        publisher.close()
    assert "command: plan.replan, by x: rejected: because" in caplog.text
    assert "plan.replan, by x: rejected: because" in [e.text for e in read_events(path, None)]


# --- clock and pace ------------------------------------------------------------------------


def test_the_clock(tmp_path: Path) -> None:
    now_s, folder = 1.76e9, tmp_path / "timesync"
    assert clock_problem(now_s, folder) == ""  # nobody here can tell
    folder.mkdir()
    assert clock_problem(now_s, folder) == "the clock of this machine is not synchronised yet"
    (folder / "synchronized").touch()
    assert clock_problem(now_s, folder) == ""
    assert clock_problem(86400.0, folder) == "the clock of this machine has not been set"


def test_the_pace() -> None:
    allowance = Allowance(3, 1.0)
    assert [allowance.takes("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert allowance.takes("b", 0.0)
    assert [allowance.takes("a", 2.0) for _ in range(3)] == [True, True, False]
    assert [allowance.takes("a", 1.0) for _ in range(1)] == [False]  # a step back gives nothing
    assert [allowance.takes("a", 1e6) for _ in range(4)] == [True, True, True, False]
