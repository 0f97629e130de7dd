"""The file of the store: opening, its schema's versions, putting a damaged one aside."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from firmware.store_records import COLUMNS, COUNTERS

PATIENCE_S = 5.0  # for another program that writes
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BASIC_CODE = 0xFF  # of an extended error code

# One entry per version of the schema: what makes it of the one before. Entries never change.
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"CREATE TABLE minute (start_utc_s INTEGER PRIMARY KEY, "
        f"{', '.join(f'{name} REAL' for name in COLUMNS)}, mode TEXT NOT NULL)",
        "CREATE TABLE event (seq INTEGER PRIMARY KEY AUTOINCREMENT, utc_s REAL NOT NULL, "
        "severity TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL)",
        "CREATE TABLE counter (name TEXT PRIMARY KEY, kwh REAL NOT NULL) WITHOUT ROWID",
        *(f"INSERT INTO counter VALUES ('{name}', 0.0)" for name in COUNTERS),
        "CREATE TABLE checkpoint (id INTEGER PRIMARY KEY CHECK (id = 1), content TEXT NOT NULL)",
    ),
    (
        "CREATE TABLE sequence (source TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE command (id TEXT PRIMARY KEY, utc_s REAL NOT NULL, ack TEXT NOT NULL) "
        "WITHOUT ROWID",
        "CREATE TABLE standing (id INTEGER PRIMARY KEY CHECK (id = 1), content TEXT NOT NULL)",
        "CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, "
        "payload TEXT NOT NULL, expires_utc_s REAL)",
    ),
)


class StoreError(Exception):
    """A store that cannot be used; one line says why."""


class DamageError(StoreError):
    """The file is a store, but its pages do not fit together."""


def connect(path: Path) -> sqlite3.Connection:
    """Open for writing, with today's schema. Raises sqlite3.Error, OSError, StoreError.

    The connection may move to another thread. A commit returns when it is on the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(
        path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection, path)
    except (sqlite3.Error, StoreError):
        connection.close()
        raise
    return connection


@contextmanager
def copied(path: Path) -> Iterator[sqlite3.Connection]:
    """A copy to read from, elsewhere: a database with a log cannot be opened on a read-only disk.

    Raises sqlite3.Error, OSError, StoreError.
    """
    with tempfile.TemporaryDirectory(prefix="nanogrid-") as folder:
        for suffix in ("", "-wal"):
            part = path.with_name(path.name + suffix)
            if not suffix or part.exists():
                shutil.copyfile(part, Path(folder) / (path.name + suffix))
        with closing(connect(Path(folder) / path.name)) as connection:
            yield connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open for reading, beside a service that may be writing. Raises StoreError."""
    if not path.is_file():
        raise StoreError(f"{path}: no such file")
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", timeout=PATIENCE_S, uri=True
        )
        version = schema_version(connection)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None
    if version != len(MIGRATIONS):
        connection.close()
        raise StoreError(
            f"{path}: schema version {version}, this program reads {len(MIGRATIONS)}; "
            "the service brings an older file up to date when it starts"
        )
    return connection


def schema_version(connection: sqlite3.Connection) -> int:
    """0: an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring an older schema up to date, each version in one transaction."""
    version = schema_version(connection)
    if version > len(MIGRATIONS):
        raise StoreError(f"{path}: schema version {version} is newer than this program")
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.rollback()
            raise


def is_damage(error: Exception) -> bool:
    """Whether the file itself is broken, rather than the disk full, read-only or busy."""
    if isinstance(error, DamageError):
        return True
    code = getattr(error, "sqlite_errorcode", 0)
    return isinstance(error, sqlite3.DatabaseError) and code & BASIC_CODE in DAMAGE


def set_aside(path: Path, utc_s: float) -> Path:
    """Rename a damaged database with what belongs to it; returns its new name. Raises OSError."""
    stamp = datetime.fromtimestamp(utc_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    for suffix in ("-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    path.rename(aside)
    return aside
