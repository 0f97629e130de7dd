"""The ledger: append only, sound after any death, and every tampering is named."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from control.trading_records import Entry
from firmware.cli import cli
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger, LedgerError, chained, content_of
from firmware.trading.ledger_check import check
from tests.firmware.trading.people import sealed

BUYER, SELLER = Identity.new(), Identity.new()
TRADE = {
    "id": "ab" * 32,
    "buyer": BUYER.peer,
    "seller": SELLER.peer,
    "q": 700,
    "price": 18_000,
    "fee": 200,
}
LOCK = {"e": 5, "root": "cd" * 32, "result": "ef" * 32, "trades": [TRADE]}
COMMIT = {"e": 5, "trades": [TRADE["id"]], "commit": True}


def fill(path: Path, identity: Identity, *entries: Entry) -> Ledger:
    ledger = Ledger(path, identity)
    ledger.append(entries or [Entry("lock", LOCK), Entry("decide", COMMIT)], 1_772_000_000)
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    fill(path, BUYER).close()
    return path


def nanogrid(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["ledger", *map(str, arguments)])


# --- writing ----------------------------------------------------------------------------------


def test_entries_come_back_in_order_and_the_head_goes_on(path: Path) -> None:
    ledger = Ledger(path, BUYER)
    head = ledger.append([Entry("order", {"e": 9, "x": "Ж"})], 3)
    ledger.append([Entry("evidence", {"e": 0})], 4)
    assert [line.kind for line in ledger.lines()] == [
        "genesis",
        "lock",
        "decide",
        "order",
        "evidence",
    ]
    assert [line.body for line in ledger.lines(6)] == [{"e": 9, "x": "Ж"}]
    assert head.seq == 4
    assert ledger.head.seq == 5
    ledger.close()
    assert check(path).fault == ""


def test_the_file_itself_refuses_changes_and_deletions(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        with pytest.raises(sqlite3.IntegrityError, match="cannot be changed"):
            db.execute("UPDATE entry SET kind = 'x' WHERE seq = 2")
        with pytest.raises(sqlite3.IntegrityError, match="cannot be deleted"):
            db.execute("DELETE FROM entry WHERE seq = 3")


def test_all_or_none_of_the_entries_are_kept(path: Path) -> None:
    ledger = Ledger(path, BUYER)
    before = ledger.head
    with pytest.raises(ValueError, match="JSON"):
        ledger.append([Entry("order", {"e": 1}), Entry("order", {"x": float("nan")})], 3)
    assert ledger.head == before
    assert ledger.append([Entry("order", {"e": 1})], 3).seq == before.seq + 1
    ledger.close()
    assert check(path).fault == ""


def test_numbers_are_never_given_twice(path: Path) -> None:
    ledger = Ledger(path, BUYER)
    assert [ledger.reserve(10), ledger.reserve(3)] == [1, 12]
    ledger.close()
    again = Ledger(path, BUYER)
    assert again.reserve(1) == 16
    again.close()


def test_what_was_heard_only_rises(path: Path) -> None:
    ledger = Ledger(path, BUYER)
    ledger.append([], 1, {("a", "order"): 7, ("b", "order"): 1})
    ledger.append([], 2, {("a", "order"): 5, ("a", "head"): 2})
    assert ledger.heard() == {("a", "order"): 7, ("b", "order"): 1, ("a", "head"): 2}
    ledger.close()


def test_a_disk_that_takes_nothing_is_said(path: Path) -> None:
    ledger = Ledger(path, BUYER)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger._db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(LedgerError, match="locked"):
            ledger.append([Entry("order", {"e": 1})], 3)
        with pytest.raises(LedgerError, match="locked"):
            ledger.reserve(1)
    ledger.append([Entry("order", {"e": 1})], 3)
    ledger.close()
    assert check(path).fault == ""


WRITER = """
import sys
from pathlib import Path
from control.trading_records import Entry
from firmware.trading.identity import read_identity
from firmware.trading.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]), read_identity(Path(sys.argv[2])))
number = 0
while True:
    head = ledger.append([Entry("order", {"e": number, "n": k}) for k in range(3)], number)
    print(head.seq, flush=True)
    number += 1
"""


def test_what_was_written_survives_kill_9(tmp_path: Path) -> None:
    path, key = tmp_path / "ledger.db", tmp_path / "key.pem"
    BUYER.write(key)
    told = 1
    for round_ in range(3):
        command = [sys.executable, "-c", WRITER, str(path), str(key)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            deadline_s = time.monotonic() + 30
            for line in writer.stdout:
                told = int(line)
                if told > 20 * (round_ + 1) or time.monotonic() > deadline_s:
                    break
            os.kill(writer.pid, signal.SIGKILL)
        result = check(path)
        assert result.fault == ""
        assert result.head.seq >= told
        assert (result.head.seq - 1) % 3 == 0  # no transaction by half


# --- tampering --------------------------------------------------------------------------------


def tampered(path: Path, *statements: str) -> str:
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TRIGGER entry_stays")
        db.execute("DROP TRIGGER entry_remains")
        for statement in statements:
            db.execute(statement)
        db.commit()
    return check(path).fault


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            "UPDATE entry SET content = replace(CAST(content AS TEXT), '700', '900') WHERE seq = 2",
            "entry 2: its columns are not an entry's",
        ),
        (
            "UPDATE entry SET content = CAST(replace(CAST(content AS TEXT), '700', '900') AS BLOB)"
            " WHERE seq = 2",
            "entry 2: changed, its hash does not fit",
        ),
        ("UPDATE entry SET kind = 'order' WHERE seq = 3", "entry 3: its columns are not what was"),
        ("UPDATE entry SET utc_s = 1 WHERE seq = 3", "entry 3: its columns are not what was"),
        ("UPDATE entry SET sig = x'00' WHERE seq = 2", "entry 2: not signed by the owner"),
        ("UPDATE entry SET prev = x'00' WHERE seq = 3", "entry 3: does not follow from the one"),
        ("UPDATE entry SET hash = x'00' WHERE seq = 2", "entry 2: changed, its hash"),
        ("DELETE FROM entry WHERE seq = 2", "entry 2: missing"),
        ("DELETE FROM entry WHERE seq = 1", "entry 1: missing"),
        ("DELETE FROM entry WHERE seq = 3", "entry 3: missing, there were 3"),
        ("DELETE FROM entry", "entry 1: missing"),
    ],
)
def test_tampering_is_named(path: Path, statement: str, fault: str) -> None:
    assert tampered(path, statement).startswith(fault)
    done = nanogrid("verify", path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert fault in done.stderr


def test_a_rewritten_entry_with_a_new_hash_lacks_the_signature(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        (prev,) = db.execute("SELECT prev FROM entry WHERE seq = 3").fetchone()
    content = content_of(3, 1_772_000_000, "decide", 5, COMMIT | {"commit": False})
    new = chained(prev, content)
    fault = tampered(
        path,
        f"UPDATE entry SET content = x'{content.hex()}', hash = x'{new.hex()}' WHERE seq = 3",
    )
    assert fault == "entry 3: not signed by the owner"


def test_the_owner_cannot_rewrite_what_a_neighbour_countersigned(tmp_path: Path) -> None:
    honest = fill(tmp_path / "honest.db", BUYER)
    head = {"peer": BUYER.peer, "n": honest.head.seq, "h": honest.head.hash.hex()}
    message = sealed(SELLER, "witness", head)
    seen = {"e": 5, "key": SELLER.public_key.hex(), "message": message.fields}
    honest.append([Entry("witness", seen)], 9)
    honest.close()
    result = check(tmp_path / "honest.db")
    assert (result.fault, result.witnessed) == ("", 3)
    false = [Entry("lock", LOCK), Entry("decide", COMMIT | {"commit": False})]
    fill(tmp_path / "false.db", BUYER, *false, Entry("witness", seen)).close()
    fault = check(tmp_path / "false.db").fault
    assert fault == f"entry 3: not what {SELLER.peer} countersigned"


def test_countersignatures_that_are_none(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "source.db", BUYER)
    head = {"peer": BUYER.peer, "n": 1, "h": ledger.head.hash.hex()}
    ledger.close()
    good = sealed(SELLER, "witness", head).fields
    other = sealed(SELLER, "witness", head | {"peer": SELLER.peer}).fields
    key = SELLER.public_key.hex()
    for number, (body, fault) in enumerate(
        [
            ({"key": key, "message": {}}, "entry 2: not a countersignature"),
            ({"key": BUYER.public_key.hex(), "message": good}, "entry 2: countersignature not by"),
            ({"key": key, "message": other}, f"entry 2: {SELLER.peer} countersigned another's"),
        ]
    ):
        path = tmp_path / f"{number}.db"
        fill(path, BUYER, Entry("witness", {"e": 0} | body)).close()
        assert check(path).fault.startswith(fault)


def test_any_byte_of_the_file(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    hidden = 0
    for place in range(100, len(whole), 997):
        raw = bytearray(whole)
        raw[place] ^= 0xFF
        path.write_bytes(raw)
        with suppress(LedgerError):  # its first page may say that it is no ledger
            hidden += check(path).fault == ""
    path.write_bytes(whole)
    assert check(path).fault == ""
    assert hidden < len(whole) / 997  # unused space of a page matters to nobody


# --- the command ------------------------------------------------------------------------------


def test_verify_says_whose_and_how_much(path: Path) -> None:
    done = nanogrid("verify", path)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"sound: {BUYER.peer}, 3 entries, head " in done.stdout


def test_ledgers_of_both_parties_have_to_agree(path: Path, tmp_path: Path) -> None:
    same, other, third = tmp_path / "same.db", tmp_path / "other.db", tmp_path / "third.db"
    fill(same, SELLER, Entry("lock", LOCK), Entry("decision", COMMIT)).close()
    assert nanogrid("verify", path, same).exit_code == 0
    fill(other, SELLER, Entry("lock", LOCK)).close()
    done = nanogrid("verify", path, other)
    assert done.exit_code == 1
    told = f"trade abababababababab: committed at {BUYER.peer}, bound at {SELLER.peer}\n"
    assert done.stderr == told
    fill(third, SELLER, Entry("lock", LOCK | {"trades": []})).close()
    assert "unknown at" in nanogrid("verify", third, path).stderr


def test_show_and_export(path: Path, tmp_path: Path) -> None:
    lines = nanogrid("show", path).stdout.splitlines()
    assert len(lines) == 3
    assert f"ledger of {BUYER.peer}" in lines[0]
    assert f"{SELLER.peer} to {BUYER.peer} 700 Wh at 0.18" in lines[1]
    assert lines[2].endswith("we committed abababababababab")
    assert nanogrid("show", path, "--last", "1").stdout.splitlines() == lines[2:]
    rows = [json.loads(row) for row in nanogrid("export", path).stdout.splitlines()]
    for row in rows:
        assert chained(bytes.fromhex(row["prev"]), row["content"].encode()).hex() == row["hash"]
    target = tmp_path / "ledger.jsonl"
    assert nanogrid("export", path, "-o", target).exit_code == 0
    assert [json.loads(row) for row in target.read_text().splitlines()] == rows


def nothing(_path: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("no database " * 100)


def database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE entry (seq)")


@pytest.mark.parametrize("make", [nothing, text, database, Path.touch, Path.mkdir])
@pytest.mark.parametrize("command", ["verify", "show", "export"])
def test_what_is_no_ledger_is_status_2(
    tmp_path: Path, make: Callable[[Path], None], command: str
) -> None:
    make(tmp_path / "ledger.db")
    done = nanogrid(command, tmp_path / "ledger.db")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"nanogrid: {tmp_path}/ledger.db: ")
    assert done.stderr.count("\n") == 1


def test_a_ledger_of_a_later_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    assert "version 2, this program reads 1" in nanogrid("verify", path).stderr
