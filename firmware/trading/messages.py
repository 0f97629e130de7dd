"""What members say to each other: the body of each kind of message."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from control.market_book import MOST_STEPS
from firmware.trading.envelope import Count, Hash, Peer, one_line

Price = Annotated[int, Field(ge=-(10**9), le=10**9)]
Energy = Annotated[int, Field(ge=0, le=10**9)]
Power = Annotated[int, Field(ge=-(10**9), le=10**9)]
Register = Annotated[int, Field(ge=0, lt=2**53)]
MOST_PLAN_STEPS = 96  # a day of quarters of an hour


class Body(BaseModel):
    """What every body is."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StepBody(Body):
    """So much at this price or a better one."""

    px: Price
    q: Annotated[int, Field(ge=1, le=10**9)]


class OrderBody(Body):
    """An order; without steps it takes an earlier one back."""

    side: Literal["buy", "sell"]
    steps: Annotated[list[StepBody], Field(max_length=MOST_STEPS)]


class BookBody(Body):
    """A part of a proposed book: whole signed messages."""

    root: Hash
    part: Annotated[int, Field(ge=0, lt=100)]
    parts: Annotated[int, Field(ge=1, le=100)]
    orders: Annotated[list[dict[str, Any]], Field(max_length=100)]


class ObjectBody(Body):
    """The sender's order is not in a book, or not as it signed it."""

    book: Hash
    order: dict[str, Any]


class WantBody(Body):
    """The sender has no book."""


class VoteBody(Body):
    """The sender promises these trades to their decider."""

    book: Hash
    res: Hash
    trades: Annotated[list[Hash], Field(min_length=1, max_length=1000)]


class DecideBody(Body):
    """The decider's one word on a trade."""

    trade: Hash
    commit: bool


class AckBody(Body):
    """The voter knows the decision."""

    trade: Hash


class HeadBody(Body):
    """The head of the sender's ledger, and what it committed in the slot with the receiver."""

    n: Count
    h: Hash
    commits: Annotated[list[Hash], Field(max_length=1000)]


class WitnessBody(Body):
    """The sender has seen this head of another member's ledger."""

    peer: Peer
    n: Count
    h: Hash


class MeterBody(Body):
    """What the sender's meter counted in the slot, and its registers at the end of it."""

    imp: Energy
    exp: Energy
    reg_imp: Register
    reg_exp: Register
    q: Literal["ok", "est", "missing"]


class PlanBody(Body):
    """What the sender expects to draw in each step of the day ahead, W; < 0: it feeds.

    No promise. The steps are those of `firmware.trading.rounds.plan_grid`.
    """

    w: Annotated[list[Power], Field(min_length=1, max_length=MOST_PLAN_STEPS)]
    sd: Annotated[list[Energy], Field(max_length=MOST_PLAN_STEPS)]  # of its error, W

    @model_validator(mode="after")
    def _alike(self) -> "PlanBody":
        if len(self.w) != len(self.sd):
            raise ValueError(f"sd: as many numbers as in w, {len(self.w)}, allowed")
        return self


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked of one kind of message before its content is looked at."""

    body: type[Body]
    most_bytes: int
    gathers: bool = False  # for a slot not yet traded, under the membership that we have
    ordered: bool = False  # a lower sequence number than the last one of this kind is a replay


SMALL, BOOK = 8_192, 160_000
KINDS: Mapping[str, Kind] = {
    "order": Kind(OrderBody, SMALL, gathers=True, ordered=True),
    "book": Kind(BookBody, BOOK, gathers=True),
    "object": Kind(ObjectBody, SMALL, gathers=True),
    "want": Kind(WantBody, SMALL, gathers=True),
    "vote": Kind(VoteBody, 80_000),
    "decide": Kind(DecideBody, SMALL),
    "ack": Kind(AckBody, SMALL),
    "head": Kind(HeadBody, 80_000, ordered=True),
    "witness": Kind(WitnessBody, SMALL),
    "meter": Kind(MeterBody, SMALL, ordered=True),
    "plan": Kind(PlanBody, SMALL, gathers=True, ordered=True),
}


def read_body(kind: str, body: Mapping[str, Any]) -> Body:
    """A body in its form. Raises ValueError with one line."""
    try:
        return KINDS[kind].body.model_validate(body)
    except ValidationError as error:
        raise ValueError(one_line(error)) from None
