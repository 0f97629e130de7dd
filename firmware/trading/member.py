"""One box as a member of the market: what comes in, the protocol, the ledger, what goes out.

Whoever carries the messages calls this from one thread and passes the time. Everything that binds
us is in the ledger before it is returned for sending. When the ledger takes nothing any more the
member falls silent (`problem` says why); the control loop does not notice.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from control.canonical import canonical
from control.market_book import Order, Side, Step
from control.trading import Trader
from control.trading_commitments import KEPT_EPOCHS
from control.trading_records import (
    NOTHING,
    BookPart,
    Decision,
    Effects,
    Entry,
    Pact,
    Send,
    SignedOrder,
    Vote,
)
from firmware.trading.admission import Admission, Admitted, Objection, Refused
from firmware.trading.envelope import NO_MESSAGE, Message, seal, unwrap
from firmware.trading.folder import Folder, FolderError
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger, LedgerError, Line
from firmware.trading.ledger_check import check
from firmware.trading.membership import Membership, follow, is_rival, read_membership
from firmware.trading.messages import AckBody, HeadBody, OrderBody, WantBody, WitnessBody

NUMBERS_AT_ONCE = 256  # message numbers reserved with one write
ALL_HEAR_ALL = 100  # members; in larger communities only who may propose hears all orders
COUNTERSIGN_S = 3600.0  # neighbours countersign each other's ledgers once in so long


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A sealed message to be sent; to everybody when `to` is empty."""

    kind: str
    to: str
    raw: bytes
    part: int = 0  # of a book


class TradingMember:
    """A box in its community. Not for several threads."""

    def __init__(
        self, identity: Identity, ledger: Ledger, membership: Membership, utc_s: float
    ) -> None:
        """Goes on where the ledger ends. Raises LedgerError."""
        self.identity = identity
        self.problem = ""
        self._ledger = ledger
        self._next_n = self._last_n = 0
        self._prev = NO_MESSAGE
        self._saved_heard = ledger.heard()
        self._countersigned: set[tuple[int, str]] = set()
        self._proposing: dict[int, bool] = {}  # whether we may propose a slot's book
        self._committed_s: dict[str, int] = {}  # when we knew, by trade
        self._rivals: set[str] = set()  # hashes of documents that contradict each other
        self.membership = _newest(membership, ledger)
        timeline = self.membership.timeline()
        self._epoch = timeline.trading(utc_s)
        self.trader = Trader(identity.peer, self.membership.rules(self._epoch), timeline)
        lines = list(ledger.lines(_kept_since(ledger, self._epoch)))
        suspended = _suspended(lines, self.membership.version)
        self.admission = Admission(self.membership, self._saved_heard, suspended)
        for line in lines:
            if line.kind == "membership":
                self.admission.add_former(_document(line))
            self.trader.restore(line.kind, line.body, _order_of(line))
            self._note_commits(Entry(line.kind, line.body), line.utc_s)
            if line.kind == "evidence":
                self._rivals.update(line.body.get("hashes", ()))
        if self.membership.version > _version_in(ledger):
            self._save_membership(utc_s)

    # --- what the owner does ----------------------------------------------------------------------

    def place(
        self, epoch: int, side: Side, steps: Iterable[Step], utc_s: float, t_s: float
    ) -> list[Outgoing]:
        """Order for an epoch. Raises ValueError when it is too late for it."""
        if self.problem:
            return []
        rows = tuple(steps)
        body = {"side": side, "steps": [{"px": px, "q": wh} for px, wh in rows]}
        try:
            message = self._seal("order", epoch, body, utc_s)
        except LedgerError as error:
            return self._fail(error)
        order = Order(self.identity.peer, side, rows)
        signed = SignedOrder(message.id, epoch, message.n, order, message.fields)
        return self._apply(self.trader.place(signed, utc_s, t_s), utc_s)

    def hears_orders(self, utc_s: float) -> bool:
        """Whether we need what only proposers need: in a small community everybody does."""
        if len(self.membership.members) <= ALL_HEAR_ALL:
            return True
        known, epoch = self._proposing, self.trader.timeline.trading(utc_s)
        for e in (epoch, epoch + 1):
            if e not in known:
                known[e] = self.identity.peer in self.membership.rules(e).proposers(e)
        self._proposing = {e: known[e] for e in (epoch, epoch + 1)}
        return any(self._proposing.values())

    def committed(self, epoch: int) -> list[Pact]:
        """The trades of an epoch that bind both parties."""
        return self.trader.committed(epoch)

    def all_committed(self) -> set[str]:
        """Names of all trades of the last week that bind both parties."""
        return set(self._committed_s)

    def scheduled(self, epoch: int) -> list[Pact]:
        """Those of them that were known in time to be delivered."""
        timeline = self.trader.timeline
        last_s = timeline.delivery_s(epoch) - timeline.schedule_s
        pacts = self.trader.committed(epoch)
        return [pact for pact in pacts if self._committed_s.get(pact.id, last_s + 1) <= last_s]

    def abstain(self, epoch: int) -> None:
        """Bind ourselves to no book of an epoch."""
        self.trader.abstain(epoch)

    def say(self, kind: str, epoch: int, body: Mapping[str, Any], utc_s: float) -> list[Outgoing]:
        """A signed message to all that binds nobody."""
        if self.problem:
            return []
        return self._apply(Effects(sends=(Send(kind, "", epoch, body),)), utc_s)

    def keep(self, entry: Entry, utc_s: float) -> None:
        """An entry of our own in the ledger."""
        if not self.problem:
            self._apply(Effects((entry,)), utc_s)

    def kept(self, kind: str) -> list[Mapping[str, Any]]:
        """Our entries of a kind of the last week, oldest first. Raises LedgerError."""
        lines = self._ledger.lines(_kept_since(self._ledger, self._epoch))
        return [line.body for line in lines if line.kind == kind]

    def follow(self, document: Membership, utc_s: float) -> None:
        """A new membership document. Raises MembershipError, LedgerError."""
        if document.hash == self.membership.hash:
            return
        self.membership = follow(self.membership, document)
        self._proposing = {}
        self._save_membership(utc_s)
        self.admission.set_membership(self.membership)
        self.trader.set_rules(self.membership.rules(self._epoch))

    def note_rival(self, document: Membership, utc_s: float) -> bool:
        """Keep a second document of our version, once; whether it was one not known yet."""
        if document.hash in self._rivals or not is_rival(self.membership, document):
            return False
        hashes = sorted((document.hash, self.membership.hash))
        self._rivals.update(hashes)
        what = f"two membership documents of version {document.version}"
        body = {"e": self._epoch, "peer": "administrators", "what": what, "hashes": hashes}
        self.keep(Entry("evidence", body | {"document": document.model_dump()}), utc_s)
        return True

    # --- what others send -------------------------------------------------------------------------

    def receive(self, raw: bytes, utc_s: float, t_s: float) -> tuple[Admitted, list[Outgoing]]:
        """A message from the network. Raises Refused; proof of a breach is then in the ledger."""
        try:
            admitted = self.admission.admit(raw, utc_s)
        except Refused as refusal:
            if refusal.evidence:
                self._apply(Effects((self._evidence(refusal),)), utc_s)
            raise
        if self.problem:
            return admitted, []
        try:
            effects = self._event(admitted, utc_s, t_s)
        except LedgerError as error:
            return admitted, self._fail(error)
        return admitted, self._apply(effects, utc_s)

    def tick(self, utc_s: float, t_s: float) -> list[Outgoing]:
        """What is due; call it a few times per `retry_s`."""
        if self.problem:
            return []
        epoch = self.trader.timeline.trading(utc_s)
        if epoch != self._epoch:
            self._epoch = epoch
            self.trader.set_rules(self.membership.rules(epoch))
            known, knows = self._committed_s.items(), self.trader.commitments.knows
            self._committed_s = {name: at_s for name, at_s in known if knows(name)}
        return self._apply(self.trader.tick(utc_s, t_s), utc_s)

    def close(self) -> None:
        """Give the ledger back."""
        self._ledger.close()

    def _event(self, admitted: Admitted, utc_s: float, t_s: float) -> Effects:
        message, content = admitted.message, admitted.content
        match content:
            case SignedOrder():
                return self.trader.on_order(content, utc_s)
            case BookPart():
                return self.trader.on_book(content, utc_s)
            case Objection(_, order):
                return self.trader.on_objection(message.peer, order, utc_s)
            case WantBody():
                return self.trader.on_want(message.epoch, utc_s, t_s)
            case Vote():
                return self.trader.on_vote(content, utc_s, t_s)
            case Decision():
                return self.trader.on_decision(content)
            case AckBody():
                return self.trader.on_ack(message.peer, content.trade)
            case HeadBody():
                effects = self.trader.on_head(message.peer, message.epoch, content.commits)
                return effects + self._countersign(message, content)
            case WitnessBody():
                return self._witnessed(message, content)
        return NOTHING

    # --- ledgers of each other --------------------------------------------------------------------

    def _countersign(self, message: Message, head: HeadBody) -> Effects:
        """Keep a trading partner's head, and tell it that we have."""
        if not self._is_partner(message) or not self._is_time_to_countersign(message):
            return NOTHING
        kept = Entry("head", {"e": message.epoch, "message": message.fields})
        body = {"peer": message.peer, "n": head.n, "h": head.h}
        return Effects((kept,), (Send("witness", message.peer, message.epoch, body),))

    def _witnessed(self, message: Message, said: WitnessBody) -> Effects:
        """A partner has countersigned our head."""
        member = self.membership.member(message.peer)
        ours = self._ledger.line(said.n) if said.peer == self.identity.peer else None
        if member is None or ours is None or ours.hash.hex() != said.h:
            return NOTHING
        if not self._is_partner(message) or not self._is_time_to_countersign(message):
            return NOTHING
        body = {"e": message.epoch, "key": member.key, "message": message.fields}
        return Effects((Entry("witness", body),))

    def _is_partner(self, message: Message) -> bool:
        pacts = self.trader.commitments.of_epoch(message.epoch)
        return any(message.peer in (pact.buyer, pact.seller) for pact in pacts)

    def _is_time_to_countersign(self, message: Message) -> bool:
        """Once per partner in the first slot of each hour."""
        every = max(1, round(COUNTERSIGN_S / self.trader.timeline.slot_s))
        key = message.epoch, f"{message.kind}/{message.peer}"
        if message.epoch % every or key in self._countersigned:
            return False
        self._countersigned = {k for k in self._countersigned if k[0] >= self._epoch - 1} | {key}
        return True

    def _evidence(self, refusal: Refused) -> Entry:
        messages = [message.fields for message in refusal.evidence]
        body = {"e": self._epoch, "peer": refusal.evidence[0].peer, "what": str(refusal)}
        return Entry("evidence", body | {"m": self.membership.version, "messages": messages})

    # --- saving, then sending ---------------------------------------------------------------------

    def _apply(self, effects: Effects, utc_s: float) -> list[Outgoing]:
        try:
            self._save(effects.saves, utc_s)
            return [self._outgoing(send, utc_s) for send in effects.sends]
        except LedgerError as error:
            return self._fail(error)

    def _fail(self, error: LedgerError) -> list[Outgoing]:
        """The protocol is now ahead of the disk: nothing may leave any more."""
        self.problem = str(error)
        return []

    def _save(self, entries: tuple[Entry, ...], utc_s: float) -> None:
        if not entries:
            return
        heard = self.admission.heard
        changed = {key: n for key, n in heard.items() if self._saved_heard.get(key) != n}
        self._ledger.append(entries, int(utc_s), changed)
        self._saved_heard |= changed
        for entry in entries:
            self._note_commits(entry, int(utc_s))

    def _note_commits(self, entry: Entry, utc_s: int) -> None:
        if entry.kind in ("decide", "decision") and entry.body["commit"]:
            for name in entry.body["trades"]:
                self._committed_s.setdefault(name, utc_s)

    def _save_membership(self, utc_s: float) -> None:
        body = {"e": self._epoch, "document": self.membership.model_dump()}
        self._ledger.append([Entry("membership", body)], int(utc_s))

    def _outgoing(self, send: Send, utc_s: float) -> Outgoing:
        if send.kind == "order":  # sealed when it was placed
            return Outgoing("order", send.to, canonical(send.body))
        body = dict(send.body)
        if send.kind == "head":
            body |= {"n": self._ledger.head.seq, "h": self._ledger.head.hash.hex()}
        message = self._seal(send.kind, send.epoch, body, utc_s)
        return Outgoing(send.kind, send.to, message.raw(), body.get("part", 0))

    def _seal(self, kind: str, epoch: int, body: Mapping[str, Any], utc_s: float) -> Message:
        if self._next_n >= self._last_n:
            self._next_n = self._ledger.reserve(NUMBERS_AT_ONCE)
            self._last_n = self._next_n + NUMBERS_AT_ONCE
        message = seal(
            self.identity,
            kind,
            body,
            community=self.membership.community,
            epoch=epoch,
            n=self._next_n,
            ts_s=int(utc_s),
            version=self.membership.version,
            prev=self._prev,
        )
        self._next_n += 1
        self._prev = message.id
        return message


def open_member(folder: Folder, utc_s: float) -> TradingMember:
    """This box in its community, going on where its ledger ends.

    Raises FolderError when it is in none, LedgerError when its ledger is not what it wrote: a box
    that cannot be sure of its promises makes no new ones.
    """
    identity, document = folder.identity(), folder.membership()
    if document is None:
        raise FolderError(f"{folder.document}: no such file: this box is in no community")
    if folder.ledger.exists():
        checked = check(folder.ledger, signatures=False)
        if checked.fault:
            raise LedgerError(f"{folder.ledger}: {checked.fault}")
        if checked.owner != identity.peer:
            raise LedgerError(f"{folder.ledger}: of {checked.owner}, this box is {identity.peer}")
    return TradingMember(identity, Ledger(folder.ledger, identity), document, utc_s)


def _order_of(line: Line) -> SignedOrder | None:
    """The order in an "order" entry."""
    if line.kind != "order":
        return None
    message = unwrap(line.body["message"])
    body = OrderBody.model_validate(message.body)
    order = Order(message.peer, body.side, tuple((step.px, step.q) for step in body.steps))
    return SignedOrder(message.id, message.epoch, message.n, order, message.fields)


def _suspended(lines: Iterable[Line], version: int) -> Iterator[str]:
    """Who contradicted itself under this membership."""
    for line in lines:
        if line.kind == "evidence" and line.body.get("m") == version:
            yield line.body["peer"]


def _newest(given: Membership, ledger: Ledger) -> Membership:
    """The ledger's document where a copy from elsewhere is older."""
    line = ledger.last("membership")
    if line is None:
        return given
    ours = _document(line)
    return given if given.version > ours.version else ours


def _document(line: Line) -> Membership:
    return read_membership(canonical(line.body["document"]))


def _kept_since(ledger: Ledger, epoch: int) -> int:
    """The first epoch of what is remembered: a week before the newest that we are bound in.

    `epoch` is the clock's word, which may be ahead.
    """
    line = ledger.last("lock")
    return max(1, (min(epoch, line.body["e"]) if line else epoch) - KEPT_EPOCHS)


def _version_in(ledger: Ledger) -> int:
    line = ledger.last("membership")
    return _document(line).version if line else 0
