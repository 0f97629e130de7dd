"""From order to committed trade among real members over a real broker, by their number.

Run as `python -m bench.peers [--peers N]... [--slots N]`. Members without houses (`bench.peer`):
real keys, ledgers that are synced to the disk, a thread and a connection to one Mosquitto each; one
process each up to 24 members, then several in a process. All share this machine. Timelines are
compressed for small communities and stretched for the largest, whose thousand boxes' work is done
here by a few processors.

*Task*: one thing that a member does in one go, wall-clock time with its writes to the disk, without
waiting for its turn in the protocol: place an order, take in one order, propose a book, take in a
part of a book, clear it and bind itself, decide on a vote, learn of a decision. *Order to commit*:
of each trade the time from the order's placing until the proposer has it, from the proposer's turn
until both parties have the book, and from the vote's turn until the voter knows the decision: the
waits that the timeline prescribes between these are left out, everything else is in it.
"""

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from bench.kills_supervisor import broker
from bench.peer import Peer, community
from firmware.config_operation import Mqtt
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger
from firmware.trading.member import Outgoing, TradingMember
from firmware.trading.membership import Membership, Times, read_membership
from firmware.trading.topics import MarketTopics

SIZES = (8, 16, 24, 100, 1000)
ALONE = 24  # members up to which each has a process of its own
IN_ONE_PROCESS = 100  # select() takes no more sockets
FIXED_BYTES = 12  # of an MQTT packet beside topic and payload
KEEPALIVE_S = 300
BROKER = "max_queued_messages 100000\nmax_connections -1\n"
SHORT = Times(
    slot_ms=10_000,
    gate_ms=5_000,
    grace_ms=500,
    book_ms=4_500,
    rank_step_ms=500,
    vote_ms=3_000,
    abort_ms=2_000,
    decide_ms=1_500,
    head_ms=1_400,
    schedule_ms=1_000,
    retry_ms=500,
)
TIMES = {  # by the smallest size that they are for
    0: SHORT,
    50: Times(**{name: 4 * ms for name, ms in SHORT}),
    101: Times(**{name: 24 * ms for name, ms in SHORT}),
    500: Times(
        slot_ms=900_000,
        gate_ms=720_000,
        grace_ms=10_000,
        book_ms=700_000,
        rank_step_ms=200_000,
        vote_ms=150_000,
        abort_ms=90_000,
        decide_ms=40_000,
        head_ms=30_000,
        schedule_ms=5_000,
        retry_ms=30_000,
    ),
}
TICKS_S = {0: 0.01, 50: 0.05, 101: 0.25, 500: 1.0}  # how often members look what is due
TASKS = ("place", "order", "propose", "book", "clear", "vote", "decide")
COLUMNS = (
    "members",
    "processes",
    "trades",
    "committed",
    *(f"{task}, ms" for task in TASKS),
    "order to commit, ms",
    "CPU per box and slot, ms",
    "messages out, in",
    "KB out, in",
)


def identity(number: int) -> Identity:
    """The same box in every process."""
    seed = sha256(f"box {number}".encode()).digest()
    return Identity(Ed25519PrivateKey.from_private_bytes(seed))


def least_for(size: int) -> int:
    """Which timeline and ticks a community has."""
    return max(least for least in TIMES if least <= size)


class MeasuredPeer(Peer):
    """Keeps the times of what it does in some slots."""

    def __init__(self, member: TradingMember, port: int, dice: random.Random) -> None:
        """Connects at once."""
        mqtt = Mqtt(host="127.0.0.1", port=port, keepalive_s=KEEPALIVE_S)
        super().__init__(member, mqtt, dice)
        self.tasks_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.placed_s: dict[int, float] = {}
        self.heard_s: dict[str, float] = {}  # by epoch and peer
        self.read_s: dict[int, float] = {}
        self.known_s: dict[str, float] = {}  # by trade
        self.cpu_ms = 0.0
        self.count: Counter[str] = Counter()
        self.epochs = range(0)
        me = member.identity.peer
        self._topics = MarketTopics(member.membership.community, me)

    def timed(self, task: str, job: Callable[[], None]) -> None:
        """Do a task, and keep how long it took."""
        cpu_s, start_s = time.thread_time(), time.perf_counter()
        job()
        if self.line.trading(time.time()) in self.epochs:
            self.tasks_ms[task].append(1e3 * (time.perf_counter() - start_s))
            self.cpu_ms += 1e3 * (time.thread_time() - cpu_s)

    def take(self, raw: bytes) -> None:
        """A message."""
        fields = json.loads(raw)
        kind, epoch, peer = fields["t"], fields["e"], fields["p"]
        self._count("in", kind, len(raw))
        had_book = self._has_book(epoch) if kind == "book" else False
        self.timed(kind, lambda: super(MeasuredPeer, self).take(raw))
        now_s = time.time()
        if kind == "order":
            self.heard_s.setdefault(f"{epoch} {peer}", now_s)
        elif kind == "book" and not had_book and self._has_book(epoch):
            self.read_s.setdefault(epoch, now_s)
        elif kind == "decide":
            self.known_s.setdefault(fields["b"]["trade"], now_s)

    def _has_book(self, epoch: int) -> bool:
        gathering = self.member.trader._gatherings.get(epoch)
        return gathering is not None and gathering.choose() is not None

    def place(self, epoch: int, utc_s: float, t_s: float) -> None:
        """An order."""
        self.placed_s[epoch] = utc_s
        self.timed("place", lambda: super(MeasuredPeer, self).place(epoch, utc_s, t_s))

    def tick(self, utc_s: float, t_s: float) -> None:
        """What is due; only what is something is kept."""
        epoch = self.line.trading(utc_s)
        locked = self.member.trader.commitments.is_locked(epoch)
        cpu_s, start_s = time.thread_time(), time.perf_counter()
        outgoing = self.member.tick(utc_s, t_s)
        took_ms = 1e3 * (time.perf_counter() - start_s)
        self.send(outgoing)
        if epoch not in self.epochs:
            return
        self.cpu_ms += 1e3 * (time.thread_time() - cpu_s)
        if not locked and self.member.trader.commitments.is_locked(epoch):
            self.tasks_ms["clear"].append(took_ms)
        elif any(one.kind == "book" for one in outgoing):
            self.tasks_ms["propose"].append(took_ms)
            self.read_s.setdefault(epoch, time.time())

    def send(self, outgoing: list[Outgoing]) -> None:
        """Put messages on their way."""
        super().send(outgoing)
        for one in outgoing:
            self._count("out", one.kind, len(one.raw))

    def _count(self, way: str, kind: str, size: int) -> None:
        if self.line.trading(time.time()) in self.epochs:
            topic = len(self._topics.of(kind, "" if kind in ("order", "book") else "x" * 16))
            self.count[f"{way} {kind}"] += 1
            self.count[f"{way} messages"] += 1
            self.count[f"{way} bytes"] += size + topic + FIXED_BYTES

    def report(self) -> dict[str, Any]:
        """What was measured, as JSON has it."""
        pacts = [pact for epoch in self.epochs for pact in self._pacts(epoch)]
        return {
            "peer": self.member.identity.peer,
            "tasks_ms": self.tasks_ms,
            "placed_s": self.placed_s,
            "heard_s": self.heard_s,
            "read_s": self.read_s,
            "known_s": self.known_s,
            "cpu_ms": self.cpu_ms,
            "count": self.count,
            "refused": self.refused,
            "dropped": self.carrier.status.dropped_in + self.carrier.status.dropped_out,
            "pacts": pacts,
        }

    def _pacts(self, epoch: int) -> Iterable[tuple[str, int, str, str, str]]:
        states = self.member.trader.commitments.of_epoch(epoch)
        for pact, state in states.items():
            yield pact.id, epoch, pact.voter, pact.decider, state.value


# --- a process with some members -----------------------------------------------------------------


def worker(settings: Mapping[str, Any]) -> None:
    """Trade; measure the slots that standard input names; print what was measured."""
    folder, port = Path(settings["folder"]), settings["port"]
    document = read_membership((folder / "community.json").read_bytes())
    peers = []
    for number in range(settings["first"], settings["last"]):
        who = identity(number)
        ledger = Ledger(folder / f"{who.peer}.db", who)
        member = TradingMember(who, ledger, document, time.time())
        peers.append(MeasuredPeer(member, port, random.Random(number)))
    tick_s = TICKS_S[least_for(len(document.members))]
    threads = [threading.Thread(target=_live, args=(peer, tick_s)) for peer in peers]
    for thread in threads:
        thread.start()
    while not all(peer.carrier.status.connected for peer in peers):
        time.sleep(0.1)
    print("connected", flush=True)
    first, count = json.loads(sys.stdin.readline())
    for peer in peers:
        peer.epochs = range(first, first + count)
    for thread in threads:
        thread.join()
    for peer in peers:
        print(json.dumps(peer.report()))
    sys.stdout.flush()
    for peer in peers:
        peer.carrier.stop()


def _live(peer: MeasuredPeer, tick_s: float) -> None:
    while not peer.epochs or peer.line.trading(time.time()) <= peer.epochs[-1]:
        peer.work(tick_s)


# --- all of them ---------------------------------------------------------------------------------


def run(size: int, slots: int) -> tuple[Membership, range, list[dict[str, Any]], int]:
    """What the members of a community measured, and in how many processes they were."""
    times = TIMES[least_for(size)]
    line = times.timeline()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        port = stack.enter_context(broker(folder, BROKER))
        document = community([identity(number) for number in range(size)], identity(-1), times)
        (folder / "community.json").write_bytes(document.raw())
        step = 1 if size <= ALONE else IN_ONE_PROCESS if size > IN_ONE_PROCESS else -(-size // 4)
        processes = []
        for first in range(0, size, step):
            settings = {"folder": str(folder), "port": port}
            settings |= {"first": first, "last": min(size, first + step)}
            processes.append(_process(settings))
            stack.callback(processes[-1].kill)
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # all are connected
        first_epoch = line.trading(time.time() + (line.slot_s - line.gate_s) / 2) + 1
        reports = []
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(f"[{first_epoch}, {slots}]\n")
            process.stdin.flush()
        for process in processes:
            out, _ = process.communicate()
            reports += [json.loads(text) for text in out.splitlines()]
        return document, range(first_epoch, first_epoch + slots), reports, len(processes)


def _process(settings: Mapping[str, Any]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "bench.peers", "--worker", json.dumps(settings)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def latencies_ms(
    document: Membership, epochs: range, reports: list[dict[str, Any]]
) -> tuple[list[float], int, int]:
    """Order to commit of each trade; how many trades there could be, and were."""
    line = document.timeline()
    by_peer = {report["peer"]: report for report in reports}
    first = {epoch: document.rules(epoch).proposers(epoch)[0] for epoch in epochs}
    found, bound, committed = [], set(), set()
    for report in reports:
        for name, epoch, voter, decider, state in report["pacts"]:
            bound.add(name)
            if state != "committed" or report["peer"] != voter:
                continue
            committed.add(name)
            proposer, parties = first[epoch], [by_peer[voter], by_peer[decider]]
            heard_s = by_peer[proposer]["heard_s"]
            orders = [
                heard_s[f"{epoch} {party['peer']}"] - party["placed_s"][str(epoch)]
                for party in parties
                if f"{epoch} {party['peer']}" in heard_s
            ]
            book_s = max(party["read_s"].get(str(epoch), 0.0) for party in parties)
            book_due_s = line.delivery_s(epoch) - line.book_s
            vote_due_s = line.delivery_s(epoch) - line.vote_s
            known_s = report["known_s"].get(name)
            if known_s is not None and book_s:
                parts = max(orders, default=0.0), book_s - book_due_s, known_s - vote_due_s
                found.append(1e3 * sum(parts))
    return found, len(bound), len(committed)


def shown(values: list[float]) -> str:
    """Median and 99th percentile."""
    if not values:
        return "-"
    p50, p99 = np.percentile(values, (50, 99))
    return f"{p50:.1f} / {p99:.1f}"


def row(size: int, slots: int) -> list[str]:
    """One line of the table."""
    document, epochs, reports, processes = run(size, slots)
    found, bound, committed = latencies_ms(document, epochs, reports)
    tasks: defaultdict[str, list[float]] = defaultdict(list)
    total: Counter[str] = Counter()
    for report in reports:
        total += Counter(report["count"])
        for task, values in report["tasks_ms"].items():
            tasks[task] += values
    each = len(reports) * slots
    cpu_ms = sum(report["cpu_ms"] for report in reports) / each
    dropped = sum(report["dropped"] for report in reports)
    refused = sum((Counter(report["refused"]) for report in reports), Counter[str]())
    if dropped or refused:
        Console(stderr=True).print(f"{size}: dropped {dropped}, refused {dict(refused)}")
    return [
        f"{size:,}",
        str(processes),
        str(bound),
        str(committed),
        *(shown(tasks[task]) for task in TASKS),
        shown(found),
        f"{cpu_ms:.0f}",
        f"{total['out messages'] / each:.1f}, {total['in messages'] / each:.0f}",
        f"{total['out bytes'] / each / 1e3:.1f}, {total['in bytes'] / each / 1e3:.0f}",
    ]


@click.command()
@click.option("--peers", type=click.IntRange(4), multiple=True, default=SIZES, show_default=True)
@click.option("--slots", type=click.IntRange(1), help="10; one of more than 500 members.")
@click.option("--worker", "settings", hidden=True)
def main(peers: tuple[int, ...], slots: int | None, settings: str | None) -> None:
    """Print a table; times are median / 99th percentile."""
    if settings is not None:
        worker(json.loads(settings))
        return
    table = Table(*COLUMNS)
    for size in peers:
        table.add_row(*row(size, slots or (1 if size > 500 else 10)))
    Console(width=240).print(table)


if __name__ == "__main__":
    main()
