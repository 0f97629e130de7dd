"""The only one who writes `state.db`: batches of what came together, and jobs of others.

Whatever disk and file do is a fault to tell, never an error to die of.
"""

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from firmware.config_tables import Store as Settings
from firmware.store_records import (
    COLUMNS,
    Checkpoint,
    Pending,
    checkpoint_from_text,
    checkpoint_to_text,
)
from firmware.store_schema import DamageError, StoreError, connect, copied, is_damage, set_aside

log = logging.getLogger("nanogrid")

MINUTES_PER_DAY = 1440
INSERT_MINUTE = f"INSERT OR REPLACE INTO minute VALUES ({', '.join('?' * (len(COLUMNS) + 2))})"

T = TypeVar("T")


@dataclass(slots=True)
class Job:
    """Something to do in a transaction of its own, and who waits for its result."""

    run: Callable[[sqlite3.Connection], Any]
    reads: bool = False  # and writes nothing
    future: "Future[Any]" = field(default_factory=Future)

    def give_up(self) -> None:
        """Let nobody wait for a result that never comes."""
        if not self.future.done():
            self.future.set_exception(StoreError("an internal error; see the log"))


class Writer:
    """The database's only writer; never raises for what disks and files do."""

    def __init__(self, settings: Settings) -> None:
        self.path = Path(settings.path)
        self._settings = settings
        self._connection: sqlite3.Connection | None = None
        self._kwh: dict[str, float] | None = None  # totals, once they have been read
        self._checked = False
        self._minutes = MINUTES_PER_DAY  # since old ones were removed: so first at the start
        self.fault = ""  # why nothing can be written; empty: it can

    @property
    def totals_kwh(self) -> Mapping[str, float] | None:
        """The counters as written, None before they could be read."""
        return self._kwh

    def read_checkpoint(self) -> Checkpoint | None:
        """The last checkpoint, None without a usable one."""
        try:
            return self.read(self._checkpoint)
        except (sqlite3.Error, OSError, StoreError):
            return None

    def read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """What `job` reads; on a disk that cannot be written, from a copy.

        Raises sqlite3.Error, OSError, StoreError.
        """
        try:
            return job(self._open())
        except (sqlite3.Error, OSError, StoreError) as error:
            if self._fail(error) or isinstance(error, StoreError):
                raise
        with copied(self.path) as connection:
            return job(connection)

    def _checkpoint(self, connection: sqlite3.Connection) -> Checkpoint | None:
        rows = connection.execute("SELECT content FROM checkpoint").fetchall()
        try:
            return checkpoint_from_text(rows[0][0]) if rows else None
        except ValueError as error:
            log.error("store: %s: checkpoint not usable: %s", self.path, error)
            return None

    def write(self, pending: Pending) -> bool:
        """Write all in one transaction; False: it has to be tried again."""
        for _ in range(2):  # again after a damaged file was set aside
            try:
                connection = self._open()
                self._check(connection)
                connection.execute("BEGIN IMMEDIATE")
                totals = self._insert(connection, pending)
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError, StoreError) as error:
                if not self._fail(error):
                    return False
            else:
                self._written(totals, len(pending.minutes))
                return True
        return False

    def work(self, job: Job) -> None:
        """Run one job in a transaction of its own."""
        if not job.future.set_running_or_notify_cancel():
            return
        try:
            job.future.set_result(self.read(job.run) if job.reads else self._change(job.run))
        except (sqlite3.Error, OSError, StoreError) as error:
            job.future.set_exception(StoreError(f"{self.path}: {error}"))

    def _change(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Raises sqlite3.Error, OSError, StoreError."""
        for is_last in (False, True):  # again after a damaged file was set aside
            try:
                connection = self._open()
                self._check(connection)
                connection.execute("BEGIN IMMEDIATE")
                result = job(connection)
                connection.execute("COMMIT")
            except (sqlite3.Error, OSError, StoreError) as error:
                if not self._fail(error) or is_last:
                    raise
            else:
                self._works()
                return result
        raise AssertionError("one of the two has returned or raised")

    def close(self) -> None:
        """Let go of the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self.path)
            if self._kwh is None:
                self._kwh = dict(self._connection.execute("SELECT name, kwh FROM counter"))
        return self._connection

    def _insert(self, connection: sqlite3.Connection, pending: Pending) -> dict[str, float]:
        """Write the rows; returns the new totals of the counters."""
        if pending.checkpoint is not None:
            content = checkpoint_to_text(pending.checkpoint)
            connection.execute("INSERT OR REPLACE INTO checkpoint VALUES (1, ?)", (content,))
        totals = dict(self._kwh or {})
        for name, kwh in pending.kwh.items():
            totals[name] = totals.get(name, 0.0) + kwh
        connection.executemany("INSERT OR REPLACE INTO counter VALUES (?, ?)", totals.items())
        for minute in pending.minutes:
            row = (minute.start_utc_s, *minute.values, minute.mode.value)
            connection.execute(INSERT_MINUTE, row)
        for event in pending.events:
            connection.execute(
                "INSERT INTO event (utc_s, severity, key, text) VALUES (?, ?, ?, ?)",
                (event.utc_s, event.severity.value, event.key, event.text),
            )
        if self._minutes + len(pending.minutes) >= MINUTES_PER_DAY:
            self._remove_old(connection)
        return totals

    def _written(self, totals: dict[str, float], minutes: int) -> None:
        self._kwh = totals
        self._minutes = (self._minutes + minutes) % MINUTES_PER_DAY
        self._works()

    def _works(self) -> None:
        if self.fault:
            log.warning("store: %s: works again", self.path)
            self.fault = ""

    def _remove_old(self, connection: sqlite3.Connection) -> None:
        """Keep so many, whatever their times: a clock that was wrong does not cost the past."""
        for table, key, kept in (
            ("minute", "start_utc_s", self._settings.history_days * MINUTES_PER_DAY),
            ("event", "seq", self._settings.events),
        ):
            connection.execute(
                f"DELETE FROM {table} WHERE {key} <= "
                f"(SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1 OFFSET ?)",
                (kept,),
            )

    def _check(self, connection: sqlite3.Connection) -> None:
        """Look through the whole file once, before the first commit and after the start."""
        if self._checked:
            return
        self._checked = True
        said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if said != "ok":
            raise DamageError(str(said))

    def _fail(self, error: Exception) -> bool:
        """Say what is wrong, once; True: a damaged file has made way for a new one."""
        self.close()
        if is_damage(error):
            try:
                aside = set_aside(self.path, time.time())
            except OSError as failure:
                error = failure
            else:
                text = "store: %s: %s; set aside as %s, begun anew"
                log.error(text, self.path, error, aside.name)
                return True
        if not self.fault:
            log.error("store: %s: %s; control goes on without it", self.path, error)
        self.fault = str(error)
        return False
