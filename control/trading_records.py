"""What goes into and comes out of the trading protocol, and what all of its members agree on."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import pairwise
from typing import Any

from control.canonical import canonical, digest
from control.market_book import Book, Order

PROPOSERS = 3  # so many members may propose a slot's book, one after the other


@dataclass(frozen=True, slots=True)
class Timeline:
    """When things happen, in seconds before the delivery of the slot begins.

    A slot's number is its epoch: epoch e is delivered from e * slot_s until (e + 1) * slot_s, UTC.
    """

    slot_s: float = 900.0
    gate_s: float = 120.0  # no orders later than this
    grace_s: float = 5.0  # that an order may be under way
    book_s: float = 110.0  # the first proposer's book; the others follow by `rank_step_s`
    rank_step_s: float = 5.0
    vote_s: float = 90.0
    abort_s: float = 70.0  # who has not voted by then does not
    decide_s: float = 60.0  # who was not asked to commit by then aborts, by its own clock
    head_s: float = 55.0  # deciders tell all that they committed
    schedule_s: float = 30.0  # what is committed by then is delivered
    retry_s: float = 2.0  # first wait for an answer; then longer and longer

    def __post_init__(self) -> None:
        order = {
            "slot_s": self.slot_s,
            "gate_s": self.gate_s,
            "gate_s - grace_s": self.gate_s - self.grace_s,
            "book_s": self.book_s,
            f"book_s - {PROPOSERS - 1} * rank_step_s": self.book_s
            - (PROPOSERS - 1) * self.rank_step_s,
            "vote_s": self.vote_s,
            "abort_s": self.abort_s,
            "decide_s": self.decide_s,
            "head_s": self.head_s,
            "schedule_s": self.schedule_s,
            "0": 0.0,
        }
        names = list(order)
        for earlier, later in pairwise(names):
            if order[earlier] < order[later]:
                raise ValueError(f"{earlier} = {order[earlier]:g}: at least {later} allowed")
        if min(self.grace_s, self.rank_step_s) < 0 or self.retry_s <= 0 or self.slot_s <= 0:
            raise ValueError("timeline: times above 0 allowed")

    @classmethod
    def of_slot(cls, slot_s: float) -> "Timeline":
        """The default one, shrunk or stretched."""
        default = cls()
        factor = slot_s / default.slot_s
        return cls(**{f.name: getattr(default, f.name) * factor for f in fields(cls)})

    def delivery_s(self, epoch: int) -> float:
        """When the delivery of an epoch begins, UTC."""
        return epoch * self.slot_s

    def trading(self, utc_s: float) -> int:
        """The epoch that is traded at a time: the next one to be delivered."""
        return int(utc_s // self.slot_s) + 1


@dataclass(frozen=True, slots=True)
class Rules:
    """What the membership document says: the same for all who may trade with each other."""

    community: str
    membership: str  # hash of the document
    members: tuple[str, ...]
    fee: int
    price_floor: int
    price_ceiling: int
    first_proposer: str = ""  # a member that always proposes first, where there is one

    def seed(self, epoch: int) -> bytes:
        """What decides ties and proposers.

        From what every member has, so that a box which missed a slot can trade in the next; new in
        each slot; and the members' keys are the administrators' choice, not a member's.
        """
        return sha256(canonical(["NGM1 seed", self.community, self.membership, epoch])).digest()

    def proposers(self, epoch: int) -> list[str]:
        """Who proposes the book, in turn."""
        seed = self.seed(epoch)
        ranked = sorted(self.members, key=lambda peer: sha256(seed + peer.encode()).digest())
        if self.first_proposer in ranked:
            ranked.remove(self.first_proposer)
            ranked.insert(0, self.first_proposer)
        return ranked[:PROPOSERS]

    def root(self, epoch: int, order_ids: Iterable[str]) -> str:
        """The name of a book: no other orders have it."""
        return digest(["NGM1 book", self.membership, epoch, sorted(order_ids)])

    def book(self, epoch: int, orders: "Iterable[SignedOrder]") -> Book:
        """What is cleared."""
        return Book(
            epoch=epoch,
            seed=self.seed(epoch),
            fee=self.fee,
            price_floor=self.price_floor,
            price_ceiling=self.price_ceiling,
            orders=tuple(signed.order for signed in orders),
        )


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """A member's order, its signature already checked."""

    id: str
    epoch: int
    n: int  # the signer's sequence number: the higher one replaces
    order: Order
    message: Mapping[str, Any]  # as it was signed, for the book

    @property
    def peer(self) -> str:
        """Whose it is."""
        return self.order.peer


@dataclass(frozen=True, slots=True)
class BookPart:
    """A part of a proposed book; its signature and those of its orders already checked."""

    proposer: str
    epoch: int
    root: str
    part: int  # 0 to parts - 1
    parts: int
    orders: tuple[SignedOrder, ...]


@dataclass(frozen=True, slots=True)
class Vote:
    """A voter's promise to deliver if the decider says so."""

    voter: str
    epoch: int
    root: str
    result: str
    trades: tuple[str, ...]
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """A decider's word on one trade."""

    decider: str
    epoch: int
    trade: str
    commit: bool
    message: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """What has to be on the disk before anything is sent: one line of the ledger."""

    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Send:
    """A message to be sealed and sent; to everybody when `to` is empty."""

    kind: str
    to: str
    epoch: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Effects:
    """First all of `saves`, in one transaction that is on the disk, then `sends`.

    When the saves fail nothing may be sent, and the protocol has to be restored from what is saved.
    """

    saves: tuple[Entry, ...] = ()
    sends: tuple[Send, ...] = ()

    def __add__(self, other: "Effects") -> "Effects":
        return Effects(self.saves + other.saves, self.sends + other.sends)


NOTHING = Effects()


@dataclass(frozen=True, slots=True)
class Pact:
    """One trade of a cleared book, as both parties compute it."""

    id: str
    epoch: int
    buyer: str
    seller: str
    wh: int
    price: int
    fee: int

    @property
    def decider(self) -> str:
        """Who alone decides: by hash, so that nobody owns the choice."""
        return min(
            (self.buyer, self.seller), key=lambda peer: sha256((self.id + peer).encode()).digest()
        )

    @property
    def voter(self) -> str:
        """The other one."""
        return self.seller if self.decider == self.buyer else self.buyer

    def row(self) -> dict[str, Any]:
        """As it stands in the ledger, beside its epoch."""
        return {
            "id": self.id,
            "buyer": self.buyer,
            "seller": self.seller,
            "q": self.wh,
            "price": self.price,
            "fee": self.fee,
        }

    @classmethod
    def of_row(cls, epoch: int, row: Mapping[str, Any]) -> "Pact":
        """The one that `row` made a row of."""
        names = ("id", "buyer", "seller", "q", "price", "fee")
        name, buyer, seller, wh, price, fee = (row[key] for key in names)
        return cls(name, epoch, buyer, seller, wh, price, fee)


def pact(epoch: int, root: str, buyer: str, seller: str, wh: int, price: int, fee: int) -> Pact:
    """A trade with the name that follows from all that matters of it."""
    name = digest(["NGM1 trade", epoch, root, buyer, seller, wh, price, fee])
    return Pact(name, epoch, buyer, seller, wh, price, fee)
