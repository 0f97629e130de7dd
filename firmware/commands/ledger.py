"""`nanogrid ledger`: is it sound, what does it say, and all of it as text."""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from control.canonical import canonical
from firmware.bad_input import BadInput
from firmware.trading.ledger import LedgerError, Line, connect_to_read, read_lines
from firmware.trading.ledger_check import check, disagreements

FILE = click.Path(path_type=Path)
MONEY = 1e8  # of a bill's units per currency unit


@click.group()
def ledger() -> None:
    """Verify, show or export a ledger of trades; the service may be running."""


@ledger.command()
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="LEDGER.db...")
def verify(files: tuple[Path, ...]) -> None:
    """Check every entry, its place in the chain, its signature, and what neighbours countersigned.

    With several ledgers also whether they agree on each trade. Exit status 1 when something is
    wrong, and the first bad entry is named; 2 when a file is no ledger.
    """
    faults = 0
    for path in files:
        try:
            result = check(path)
        except LedgerError as error:
            raise BadInput(str(error)) from None
        if result.fault:
            click.echo(f"{path}: {result.fault}", err=True)
            faults += 1
            continue
        witnessed = f", countersigned up to {result.witnessed}" if result.witnessed else ""
        head = f"{result.head.seq} entries{witnessed}, head {result.head.hash.hex()}"
        click.echo(f"{path}: sound: {result.owner}, {head}")
    if len(files) > 1 and not faults:
        for text in disagreements(files):
            click.echo(text, err=True)
            faults += 1
    sys.exit(1 if faults else 0)


@ledger.command()
@click.argument("file", type=FILE, metavar="LEDGER.db")
@click.option("--last", type=click.IntRange(1), help="Only so many entries, the newest.")
def show(file: Path, last: int | None) -> None:
    """One line for each entry: number, time, slot, what it says."""
    lines = [_text(line) for line in _lines(file)]
    for text in lines[-last:] if last else lines:
        click.echo(text)


@ledger.command()
@click.argument("file", type=FILE, metavar="LEDGER.db")
@click.option("-o", "--output", type=FILE, help="The file to write; default: stdout.")
def export(file: Path, output: Path | None) -> None:
    """Every entry as one line of JSON, with all that is needed to check it elsewhere."""
    rows = (canonical(_row(line)).decode() for line in _lines(file))
    if output is None:
        for row in rows:
            click.echo(row)
        return
    try:
        with output.open("w", encoding="utf-8") as target:
            target.writelines(f"{row}\n" for row in rows)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from None


def _lines(path: Path) -> Iterator[Line]:
    """The entries of a file; `BadInput` when it is no ledger."""
    try:
        with closing(connect_to_read(path)) as db:
            yield from read_lines(db, path)
    except LedgerError as error:
        raise BadInput(str(error)) from None


def _row(line: Line) -> dict[str, Any]:
    try:
        content = line.content.decode()
    except UnicodeDecodeError:
        raise click.ClickException(f"entry {line.seq}: not text; see `ledger verify`") from None
    hashes = {"hash": line.hash.hex(), "prev": line.prev.hex(), "sig": line.sig.hex()}
    return {"seq": line.seq, "content": content, **hashes}


def _text(line: Line) -> str:
    try:
        when = datetime.fromtimestamp(line.utc_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
        said = _said(line.kind, line.body)
    except (ValueError, KeyError, TypeError, OverflowError):
        return f"{line.seq:>7}  cannot be read; see `ledger verify`"
    slot = line.epoch or ""
    return f"{line.seq:>7}  {when if line.utc_s else '':19}  {slot:>8}  {line.kind:9} {said}"


def _said(kind: str, body: dict[str, Any]) -> str:
    """The gist of an entry."""
    match kind:
        case "genesis":
            return f"ledger of {body['peer']}"
        case "order":
            order = body["message"]["b"]
            steps = ", ".join(f"{s['q']} Wh at {s['px'] / 1e5:g}" for s in order["steps"])
            return f"{order['side']} {steps or 'nothing any more'}"
        case "book":
            return f"proposed {body['root'][:16]}"
        case "lock":
            trades = "; ".join(_trade(row) for row in body["trades"])
            return f"bound to {body['root'][:16] or 'no book'}: {trades or 'no trades'}"
        case "decide" | "decision":
            who = "we" if kind == "decide" else "the other"
            word = "committed" if body["commit"] else "aborted"
            return f"{who} {word} {', '.join(name[:16] for name in body['trades'])}"
        case "statement" | "correct" | "tariff":
            return _billed(kind, body)
        case "evidence":
            return f"{body['peer']}: {body['what']}"
        case "witness":
            return f"{body['message']['p']} countersigned entry {body['message']['b']['n']}"
    return json.dumps(body)[:100]


def _billed(kind: str, body: dict[str, Any]) -> str:
    """The gist of an entry about money."""
    if kind == "tariff":
        return f"the grid asks {body['retail'] / 1e5:g}, pays {body['feed_in'] / 1e5:g}"
    read = "" if body["q"] == "ok" else f" (meter: {body['q']})"
    if kind == "correct":
        return f"{len(body['trades'])} trades after all{read}: {body['money'] / MONEY:+.5f}"
    net = f"bought {body['bought']} Wh, sold {body['sold']} Wh"
    money = (body["trade_money"] + body["grid_money"]) / MONEY
    return f"{net}, deviation {body['deviation']:+} Wh{read}: {money:+.5f}"


def _trade(row: dict[str, Any]) -> str:
    price = f"{row['price'] / 1e5:g}"
    return f"{row['id'][:16]} {row['seller']} to {row['buyer']} {row['q']} Wh at {price}"
