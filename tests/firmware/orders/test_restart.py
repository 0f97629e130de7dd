"""What is accepted survives kill -9; without a disk, or with one that fails, it is said."""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from control.records import Sample
from control.site import SiteParameters
from firmware.clock import SystemClock
from firmware.config_operation import CommandSource
from firmware.config_tables import Store as Settings
from firmware.orders import journal as journal_module
from firmware.orders.desk import Desk
from firmware.orders.journal import Journal, Now
from firmware.orders.telling import Way
from firmware.store import Store
from firmware.store_schema import StoreError
from tests.firmware.orders.conftest import START_T_S, START_UTC_S, Office

DEADLINE_S = 60.0
EXAMPLE = Path(__file__).parents[3] / "examples" / "site.toml"


def test_the_same_answer_the_old_number_and_what_stands(kept: Office) -> None:
    setpoint = kept.envelope("battery.setpoint", p_w=1000, ttl_s=600)
    accepted = kept.send(setpoint)
    kept.order("grid.export_limit", p_w=2000)
    kept.locally("mode.set", mode="manual")
    refused = kept.envelope("battery.setpoint", p_w=9999, ttl_s=600)
    answer = kept.send(refused)
    before = kept.clerk.orders
    kept.clerk.close()
    kept.open()
    assert kept.clerk.orders == before
    assert kept.clerk.orders.manual
    assert kept.clerk.orders.export_max_kw == 2.0
    assert kept.send(setpoint) == accepted
    assert kept.send(refused) == answer
    old = kept.envelope("plan.replan") | {"seq": setpoint["seq"]}
    assert "not above the last one" in kept.send(old)["reason"]
    assert kept.order("plan.replan")["gen"] == 4
    notices = [event.text for event in kept.clerk.notices.take()]
    assert "stands after the restart: grid.export_limit 2000 W, by supervisor" in notices[1]


def test_progress_goes_on_after_a_restart(kept: Office) -> None:
    said = kept.order("battery.setpoint", p_w=1000, ttl_s=20)
    kept.open()
    heard: list[dict[str, Any]] = []
    kept.clerk.tell_of_restored = heard.append
    kept.step(5)
    kept.step(20)
    assert [(ack["id"], ack["status"]) for ack in heard] == [
        (said["id"], "done"),
        (said["id"], "expired"),
    ]


def test_what_expired_meanwhile_is_over(kept: Office) -> None:
    said = kept.order("mode.set", mode="stopped", ttl_s=60)
    kept.clock.sleep(61.0)
    kept.open()
    assert not kept.clerk.orders.stop
    kept.clerk.tick()
    known = kept.clerk.acknowledgement(said["id"])
    assert known is not None
    assert known["status"] == "expired"


@pytest.mark.parametrize(("off_s", "left_s"), [(0.0, 50.0), (30.0, 20.0), (-1000.0, 50.0)])
def test_a_reboot_gives_nobody_more_time(kept: Office, off_s: float, left_s: float) -> None:
    kept.order("mode.set", mode="stopped", ttl_s=60)
    kept.clock.sleep(10.0)
    kept.order("grid.export_limit", p_w=1000)  # written once more
    kept.clock.t_s, kept.boot = 3.0, "boot 2"
    kept.clock.utc_s += off_s
    kept.open()
    assert kept.clerk.orders.stop
    expiry = {order.op: order.expires_t_s for order in kept.clerk.standing}
    assert expiry["mode.set"] == pytest.approx(3.0 + left_s, abs=1.0)
    assert expiry["grid.export_limit"] == float("inf")


def test_alarms_are_not_acknowledged_by_an_old_order(kept: Office) -> None:
    said = kept.locally("alarm.acknowledge")
    kept.open()
    assert not kept.clerk.orders.acknowledge
    kept.clerk.tick()
    assert not kept.clerk.orders.acknowledge
    known = kept.clerk.acknowledgement(said["id"])
    assert known is not None
    assert known["status"] == "expired"


def test_what_may_follow_is_written_within_a_minute(kept: Office) -> None:
    said = kept.order("battery.setpoint", p_w=1000, ttl_s=86400)
    kept.step(70)
    kept.open()
    known = kept.clerk.acknowledgement(said["id"])
    assert known is not None
    assert known["status"] == "done"


# --- without a disk, and with a bad one ----------------------------------------------------


def test_without_a_store_it_is_said(office: Office) -> None:
    said = office.order("battery.setpoint", p_w=1000, ttl_s=60)
    assert said["status"] == "accepted"
    assert said["reason"] == "will not survive a restart: there is no store"


class BadDisk:
    """Fails, or hangs, until it is told to work."""

    def __init__(self, store: Store, hangs: bool) -> None:
        self.store, self.hangs, self.works = store, hangs, False

    def transaction(self, job: Callable[[sqlite3.Connection], Any]) -> "Future[Any]":
        if self.works:
            return self.store.transaction(job)
        future: Future[Any] = Future()
        if not self.hangs:
            future.set_exception(StoreError("state.db: database or disk is full"))
        return future

    reading = transaction


@pytest.mark.parametrize("hangs", [False, True])
def test_a_disk_that_fails(
    parameters: SiteParameters,
    make_sample: Callable[..., Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hangs: bool,
) -> None:
    monkeypatch.setattr(journal_module, "PATIENCE_S", 0.05)
    monkeypatch.setattr(journal_module, "IMPATIENCE_S", 0.05)
    store = Store(Settings(path=str(tmp_path / "state.db")), parameters)
    disk = BadDisk(store, hangs)
    office = Office(parameters, make_sample, disk)
    office.step(3)
    problem = "the disk does not answer" if hangs else "state.db: database or disk is full"
    said = office.order("grid.export_limit", p_w=1000)
    assert said["reason"] == f"will not survive a restart: {problem}"
    office.step(3)
    assert office.clerk.orders.export_max_kw == 1.0
    monkeypatch.setattr(journal_module, "PATIENCE_S", DEADLINE_S)
    monkeypatch.setattr(journal_module, "IMPATIENCE_S", DEADLINE_S)
    disk.works = True
    assert office.order("plan.replan")["reason"] == ""
    assert [r.levelname for r in caplog.records if "commands:" in r.message] == ["ERROR", "WARNING"]
    office.open()
    assert office.clerk.orders.export_max_kw == 1.0
    store.close()


@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"format": 9}', '{"format": 1, "gen": 1, "boot": "", "t_s": 0, "orders": [{}]}'],
)
def test_what_stood_is_not_readable(
    kept: Office, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.order("grid.export_limit", p_w=1000)
    update = "UPDATE standing SET content = ?"
    kept.disk.transaction(lambda db: db.execute(update, (content,))).result(DEADLINE_S)
    kept.open()
    assert kept.clerk.standing == ()
    assert "what stood before the restart is not readable" in caplog.text


def test_ids_are_bounded(kept: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "IDS", 30)
    monkeypatch.setattr(journal_module, "TRIM_EVERY", 10)
    ids = [kept.order("plan.replan")["id"] for _ in range(60)]
    assert kept.clerk.acknowledgement(ids[29]) is None
    assert kept.clerk.acknowledgement(ids[30]) is not None
    kept.open()
    assert kept.clerk.acknowledgement(ids[30]) is not None
    count = "SELECT count(*) FROM command"
    assert kept.disk.transaction(lambda db: db.execute(count).fetchone()[0]).result(5) <= 40


def test_the_journal_never_goes_back(kept: Office) -> None:
    book = Journal(kept.disk)
    now = Now(START_T_S, START_UTC_S, "boot")
    assert book.load(now) == ()
    book.count("a", 7)
    book.generation = 3
    assert book.write((), now)
    again = Journal(kept.disk)
    again.load(now)
    assert (again.last_sequence("a"), again.last_sequence("b"), again.generation) == (7, None, 3)


# --- kill -9 -------------------------------------------------------------------------------

WRITER = """
import json, sys, time, uuid
from firmware.clock import SystemClock
from firmware.config import load_site
from firmware.config_operation import CommandSource
from firmware.config_tables import Store as Settings
from firmware.orders.desk import Desk
from firmware.orders.telling import Way
from firmware.parameters import site_parameters
from firmware.store import Store

site = site_parameters(load_site(sys.argv[2]))
store = Store(Settings(path=sys.argv[1]), site)
source = CommandSource(name="s", role="supervisor", public_key="")
desk = Desk(site, (source,), store, SystemClock(), lambda _: "")
print(json.dumps([order.args["ttl_s"] for order in desk._clerk.standing]), flush=True)
sequence = int(sys.argv[3])
while True:
    sequence += 1
    now = time.time()
    command = {"v": 1, "id": str(uuid.uuid4()), "iat": now, "exp": now + 60, "src": "s",
               "seq": sequence, "op": "battery.reserve",
               "args": {"soc_frac": 0.5, "ttl_s": 1000 + sequence}}
    said = []
    desk.submit(json.dumps(command).encode(), Way("mqtt"), said.append)
    while not said or said[-1]["status"] == "received":
        time.sleep(0.001)
    if said[-1]["status"] == "accepted":
        print(json.dumps([sequence, command, said[-1]]), flush=True)
    else:
        sequence -= 1
        time.sleep(0.1)
"""


def test_kill_9(parameters: SiteParameters, tmp_path: Path) -> None:
    path, last = tmp_path / "state.db", 0
    for _ in range(3):
        arguments = [sys.executable, "-c", WRITER, str(path), str(EXAMPLE), str(last)]
        process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        standing = json.loads(process.stdout.readline())
        assert [ttl_s - 1000 for ttl_s in standing] in ([last], [last + 1], [])
        assert standing or not last
        lines = [process.stdout.readline() for _ in range(4)]
        process.kill()
        lines += [line for line in process.stdout.read().splitlines(keepends=True) if "\n" in line]
        process.wait()
        last, command, answer = json.loads(lines[-1])

        store = Store(Settings(path=str(path)), parameters)
        source = CommandSource(name="s", role="supervisor", public_key="")
        desk = Desk(parameters, (source,), store, SystemClock(), lambda _: "")
        said: list[dict[str, Any]] = []
        desk.submit(json.dumps(command).encode(), Way("mqtt"), said.append)
        end_s = time.monotonic() + DEADLINE_S
        while not said:
            assert time.monotonic() < end_s
            time.sleep(0.005)
        found = desk.acknowledgement(answer["id"])
        desk.close()
        store.close()
        assert said[0]["id"] == answer["id"]
        assert said[0] == answer or said[0]["status"] == "superseded"
        assert found is not None
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            last = connection.execute("SELECT seq FROM sequence").fetchone()[0]
        connection.close()
