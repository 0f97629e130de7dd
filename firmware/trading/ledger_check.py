"""Is a ledger what its owner wrote? Its chain, its signatures, and what neighbours signed of it."""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware.trading.envelope import EnvelopeError, unwrap
from firmware.trading.identity import is_signed, peer_id
from firmware.trading.ledger import (
    NO_HASH,
    PURPOSE,
    Head,
    LedgerError,
    Line,
    chained,
    connect_to_read,
    content_of,
    read_lines,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a ledger came to. `fault` names the first bad entry; empty when all are right."""

    owner: str  # peer id, empty when the first entry does not say
    head: Head
    witnessed: int  # the last entry that a neighbour has countersigned, 0 without one
    fault: str = ""


def check(path: Path, *, signatures: bool = True) -> Checked:
    """Look at every entry. Raises LedgerError when the file is no ledger at all.

    Without `signatures` only those of the first and the last entry are looked at: the chain
    between them is then as good as the last signature.
    """
    with closing(connect_to_read(path)) as db:
        checker = _Checker(signatures)
        try:
            for line in read_lines(db, path):
                checker.add(line)
            checker.finish(_last_ever(db))
        except _Fault as fault:
            return checker.result(str(fault))
        except (LedgerError, sqlite3.Error) as error:
            return checker.result(f"after entry {checker.head.seq}: {error}")
        return checker.result("")


def _last_ever(db: sqlite3.Connection) -> int:
    """The highest number that any entry ever had."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").fetchone()
    return int(row[0]) if row else 0


class _Fault(Exception):
    """Something is wrong with one entry."""


class _Checker:
    def __init__(self, signatures: bool) -> None:
        self._signatures = signatures
        self._key = b""
        self._last: Line | None = None
        self._hashes: list[bytes] = [NO_HASH]
        self._witnessed = 0
        self.head = Head(0, NO_HASH)

    def add(self, line: Line) -> None:
        """The next entry. Raises _Fault."""
        if not all(isinstance(x, bytes) for x in (line.content, line.prev, line.hash, line.sig)):
            raise _Fault(f"entry {self.head.seq + 1}: its columns are not an entry's")
        if line.seq != self.head.seq + 1:
            raise _Fault(f"entry {self.head.seq + 1}: missing")
        if line.prev != self.head.hash:
            raise _Fault(f"entry {line.seq}: does not follow from the one before")
        if chained(line.prev, line.content) != line.hash:
            raise _Fault(f"entry {line.seq}: changed, its hash does not fit")
        body = self._body(line)
        if line.seq == 1:
            self._begin(line, body)
        if (self._signatures or line.seq == 1) and not self._is_signed(line):
            raise _Fault(f"entry {line.seq}: not signed by the owner")
        self._hashes.append(line.hash)
        if line.kind == "witness":
            self._witness(line, body)
        self.head, self._last = Head(line.seq, line.hash), line

    def finish(self, last_ever: int) -> None:
        """No more entries. Raises _Fault."""
        if self._last is None:
            raise _Fault("entry 1: missing")
        if not self._is_signed(self._last):
            raise _Fault(f"entry {self._last.seq}: not signed by the owner")
        if last_ever > self.head.seq:
            raise _Fault(f"entry {self.head.seq + 1}: missing, there were {last_ever}")

    def result(self, fault: str) -> Checked:
        owner = peer_id(self._key) if self._key else ""
        return Checked(owner, self.head, self._witnessed, fault)

    def _body(self, line: Line) -> dict[str, Any]:
        try:
            body = line.body
            same = content_of(line.seq, line.utc_s, line.kind, line.epoch, body) == line.content
        except (ValueError, KeyError, TypeError):
            raise _Fault(f"entry {line.seq}: its content is not an entry's") from None
        if not same or not isinstance(body, dict):
            raise _Fault(f"entry {line.seq}: its columns are not what was signed")
        return body

    def _begin(self, line: Line, body: dict[str, Any]) -> None:
        try:
            key = bytes.fromhex(body["key"])
        except (ValueError, KeyError, TypeError):
            key = b""
        if line.kind != "genesis" or peer_id(key) != body.get("peer"):
            raise _Fault("entry 1: does not say whose ledger this is")
        self._key = key

    def _is_signed(self, line: Line) -> bool:
        return is_signed(self._key, line.sig, PURPOSE, line.hash)

    def _witness(self, line: Line, body: dict[str, Any]) -> None:
        """A neighbour has signed a head of ours: it must be in this chain."""
        try:
            message, key = unwrap(body["message"]), bytes.fromhex(body["key"])
            said, n = message.body, int(message.body["n"])
        except (EnvelopeError, ValueError, KeyError, TypeError):
            raise _Fault(f"entry {line.seq}: not a countersignature") from None
        if peer_id(key) != message.peer or not message.is_signed_by(key):
            raise _Fault(f"entry {line.seq}: countersignature not by {message.peer}")
        if said.get("peer") != peer_id(self._key):
            raise _Fault(f"entry {line.seq}: {message.peer} countersigned another's ledger")
        if not 0 < n < len(self._hashes) or self._hashes[n].hex() != said.get("h"):
            raise _Fault(f"entry {n}: not what {message.peer} countersigned")
        self._witnessed = max(self._witnessed, n)


@dataclass(frozen=True, slots=True)
class _Said:
    """What one ledger says of one trade."""

    trade: str
    row: tuple[Any, ...]
    state: str  # bound, commit, abort


def disagreements(paths: Iterable[Path]) -> Iterator[str]:
    """Trades committed in one party's ledger and not in the other's. Raises LedgerError."""
    said: dict[str, dict[str, _Said]] = {}
    for path in paths:
        owner, trades = _trades(path)
        said[owner] = trades
    for owner, trades in sorted(said.items()):
        for trade in trades.values():
            partner = trade.row[1] if trade.row[0] == owner else trade.row[0]
            if trade.state != "commit" or partner not in said:
                continue
            other = said[partner].get(trade.trade)
            if other is None or (other.state, other.row) != (trade.state, trade.row):
                state = other.state if other else "unknown"
                yield f"trade {trade.trade[:16]}: committed at {owner}, {state} at {partner}"


def _trades(path: Path) -> tuple[str, dict[str, _Said]]:
    """Owner of a ledger, and its trades by name."""
    trades: dict[str, _Said] = {}
    owner = ""
    with closing(connect_to_read(path)) as db:
        for line in read_lines(db, path):
            body = line.body
            if line.kind == "genesis":
                owner = body["peer"]
            elif line.kind == "lock":
                for row in body["trades"]:
                    facts = (row["buyer"], row["seller"], row["q"], row["price"], row["fee"])
                    trades[row["id"]] = _Said(row["id"], facts, "bound")
            elif line.kind in ("decide", "decision"):
                for name in body["trades"]:
                    if name in trades:
                        state = "commit" if body["commit"] else "abort"
                        trades[name] = _Said(name, trades[name].row, state)
    return owner, trades
