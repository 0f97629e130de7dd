"""The membership document: who may trade, within which limits, when; signed by administrators.

A box learns the first document from a person, never from the network. From then on it follows only
documents with a higher version that enough of the administrators of the one before have signed.
"""

from base64 import b64decode, b64encode
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from control.canonical import canonical, digest, parse
from control.trading_records import Rules, Timeline
from firmware.trading.envelope import Hash, Peer, one_line
from firmware.trading.identity import Identity, is_signed, peer_id

PURPOSE = "membership"
MOST_BYTES = 1_000_000
MOST_MEMBERS = 2000

Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Seconds = Annotated[int, Field(ge=0, lt=2**53)]
Energy = Annotated[int, Field(ge=0, le=10**9)]
Price = Annotated[int, Field(ge=-(10**9), le=10**9)]
Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]


class MembershipError(ValueError):
    """A document that is not followed; one line says why."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Member(_Table):
    """One box and what it may do in a slot."""

    peer: Peer
    key: Key
    name: Annotated[str, Field(max_length=64)]
    max_buy_wh: Energy
    max_sell_wh: Energy
    valid_from: Seconds
    valid_to: Seconds

    @model_validator(mode="after")
    def _name_follows_from_key(self) -> "Member":
        if peer_id(bytes.fromhex(self.key)) != self.peer:
            raise ValueError("peer does not belong to key")
        return self


class Times(_Table):
    """The market's timeline in milliseconds; see `control.trading_records.Timeline`."""

    slot_ms: Annotated[int, Field(ge=1000, le=86_400_000)] = 900_000
    gate_ms: Milliseconds = 120_000
    grace_ms: Milliseconds = 5_000
    book_ms: Milliseconds = 110_000
    rank_step_ms: Milliseconds = 5_000
    vote_ms: Milliseconds = 90_000
    abort_ms: Milliseconds = 70_000
    decide_ms: Milliseconds = 60_000
    head_ms: Milliseconds = 55_000
    schedule_ms: Milliseconds = 30_000
    retry_ms: Annotated[int, Field(ge=10, le=60_000)] = 2_000

    @model_validator(mode="after")
    def _in_order(self) -> "Times":
        self.timeline()
        return self

    def timeline(self) -> Timeline:
        """The same in seconds. Raises ValueError when they are not in order."""
        return Timeline(**{f"{k.removesuffix('_ms')}_s": ms / 1000 for k, ms in self})


class Market(_Table):
    """Prices in 1e-5 currency per kWh: the fee, and the band that orders must keep to."""

    fee: Annotated[int, Field(ge=0, le=10**9)]
    price_floor: Price
    price_ceiling: Price
    times: Times = Times()

    @model_validator(mode="after")
    def _band(self) -> "Market":
        if self.price_ceiling < self.price_floor:
            raise ValueError("price_ceiling: at least price_floor allowed")
        return self


class Administrators(_Table):
    """Whose signatures make the next document valid, and how many of them."""

    need: Annotated[int, Field(ge=1, le=16)]
    keys: Annotated[list[Key], Field(min_length=1, max_length=16)]

    @model_validator(mode="after")
    def _enough(self) -> "Administrators":
        if len(set(self.keys)) < len(self.keys):
            raise ValueError("keys: the same key twice")
        if self.need > len(self.keys):
            raise ValueError("need: at most the number of keys allowed")
        return self


class Signature(_Table):
    """One administrator's."""

    key: Key
    sig: Annotated[str, Field(max_length=100)]


class Membership(_Table):
    """The whole document."""

    v: Literal[1] = 1
    community: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]
    version: Annotated[int, Field(ge=1, lt=2**53)]
    prev: Hash  # of the document before; zeros for the first
    admins: Administrators
    members: Annotated[list[Member], Field(max_length=MOST_MEMBERS)]
    first_proposer: Peer | Literal[""] = ""
    market: Market
    sigs: Annotated[list[Signature], Field(max_length=16)] = []

    @model_validator(mode="after")
    def _unique(self) -> "Membership":
        if len({member.peer for member in self.members}) < len(self.members):
            raise ValueError("members: the same box twice")
        return self

    @property
    def hash(self) -> str:
        """What is signed, in short."""
        return digest(self._unsigned())

    def member(self, peer: str) -> Member | None:
        """The entry of one box."""
        return next((member for member in self.members if member.peer == peer), None)

    def timeline(self) -> Timeline:
        """The market's times."""
        return self.market.times.timeline()

    def rules(self, epoch: int) -> Rules:
        """What all members agree on in an epoch."""
        start_s = self.timeline().delivery_s(epoch)
        valid = (m.peer for m in self.members if m.valid_from <= start_s < m.valid_to)
        return Rules(
            community=self.community,
            membership=self.hash,
            members=tuple(sorted(valid)),
            fee=self.market.fee,
            price_floor=self.market.price_floor,
            price_ceiling=self.market.price_ceiling,
            first_proposer=self.first_proposer,
        )

    def signed(self, identity: Identity) -> "Membership":
        """With one more signature."""
        key = identity.public_key.hex()
        sig = b64encode(identity.sign(PURPOSE, canonical(self._unsigned()))).decode()
        others = [s for s in self.sigs if s.key != key]
        return self.model_copy(update={"sigs": [*others, Signature(key=key, sig=sig)]})

    def signers(self) -> set[str]:
        """Keys whose signatures are right."""
        data = canonical(self._unsigned())
        return {s.key for s in self.sigs if _is_right(s, data)}

    def raw(self) -> bytes:
        """As it is published."""
        return canonical(self.model_dump())

    def _unsigned(self) -> dict[str, Any]:
        return self.model_dump(exclude={"sigs"})


def read_membership(raw: bytes) -> Membership:
    """The document in bytes from outside; signatures not yet checked. Raises MembershipError."""
    if len(raw) > MOST_BYTES:
        raise MembershipError(f"{len(raw)} bytes: at most {MOST_BYTES} allowed")
    try:
        return Membership.model_validate(parse(raw))
    except ValidationError as error:
        raise MembershipError(one_line(error)) from None
    except ValueError as error:
        raise MembershipError(str(error)) from None


def require_signed(document: Membership, admins: Administrators) -> None:
    """Enough of these administrators must have signed. Raises MembershipError."""
    count = len(document.signers() & set(admins.keys))
    if count < admins.need:
        raise MembershipError(
            f"version {document.version}: signed by {count} administrators, {admins.need} needed"
        )


def follow(current: Membership, new: Membership) -> Membership:
    """The document to go by from now on: the new one. Raises MembershipError.

    Its `prev` is for people to read: versions may be missed, and whoever missed the one of two that
    holds has another before it than everybody else.
    """
    if new.community != current.community:
        raise MembershipError(f"community {new.community}: {current.community} allowed")
    if new.version < current.version:
        raise MembershipError(f"version {new.version}: older than ours, {current.version}")
    require_signed(new, current.admins)
    if new.version == current.version and new.hash > current.hash:
        raise MembershipError(f"version {new.version}: another than ours, which holds")
    return new


def is_rival(current: Membership, other: Membership) -> bool:
    """Whether enough of the administrators signed both, two documents of one version.

    Which of them holds must not depend on which came first: `follow` takes the lower hash.
    """
    if other.community != current.community or other.version != current.version:
        return False
    enough = len(other.signers() & set(current.admins.keys)) >= current.admins.need
    return enough and other.hash != current.hash


def _is_right(signature: Signature, data: bytes) -> bool:
    try:
        raw = b64decode(signature.sig, validate=True)
    except ValueError:  # not base64, or not even ASCII
        return False
    return is_signed(bytes.fromhex(signature.key), raw, PURPOSE, data)
