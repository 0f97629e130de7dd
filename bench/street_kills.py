"""Kills trading houses at random moments; exit status 1: a trade by half, or a ledger that is bad.

Run as `python -m bench.street_kills [--kills N] [--houses N] [--agents]`. Five members, each a
process with its own key, ledger and connection, trade slots of 10 s over a real Mosquitto. Again
and again one of them is killed with SIGKILL, half of the times in the seconds between the book and
the decisions, and started again up to two seconds later. At the end all live for two more slots
and some; then every ledger is verified, and all are compared with `nanogrid ledger verify`.

With `--agents` the houses are not light members with random orders (`bench.peer`) but the service's
own trading process, agent and all (`bench.agent_house`).
"""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from rich.console import Console
from rich.table import Table

from bench.kills_supervisor import broker
from bench.peer import settle_in
from control.trading_records import Timeline
from firmware.trading.folder import Folder
from firmware.trading.ledger import connect_to_read, read_lines
from firmware.trading.membership import Times

TIMES = Times(
    slot_ms=10_000,
    gate_ms=5_000,
    grace_ms=300,
    book_ms=4_500,
    rank_step_ms=400,
    vote_ms=3_200,
    abort_ms=2_400,
    decide_ms=2_000,
    head_ms=1_800,
    schedule_ms=1_000,
    retry_ms=150,
)
CRITICAL_FRAC = 0.5  # of the kills come between the book and the decisions
LONGEST_DOWN_S = 2.0
LAST_SLOTS = 2
SOON_S = 20.0


@dataclass(frozen=True, slots=True)
class Books:
    """What all ledgers together say."""

    bound: int  # trades that a party bound itself to
    committed: int  # by both
    half: int  # committed at one party alone
    in_doubt: int  # promised by the voter, who does not know
    twice: int  # slots in which a house bound itself to two books
    committed_wh: int


class House:
    """A member's process, started again when it was killed."""

    module = "bench.peer"

    def __init__(self, box: Folder, port: int, log: Path) -> None:
        self.box = box
        self._command = [sys.executable, "-m", self.module, str(box.path), str(port)]
        self._log = log
        self.process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log)

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """After a kill."""
        self.process = self._start()

    def stop(self) -> int:
        """In order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(SOON_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1


class AgentHouse(House):
    """The service's own trading process, told of a house that draws or feeds at random."""

    module = "bench.agent_house"


def phase(line: Timeline, utc_s: float) -> str:
    """What a slot's members do at a time."""
    left_s = line.delivery_s(line.trading(utc_s)) - utc_s
    for name, until_s in (
        ("orders", line.book_s),
        ("book", line.vote_s),
        ("votes and decisions", line.decide_s),
        ("lists and doubt", 0.0),
    ):
        if left_s > until_s:
            return name
    return "lists and doubt"


def wait_for_a_moment(line: Timeline, dice: random.Random) -> None:
    """Any moment of the next seconds, or one that matters more."""
    if dice.random() >= CRITICAL_FRAC:
        time.sleep(dice.uniform(0.0, 0.4 * line.slot_s))
        return
    left_s = dice.uniform(line.decide_s, line.book_s)
    now_s = time.time()
    at_s = line.delivery_s(line.trading(now_s)) - left_s
    time.sleep(at_s - now_s if at_s > now_s else at_s - now_s + line.slot_s)


def trades(box: Folder) -> Iterator[tuple[str, str, int]]:
    """Name, state and energy of each trade in a ledger."""
    state: dict[str, str] = {}
    wh: dict[str, int] = {}
    with closing(connect_to_read(box.ledger)) as db:
        for line in read_lines(db, box.ledger):
            if line.kind == "lock":
                for row in line.body["trades"]:
                    state[row["id"]], wh[row["id"]] = "bound", row["q"]
            elif line.kind in ("decide", "decision"):
                said = "commit" if line.body["commit"] else "abort"
                state |= {name: said for name in line.body["trades"] if name in state}
    for name, said in state.items():
        yield name, said, wh[name]


def bound_twice(box: Folder) -> int:
    """Slots with more than one lock."""
    with closing(connect_to_read(box.ledger)) as db:
        locks = Counter(line.epoch for line in read_lines(db, box.ledger) if line.kind == "lock")
    return sum(count > 1 for count in locks.values())


def judge(boxes: list[Folder]) -> Books:
    """Compare what the ledgers say of each trade; each trade has two parties."""
    said: dict[str, list[str]] = {}
    wh: dict[str, int] = {}
    for box in boxes:
        for name, state, quantity in trades(box):
            said.setdefault(name, []).append(state)
            wh[name] = quantity
    both = [name for name, states in said.items() if states == ["commit", "commit"]]
    return Books(
        bound=len(said),
        committed=len(both),
        half=sum("commit" in states and states != ["commit", "commit"] for states in said.values()),
        in_doubt=sum("bound" in states for states in said.values()),
        twice=sum(bound_twice(box) for box in boxes),
        committed_wh=sum(wh[name] for name in both),
    )


@contextmanager
def street(houses: int, kind: type[House]) -> Iterator[list[House]]:
    """So many processes, and their broker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        port = stack.enter_context(broker(folder))
        boxes = settle_in(folder, houses, TIMES)
        made: list[House] = []
        for box in boxes:
            made.append(kind(box, port, folder / "houses.log"))
            stack.callback(made[-1].kill)
        yield made


def kill_again_and_again(living: list[House], kills: int, dice: random.Random) -> Counter[str]:
    """Kills by phase."""
    line, phases = TIMES.timeline(), Counter[str]()
    console = Console(stderr=True)
    while phases.total() < kills:
        wait_for_a_moment(line, dice)
        victim = dice.choice(living)
        if victim.process.poll() is not None:
            raise RuntimeError(f"{victim.box.path.name} ended by itself: {victim.process.poll()}")
        phases[phase(line, time.time())] += 1
        victim.kill()
        time.sleep(dice.uniform(0.0, LONGEST_DOWN_S))
        victim.restart()
        if console.is_terminal:
            console.print(f"{phases.total()} of {kills}", end="\r")
    return phases


@click.command()
@click.option("--kills", type=click.IntRange(1), default=200, show_default=True)
@click.option("--houses", type=click.IntRange(2), default=5, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--agents", is_flag=True, help="The service's trading process, not light members.")
def main(kills: int, houses: int, seed: int, agents: bool) -> None:
    """Print what became of the trades."""
    dice, slot_s = random.Random(seed), TIMES.timeline().slot_s
    start_s = time.monotonic()
    with street(houses, AgentHouse if agents else House) as living:
        time.sleep(slot_s)
        phases = kill_again_and_again(living, kills, dice)
        time.sleep(LAST_SLOTS * slot_s + SOON_S)
        statuses = [house.stop() for house in living]
        boxes = [house.box for house in living]
        books = judge(boxes)
        command = [sys.executable, "-m", "firmware", "ledger", "verify"]
        command += [str(box.ledger) for box in boxes]
        verified = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    table = Table("", "")
    rows = {
        f"kills of {houses} houses": phases.total(),
        **{f"  during {name}": count for name, count in phases.most_common()},
        "slots": int((time.monotonic() - start_s) / slot_s),
        "trades that somebody bound itself to": books.bound,
        "committed by both": f"{books.committed} ({books.committed_wh / 1000:.1f} kWh)",
        "committed by one alone": books.half,
        "still in doubt": books.in_doubt,
        "bound to two books in a slot": books.twice,
        "houses that ended by themselves, or hung": sum(status != 0 for status in statuses),
        "nanogrid ledger verify": "sound, and they agree" if not verified.returncode else "FAILED",
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    Console(width=100).print(table)
    wrong = (
        books.half + books.in_doubt + books.twice + verified.returncode + sum(map(abs, statuses))
    )
    sys.exit(1 if wrong or not books.committed else 0)


if __name__ == "__main__":
    main()
