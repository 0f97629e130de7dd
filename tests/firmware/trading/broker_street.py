"""Members that talk over a real broker while their clock stands still, and an insider that lies.

Time goes on in steps, and only when everybody has got everything that was sent: what comes of it
does not depend on how fast the machine is.
"""

import time
from pathlib import Path
from typing import Any

from control.trading_records import Pact
from firmware.config_operation import Mqtt
from firmware.trading.admission import Refused, Why
from firmware.trading.carrier import Carrier
from firmware.trading.envelope import NO_MESSAGE, Message
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger
from firmware.trading.ledger_check import check, disagreements
from firmware.trading.member import Outgoing, TradingMember
from firmware.trading.membership import Membership
from tests.firmware.mqtt.conftest import DEADLINE_S
from tests.firmware.trading.people import document, entry, known, sealed
from tests.firmware.trading.wire import LyingBroker

SLOT_S = 900.0
HOUSES = ("ann", "bob", "cat", "dan")
ADMIN = known("administrator")
OPEN_S = 60.0  # after the slot has opened for orders, out of reach of the last one
LEFTS_S = (590, 118, 109, 104, 99, 95, 89, 86, 80, 69, 59, 54, 29, 1)


class BrokerStreet:
    """Four houses, and Eve: a member with a key and a connection, and no wish to keep rules."""

    def __init__(self, folder: Path, port: int, first_proposer: str = "") -> None:
        self.folder = folder
        self.people = {name: known(name) for name in (*HOUSES, "eve")}
        first = self.people[first_proposer].peer if first_proposer else ""
        self.document = document(
            [ADMIN], 1, [entry(who) for who in self.people.values()], first_proposer=first
        )
        self.epoch = 2_000_000  # the one to be traded
        self.now_s = (self.epoch - 1) * SLOT_S + OPEN_S
        self.eve = self.people["eve"]
        self.names = {who.peer: name for name, who in self.people.items()}
        self.members: dict[str, TradingMember] = {}
        self.wires: dict[str, LyingBroker] = {}
        self.carriers: dict[str, Carrier] = {}
        self.refusals: list[tuple[str, Why]] = []
        self.heard: list[bytes] = []  # what Eve has got
        self._numbers = iter(range(10_000))
        self._said = NO_MESSAGE, -1
        for name in HOUSES:
            self.start(name)
        for name, who in self.people.items():
            self.wires[name] = LyingBroker(port)
            settings = Mqtt(host="127.0.0.1", port=self.wires[name].port)
            self.carriers[name] = Carrier(settings, "street", who.peer, SLOT_S)
            self.carriers[name].start()
        self._meet()

    def start(self, name: str) -> None:
        """A house with the ledger that it has."""
        who = self.people[name]
        ledger = Ledger(self.folder / f"{name}.db", who)
        self.members[name] = TradingMember(who, ledger, self.document, self.now_s)

    def close(self) -> None:
        for name, carrier in self.carriers.items():
            carrier.stop()
            self.wires[name].close()
        for member in self.members.values():
            member._ledger.close()

    # --- what passes --------------------------------------------------------------------------

    def _meet(self) -> None:
        """Until everybody hears everybody."""
        missing = {(a, b) for a in self.carriers for b in self.carriers if a != b}
        end_s = time.monotonic() + DEADLINE_S
        while missing:
            assert time.monotonic() < end_s, (missing, [c.status for c in self.carriers.values()])
            for name, carrier in self.carriers.items():
                carrier.send(Outgoing("ack", "", b"marker hello " + name.encode()))
            for name, carrier in self.carriers.items():
                for raw in carrier.receive(0.02):
                    missing.discard((raw.decode().split()[-1], name))
        self.settle()

    def settle(self) -> None:
        """Until nobody has anything to say, and everybody has got everything."""
        answered = True
        while answered:
            answered = False
            marker = f"marker {next(self._numbers)}"
            for name, carrier in self.carriers.items():
                carrier.send(Outgoing("ack", "", f"{marker} {name}".encode()))
            for name, carrier in self.carriers.items():
                waiting = {f"{marker} {other}".encode() for other in self.carriers if other != name}
                end_s = time.monotonic() + DEADLINE_S
                while waiting:
                    assert time.monotonic() < end_s, (name, waiting, carrier.status)
                    for raw in carrier.receive(0.2):
                        waiting.discard(raw)
                        if not raw.startswith(b"marker"):
                            answered |= self._take(name, raw)

    def _take(self, name: str, raw: bytes) -> bool:
        """Whether there was an answer."""
        if name == "eve":
            self.heard.append(raw)
            return False
        try:
            _, answers = self.members[name].receive(raw, self.now_s, self.now_s)
        except Refused as refusal:
            self.refusals.append((name, refusal.why))
            return False
        return self.send(name, answers)

    def send(self, name: str, outgoing: list[Outgoing]) -> bool:
        for one in outgoing:
            self.carriers[name].send(one)
        return bool(outgoing)

    # --- time ---------------------------------------------------------------------------------

    def until(self, left_s: float) -> None:
        """Go on to so many seconds before delivery, step by step."""
        while (next_s := self._next(left_s)) is not None:
            self.now_s = next_s
            for name, member in self.members.items():
                self.send(name, member.tick(self.now_s, self.now_s))
            self.settle()

    def _next(self, left_s: float) -> float | None:
        delivery_s = self.epoch * SLOT_S
        steps = sorted({delivery_s - one for one in (*LEFTS_S, left_s) if one >= left_s})
        return next((step for step in steps if step > self.now_s), None)

    def order_all(self, but: str = "") -> None:
        """Two buy, two sell."""
        for number, (name, member) in enumerate(self.members.items()):
            side, px = ("sell", 8_000) if number % 2 else ("buy", 20_000)
            if name != but:
                steps = [(px + number, 500 + 10 * number)]
                self.send(name, member.place(self.epoch, side, steps, self.now_s, self.now_s))  # type: ignore[arg-type]
        self.settle()

    def trade(self) -> None:
        """A whole slot."""
        self.order_all()
        self.until(1)

    def next_slot(self) -> None:
        self.epoch += 1
        self.now_s = (self.epoch - 1) * SLOT_S + OPEN_S

    # --- Eve ----------------------------------------------------------------------------------

    def seal(self, kind: str, body: dict[str, Any], **changes: Any) -> Message:
        """A message of hers, following from the one before unless said otherwise."""
        prev, n = self._said
        fields = {"epoch": self.epoch, "n": n + 1, "prev": prev, "ts_s": int(self.now_s)}
        message = sealed(self.eve, kind, body, **(fields | changes))
        self._said = message.id, message.n
        return message

    def order_body(self, px: int = 21_000, wh: int = 300, side: str = "buy") -> dict[str, Any]:
        return {"side": side, "steps": [{"px": px, "q": wh}]}

    def say(self, kind: str, raw: bytes, to: str = "", part: int = 0) -> None:
        """Eve sends, and everybody has it."""
        self.carriers["eve"].send(Outgoing(kind, to, raw, part))
        self.settle()

    def refused(self) -> dict[str, list[Why]]:
        """By house; forgotten after that."""
        found: dict[str, list[Why]] = {name: [] for name in HOUSES}
        for name, why in self.refusals:
            found[name].append(why)
        self.refusals.clear()
        return found

    # --- judging ------------------------------------------------------------------------------

    def traded_wh(self, *names: str) -> int:
        """What was sold in the slot, after asking that both parties have the same."""
        pacts: dict[str, list[Pact]] = {}
        for member in self.members.values():
            for pact in member.committed(self.epoch):
                pacts.setdefault(pact.id, []).append(pact)
        total = 0
        for one, *others in pacts.values():
            parties = {self.names[one.buyer], self.names[one.seller]}
            assert "eve" in parties or others == [one]
            if not names or parties & set(names):
                total += one.wh
        return total

    def in_doubt(self) -> int:
        return sum(len(m.trader.commitments.in_doubt()) for m in self.members.values())

    def evidence(self, name: str) -> list[str]:
        """What a house has in its ledger against others."""
        lines = self.members[name]._ledger.lines()
        return [line.body["what"] for line in lines if line.kind == "evidence"]

    def assert_sound(self) -> None:
        paths = [self.folder / f"{name}.db" for name in HOUSES]
        for path in paths:
            assert check(path).fault == ""
        assert list(disagreements(paths)) == []


def follow_all(street: BrokerStreet, membership: Membership) -> None:
    for member in street.members.values():
        member.follow(membership, street.now_s)


def successor(street: BrokerStreet, *people: Identity) -> Membership:
    return document(
        [ADMIN], 1, [entry(who) for who in people], version=2, prev=street.document.hash
    )
