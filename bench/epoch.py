"""What one slot of the market costs one box: CPU, messages and bytes, by the size of the community.

Run as `python -m bench.epoch [--members N]...`. Real keys, signatures and ledgers, no network: the
proposer gets everybody's order and proposes; another member gets the book, checks every signature
in it, clears it and binds itself. Times are CPU of one box. Up to 100 members the reader has heard
the orders before; above that it is enough that they reach the three proposers.
"""

import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table

from bench.peer import community
from firmware.trading.envelope import NO_MESSAGE, seal
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger
from firmware.trading.member import ALL_HEAR_ALL, Outgoing, TradingMember
from firmware.trading.membership import Times

T = TypeVar("T")
SIZES = (8, 16, 24, 100, 1000)
EPOCH = 2_000_000
DELIVERY_S = EPOCH * 900.0
COLUMNS = (
    "members",
    "order, bytes",
    "book, messages",
    "book, bytes",
    "proposer hears orders, ms",
    "proposes, ms",
    "member reads book, ms",
    "clears and votes, ms",
)


def order_raw(who: Identity, dice: random.Random) -> bytes:
    """A sealed order of a member that is not simulated."""
    side, px = dice.choice(
        (("buy", dice.randint(8_000, 29_000)), ("sell", dice.randint(6_000, 20_000)))
    )
    body = {"side": side, "steps": [{"px": px, "q": dice.randint(100, 2000)}]}
    message = seal(
        who,
        "order",
        body,
        community="bench",
        epoch=EPOCH,
        n=1,
        ts_s=int(DELIVERY_S) - 500,
        version=1,
        prev=NO_MESSAGE,
    )
    return message.raw()


def timed(job: Callable[[], T]) -> tuple[T, float]:
    """What a job returns, and its CPU time in ms."""
    start_s = time.process_time()
    result = job()
    return result, 1e3 * (time.process_time() - start_s)


def row(size: int, folder: Path) -> list[str]:
    """One line of the table."""
    dice = random.Random(size)
    people = [Identity.new() for _ in range(size)]
    document = community(people, Identity.new(), Times())
    proposers = document.rules(EPOCH).proposers(EPOCH)
    first = next(who for who in people if who.peer == proposers[0])
    other = next(who for who in people if who.peer not in proposers)

    def member(who: Identity) -> TradingMember:
        ledger = Ledger(folder / f"{who.peer}.db", who)
        return TradingMember(who, ledger, document, DELIVERY_S - 600)

    proposer, reader = member(first), member(other)
    (sold,) = proposer.place(EPOCH, "sell", [(6_000, 900)], DELIVERY_S - 500, 0.0)
    (bought,) = reader.place(EPOCH, "buy", [(29_000, 900)], DELIVERY_S - 500, 0.0)
    raws = [order_raw(who, dice) for who in people if who not in (first, other)]

    def hear(box: TradingMember, own: bytes) -> None:
        for raw in (*raws, own):
            box.receive(raw, DELIVERY_S - 400, 100.0)

    def read(parts: list[Outgoing]) -> None:
        for part in parts:
            reader.receive(part.raw, DELIVERY_S - 108, 392.0)

    _, hear_ms = timed(lambda: hear(proposer, bought.raw))
    if size <= ALL_HEAR_ALL:
        hear(reader, sold.raw)
    sent, propose_ms = timed(lambda: proposer.tick(DELIVERY_S - 109, 391.0))
    parts = [one for one in sent if one.kind == "book"]
    _, read_ms = timed(lambda: read(parts))
    _, vote_ms = timed(lambda: reader.tick(DELIVERY_S - 89, 411.0))
    total = sum(len(part.raw) for part in parts)
    cells = (size, len(bought.raw), len(parts), total)
    times = (hear_ms, propose_ms, read_ms, vote_ms)
    return [*(f"{cell:,}" for cell in cells), *(f"{ms:.1f}" for ms in times)]


@click.command()
@click.option("--members", type=click.IntRange(4), multiple=True, default=SIZES)
def main(members: tuple[int, ...]) -> None:
    """Print a table."""
    table = Table(*COLUMNS)
    with tempfile.TemporaryDirectory() as folder:
        for size in members:
            table.add_row(*row(size, Path(folder)))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
