"""What every message between members is wrapped in: who, when, in which order, signed."""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from control.canonical import canonical, parse
from firmware.plain_words import in_plain_words
from firmware.trading.identity import SIGNATURE_BYTES, Identity, is_signed

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Peer = Annotated[str, Field(pattern=r"^[a-z2-7]{16}$")]
Count = Annotated[int, Field(ge=0, lt=2**53)]
NO_MESSAGE = "0" * 64  # `prev` of a first message
MOST_DEPTH = 32  # a quoted message is kept in the ledger, which reads twice as deep


class EnvelopeError(ValueError):
    """Bytes that are no message; one line says why."""


class _Fields(BaseModel):
    """The envelope as it is sent."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    v: Literal[1]
    t: Annotated[str, Field(pattern=r"^[a-z]{1,16}$")]  # kind
    c: Annotated[str, Field(min_length=1, max_length=64)]  # community
    p: Peer  # who
    e: Count  # epoch
    n: Count  # sequence number of the sender
    ts: Count  # seconds since 1970, the sender's clock
    m: Annotated[int, Field(ge=1, lt=2**53)]  # version of the membership document
    prev: Hash  # id of the sender's message before
    b: dict[str, Any]  # what is said
    s: Annotated[str, Field(max_length=100)]  # signature, base64


@dataclass(frozen=True, slots=True)
class Message:
    """A message whose form is right; whether it is signed is another question."""

    kind: str
    community: str
    peer: str
    epoch: int
    n: int
    ts_s: int
    version: int
    prev: str
    body: Mapping[str, Any]
    id: str
    fields: Mapping[str, Any]  # as it was sent, with its signature

    def is_signed_by(self, public_key: bytes) -> bool:
        """Whether the owner of the key signed just this."""
        fields = dict(self.fields)
        try:
            signature = b64decode(fields.pop("s"), validate=True)
        except ValueError:  # not base64, or not even ASCII
            return False
        if len(signature) != SIGNATURE_BYTES:
            return False
        return is_signed(public_key, signature, self.kind, canonical(fields))

    def raw(self) -> bytes:
        """As it is sent."""
        return canonical(self.fields)


def seal(
    identity: Identity,
    kind: str,
    body: Mapping[str, Any],
    *,
    community: str,
    epoch: int,
    n: int,
    ts_s: int,
    version: int,
    prev: str,
) -> Message:
    """A signed message."""
    fields: dict[str, Any] = {
        "v": 1,
        "t": kind,
        "c": community,
        "p": identity.peer,
        "e": epoch,
        "n": n,
        "ts": ts_s,
        "m": version,
        "prev": prev,
        "b": dict(body),
    }
    fields["s"] = b64encode(identity.sign(kind, canonical(fields))).decode()
    return unwrap(fields)


def unseal(raw: bytes) -> Message:
    """The message in bytes from outside, its signature not yet checked. Raises EnvelopeError."""
    try:
        fields = parse(raw, MOST_DEPTH)
    except ValueError as error:
        raise EnvelopeError(str(error)) from None
    return unwrap(fields)


def unwrap(fields: Any) -> Message:
    """The message in a parsed envelope. Raises EnvelopeError."""
    try:
        right = _Fields.model_validate(fields)
        signed = {key: value for key, value in fields.items() if key != "s"}
        name = sha256(canonical(signed)).hexdigest()
    except ValidationError as error:
        raise EnvelopeError(one_line(error)) from None
    except ValueError as error:  # text that is not Unicode, integers too long to write
        raise EnvelopeError(str(error)) from None
    return Message(
        kind=right.t,
        community=right.c,
        peer=right.p,
        epoch=right.e,
        n=right.n,
        ts_s=right.ts,
        version=right.m,
        prev=right.prev,
        body=right.b,
        id=name,
        fields=fields,
    )


def one_line(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "message"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {in_plain_words(first)}{more}"
