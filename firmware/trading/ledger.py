"""The ledger: every promise and decision of this box, in a chain that cannot be changed unnoticed.

One SQLite file of its own. An entry is on the disk when `append` returns. Each holds the hash of
the one before, and the owner's signature; the file itself refuses changes and deletions.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from control.canonical import canonical, parse
from control.trading_records import Entry
from firmware.trading.identity import Identity

APPLICATION = 0x4E474C31  # "NGL1"
VERSION = 1
PURPOSE = "ledger"
PATIENCE_S = 5.0
NO_HASH = bytes(32)
SCHEMA = (
    "CREATE TABLE entry (seq INTEGER PRIMARY KEY AUTOINCREMENT, utc_s INTEGER NOT NULL, "
    "kind TEXT NOT NULL, epoch INTEGER NOT NULL, content BLOB NOT NULL, prev BLOB NOT NULL, "
    "hash BLOB NOT NULL UNIQUE, sig BLOB NOT NULL)",
    "CREATE INDEX entry_epoch ON entry (epoch)",
    "CREATE TRIGGER entry_stays BEFORE UPDATE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'ledger entries cannot be changed'); END",
    "CREATE TRIGGER entry_remains BEFORE DELETE ON entry "
    "BEGIN SELECT RAISE(ABORT, 'ledger entries cannot be deleted'); END",
    "CREATE TABLE own (id INTEGER PRIMARY KEY CHECK (id = 1), next_n INTEGER NOT NULL)",
    "INSERT INTO own VALUES (1, 0)",
    "CREATE TABLE heard (peer TEXT NOT NULL, kind TEXT NOT NULL, n INTEGER NOT NULL, "
    "PRIMARY KEY (peer, kind)) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)


class LedgerError(Exception):
    """A ledger that cannot be written or read; one line says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One entry as it stands in the file."""

    seq: int
    utc_s: int
    kind: str
    epoch: int
    content: bytes  # canonical JSON of all of the above and the body
    prev: bytes
    hash: bytes
    sig: bytes

    @property
    def body(self) -> dict[str, Any]:
        """What the entry says. Raises ValueError when it is not JSON."""
        body: dict[str, Any] = parse(self.content)["body"]
        return body


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry: it stands for all before it."""

    seq: int
    hash: bytes


COLUMNS = "seq, utc_s, kind, epoch, content, prev, hash, sig"


def content_of(seq: int, utc_s: int, kind: str, epoch: int, body: Mapping[str, Any]) -> bytes:
    """What an entry's hash covers."""
    return canonical({"seq": seq, "utc_s": utc_s, "kind": kind, "epoch": epoch, "body": body})


def chained(prev: bytes, content: bytes) -> bytes:
    """An entry's hash."""
    return sha256(prev + content).digest()


class Ledger:
    """The file, open for one writer. Not for several threads."""

    def __init__(self, path: Path, identity: Identity) -> None:
        """Open or begin it. Raises LedgerError; whether it is sound is for `ledger_check`."""
        self.path = path
        self._identity = identity
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            self._prepare()
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(f"{path}: {error}") from None

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        empty = not self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if empty:
            with self._transaction():
                for statement in SCHEMA:
                    self._db.execute(statement)
        require_ledger(self._db, self.path)
        row = self._db.execute("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1").fetchone()
        self.head = Head(*row) if row else Head(0, NO_HASH)
        if not row:
            owner = {"peer": self._identity.peer, "key": self._identity.public_key.hex()}
            self.append([Entry("genesis", {"e": 0, **owner})], 0)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:  # something went wrong before it was all written
                self._db.execute("ROLLBACK")

    def append(
        self,
        entries: Iterable[Entry],
        utc_s: int,
        heard: Mapping[tuple[str, str], int] | None = None,
    ) -> Head:
        """Add entries, all or none; on the disk on return. Raises LedgerError.

        `heard` are the last numbers of others' messages, to be known after a restart.
        """
        head = self.head
        try:
            with self._transaction():
                for entry in entries:
                    head = self._insert(head, entry, utc_s)
                self._db.executemany(
                    "INSERT INTO heard VALUES (?, ?, ?) "
                    "ON CONFLICT DO UPDATE SET n = max(n, excluded.n)",
                    [(*key, n) for key, n in (heard or {}).items()],
                )
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}") from None
        self.head = head
        return head

    def _insert(self, head: Head, entry: Entry, utc_s: int) -> Head:
        seq, epoch = head.seq + 1, int(entry.body.get("e", 0))
        content = content_of(seq, utc_s, entry.kind, epoch, entry.body)
        name = chained(head.hash, content)
        sig = self._identity.sign(PURPOSE, name)
        row = (seq, utc_s, entry.kind, epoch, content, head.hash, name, sig)
        self._db.execute(f"INSERT INTO entry ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        return Head(seq, name)

    def reserve(self, count: int) -> int:
        """The first of so many message numbers that were never used and never will be again.

        One number is left out, so that what was sent before a crash is not contradicted.
        """
        try:
            with self._transaction():
                first = int(self._db.execute("SELECT next_n FROM own").fetchone()[0]) + 1
                self._db.execute("UPDATE own SET next_n = ?", (first + count,))
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}") from None
        return first

    def heard(self) -> dict[tuple[str, str], int]:
        """The last number of each ordered kind of each member. Raises LedgerError."""
        try:
            rows = self._db.execute("SELECT peer, kind, n FROM heard").fetchall()
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}") from None
        return {(peer, kind): n for peer, kind, n in rows}

    def lines(self, since_epoch: int = 0) -> Iterator[Line]:
        """Entries from an epoch on, in the order of writing. Raises LedgerError."""
        return read_lines(self._db, self.path, since_epoch)

    def line(self, seq: int) -> Line | None:
        """One entry. Raises LedgerError."""
        return self._one("seq = ?", seq)

    def last(self, kind: str) -> Line | None:
        """The newest entry of a kind. Raises LedgerError."""
        return self._one("kind = ?", kind)

    def _one(self, condition: str, value: int | str) -> Line | None:
        query = f"SELECT {COLUMNS} FROM entry WHERE {condition} ORDER BY seq DESC LIMIT 1"
        try:
            row = self._db.execute(query, (value,)).fetchone()
        except sqlite3.Error as error:
            raise LedgerError(f"{self.path}: {error}") from None
        return Line(*row) if row else None

    def close(self) -> None:
        """Give the file back."""
        self._db.close()


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A ledger beside its writer. Raises LedgerError when it is none."""
    if not path.is_file():
        raise LedgerError(f"{path}: no such file")
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=PATIENCE_S, uri=True)
        require_ledger(db, path)
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {error}") from None
    return db


def require_ledger(db: sqlite3.Connection, path: Path) -> None:
    """Raises LedgerError for another kind of database, sqlite3.Error for none."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise LedgerError(f"{path}: a database, but not a ledger")
    if version != VERSION:
        raise LedgerError(f"{path}: version {version}, this program reads {VERSION}")


def read_lines(db: sqlite3.Connection, path: Path, since_epoch: int = 0) -> Iterator[Line]:
    """Entries in the order of writing. Raises LedgerError."""
    where = "WHERE epoch >= ? " if since_epoch else ""
    values = (since_epoch,) if since_epoch else ()
    try:
        for row in db.execute(f"SELECT {COLUMNS} FROM entry {where}ORDER BY seq", values):
            yield Line(*row)
    except sqlite3.Error as error:
        raise LedgerError(f"{path}: {error}") from None
