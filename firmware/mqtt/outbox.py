"""Messages that must arrive: in order, one under way at a time, on disk when it takes longer.

A message leaves when the broker has acknowledged it, not before. Of messages that are acknowledged
at once the disk never hears; the rest is saved in few commits, whatever happens: a card has to live
with it. Without a store they wait in memory alone.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Any, Protocol

from firmware.store_schema import StoreError

log = logging.getLogger("nanogrid")

SAVE_AFTER_S = 1.0  # a message that is not acknowledged by then goes to the disk
HOLD_S = 30.0  # a lane whose message the broker refused tries again after this
RESTORE_S = 10.0  # a disk that has not answered by then is not waited for
KEPT = 20_000  # messages, with a store
COMMITS = 10.0  # so many at once ...
COMMIT_S = 60.0  # ... and one more in this time: 1450 commits a day at most
ROWS = 500  # to delete that make a commit of their own

Row = tuple[int, str, str]  # seq, topic, payload


class Disk(Protocol):
    """Where messages wait for longer: `firmware.store.Store`."""

    def transaction(self, job: Callable[[Connection], Any], /) -> "Future[Any]":
        """Run `job` in one transaction, some time soon; StoreError when it cannot be."""


@dataclass(slots=True, eq=False)
class Message:
    """One message, from its making to the broker's acknowledgement."""

    topic: str
    payload: str
    since_s: float  # monotonic
    row: int | None = None  # on the disk
    gone: bool = False  # acknowledged or dropped


class Lane:
    """Messages that keep their order."""

    def __init__(self) -> None:
        """Start empty."""
        self.messages: deque[Message] = deque()
        self.sending: Message | None = None
        self.held_until_s = float("-inf")

    def head(self, now_s: float) -> Message | None:
        """The message to send now, None while one is under way or the lane is held."""
        if self.sending is not None or not self.messages or now_s < self.held_until_s:
            return None
        return self.messages[0]


class Outbox:
    """Lanes of waiting messages, with the disk behind them; used by one thread."""

    def __init__(self, disk: Disk | None, limit: int, now_s: float) -> None:
        """Begin to read what an earlier process left; `limit` counts without a disk."""
        self._disk = disk
        self._limit = KEPT if disk else limit
        self._lanes = {"event": Lane(), "ack": Lane()}
        self._unsaved: list[Message] = []
        self._forget: list[int] = []  # rows
        self._saving: tuple[list[Message], list[int], Future[list[int]]] | None = None
        self._commits, self._counted_s = COMMITS, now_s
        self._restored = disk is None
        self._restore_by_s = self._read_again_s = now_s + RESTORE_S
        self._restoring: Future[list[Row]] | None = disk.transaction(_read) if disk else None
        self.dropped = 0

    def __len__(self) -> int:
        """How many messages wait."""
        return sum(len(lane.messages) for lane in self._lanes.values())

    def add(self, topic: str, payload: str, now_s: float) -> None:
        """Take a message; when too many wait, the oldest of its lane is dropped."""
        message = Message(topic, payload, now_s)
        self._lane(topic).messages.append(message)
        self._unsaved.append(message)
        self._bound(self._lane(topic))

    def next(self, now_s: float) -> Iterator[Message]:
        """The messages that may be sent now: one per lane at most, none before the old ones."""
        if not self._restored and now_s < self._restore_by_s:
            return
        for lane in self._lanes.values():
            if (message := lane.head(now_s)) is not None:
                lane.sending = message
                yield message

    def acknowledged(self, message: Message) -> None:
        """The broker has it."""
        lane = self._lane(message.topic)
        if lane.sending is message:
            lane.sending = None
        if not message.gone:
            lane.messages.remove(message)  # the first, or nearly so
            self._let_go(message)

    def refused(self, message: Message, now_s: float) -> None:
        """The broker does not want it now: its lane waits."""
        lane = self._lane(message.topic)
        lane.sending, lane.held_until_s = None, now_s + HOLD_S

    def disconnected(self) -> None:
        """Nothing is under way any more."""
        for lane in self._lanes.values():
            lane.sending, lane.held_until_s = None, float("-inf")

    def work(self, now_s: float, *, connected: bool) -> None:
        """Look after the disk: take what it has read and written, give it what is due."""
        if self._disk is None:
            self._unsaved.clear()
            return
        self._unsaved = [message for message in self._unsaved if not message.gone]
        if not self._restored:
            self._restore(self._disk, now_s)
            return  # nothing of this run may be among what is read
        self._take_saved()
        gained = (now_s - self._counted_s) / COMMIT_S
        self._commits, self._counted_s = min(COMMITS, self._commits + gained), now_s
        if self._saving is None and self._commits >= 1.0 and self._is_due(now_s, connected):
            self._commits -= 1.0
            self._save(self._disk)

    def close(self, timeout_s: float) -> None:
        """Save the rest; a disk that hangs is not waited for."""
        if self._disk is None:
            return
        for _ in range(2):  # what is being saved, then what came since
            if self._saving is None and (self._unsaved or self._forget):
                self._save(self._disk)
            if self._saving is not None:
                wait([self._saving[2]], timeout_s)
                self._take_saved()

    def _lane(self, topic: str) -> Lane:
        return self._lanes["event" if topic.endswith("/event") else "ack"]

    def _bound(self, lane: Lane) -> None:
        while len(self) > self._limit and len(lane.messages) > 1:
            oldest = lane.messages.popleft()
            self._let_go(oldest)
            self.dropped += 1

    def _let_go(self, message: Message) -> None:
        """It need not be kept any longer."""
        message.gone = True
        if message.row is not None:
            self._forget.append(message.row)

    def _is_due(self, now_s: float, connected: bool) -> bool:
        oldest = self._unsaved[0] if self._unsaved else None
        late = oldest is not None and (not connected or now_s - oldest.since_s >= SAVE_AFTER_S)
        drained = bool(self._forget) and (len(self) == 0 or len(self._forget) >= ROWS)
        return late or drained

    def _save(self, disk: Disk) -> None:
        messages, rows = [m for m in self._unsaved if not m.gone], self._forget
        pairs = [(message.topic, message.payload) for message in messages]
        self._unsaved, self._forget = [], []
        self._saving = messages, rows, disk.transaction(lambda db: _write(db, pairs, rows))

    def _take_saved(self) -> None:
        if self._saving is None or not self._saving[2].done():
            return
        (messages, rows, future), self._saving = self._saving, None
        try:
            found = future.result()
        except StoreError:  # the store says why; it is tried again
            self._unsaved = messages + self._unsaved
            self._forget = rows + self._forget
            return
        for message, row in zip(messages, found, strict=True):
            message.row = row
            if message.gone:
                self._forget.append(row)

    def _restore(self, disk: Disk, now_s: float) -> None:
        """Put what an earlier process left before everything else."""
        if self._restoring is None:
            if now_s >= self._read_again_s:
                self._restoring = disk.transaction(_read)
            return
        if not self._restoring.done():
            return
        try:
            rows = self._restoring.result()
        except StoreError:  # the store says why
            self._restoring, self._read_again_s = None, now_s + RESTORE_S
            return
        self._restored, self._restoring = True, None
        for seq, topic, payload in reversed(rows):
            self._lane(topic).messages.appendleft(Message(topic, payload, now_s, seq))
        for lane in self._lanes.values():
            self._bound(lane)
        if rows:
            log.info("mqtt: %d messages of an earlier run wait", len(rows))


def _read(db: Connection) -> list[Row]:
    return list(db.execute("SELECT seq, topic, payload FROM outbox ORDER BY seq"))


def _write(db: Connection, messages: Iterable[tuple[str, str]], rows: Iterable[int]) -> list[int]:
    """Add messages, remove rows; returns the rows of the messages."""
    db.executemany("DELETE FROM outbox WHERE seq = ?", [(row,) for row in rows])
    found = []
    for topic, payload in messages:
        cursor = db.execute("INSERT INTO outbox (topic, payload) VALUES (?, ?)", (topic, payload))
        found.append(int(cursor.lastrowid or 0))
    return found
