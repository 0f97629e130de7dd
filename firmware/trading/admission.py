"""Which messages of others are believed: every reason to refuse one, in the order of its cost."""

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from control.market import order_fault
from control.market_book import Order
from control.trading_records import BookPart, Decision, SignedOrder, Vote
from firmware.trading.envelope import EnvelopeError, Message, unseal, unwrap
from firmware.trading.membership import Membership
from firmware.trading.messages import (
    KINDS,
    Body,
    BookBody,
    DecideBody,
    ObjectBody,
    OrderBody,
    PlanBody,
    VoteBody,
    read_body,
)

SKEW_S = 30.0  # that a message's time may be ahead of ours
OLDEST_S = 7 * 86400.0  # of the slot that a message is about
REMEMBERED = 16  # last messages of each member, to catch two of one number
MOST_PER_SLOT = 500  # messages of one member; the rest is not even verified


class Why(StrEnum):
    """What a refusal is about."""

    SIZE = "size"
    FORM = "form"
    COMMUNITY = "community"
    STRANGER = "stranger"
    MEMBERSHIP = "membership"
    EPOCH = "epoch"
    FLOOD = "flood"
    SIGNATURE = "signature"
    EQUIVOCATION = "equivocation"
    SUSPENDED = "suspended"
    REPLAY = "replay"
    CLOCK = "clock"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Objection:
    """A member's complaint about a book."""

    root: str
    order: SignedOrder


Content = SignedOrder | BookPart | Objection | Vote | Decision | Body


@dataclass(frozen=True, slots=True)
class Admitted:
    """A message to act upon, in the terms of the protocol."""

    message: Message
    content: Content
    again: bool  # the same message was here before


class Refused(Exception):
    """A message not to act upon; with two contradicting messages where they prove a breach."""

    def __init__(self, why: Why, detail: str, evidence: tuple[Message, ...] = ()) -> None:
        super().__init__(f"{why}: {detail}")
        self.why = why
        self.evidence = evidence


class Admission:
    """What one member knows of the others' messages. Not for several threads."""

    def __init__(
        self,
        membership: Membership,
        heard: Mapping[tuple[str, str], int] | None = None,
        suspended: Iterable[str] = (),
    ) -> None:
        """`heard`: the last number of each ordered kind of each member, from before a restart."""
        self.heard = dict(heard or {})
        self.suspended = set(suspended)
        self._former: dict[str, bytes] = {}  # keys of members that are none any more
        self._seen: defaultdict[str, OrderedDict[int, Message]] = defaultdict(OrderedDict)
        self._orders: dict[str, SignedOrder] = {}  # verified, by id
        self._count: Counter[str] = Counter()
        self._counted_epoch = 0
        self._adopt(membership)

    def set_membership(self, membership: Membership) -> None:
        """A newer document. It lifts suspensions: the administrators have looked at them."""
        self.add_former(self.membership)
        if membership.version > self.membership.version:
            self.suspended.clear()
        self._orders.clear()
        self._adopt(membership)

    def add_former(self, membership: Membership) -> None:
        """An earlier document: its members may settle what they promised under it."""
        self._former |= {m.peer: bytes.fromhex(m.key) for m in membership.members}

    def _adopt(self, membership: Membership) -> None:
        self.membership = membership
        self._timeline = membership.timeline()
        self._members = {member.peer: member for member in membership.members}

    def admit(self, raw: bytes, utc_s: float) -> Admitted:
        """A message from the network. Raises Refused."""
        largest = max(kind.most_bytes for kind in KINDS.values())
        if len(raw) > largest:
            raise Refused(Why.SIZE, f"{len(raw)} bytes: at most {largest} allowed")
        try:
            message = unseal(raw)
        except EnvelopeError as error:
            raise Refused(Why.FORM, str(error)) from None
        self._check_outside(message, len(raw))
        self._check_epoch(message, utc_s)
        self._count_one(message, utc_s)
        if not message.is_signed_by(self._key(message)):
            raise Refused(Why.SIGNATURE, f"not by {message.peer}")
        again = self._check_sequence(message)
        content = self._content(message)
        self._remember(message)
        return Admitted(message, content, again)

    # --- who ------------------------------------------------------------------------------------

    def _check_outside(self, message: Message, size: int) -> None:
        """What can be said without a signature."""
        kind = KINDS.get(message.kind)
        if kind is None:
            raise Refused(Why.FORM, f"kind {message.kind}: {', '.join(KINDS)} allowed")
        if size > kind.most_bytes:
            allowed = f"at most {kind.most_bytes} allowed in kind {message.kind}"
            raise Refused(Why.SIZE, f"{size} bytes: {allowed}")
        if message.community != self.membership.community:
            ours = self.membership.community
            raise Refused(Why.COMMUNITY, f"{message.community!a}: {ours} allowed")
        if kind.gathers and message.version != self.membership.version:
            raise Refused(
                Why.MEMBERSHIP, f"version {message.version}: ours is {self.membership.version}"
            )
        if kind.gathers and message.peer in self.suspended:
            raise Refused(Why.SUSPENDED, f"{message.peer} contradicted itself")

    def _key(self, message: Message) -> bytes:
        """The sender's; one that is no member any more may still settle what it promised."""
        member = self._members.get(message.peer)
        start_s = self._timeline.delivery_s(message.epoch)
        if member is not None and (
            not KINDS[message.kind].gathers or member.valid_from <= start_s < member.valid_to
        ):
            return bytes.fromhex(member.key)
        if message.peer in self._former and not KINDS[message.kind].gathers:
            return self._former[message.peer]
        raise Refused(Why.STRANGER, f"{message.peer} is no member in epoch {message.epoch}")

    # --- when -----------------------------------------------------------------------------------

    def _check_epoch(self, message: Message, utc_s: float) -> None:
        first = self._timeline.trading(utc_s - SKEW_S)
        last = self._timeline.trading(utc_s + SKEW_S)
        if not KINDS[message.kind].gathers:
            first = self._timeline.trading(utc_s - OLDEST_S)
        if not first <= message.epoch <= last:
            raise Refused(Why.EPOCH, f"{message.epoch}: {first} to {last} allowed")
        if message.ts_s > utc_s + SKEW_S:
            ahead_s = message.ts_s - utc_s
            raise Refused(Why.CLOCK, f"{ahead_s:.0f} s ahead: at most {SKEW_S:.0f} allowed")

    def _count_one(self, message: Message, utc_s: float) -> None:
        epoch = self._timeline.trading(utc_s)
        if epoch != self._counted_epoch:
            self._counted_epoch = epoch
            self._count.clear()
            self._orders = {n: order for n, order in self._orders.items() if order.epoch >= epoch}
        if self._count[message.peer] >= MOST_PER_SLOT:
            raise Refused(Why.FLOOD, f"more than {MOST_PER_SLOT} messages of {message.peer}")

    # --- in which order -------------------------------------------------------------------------

    def _check_sequence(self, message: Message) -> bool:
        """Whether it is one that was here before. Two messages of one number are a proof."""
        self._count[message.peer] += 1
        seen = self._seen[message.peer]
        same = seen.get(message.n)
        if same is not None:
            if same.id == message.id:
                return True
            self._suspend(message, same, "two messages with one number")
        before, after = seen.get(message.n - 1), seen.get(message.n + 1)
        if before is not None and message.prev != before.id:
            self._suspend(message, before, "does not follow from the message before it")
        if after is not None and after.prev != message.id:
            self._suspend(message, after, "the message after it does not follow from it")
        last = self.heard.get((message.peer, message.kind), -1)
        if KINDS[message.kind].ordered and message.n <= last:
            raise Refused(Why.REPLAY, f"number {message.n} after {last} of {message.peer}")
        return False

    def _suspend(self, message: Message, other: Message, detail: str) -> None:
        known = message.peer in self.suspended  # one proof is enough: no ledger is to be filled
        self.suspended.add(message.peer)
        evidence = () if known else (other, message)
        raise Refused(Why.EQUIVOCATION, f"{message.peer}, {message.n}: {detail}", evidence)

    def _remember(self, message: Message) -> None:
        seen = self._seen[message.peer]
        seen[message.n] = message
        while len(seen) > REMEMBERED:
            seen.popitem(last=False)
        if KINDS[message.kind].ordered:
            key = message.peer, message.kind
            self.heard[key] = max(message.n, self.heard.get(key, -1))

    # --- what -----------------------------------------------------------------------------------

    def _content(self, message: Message) -> Content:
        try:
            body = read_body(message.kind, message.body)
        except ValueError as error:
            raise Refused(Why.FORM, f"{message.kind}.{error}") from None
        match body:
            case OrderBody():
                return self._order(message, body)
            case BookBody():
                orders = tuple(self._inner(fields, message) for fields in body.orders)
                return BookPart(
                    message.peer, message.epoch, body.root, body.part, body.parts, orders
                )
            case ObjectBody():
                order = self._inner(body.order, message)
                if order.peer != message.peer:
                    raise Refused(Why.FORM, "object.order: only the sender's own allowed")
                return Objection(body.book, order)
            case VoteBody():
                trades = tuple(body.trades)
                return Vote(
                    message.peer, message.epoch, body.book, body.res, trades, message.fields
                )
            case DecideBody():
                return Decision(
                    message.peer, message.epoch, body.trade, body.commit, message.fields
                )
            case PlanBody():
                self._check_plan(message.peer, body)
        return body

    def _inner(self, fields: Mapping[str, Any], outer: Message) -> SignedOrder:
        """A signed order inside of another message, checked as if it came by itself."""
        try:
            message = unwrap(fields)
        except EnvelopeError as error:
            raise Refused(Why.FORM, f"{outer.kind}: order: {error}") from None
        known = self._orders.get(message.id)
        if known is not None:
            return known
        if (message.kind, message.epoch) != ("order", outer.epoch):
            raise Refused(Why.FORM, f"{outer.kind}: only orders of epoch {outer.epoch} allowed")
        self._check_outside_of_order(message)
        if not message.is_signed_by(self._key(message)):
            raise Refused(Why.SIGNATURE, f"{outer.kind}: order not by {message.peer}")
        content = self._content(message)
        assert isinstance(content, SignedOrder)
        return content

    def _check_outside_of_order(self, message: Message) -> None:
        ours = self.membership
        if message.community != ours.community or message.version != ours.version:
            detail = f"order of {message.community!a}, version {message.version}"
            raise Refused(Why.MEMBERSHIP, f"{detail}: ours is {ours.version}")

    def _order(self, message: Message, body: OrderBody) -> SignedOrder:
        delivery_s = self._timeline.delivery_s(message.epoch)
        opens_s = delivery_s - self._timeline.slot_s - SKEW_S
        gate_s = delivery_s - self._timeline.gate_s
        if not opens_s <= message.ts_s <= gate_s:
            raise Refused(Why.CLOCK, f"order of {message.ts_s}: {opens_s:g} to {gate_s:g} allowed")
        order = Order(message.peer, body.side, tuple((step.px, step.q) for step in body.steps))
        market = self.membership.market
        fault = order_fault(order, market.price_floor, market.price_ceiling) if body.steps else ""
        if fault:
            raise Refused(Why.LIMIT, f"order of {message.peer}: {fault}")
        member = self._members[message.peer]
        most_wh = member.max_buy_wh if body.side == "buy" else member.max_sell_wh
        total_wh = sum(wh for _, wh in order.steps)
        if total_wh > most_wh:
            detail = f"{body.side} {total_wh} Wh: at most {most_wh} allowed"
            raise Refused(Why.LIMIT, f"order of {message.peer}: {detail}")
        signed = SignedOrder(message.id, message.epoch, message.n, order, message.fields)
        self._orders[message.id] = signed
        return signed

    def _check_plan(self, peer: str, body: PlanBody) -> None:
        """Nobody moves the others by more than it may trade."""
        member = self._members[peer]
        slots_per_h = 3600.0 / self._timeline.slot_s
        lowest_w, highest_w = -member.max_sell_wh * slots_per_h, member.max_buy_wh * slots_per_h
        for w, sd in zip(body.w, body.sd, strict=True):
            if not lowest_w - 1.0 <= w <= highest_w + 1.0:
                allowed = f"{lowest_w:.0f} to {highest_w:.0f} allowed"
                raise Refused(Why.LIMIT, f"plan of {peer}: {w} W: {allowed}")
            if sd > highest_w - lowest_w + 1.0:
                allowed = f"at most {highest_w - lowest_w:.0f} allowed"
                raise Refused(Why.LIMIT, f"plan of {peer}: error {sd} W: {allowed}")
