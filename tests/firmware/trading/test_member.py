"""Whole members with real keys and real ledgers on a network that loses, and boxes that die."""

import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from firmware.trading.admission import Refused, Why
from firmware.trading.folder import Folder, FolderError
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger, LedgerError
from firmware.trading.ledger_check import check, disagreements
from firmware.trading.member import ALL_HEAR_ALL, Outgoing, TradingMember, open_member
from firmware.trading.membership import Market, Membership, MembershipError, Times
from tests.firmware.trading.people import document, entry, known, order, sealed

SLOT_S = 18.0
TIMES = Times(**{name: ms // 50 for name, ms in Times()})  # 900 s become 18
ADMIN = known("administrator")
START = 100_000  # epoch


class Street:
    """Members, their ledgers in a folder, a network and a clock."""

    def __init__(self, folder: Path, size: int, loss_frac: float = 0.0, start: int = START) -> None:
        self.dice = random.Random(size)
        self.folder = folder
        self.loss_frac = loss_frac
        self.people = [known(f"house {number}") for number in range(size)]
        market = Market(fee=200, price_floor=5_000, price_ceiling=30_000, times=TIMES)
        self.document = document([ADMIN], 1, [entry(who) for who in self.people], market=market)
        self.start_epoch = start
        self.now_s = start * SLOT_S
        self.members: dict[str, TradingMember] = {}
        self.refusals: list[Refused] = []
        self.drops: Callable[[str, str, str], bool] = lambda _sender, _to, _kind: False
        self._wire: list[tuple[float, str, bytes]] = []
        for who in self.people:
            self.start(who)

    def path(self, who: Identity) -> Path:
        return self.folder / f"{who.peer}.db"

    def start(self, who: Identity) -> None:
        ledger = Ledger(self.path(who), who)
        self.members[who.peer] = TradingMember(who, ledger, self.document, self.now_s)

    def send(self, sender: str, outgoing: list[Outgoing]) -> None:
        for one in outgoing:
            for name in [one.to] if one.to else self.members:
                lost = self.dice.random() < self.loss_frac or self.drops(sender, name, one.kind)
                if name != sender and not lost:
                    wait_s = self.dice.random() * 0.1
                    self._wire.append((self.now_s + wait_s, name, one.raw))

    def run(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += 0.1
            for name, member in list(self.members.items()):
                self.send(name, member.tick(self.now_s, self.now_s))
            due = [item for item in self._wire if item[0] <= self.now_s]
            self._wire = [item for item in self._wire if item[0] > self.now_s]
            for _, name, raw in due:
                self.deliver(name, raw)

    def deliver(self, name: str, raw: bytes) -> None:
        try:
            _, answers = self.members[name].receive(raw, self.now_s, self.now_s)
        except Refused as refusal:
            self.refusals.append(refusal)
        else:
            self.send(name, answers)

    def order_all(self, epoch: int) -> None:
        for number, (name, member) in enumerate(self.members.items()):
            side, px = ("sell", 8_000) if number % 2 else ("buy", 20_000)
            steps = [(px + number, 500 + 10 * number)]
            self.send(name, member.place(epoch, side, steps, self.now_s, self.now_s))  # type: ignore[arg-type]

    def trade(self, epochs: int) -> None:
        for epoch in range(self.start_epoch + 1, self.start_epoch + 1 + epochs):
            self.now_s = max(self.now_s, (epoch - 1) * SLOT_S + 1)
            self.order_all(epoch)
            self.run(epoch * SLOT_S - self.now_s)

    def close(self) -> None:
        for member in self.members.values():
            member._ledger.close()

    def assert_sound(self) -> None:
        paths = [self.path(who) for who in self.people]
        for path in paths:
            assert check(path).fault == ""
        assert list(disagreements(paths)) == []


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    return tmp_path


def traded(street: Street, epoch: int) -> int:
    """Wh that buyers have, after asking that sellers have the same."""
    bought = {p.id: p.wh for m in street.members.values() for p in m.committed(epoch)}
    for member in street.members.values():
        for pact in member.committed(epoch):
            assert member.identity.peer in (pact.buyer, pact.seller)
    return sum(bought.values())


def test_a_street_trades_and_its_ledgers_agree(folder: Path) -> None:
    street = Street(folder, 4)
    street.trade(2)
    assert traded(street, START + 1) == traded(street, START + 2) == 510 + 510
    street.close()
    street.assert_sound()
    assert street.refusals == []


def test_neighbours_countersign_each_others_ledgers(folder: Path) -> None:
    street = Street(folder, 2)
    street.trade(1)
    epoch = next(e for e in range(START, START + 999) if e % round(3600 / SLOT_S) == 0)
    street.now_s = (epoch - 1) * SLOT_S + 1
    street.order_all(epoch)
    street.run(SLOT_S)
    street.close()
    street.assert_sound()
    assert max(check(street.path(who)).witnessed for who in street.people) > 3


def test_members_that_die_and_come_back_over_a_lossy_network(folder: Path) -> None:
    street = Street(folder, 3, loss_frac=0.3)
    for epoch in range(START + 1, START + 9):
        street.now_s = max(street.now_s, (epoch - 1) * SLOT_S + 1)
        street.order_all(epoch)
        while street.now_s < epoch * SLOT_S:
            street.run(street.dice.random() * 12)
            victim = street.dice.choice(street.people)
            street.members[victim.peer]._ledger.close()
            street.start(victim)
    street.loss_frac = 0.0
    street.run(40)
    assert sum(traded(street, epoch) for epoch in range(START + 1, START + 9)) > 0
    assert all(m.trader.commitments.in_doubt() == [] for m in street.members.values())
    street.close()
    street.assert_sound()
    assert {r.why for r in street.refusals} <= {Why.REPLAY, Why.EPOCH}


ENDLESS = """
import sys
from pathlib import Path
from tests.firmware.trading.test_member import Street
street = Street(Path(sys.argv[1]), 4, 0.2, int(sys.argv[2]))
while True:
    street.trade(1)
    street.start_epoch += 1
    print(street.start_epoch, flush=True)
"""


def test_a_street_killed_at_any_moment_has_no_half_trade(folder: Path) -> None:
    dice = random.Random(1)
    for round_ in range(4):
        start = START + 100 * round_
        command = [sys.executable, "-c", ENDLESS, str(folder), str(start)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) == start + 1
            time.sleep(dice.random() * 0.3)  # any moment will do
            process.kill()
    street = Street(folder, 4, start=START + 400)
    street.run(60)
    assert all(m.trader.commitments.in_doubt() == [] for m in street.members.values())
    assert sum(traded(street, START + 100 * round_ + 1) for round_ in range(4)) > 0
    street.close()
    street.assert_sound()


def test_a_disk_that_takes_nothing_ends_trading_and_nothing_is_sent(folder: Path) -> None:
    street = Street(folder, 2)
    street.order_all(START + 1)
    victim = street.members[street.people[0].peer]
    victim._ledger._db.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(victim._ledger.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        street.run(SLOT_S - 0.5)
        assert "locked" in victim.problem
        assert victim.place(START + 2, "buy", [(9_000, 5)], street.now_s, 0) == []
        assert victim.tick(street.now_s, 0) == []
    street.close()
    street.start(street.people[0])
    assert street.members[street.people[0].peer].problem == ""


def test_a_broker_that_keeps_votes_back_leaves_doubt_but_no_half_trade(folder: Path) -> None:
    street = Street(folder, 4)
    street.drops = lambda _sender, _to, kind: kind == "decide"
    street.trade(1)
    doubtful = [m for m in street.members.values() if m.trader.commitments.in_doubt()]
    assert doubtful
    street.drops = lambda _sender, _to, _kind: False
    street.run(3)
    assert all(m.trader.commitments.in_doubt() == [] for m in street.members.values())
    assert traded(street, START + 1) == 1020
    street.close()
    street.assert_sound()


def test_a_broker_that_parts_two_houses_costs_only_their_trades(folder: Path) -> None:
    street = Street(folder, 4)
    one, two = street.people[0].peer, street.people[1].peer
    street.drops = lambda sender, to, _kind: {sender, to} == {one, two}
    street.trade(3)
    for epoch in range(START + 1, START + 4):
        for member in street.members.values():
            for pact in member.committed(epoch):
                assert {pact.buyer, pact.seller} != {one, two}
    street.close()
    street.assert_sound()


def test_a_proposer_that_censors_is_replaced(folder: Path) -> None:
    street = Street(folder, 4)
    first = street.document.rules(START + 1).proposers(START + 1)[0]
    victim = next(who.peer for who in street.people if who.peer != first)
    street.drops = lambda sender, to, kind: (sender, to, kind) == (victim, first, "order")
    street.trade(1)
    assert traded(street, START + 1) == 1020
    assert street.members[victim].committed(START + 1)
    street.close()
    street.assert_sound()


def test_too_late_is_said(folder: Path) -> None:
    street = Street(folder, 2)
    member = street.members[street.people[0].peer]
    with pytest.raises(ValueError, match="the gate is closed"):
        member.place(START + 1, "buy", [(9_000, 5)], (START + 1) * SLOT_S - 1, 0)
    street.close()


def test_what_proves_a_breach_is_kept_and_remembered(folder: Path) -> None:
    street = Street(folder, 2)
    witness, liar = street.people
    member = street.members[witness.peer]
    times: dict[str, Any] = {"epoch": START + 1, "ts_s": int(street.now_s)}
    for wh in (500, 501):
        raw = order(liar, q=wh, **times).raw()
        if wh == 500:
            member.receive(raw, street.now_s, 0)
            continue
        with pytest.raises(Refused, match="equivocation"):
            member.receive(raw, street.now_s, 0)
    street.close()
    street.start(witness)
    with pytest.raises(Refused, match="suspended"):
        street.members[witness.peer].receive(order(liar, n=9, **times).raw(), street.now_s, 0)
    line = street.members[witness.peer]._ledger.last("evidence")
    assert line is not None
    assert len(line.body["messages"]) == 2
    street.close()
    street.assert_sound()


def test_a_ledger_that_cannot_be_read_silences_and_raises_nothing(folder: Path) -> None:
    street = Street(folder, 2)
    ann, bob = street.people
    member = street.members[ann.peer]
    member.close()
    body = {"peer": ann.peer, "n": 1, "h": "ab" * 32}
    times: dict[str, Any] = {"epoch": START, "ts_s": int(street.now_s)}
    _, outgoing = member.receive(sealed(bob, "witness", body, **times).raw(), street.now_s, 0)
    assert outgoing == []
    assert "ledger" in member.problem or ".db" in member.problem
    street.close()


def successor(street: Street, *people: Identity) -> Membership:
    return document(
        [ADMIN],
        1,
        [entry(who) for who in people],
        version=2,
        prev=street.document.hash,
        market=street.document.market,
    )


def test_a_new_membership_is_followed_and_outlives_a_restart(folder: Path) -> None:
    street = Street(folder, 2)
    ann, bob = street.people
    newcomer = Identity.new()
    second = successor(street, ann, newcomer)
    member = street.members[ann.peer]
    member.follow(second, street.now_s)
    member.follow(second, street.now_s)
    with pytest.raises(MembershipError, match="older than ours"):
        member.follow(street.document, street.now_s)
    street.close()
    street.start(ann)  # with the old document still in its file
    again = street.members[ann.peer]
    assert again.membership == second
    times: dict[str, Any] = {"epoch": START + 1, "ts_s": int(street.now_s), "version": 2}
    again.receive(order(newcomer, **times).raw(), street.now_s, 0)
    with pytest.raises(Refused, match="stranger"):
        again.receive(order(bob, **times).raw(), street.now_s, 0)
    street.close()


def test_numbers_rise_over_restarts(folder: Path) -> None:
    street = Street(folder, 2)
    ann = street.people[0]
    seen = []
    for _ in range(3):
        (sent,) = street.members[ann.peer].place(START + 1, "buy", [(9_000, 5)], street.now_s, 0)
        seen.append(int(sent.raw.split(b'"n":')[1].split(b",")[0]))
        street.members[ann.peer]._ledger.close()
        street.start(ann)
    assert seen == sorted(set(seen))
    street.close()


def test_a_start_while_the_clock_is_ahead_forgets_no_promise(folder: Path) -> None:
    street = Street(folder, 2)
    street.trade(1)
    bound = START + 1
    for who in street.people:
        traded_before = street.members[who.peer].committed(bound)
        assert traded_before
        street.members[who.peer]._ledger.close()
        street.now_s += 30 * 86400
        street.start(who)
        street.now_s -= 30 * 86400
        again = street.members[who.peer]
        again.tick(street.now_s, street.now_s)
        assert again.committed(bound) == traded_before
        assert again.trader.commitments.is_locked(bound)
    street.close()


def test_a_clock_that_is_ahead_for_a_moment_costs_no_delivery(folder: Path) -> None:
    street = Street(folder, 2)
    street.trade(1)
    bound = START + 1
    for member in street.members.values():
        before = member.scheduled(bound)
        assert before
        for utc_s in (street.now_s + 30 * 86400, street.now_s):
            member.tick(utc_s, street.now_s)
        assert member.scheduled(bound) == before
    street.close()


def test_a_box_opens_with_what_is_in_its_folder(folder: Path) -> None:
    box = Folder(folder)
    with pytest.raises(FolderError, match="this box is in no community"):
        open_member(box, 0.0)
    box.keep(document([ADMIN], 1, [entry(box.identity())]))
    open_member(box, 0.0)._ledger.close()
    again = open_member(box, 0.0)
    assert again.identity.peer == box.identity().peer
    again._ledger.close()


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE entry SET hash = x'00' WHERE seq = 2", "entry 2: changed"),
        ("DELETE FROM entry WHERE seq = 2", "entry 2: missing, there were 2"),
        ("PRAGMA application_id = 5", "a database, but not a ledger"),
    ],
)
def test_no_new_promises_on_a_ledger_that_is_not_sound(
    folder: Path, statement: str, error: str
) -> None:
    box = Folder(folder)
    box.keep(document([ADMIN], 1, [entry(box.identity())]))
    open_member(box, 0.0)._ledger.close()
    with closing(sqlite3.connect(box.ledger)) as db:
        db.execute("DROP TRIGGER entry_stays")
        db.execute("DROP TRIGGER entry_remains")
        db.execute(statement)
        db.commit()
    with pytest.raises(LedgerError, match=error):
        open_member(box, 0.0)


def test_a_ledger_of_another_box_is_not_gone_on_with(folder: Path) -> None:
    box = Folder(folder)
    box.keep(document([ADMIN], 1, [entry(box.identity())]))
    Ledger(box.ledger, known("another")).close()
    with pytest.raises(LedgerError, match=f"this box is {box.identity().peer}"):
        open_member(box, 0.0)


def test_in_a_large_community_only_who_may_propose_hears_orders(folder: Path) -> None:
    people = [known(f"house {number}") for number in range(ALL_HEAR_ALL + 1)]
    small = document([ADMIN], 1, [entry(who) for who in people[:-1]])
    large = document([ADMIN], 1, [entry(who) for who in people])
    times = [START * 900.0, START * 900.0 + 450.0]
    proposers = set(large.rules(START + 1).proposers(START + 1))
    proposers |= set(large.rules(START + 2).proposers(START + 2))
    somebody = next(who for who in people if who.peer not in proposers)
    proposer = next(who for who in people if who.peer in proposers)
    for who, membership, hears in (
        (somebody, small, True),
        (somebody, large, False),
        (proposer, large, True),
    ):
        ledger = Ledger(folder / f"{who.peer}-{len(membership.members)}.db", who)
        member = TradingMember(who, ledger, membership, times[0])
        assert [member.hears_orders(utc_s) for utc_s in times] == [hears, hears]
        ledger.close()
