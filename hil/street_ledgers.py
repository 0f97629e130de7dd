"""What the ledgers of a street's houses say when it is over: is each sound, and do all agree?"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from control.trading_records import Pact
from firmware.trading.ledger import connect_to_read, read_lines
from firmware.trading.ledger_check import check, disagreements
from hil.street_result import LedgerVerdict, MarketVerdict


@dataclass(frozen=True)
class Read:
    """All ledgers of a street."""

    verdict: MarketVerdict  # without the money, which needs the meters
    pacts: tuple[Pact, ...]  # committed by both parties
    peers: Mapping[str, str]  # house -> member


def read_ledgers(ledgers: Mapping[str, Path]) -> Read:
    """Check every ledger and put their trades together. Raises LedgerError."""
    verdicts, said, peers = [], [], {}
    for house, path in ledgers.items():
        checked = check(path)
        peers[house] = checked.owner
        found = (house, checked.owner, checked.head.seq, checked.witnessed, checked.fault)
        verdicts.append(LedgerVerdict(*found))
        said.append((checked.owner, *_said(path)))
    states = {(owner, trade): state for owner, _, own in said for trade, state in own.items()}
    pacts = {pact.id: pact for _, known, _ in said for pact in known}
    committed = tuple(pact for pact in pacts.values() if _is_committed(pact, states))
    doubtful = sum(states.get((p.voter, p.id)) == "bound" for p in pacts.values())
    verdict = MarketVerdict(
        ledgers=tuple(verdicts),
        disagreements=tuple(disagreements(ledgers.values())),
        trades=len(committed),
        in_doubt=doubtful,
    )
    return Read(verdict, committed, peers)


def _is_committed(pact: Pact, states: Mapping[tuple[str, str], str]) -> bool:
    return states.get((pact.buyer, pact.id)) == states.get((pact.seller, pact.id)) == "commit"


def _said(path: Path) -> tuple[list[Pact], dict[str, str]]:
    """The trades in one ledger, and what its owner did with each: bound, commit, abort."""
    pacts, states = [], {}
    with closing(connect_to_read(path)) as db:
        for line in read_lines(db, path):
            body = line.body
            if line.kind == "lock":
                for row in body["trades"]:
                    facts = (row["buyer"], row["seller"], row["q"], row["price"], row["fee"])
                    pacts.append(Pact(row["id"], body["e"], *facts))
                    states[row["id"]] = "bound"
            elif line.kind in ("decide", "decision"):
                word = "commit" if body["commit"] else "abort"
                states |= dict.fromkeys((n for n in body["trades"] if n in states), word)
    return pacts, states
