"""Before the vote: one epoch's orders, the books proposed from them, objections, and the choice."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from control.trading_records import (
    NOTHING,
    BookPart,
    Effects,
    Entry,
    Rules,
    Send,
    SignedOrder,
    Timeline,
)

ORDERS_PER_PART = 100  # about 50 KB
REPEAT_FACTOR = 4.0  # an order is sent again after 2, 8, 32, ... s until the gate closes


@dataclass(slots=True)
class _Proposed:
    """What has come of one book."""

    proposer: str
    parts: int
    orders: dict[int, tuple[SignedOrder, ...]] = field(default_factory=dict)

    def all_orders(self) -> list[SignedOrder] | None:
        """The book, once every part of it is here."""
        if len(self.orders) < self.parts:
            return None
        return [order for _, part in sorted(self.orders.items()) for order in part]


class _Candidate(NamedTuple):
    """A book that could be voted for."""

    minus_size: int
    rank: int
    root: str
    orders: list[SignedOrder]


class Gathering:
    """One member's view of one epoch until it votes."""

    def __init__(self, me: str, epoch: int, rules: Rules, timeline: Timeline) -> None:
        self.me = me
        self.epoch = epoch
        self.rules = rules
        self.timeline = timeline
        self.own: SignedOrder | None = None
        self.abstains = False
        self._orders: dict[str, SignedOrder] = {}
        self._books: dict[str, _Proposed] = {}
        self._proposers = rules.proposers(epoch)
        self._roots: defaultdict[str, set[str]] = defaultdict(set)  # of each proposer
        self._my_root: str | None = None  # what this member proposed: never another
        self._objected: set[str] = set()
        self._repeat_t_s = float("inf")
        self._repeat_wait_s = timeline.retry_s
        self._asked_t_s = self._answered_t_s = float("-inf")
        self._most_parts = -(-len(rules.members) // ORDERS_PER_PART)
        # A large book takes its time to arrive, and is not to be asked for meanwhile.
        self._ask_wait_s = timeline.retry_s * max(1, self._most_parts)

    def left_s(self, utc_s: float) -> float:
        """Seconds until delivery."""
        return self.timeline.delivery_s(self.epoch) - utc_s

    # --- orders -------------------------------------------------------------------------------

    def place(self, order: SignedOrder, utc_s: float, t_s: float) -> Effects:
        """Our own order: binding from here on. Raises ValueError when the gate is closed."""
        if self.left_s(utc_s) < self.timeline.gate_s:
            raise ValueError(f"epoch {self.epoch}: the gate is closed")
        self.restore_own(order)
        self._repeat_wait_s = self.timeline.retry_s
        self._repeat_t_s = t_s + self._repeat_wait_s
        saved = {"e": self.epoch, "id": order.id, "message": order.message}
        return Effects((Entry("order", saved),), (self._sent(order),))

    def restore_own(self, order: SignedOrder) -> None:
        """Our own order, as it was saved."""
        self.own = order
        self._orders[self.me] = order
        self._repeat_t_s = float("-inf")

    def restore_root(self, root: str) -> None:
        """The book that we proposed before a restart; its orders are gone."""
        self._my_root = root

    def add_order(self, order: SignedOrder, utc_s: float) -> None:
        """Somebody's order; too late, it does not count."""
        if self.left_s(utc_s) >= self.timeline.gate_s - self.timeline.grace_s:
            self._keep(order)

    def _keep(self, order: SignedOrder) -> None:
        known = self._orders.get(order.peer)
        if order.peer != self.me and (known is None or order.n > known.n):
            self._orders[order.peer] = order

    def _sent(self, order: SignedOrder) -> Send:
        return Send("order", "", self.epoch, order.message)

    # --- books --------------------------------------------------------------------------------

    def add_part(self, part: BookPart) -> Effects:
        """A part of a book. A proposer with two books has none, and that is kept."""
        right = 0 <= part.part < part.parts <= self._most_parts
        if part.proposer not in self._proposers or not right:
            return NOTHING
        roots = self._roots[part.proposer]
        if part.root not in roots:
            if len(roots) > 1:
                return NOTHING
            roots.add(part.root)
            if len(roots) > 1:
                what = {"peer": part.proposer, "what": "two books", "roots": sorted(roots)}
                return Effects((Entry("evidence", {"e": self.epoch, **what}),))
        book = self._books.setdefault(part.root, _Proposed(part.proposer, part.parts))
        if part.parts == book.parts:
            book.orders.setdefault(part.part, part.orders)
        return self._objection(part.root, book)

    def add_objection(self, objector: str, order: SignedOrder) -> None:
        """Somebody misses its order in a book; it may still reach the next proposer."""
        if order.peer == objector and order.epoch == self.epoch:
            self._keep(order)

    def _objection(self, root: str, book: _Proposed) -> Effects:
        """We miss our own order, or find another in its place."""
        orders = book.all_orders()
        if not self.own or orders is None or root in self._objected or self._has_own(orders):
            return NOTHING
        self._objected.add(root)
        body = {"book": root, "order": self.own.message}
        return Effects(sends=(Send("object", "", self.epoch, body),))

    def _has_own(self, orders: list[SignedOrder]) -> bool:
        mine = [order.id for order in orders if order.peer == self.me]
        return mine == ([self.own.id] if self.own else [])

    def _is_valid(self, root: str, orders: list[SignedOrder]) -> bool:
        peers = {order.peer for order in orders}
        return (
            len(peers) == len(orders)
            and peers <= set(self.rules.members)
            and all(order.epoch == self.epoch for order in orders)
            and root == self.rules.root(self.epoch, (order.id for order in orders))
        )

    def _candidates(self) -> list[_Candidate]:
        """Complete and valid books, best first: with the most orders, then of the lowest rank.

        What counts can be seen in the book itself, so that all who have the same books agree.
        """
        rows = []
        for root, book in self._books.items():
            orders = book.all_orders()
            if orders is None or not self._is_valid(root, orders):
                continue
            ranks = [r for r, peer in enumerate(self._proposers) if self._roots[peer] == {root}]
            if ranks:
                rows.append(_Candidate(-len(orders), ranks[0], root, orders))
        return sorted(rows, key=lambda row: row[:2])

    def choose(self) -> tuple[str, list[SignedOrder]] | None:
        """The book to vote for: one that holds our own order as we signed it."""
        if self.own is None or self.abstains:
            return None
        for book in self._candidates():
            if self._has_own(book.orders):
                return book.root, book.orders
        return None

    # --- the clock ----------------------------------------------------------------------------

    def tick(self, utc_s: float, t_s: float) -> Effects:
        """What is due: repeat our order, propose a book, ask for one."""
        left_s, line = self.left_s(utc_s), self.timeline
        effects = NOTHING
        if self.own and t_s >= self._repeat_t_s and left_s >= line.gate_s:
            self._repeat_wait_s *= REPEAT_FACTOR
            self._repeat_t_s = t_s + self._repeat_wait_s
            effects += Effects(sends=(self._sent(self.own),))
        if self.me in self._proposers and self._my_root is None:
            rank = self._proposers.index(self.me)
            due_s = line.book_s - rank * line.rank_step_s
            if due_s >= left_s > line.vote_s and self._is_needed(rank):
                effects += self._propose()
        if t_s >= self._asked_t_s + self._ask_wait_s and self._may_ask(left_s):
            self._asked_t_s = t_s
            if not self.choose():
                effects += Effects(sends=(Send("want", "", self.epoch, {}),))
        return effects

    def wanted(self, utc_s: float, t_s: float) -> Effects:
        """Somebody has no book: ours again, not more often than one may ask."""
        mine = self._books.get(self._my_root or "")
        late = self.left_s(utc_s) < self.timeline.abort_s
        if mine is None or late or t_s < self._answered_t_s + self._ask_wait_s:
            return NOTHING
        self._answered_t_s = t_s
        return Effects(sends=self._parts(self._my_root or "", mine))

    def _may_ask(self, left_s: float) -> bool:
        """Whether a book should be here by now, and is of use to us."""
        line = self.timeline
        first_s = line.book_s - max(line.rank_step_s, self._ask_wait_s)
        return self.own is not None and not self.abstains and first_s >= left_s > line.abort_s

    def _is_needed(self, rank: int) -> bool:
        """Whether the members before us did not propose, or left out what we know of."""
        known = {order.id for order in self._orders.values()}
        if not known:
            return False
        before = [book for book in self._candidates() if book.rank < rank]
        return not any(known <= {order.id for order in book.orders} for book in before)

    def _propose(self) -> Effects:
        orders = sorted(self._orders.values(), key=lambda order: order.id)
        self._my_root = root = self.rules.root(self.epoch, (order.id for order in orders))
        count = -(-len(orders) // ORDERS_PER_PART)
        book = _Proposed(self.me, count)
        for part in range(count):
            start = part * ORDERS_PER_PART
            book.orders[part] = tuple(orders[start : start + ORDERS_PER_PART])
        self._books[root] = book
        self._roots[self.me].add(root)
        saved = Entry("book", {"e": self.epoch, "root": root})
        return Effects((saved,), self._parts(root, book))

    def _parts(self, root: str, book: _Proposed) -> tuple[Send, ...]:
        return tuple(
            Send("book", "", self.epoch, self._body(root, part, book))
            for part in sorted(book.orders)
        )

    def _body(self, root: str, part: int, book: _Proposed) -> Mapping[str, Any]:
        orders = [order.message for order in book.orders[part]]
        return {"root": root, "part": part, "parts": book.parts, "orders": orders}
