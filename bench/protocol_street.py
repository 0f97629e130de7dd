"""A simulated street that runs the trading protocol over a network which loses, doubles and delays.

Everything is virtual: time, messages, disks. What a member saved survives its crash, all else is
gone. Signatures are left out; `control.trading` gets messages whose signatures were checked.
"""

import heapq
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from control.market import clear
from control.market_book import Order
from control.trading import Trader
from control.trading_records import (
    BookPart,
    Decision,
    Effects,
    Pact,
    Rules,
    Send,
    SignedOrder,
    Timeline,
    Vote,
)

TICK_S = 1.0
FEE, FLOOR, CEILING = 200, 5_000, 30_000


@dataclass(frozen=True)
class Weather:
    """What goes wrong."""

    loss_frac: float = 0.0
    double_frac: float = 0.05
    delay_s: float = 0.05  # mean
    reorder_s: float = 1.0  # a fifth of the messages is up to so much later
    late_s: float = 60.0  # second copies are up to so much later
    skew_s: float = 5.0  # clocks are off by up to so much
    crash_frac: float = 0.0  # at each point between saving and sending
    down_s: float = 90.0  # at most
    partition_frac: float = 0.0  # of the epochs: the street is cut in two for 10 to 300 s


class Crash(Exception):
    """A member dies at this point."""


@dataclass
class Member:
    """A box: its disk stays, its machine does not."""

    name: str
    skew_s: float
    disk: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    machine: Trader | None = None
    n: int = 0


class Street:
    """Members, their network, and time."""

    def __init__(
        self,
        members: int,
        weather: Weather,
        seed: int,
        timeline: Timeline | None = None,
        dies_at: Callable[[int], bool] = lambda _point: False,
    ) -> None:
        self.dice = random.Random(seed)
        self.weather = weather
        self.timeline = timeline or Timeline(slot_s=300.0)
        names = tuple(f"house-{number:02}" for number in range(members))
        self.rules = Rules("street", "ab" * 32, names, FEE, FLOOR, CEILING)
        self.orders: dict[str, SignedOrder] = {}  # all that were ever signed
        self.members = {
            name: Member(name, self.dice.uniform(-weather.skew_s, weather.skew_s)) for name in names
        }
        self.now_s = 0.0
        self.points = 0  # passed between saving and sending
        self.messages = 0
        self._dies_at = dies_at
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._ties = count()
        self._cut: set[str] = set()
        for member in self.members.values():
            self._start(member)
            self._later(self.dice.random() * TICK_S, self._ticker(member))

    # --- time -----------------------------------------------------------------------------------

    def _later(self, wait_s: float, job: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_s + wait_s, next(self._ties), job))

    def run(self, epochs: int) -> None:
        """Trade so many slots, then heal everything and let it come to rest."""
        slot_s = self.timeline.slot_s
        for epoch in range(1, epochs + 1):
            begin_s = (epoch - 1) * slot_s
            for member in self.members.values():
                wait_s = begin_s - self.now_s + 6.0 + self.dice.random() * 60
                self._later(wait_s, self._placer(member, epoch))
            if self.dice.random() < self.weather.partition_frac:
                self._later(begin_s - self.now_s + self.dice.random() * slot_s, self._part)
            self._until(epoch * slot_s)
        self.weather = Weather(double_frac=0.0, skew_s=self.weather.skew_s)
        self._cut = set()
        self._dies_at = lambda _point: False
        for member in self.members.values():
            if member.machine is None:
                self._start(member)
        self._until(self.now_s + 300.0)

    def _until(self, end_s: float) -> None:
        while self._queue and self._queue[0][0] <= end_s:
            self.now_s, _, job = heapq.heappop(self._queue)
            job()
        self.now_s = end_s

    def _part(self) -> None:
        self._cut = {name for name in self.members if self.dice.random() < 0.5}
        self._later(self.dice.uniform(10, 300), self._cut.clear)

    # --- one member -----------------------------------------------------------------------------

    def _start(self, member: Member) -> None:
        member.machine = Trader(member.name, self.rules, self.timeline)
        for kind, body in member.disk:
            order = self.orders[body["id"]] if kind == "order" else None
            member.machine.restore(kind, body, order)

    def _wall_s(self, member: Member) -> float:
        return self.now_s + member.skew_s

    def _ticker(self, member: Member) -> Callable[[], None]:
        def job() -> None:
            if member.machine is not None:
                machine = member.machine
                self._do(member, lambda: machine.tick(self._wall_s(member), self.now_s))
            left_s = self.timeline.slot_s - self.now_s % self.timeline.slot_s
            busy = self.timeline.gate_s + 10 > left_s > self.timeline.schedule_s - 10
            self._later(TICK_S if busy else 5 * TICK_S, job)

        return job

    def _placer(self, member: Member, epoch: int) -> Callable[[], None]:
        def job() -> None:
            machine = member.machine
            if machine is None:
                return
            member.n += 1
            order = self._order(member, epoch)
            self.orders[order.id] = order
            self._do(member, lambda: machine.place(order, self._wall_s(member), self.now_s))

        return job

    def _order(self, member: Member, epoch: int) -> SignedOrder:
        side = self.dice.choice(("buy", "sell"))
        middle = (FLOOR + CEILING) // 2
        px = (
            self.dice.randint(middle, CEILING)
            if side == "buy"
            else self.dice.randint(FLOOR, middle)
        )
        name = f"{member.name}/{epoch}/{member.n}"
        order = Order(member.name, side, ((px, self.dice.randint(100, 2000)),))  # type: ignore[arg-type]
        return SignedOrder(name, epoch, member.n, order, {"id": name})

    def _do(self, member: Member, event: Callable[[], Effects]) -> None:
        """Save, then send; at each point in between the member may die."""
        try:
            effects = event()
            if effects.saves:
                self._point()
                member.disk += [(entry.kind, dict(entry.body)) for entry in effects.saves]
            for send in effects.sends:
                self._point()
                self._send(member, send)
        except Crash:
            member.machine = None
            self._later(self.dice.uniform(1, self.weather.down_s), lambda: self._start(member))

    def _point(self) -> None:
        self.points += 1
        if self._dies_at(self.points) or self.dice.random() < self.weather.crash_frac:
            raise Crash

    # --- the network ----------------------------------------------------------------------------

    def _send(self, sender: Member, send: Send) -> None:
        others = [name for name in self.members if name != sender.name]
        for name in [send.to] if send.to else others:
            self.messages += 1
            if (sender.name in self._cut) != (name in self._cut):
                continue
            if self.dice.random() < self.weather.loss_frac:
                continue
            delay_s = self.dice.expovariate(1 / self.weather.delay_s)
            if self.dice.random() < 0.2:
                delay_s += self.dice.random() * self.weather.reorder_s
            self._later(delay_s, self._delivery(sender.name, self.members[name], send))
            if self.dice.random() < self.weather.double_frac:
                late_s = delay_s + self.dice.random() * self.weather.late_s
                self._later(late_s, self._delivery(sender.name, self.members[name], send))

    def _delivery(self, sender: str, to: Member, send: Send) -> Callable[[], None]:
        def job() -> None:
            machine = to.machine
            if machine is not None:
                self._do(to, lambda: self._event(machine, to, sender, send))

        return job

    def _event(self, machine: Trader, to: Member, sender: str, send: Send) -> Effects:
        """What a message does at its receiver."""
        body, wall_s, t_s = send.body, self._wall_s(to), self.now_s
        match send.kind:
            case "order":
                return machine.on_order(self.orders[body["id"]], wall_s)
            case "book":
                orders = tuple(self.orders[message["id"]] for message in body["orders"])
                part = BookPart(
                    sender, send.epoch, body["root"], body["part"], body["parts"], orders
                )
                return machine.on_book(part, wall_s)
            case "object":
                order = self.orders[body["order"]["id"]]
                return machine.on_objection(sender, order, wall_s)
            case "want":
                return machine.on_want(send.epoch, wall_s, t_s)
            case "vote":
                trades = tuple(body["trades"])
                vote = Vote(sender, send.epoch, body["book"], body["res"], trades, {})
                return machine.on_vote(vote, wall_s, t_s)
            case "decide":
                decision = Decision(sender, send.epoch, body["trade"], body["commit"], {})
                return machine.on_decision(decision)
            case "ack":
                return machine.on_ack(sender, body["trade"])
            case "head":
                return machine.on_head(sender, send.epoch, body["commits"])
        raise ValueError(send.kind)


# --- judging: from the disks alone -----------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What came of a run."""

    possible: int  # trades, had everybody heard everything
    possible_wh: int
    committed: int
    committed_wh: int
    aborted: int  # of the trades that somebody had bound itself to
    split_brain: int  # committed by one party and not by the other
    double_sold: int  # members and epochs with more committed than was ordered
    two_roots: int  # members and epochs bound to more than one book
    in_doubt: int  # left over after healing
    evidence: int
    messages: int


def judge(street: Street) -> Verdict:
    """Compare all disks."""
    pacts: dict[str, Pact] = {}
    states: dict[str, dict[str, str]] = defaultdict(dict)  # by trade and member
    roots: dict[tuple[str, int], set[str]] = defaultdict(set)
    evidence = 0
    for member in street.members.values():
        for kind, body in member.disk:
            if kind == "lock":
                roots[member.name, body["e"]].add(body["root"])
                for row in body["trades"]:
                    pacts[row["id"]] = Pact.of_row(body["e"], row)
                    states[row["id"]].setdefault(member.name, "bound")
            elif kind in ("decide", "decision"):
                word = "commit" if body["commit"] else "abort"
                for name in body["trades"]:
                    before = states[name].get(member.name, "unbound")
                    states[name][member.name] = word if before in ("bound", word) else "both"
            evidence += kind == "evidence"
    committed = [p for p in pacts.values() if _both(p, states[p.id], "commit")]
    halves = [p for p in pacts.values() if "commit" in states[p.id].values()]
    possible = _possible(street)
    return Verdict(
        possible=len(possible),
        possible_wh=sum(possible),
        committed=len(committed),
        committed_wh=sum(pact.wh for pact in committed),
        aborted=sum("abort" in states[p.id].values() for p in pacts.values()),
        split_brain=len(halves) - len(committed),
        double_sold=_double_sold(street, committed),
        two_roots=sum(len(names) > 1 for names in roots.values()),
        in_doubt=sum(states[p.id].get(p.voter) == "bound" for p in pacts.values()),
        evidence=evidence,
        messages=street.messages,
    )


def _both(pact: Pact, states: dict[str, str], word: str) -> bool:
    return states.get(pact.buyer) == states.get(pact.seller) == word


def _possible(street: Street) -> list[int]:
    """The trades, in Wh, of all orders that were saved."""
    epochs: dict[int, dict[str, SignedOrder]] = defaultdict(dict)
    for member in street.members.values():
        for kind, body in member.disk:
            if kind == "order":
                epochs[body["e"]][member.name] = street.orders[body["id"]]
    books = (street.rules.book(epoch, orders.values()) for epoch, orders in epochs.items())
    return [trade.wh for book in books for trade in clear(book).trades]


def _double_sold(street: Street, committed: list[Pact]) -> int:
    total: dict[tuple[str, int], int] = defaultdict(int)
    for pact in committed:
        total[pact.buyer, pact.epoch] += pact.wh
        total[pact.seller, pact.epoch] += pact.wh
    ordered: dict[tuple[str, int], int] = defaultdict(int)
    for order in street.orders.values():
        wh = sum(wh for _, wh in order.order.steps)
        ordered[order.peer, order.epoch] = max(ordered[order.peer, order.epoch], wh)
    return sum(wh > ordered[key] for key, wh in total.items())
