"""Messages that must arrive: order, the disk, kills, and how seldom the disk is written."""

import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from firmware.mqtt.outbox import COMMITS, HOLD_S, KEPT, RESTORE_S, SAVE_AFTER_S, Message, Outbox
from firmware.store_schema import StoreError, connect, migrate

EVENT = "ng/1/here/event"
ACK = "ng/1/here/ack/7"


class Disk:
    """A real file; what it is asked for happens when the test says so."""

    def __init__(self, path: Path) -> None:
        self.db = connect(path)
        self.waiting: list[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]] = []
        self.commits = 0
        self.fails = False
        self.at_once = False

    def transaction(self, job: Callable[[sqlite3.Connection], Any], /) -> "Future[Any]":
        future: Future[Any] = Future()
        self.waiting.append((job, future))
        if self.at_once:
            self.work()
        return future

    def work(self) -> None:
        waiting, self.waiting = self.waiting, []
        for job, future in waiting:
            if self.fails:
                future.set_exception(StoreError("full"))
                continue
            before = self.db.total_changes
            self.db.execute("BEGIN IMMEDIATE")
            found = job(self.db)
            self.db.execute("COMMIT")
            self.commits += self.db.total_changes > before
            future.set_result(found)

    def payloads(self) -> list[str]:
        return [row[0] for row in self.db.execute("SELECT payload FROM outbox ORDER BY seq")]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "state.db")
    yield made
    made.db.close()


def ready(disk: Disk, now_s: float = 0.0) -> Outbox:
    box = Outbox(disk, 10, now_s)
    disk.work()
    box.work(now_s, connected=False)
    return box


def sent(box: Outbox, now_s: float) -> list[str]:
    """Deliver all that goes, each acknowledged at once."""
    found = []
    while batch := list(box.next(now_s)):
        for message in batch:
            found.append(message.payload)
            box.acknowledged(message)
    return found


def test_what_is_acknowledged_at_once_never_reaches_the_disk(disk: Disk) -> None:
    box = ready(disk)
    for number in range(100):
        box.add(EVENT, str(number), float(number))
        box.work(float(number), connected=True)
        assert sent(box, float(number)) == [str(number)]
    disk.work()
    box.work(200.0, connected=True)
    assert disk.commits == 0


def test_what_waits_is_on_the_disk_soon_and_a_new_process_sends_it(disk: Disk) -> None:
    box = ready(disk)
    box.add(EVENT, "a", 0.0)
    (under_way,) = box.next(0.0)
    box.work(SAVE_AFTER_S / 2, connected=True)
    assert not disk.waiting
    box.work(SAVE_AFTER_S, connected=True)
    disk.work()
    assert disk.payloads() == ["a"]
    assert under_way.payload == "a"
    box = ready(disk)  # the process was killed
    box.add(EVENT, "b", 1.0)
    assert sent(box, 1.0) == ["a", "b"]
    box.work(1.0, connected=True)
    disk.work()
    assert disk.payloads() == []


def test_nothing_new_overtakes_what_has_not_been_read_yet(disk: Disk) -> None:
    ready(disk).add(EVENT, "lost", 0.0)
    box = Outbox(disk, 10, 0.0)
    box.add(EVENT, "new", 0.0)
    assert list(box.next(RESTORE_S / 2)) == []
    assert [message.payload for message in box.next(RESTORE_S)] == ["new"]  # the disk hangs


def test_a_disk_that_cannot_be_read_at_first(disk: Disk) -> None:
    box = ready(disk)
    box.add(EVENT, "old", 0.0)
    box.work(0.0, connected=False)
    disk.work()
    disk.fails = True
    box = ready(disk)
    box.add(EVENT, "new", 0.0)
    assert sent(box, RESTORE_S) == ["new"]  # without what is on the disk
    disk.fails = False
    for second in range(20):
        box.work(RESTORE_S + second, connected=True)
        disk.work()
    assert sent(box, 60.0) == ["old"]


def test_acknowledged_while_it_is_being_saved(disk: Disk) -> None:
    box = ready(disk)
    box.add(EVENT, "a", 0.0)
    box.work(0.0, connected=False)
    assert sent(box, 0.0) == ["a"]
    disk.work()
    assert disk.payloads() == ["a"]
    box.work(1.0, connected=True)
    disk.work()
    assert disk.payloads() == []


def test_one_is_under_way_and_a_refusal_holds_its_lane_alone(disk: Disk) -> None:
    box = ready(disk)
    for payload in "ab":
        box.add(EVENT, payload, 0.0)
    box.add(ACK, "x", 0.0)
    event, ack = box.next(0.0)
    assert (event.payload, ack.payload) == ("a", "x")
    assert list(box.next(0.0)) == []
    box.refused(event, 0.0)
    box.acknowledged(ack)
    box.add(ACK, "y", 1.0)
    assert [message.payload for message in box.next(1.0)] == ["y"]
    assert [message.payload for message in box.next(HOLD_S)] == ["a"]


def test_a_lost_connection_sends_again_in_order(disk: Disk) -> None:
    box = ready(disk)
    for payload in "abc":
        box.add(EVENT, payload, 0.0)
    list(box.next(0.0))
    box.disconnected()
    assert sent(box, 0.0) == ["a", "b", "c"]


def test_a_storm_costs_few_commits(disk: Disk) -> None:
    box = ready(disk)
    for second in range(3600):
        box.add(EVENT, str(second), float(second))
        box.work(float(second), connected=False)
        disk.work()
    assert disk.commits <= COMMITS + 60
    disk.at_once = True
    box.close(1.0)
    assert disk.payloads() == [str(second) for second in range(3600)]


def test_a_disk_that_hangs_is_not_waited_for(disk: Disk) -> None:
    box = ready(disk)
    box.add(EVENT, "a", 0.0)
    box.close(0.01)


def test_too_many_lose_the_oldest_and_say_so(disk: Disk) -> None:
    box = Outbox(None, 10, 0.0)
    for number in range(25):
        box.add(EVENT, str(number), 0.0)
        box.work(0.0, connected=False)
    assert (len(box), box.dropped) == (10, 15)
    assert sent(box, 0.0) == [str(number) for number in range(15, 25)]
    assert KEPT > 10


def test_a_full_disk_costs_nothing_but_safety(disk: Disk) -> None:
    box = ready(disk)
    disk.fails = True
    box.add(EVENT, "a", 0.0)
    for second in range(30):
        box.work(float(second), connected=False)
        disk.work()
    disk.fails = False
    box.add(EVENT, "b", 31.0)
    for second in range(100, 200):
        box.work(float(second), connected=False)
        disk.work()
    assert disk.payloads() == ["a", "b"]
    assert sent(box, 200.0) == ["a", "b"]


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order: nothing saved is lost, all comes in order."""

    @initialize()
    def begin(self) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        migrate(self.db, Path("memory"))
        self.disk = Disk.__new__(Disk)
        self.disk.db, self.disk.waiting = self.db, []
        self.disk.commits, self.disk.fails, self.disk.at_once = 0, False, False
        self.now_s, self.made = 0.0, 0
        self.got: list[int] = []
        self.under_way: list[Message] = []
        self.box = ready(self.disk)

    @rule()
    def happens(self) -> None:
        self.made += 1
        self.box.add(EVENT, str(self.made), self.now_s)

    @rule(connected=st.booleans(), passes_s=st.floats(0.0, 100.0))
    def works(self, connected: bool, passes_s: float) -> None:
        self.now_s += passes_s
        self.box.work(self.now_s, connected=connected)

    @rule()
    def disk_works(self) -> None:
        self.disk.work()

    @rule(fails=st.booleans())
    def disk_changes(self, fails: bool) -> None:
        self.disk.fails = fails

    @rule()
    def sends(self) -> None:
        self.under_way += self.box.next(self.now_s)

    @rule(arrives=st.booleans(), reply=st.booleans())
    def broker_answers(self, arrives: bool, reply: bool) -> None:
        for message in self.under_way:
            if arrives or reply:
                self.got.append(int(message.payload))
            if reply:
                self.box.acknowledged(message)
        if self.under_way and not reply:
            self.box.disconnected()
        self.under_way = []

    @rule()
    def killed(self) -> None:
        saved = [int(row[0]) for row in self.db.execute("SELECT payload FROM outbox")]
        expected = [n for n in saved if not self.got or n > max(self.got)]
        self.disk.waiting, self.disk.fails, self.under_way = [], False, []
        self.box = ready(self.disk, self.now_s)
        again = [
            int(message.payload) for lane in self.box._lanes.values() for message in lane.messages
        ]
        assert [n for n in again if not self.got or n > max(self.got)] == expected
        self.lost_up_to = self.made

    @invariant()
    def in_order(self) -> None:
        """What a receiver keeps, that ignores an id it knows, is in order."""
        seen: list[int] = []
        for number in getattr(self, "got", []):
            if number not in seen:
                seen.append(number)
        assert seen == sorted(seen)

    def teardown(self) -> None:
        if hasattr(self, "db"):
            self.db.close()


Life.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
