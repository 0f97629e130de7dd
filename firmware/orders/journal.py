"""What commands leave behind: sequence numbers, ids with their acknowledgements, what stands.

Kept in memory and, through the store, in `state.db`. What must not be lost is on the disk before
anybody hears of it; that an order took effect or ended may follow with the next write.
"""

import json
import logging
import math
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass, fields
from typing import Any, Protocol, TypeVar

from control.records import Level
from firmware.orders.standing import FOREVER_S, Order, Standing
from firmware.orders.telling import Acknowledgement
from firmware.store_schema import StoreError

log = logging.getLogger("nanogrid")

IDS = 10_000  # remembered: a day of a command every 9 s; older ones have long expired
PATIENCE_S = 6.0  # for the disk; the store itself waits 5 s for another writer
IMPATIENCE_S = 0.5  # for one that has failed the last time
LATER_S = 60.0  # what may follow is written so often
TRIM_EVERY = 1000  # new ids
FORMAT = 1
T = TypeVar("T")


class Disk(Protocol):
    """Where it is kept: `firmware.store.Store`."""

    def transaction(self, job: Callable[[sqlite3.Connection], T], /) -> "Future[T]":
        """Run `job` in one transaction; StoreError when it cannot be."""

    def reading(self, job: Callable[[sqlite3.Connection], T], /) -> "Future[T]":
        """Run `job`, which only reads; StoreError when it cannot be."""


@dataclass(frozen=True, slots=True)
class Now:
    """One moment: both clocks, and the machine's boot that the monotonic one belongs to."""

    t_s: float
    utc_s: float
    boot: str


class Journal:
    """The memory of the command path; used by one thread."""

    def __init__(self, disk: Disk | None) -> None:
        """Empty; `load` reads what an earlier process left."""
        self._disk = disk
        self._sequences: dict[str, int] = {}
        self._acks: dict[str, tuple[float, str]] = {}  # id -> when, JSON; the oldest first
        self._new_sequences: dict[str, int] = {}  # not on the disk yet
        self._new_acks: dict[str, tuple[float, str]] = {}
        self._since_trim = TRIM_EVERY
        self._standing_is_new = False
        self._written_t_s = -math.inf
        self.generation = 0  # counts accepted commands
        self.problem = "" if disk else "there is no store"

    def load(self, now: Now) -> Standing:
        """Read what an earlier process left, and what stands of it. Never raises."""
        if self._disk is None:
            return ()
        try:
            sequences, acks, content = self._disk.reading(_read).result(PATIENCE_S)
        except (StoreError, LateError) as error:
            self._fail(error)
            return ()
        self._sequences = dict(sequences)
        self._acks = {id: (utc_s, text) for id, utc_s, text in acks}
        if content is None:
            return ()
        try:
            self.generation, standing = _from_text(content, now)
        except (ValueError, KeyError, TypeError) as error:
            log.error("commands: what stood before the restart is not readable: %r", error)
            return ()
        return standing

    # --- what is known -----------------------------------------------------------------------

    def last_sequence(self, source: str) -> int | None:
        """Of the last command that counted; None before the first."""
        return self._sequences.get(source)

    def acknowledgement(self, id: str) -> Acknowledgement | None:
        """The newest one of a command, None for an unknown one."""
        known = self._acks.get(id)
        if known is None:
            return None
        acknowledgement: Acknowledgement = json.loads(known[1])
        return acknowledgement

    # --- what is new -------------------------------------------------------------------------

    def note(self, acknowledgement: Acknowledgement) -> None:
        """Remember an acknowledgement; on the disk it comes with the next write."""
        known = (float(acknowledgement["t"]), json.dumps(acknowledgement))
        id = acknowledgement["id"]
        self._acks[id] = self._new_acks[id] = known
        while len(self._acks) > IDS:
            del self._acks[next(iter(self._acks))]

    def count(self, source: str, sequence: int) -> None:
        """Remember the number of a command that counts."""
        self._sequences[source] = self._new_sequences[source] = sequence

    def stands(self) -> None:
        """What stands has changed, in a way that may be written later."""
        self._standing_is_new = True

    @property
    def is_clean(self) -> bool:
        """Nothing waits to be written."""
        return not (self._new_acks or self._new_sequences or self._standing_is_new)

    def is_due(self, now_s: float) -> bool:
        """Whether something has waited for long enough."""
        return not self.is_clean and now_s - self._written_t_s >= LATER_S

    def write(self, standing: Standing, now: Now) -> bool:
        """Have everything on the disk; False: it is not, `problem` says why."""
        if self._disk is None:
            self._new_acks, self._new_sequences, self._standing_is_new = {}, {}, False
            return False
        sequences, acks = self._new_sequences, self._new_acks
        content = _to_text(standing, self.generation, now)
        self._since_trim += len(acks)
        trim = self._since_trim >= TRIM_EVERY
        self._written_t_s = now.t_s
        job = self._disk.transaction(lambda db: _write(db, sequences, acks, content, trim=trim))
        self._new_sequences, self._new_acks = {}, {}
        try:
            job.result(IMPATIENCE_S if self.problem else PATIENCE_S)
        except (StoreError, LateError) as error:
            self._new_sequences = sequences | self._new_sequences
            self._new_acks = acks | self._new_acks
            while len(self._new_acks) > IDS:
                del self._new_acks[next(iter(self._new_acks))]
            self._fail(error)
            return False
        self._since_trim = 0 if trim else self._since_trim
        self._standing_is_new = False
        if self.problem:
            self.problem = ""
            log.warning("commands: are kept on the disk again")
        return True

    def _fail(self, error: Exception) -> None:
        problem = "the disk does not answer" if isinstance(error, LateError) else str(error)
        if not self.problem:
            log.error("commands: %s; what is ordered will not survive a restart", problem)
        self.problem = problem


# --- in the store's thread -----------------------------------------------------------------


def _read(
    db: sqlite3.Connection,
) -> tuple[list[tuple[str, int]], list[tuple[str, float, str]], str | None]:
    sequences = db.execute("SELECT source, seq FROM sequence").fetchall()
    newest = "SELECT id, utc_s, ack FROM command ORDER BY utc_s DESC LIMIT ?"
    acks = db.execute(newest, (IDS,)).fetchall()
    content = db.execute("SELECT content FROM standing").fetchone()
    return sequences, acks[::-1], content[0] if content else None


def _write(
    db: sqlite3.Connection,
    sequences: Mapping[str, int],
    acks: Mapping[str, tuple[float, str]],
    content: str,
    *,
    trim: bool,
) -> None:
    db.executemany("INSERT OR REPLACE INTO sequence VALUES (?, ?)", sequences.items())
    rows = [(id, utc_s, text) for id, (utc_s, text) in acks.items()]
    db.executemany("INSERT OR REPLACE INTO command VALUES (?, ?, ?)", rows)
    db.execute("INSERT OR REPLACE INTO standing VALUES (1, ?)", (content,))
    if trim:
        oldest = "SELECT utc_s FROM command ORDER BY utc_s DESC LIMIT 1 OFFSET ?"
        db.execute(f"DELETE FROM command WHERE utc_s <= ({oldest})", (IDS,))


# --- what stands, as text ------------------------------------------------------------------


def _to_text(standing: Standing, generation: int, now: Now) -> str:
    orders = []
    for order in standing:
        plain = {field.name: getattr(order, field.name) for field in fields(Order)}
        plain["level"] = order.level.name
        plain["expires_t_s"] = None if math.isinf(order.expires_t_s) else order.expires_t_s
        orders.append(plain)
    content = {
        "format": FORMAT,
        "gen": generation,
        "boot": now.boot,
        "t_s": now.t_s,
        "orders": orders,
    }
    return json.dumps(content, allow_nan=False)


def _from_text(text: str, now: Now) -> tuple[int, Standing]:
    """Raises ValueError, KeyError, TypeError for what is none."""
    plain = json.loads(text)
    if plain["format"] != FORMAT:
        raise ValueError(f"format {plain['format']}, not {FORMAT}")
    same_boot = plain["boot"] == now.boot and plain["t_s"] <= now.t_s
    orders = tuple(
        _order(dict(item), now, None if same_boot else float(plain["t_s"]))
        for item in plain["orders"]
    )
    return int(plain["gen"]), orders


def _order(plain: dict[str, Any], now: Now, saved_t_s: float | None) -> Order:
    """An order with its times on today's clock; `saved_t_s` is of another boot, else None.

    After a reboot only the wall clock knows how long it took: no order gets more time by that than
    it had when it was saved.
    """
    accepted_t_s, expires_t_s = plain["accepted_t_s"], plain["expires_t_s"]
    plain["level"] = Level[plain["level"]]
    if expires_t_s is None:
        expires_t_s = FOREVER_S
    elif saved_t_s is not None:
        ttl_s = expires_t_s - accepted_t_s
        left_s = plain["accepted_utc_s"] + ttl_s - now.utc_s
        expires_t_s = now.t_s + min(left_s, expires_t_s - saved_t_s)
    if saved_t_s is not None:
        accepted_t_s = now.t_s - max(0.0, now.utc_s - plain["accepted_utc_s"])
    return Order(**plain | {"accepted_t_s": accepted_t_s, "expires_t_s": expires_t_s})
