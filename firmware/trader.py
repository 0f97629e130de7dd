"""The trading process: this box as a member of its community, beside the loop.

    in   {"site": {...}, "nice": 5}                          once
    in   {"id", "glance": Glance, "advice": Advice or null}  null: as before
    out  {"id", "market": Said}

It goes on between two questions, and ends when nobody asks any more. It may be late, die or talk
nonsense: `firmware.trader_link` copes. What binds the box is in its ledger before it is sent.
"""

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from control.records import Advice
from control.trades import NO_MARKET
from firmware.alone import Claims, NotAloneError
from firmware.codec import decode, encode
from firmware.config import Site, site_from_dict
from firmware.log import background_log
from firmware.neighbours import Said
from firmware.position import Glance, Positions, store_facts
from firmware.standard_streams import talk
from firmware.trading.agent import Agent
from firmware.trading.carrier import Carrier
from firmware.trading.folder import Folder, FolderError
from firmware.trading.ledger import LedgerError
from firmware.trading.losses import Losses
from firmware.trading.member import Outgoing, TradingMember, open_member
from firmware.trading.membership import Membership, MembershipError, read_membership

log = logging.getLogger("nanogrid")

OPEN_AGAIN_S = 2.0  # before a folder without a document is looked at again
REOPEN_S = 60.0  # before a ledger that takes nothing is opened again
LOOK_S = 2.0  # how often it is looked whether a person brought a new document
TURNS_PER_RETRY = 4  # of the protocol's shortest wait
SHORTEST_TURN_S, LONGEST_TURN_S = 0.01, 0.25
FILE = "its file"  # a document's origin
COMPLAIN_S = 60.0  # how often the log hears of a document that is refused

Question = dict[str, Any]


class Membered:
    """The box while it is in a community: agent and carrier."""

    def __init__(self, site: Site, folder: Folder, member: TradingMember) -> None:
        """Raises LedgerError."""
        self.member = member
        timeline = member.trader.timeline
        document = member.membership
        together = site.trading.strategy == "together"
        self.agent = Agent(member, store_facts(site), together=together)
        self.turn_s = max(SHORTEST_TURN_S, min(timeline.retry_s / TURNS_PER_RETRY, LONGEST_TURN_S))
        self._folder = folder
        self._carrier = Carrier(
            site.market_broker, document.community, member.identity.peer, timeline.slot_s
        )
        self._losses = Losses(timeline.slot_s)
        self._looked_s = self._complained_s = float("-inf")
        self._seen: tuple[int, int] | None = None  # of the document's file
        self.times_changed = False
        self._carrier.publish_document(document.raw())
        self._carrier.start()

    def close(self) -> None:
        """Send what is on its way, and give the ledger back."""
        self._carrier.stop()
        self.member.close()

    def turn(self) -> None:
        """Wait for messages for a moment, take them in, do what is due."""
        for raw in self._carrier.receive(self.turn_s):
            self._send(self.agent.receive(raw, time.time(), time.monotonic()))
        self._send(self.agent.tick(time.time(), time.monotonic()))
        self._carrier.hear_orders(self.member.hears_orders(time.time()))
        self._look_for_documents(time.monotonic())

    def step(self, positions: Positions, seen: Glance, advice: Advice) -> Said:
        """Take the house's position; say what the market is."""
        now = replace(seen, utc_s=time.time(), t_s=time.monotonic())
        self._send(self.agent.step(positions.of(now, advice)))
        status, document = self._carrier.status, self.member.membership
        if lost := self._losses.note(status, now.t_s):
            self.agent.tell(lost)
        market = self.agent.market(now.utc_s)
        if not status.connected and not market.problem:
            why = status.problem or "not connected yet"
            market = replace(market, problem=f"broker {status.broker}: {why}")
        own = document.member(self.member.identity.peer)
        name = own.name if own else ""
        peer = self.member.identity.peer
        return Said(market, document.community, name, peer, status.connected)

    def _send(self, messages: list[Outgoing]) -> None:
        for message in messages:
            self._carrier.send(message)

    # --- the membership document ----------------------------------------------------------------

    def _look_for_documents(self, now_s: float) -> None:
        """One that a person brought to the folder, or one that came from a neighbour."""
        if raw := self._carrier.document():
            self._consider(raw, "the market", now_s)
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        with contextlib.suppress(OSError):
            about = self._folder.document.stat()
            if (seen := (about.st_mtime_ns, about.st_size)) != self._seen:
                self._seen = seen
                self._consider(self._folder.document.read_bytes(), FILE, now_s)

    def _consider(self, raw: bytes, origin: str, now_s: float) -> None:
        """Follow a document that is newer than ours; say it when there is a second one of ours."""
        try:
            document, ours = read_membership(raw), self.member.membership
            if self.member.note_rival(document, time.time()):
                self.agent.tell(_rivals(ours, document))
            if document.version >= ours.version and document.hash != ours.hash:
                self._follow(document, origin)
        except LedgerError as error:
            self.member.problem = str(error)
        except (MembershipError, FolderError) as error:
            if now_s - self._complained_s >= COMPLAIN_S:
                self._complained_s = now_s
                log.warning("trading: membership document from %s refused: %s", origin, error)

    def _follow(self, document: Membership, origin: str) -> None:
        before = self.member.membership
        self.member.follow(document, time.time())
        self.times_changed = document.market.times != before.market.times
        self._carrier.publish_document(document.raw())
        if origin != FILE:
            self._folder.keep(document)
        version, count = document.version, len(document.members)
        log.info("trading: membership version %d from %s, %d members", version, origin, count)


def _rivals(ours: Membership, other: Membership) -> str:
    """Two documents of one version, in words."""
    holds = min(ours.hash, other.hash)[:16]
    return f"the administrators signed two documents of version {ours.version}: {holds} holds"


class TradingProcess:
    """Answers questions, and trades while there is a community."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._folder = Folder(Path(site.trading.folder))
        self._positions = Positions(site)
        self._advice = Advice()
        self._membered: Membered | None = None
        self._problem = ""
        self._open_s = self._well_s = float("-inf")
        self._claims: Claims | None = None  # one writer per ledger

    def turn(self) -> None:
        """Whatever is due; waits for a moment."""
        if self._membered is None:
            self._open()
            time.sleep(LONGEST_TURN_S)
            return
        self._membered.turn()
        if self._membered.times_changed or self._has_failed(self._membered):
            self.close()  # and begin anew, with what is in the ledger

    def answer(self, question: Question) -> Said:
        """The market, for one look at the house."""
        if question["advice"] is not None:
            self._advice = decode(Advice, question["advice"])
        if self._membered is None:
            return Said(replace(NO_MARKET, problem=self._problem))
        return self._membered.step(
            self._positions, decode(Glance, question["glance"]), self._advice
        )

    def _has_failed(self, membered: Membered) -> bool:
        """Its ledger has taken nothing for a while: perhaps it does when it is opened again."""
        self._problem = membered.member.problem
        if not self._problem:
            self._well_s = time.monotonic()
        return time.monotonic() - self._well_s >= REOPEN_S

    def close(self) -> None:
        """Part from the community for now."""
        membered, self._membered = self._membered, None
        if membered is not None:
            membered.close()

    def _open(self) -> None:
        if time.monotonic() < self._open_s:
            return
        self._open_s = time.monotonic() + OPEN_AGAIN_S
        try:
            if self._claims is None:
                path = self._site.trading.folder
                self._claims = Claims([(f"trading.folder {path}", os.path.realpath(path))])
            member = open_member(self._folder, time.time())
            self._membered = Membered(self._site, self._folder, member)
            self._well_s = time.monotonic()
        except (NotAloneError, FolderError, LedgerError) as error:
            self._problem = str(error)


def serve(requests: TextIO, answers: TextIO) -> None:
    """Trade, and answer questions, until the input ends."""
    first: Mapping[str, Any] = json.loads(requests.readline())
    os.nice(first["nice"])
    site = site_from_dict(first["site"], "the service's site")
    questions: queue.Queue[Question | None] = queue.Queue()
    threading.Thread(target=_read, args=(requests, questions), daemon=True).start()
    with background_log(site=site.site.name), contextlib.closing(TradingProcess(site)) as trading:
        while True:
            trading.turn()
            while not questions.empty():
                question = questions.get()
                if question is None:
                    return
                said = {"id": question["id"], "market": encode(trading.answer(question))}
                answers.write(json.dumps(said) + "\n")
                answers.flush()


def _read(requests: TextIO, questions: "queue.Queue[Question | None]") -> None:
    with contextlib.suppress(ValueError):  # broken off: who asks was killed while it wrote
        for line in requests:
            questions.put(json.loads(line))
    questions.put(None)


def main() -> None:
    """Talk over standard input and output."""
    talk(serve)


if __name__ == "__main__":
    main()
