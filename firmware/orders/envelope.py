"""The command envelope as models: what each operation takes, and how it is signed.

Powers in W (the wire's unit), shares as fractions, times in seconds since 1970 UTC. What is not
named here is refused.
"""

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Discriminator, Field, TypeAdapter, ValidationError

from control.canonical import canonical
from control.state import Mode
from firmware.plain_words import in_plain_words

VERSION = 1
MAX_BYTES = 1 << 16
SIGNED = b"NG1|cmd|"  # before the canonical JSON: a signature for something else is none here
LARGEST = 2**53 - 1  # what every JSON library keeps exactly

Watts = Annotated[int, Field(ge=-1_000_000, le=1_000_000, description="W, > 0 discharges")]
LimitWatts = Annotated[int, Field(ge=0, le=1_000_000, description="W, at most")]
TtlS = Annotated[int, Field(ge=1, le=86400, description="s, how long it counts")]
UtcS = Annotated[float, Field(ge=0, le=1e11, description="seconds since 1970 UTC")]
PricePerKwh = Annotated[float, Field(ge=-100_000, le=100_000, description="currency per kWh")]
Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")]


class Part(BaseModel):
    """A part of an envelope: strict types, nothing unknown."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# --- arguments -----------------------------------------------------------------------------


class NoArgs(Part):
    """Nothing."""


class ModeArgs(Part):
    """`auto` takes back what the same level or a lower one has ordered."""

    mode: Literal["auto", "manual", "stopped"]
    ttl_s: TtlS | None = None


class SetpointArgs(Part):
    """Above 0 discharges."""

    p_w: Watts
    ttl_s: TtlS
    device: Name | None = None


class PvLimitArgs(Part):
    """Of one inverter, or of all together, in the ratio of their ratings."""

    p_w: LimitWatts
    ttl_s: TtlS
    device: Name | None = None


class GridLimitArgs(Part):
    """None takes ordered limits back."""

    p_w: LimitWatts | None
    ttl_s: TtlS | None = None


class PriceFrom(Part):
    """Prices from one moment on, until the next entry."""

    from_: UtcS = Field(alias="from")
    buy: PricePerKwh
    sell: PricePerKwh


class PriceArgs(Part):
    """A table over time; after `ttl_s` the tariff of the site file counts again."""

    prices: tuple[PriceFrom, ...] = Field(min_length=1, max_length=500, strict=False)
    ttl_s: TtlS


class GeneratorArgs(Part):
    """So long the generator is wanted, or not wanted."""

    ttl_s: TtlS
    device: Name | None = None


class ReserveArgs(Part):
    """Charge below which the battery is not discharged beside the grid; None takes it back."""

    soc_frac: Annotated[float, Field(ge=0, le=1)] | None
    ttl_s: TtlS | None = None


class TradeArgs(Part):
    """Whether the site trades with its neighbours."""

    on: bool
    ttl_s: TtlS | None = None


# --- envelopes -----------------------------------------------------------------------------


class Precondition(Part):
    """What must hold for the command to count."""

    mode: Mode | None = Field(None, strict=False, description="the mode that the site is in")
    gen: int | None = Field(None, ge=0, le=LARGEST, description="accepted commands so far")


class Envelope(Part):
    """What every command has."""

    v: int = Field(ge=VERSION, le=VERSION, description="major version")
    id: str = Field(pattern=r"^[A-Za-z0-9_-]{8,64}$", description="new for each command: a UUID")
    iat: UtcS = Field(description="issued: seconds since 1970 UTC")
    exp: UtcS = Field(description="void after: seconds since 1970 UTC, iat + 120 at most")
    src: Name = Field(description="as in [[commands.source]]")
    seq: int = Field(ge=0, le=LARGEST, description="above that of the source's last command")
    if_: Precondition | None = Field(None, alias="if", description="what must hold")
    sig: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9+/]{86}==$",
        description="Ed25519 over NG1|cmd| and the canonical JSON without sig, base64",
    )


class ModeSet(Envelope):
    """Auto, manual (only operators' setpoints count), or stopped (devices by themselves)."""

    op: Literal["mode.set"]
    args: ModeArgs


class BatterySetpoint(Envelope):
    """Charge or discharge at this power."""

    op: Literal["battery.setpoint"]
    args: SetpointArgs


class PvLimit(Envelope):
    """Hold PV back."""

    op: Literal["pv.limit"]
    args: PvLimitArgs


class ExportLimit(Envelope):
    """Feed in no more than this."""

    op: Literal["grid.export_limit"]
    args: GridLimitArgs


class ImportLimit(Envelope):
    """Draw no more than this from the grid."""

    op: Literal["grid.import_limit"]
    args: GridLimitArgs


class PriceSet(Envelope):
    """Prices instead of the tariff's."""

    op: Literal["price.set"]
    args: PriceArgs


class GeneratorStart(Envelope):
    """Run the generator."""

    op: Literal["generator.start"]
    args: GeneratorArgs


class GeneratorStop(Envelope):
    """Rest the generator."""

    op: Literal["generator.stop"]
    args: GeneratorArgs


class BatteryReserve(Envelope):
    """Keep so much charge for a bad day."""

    op: Literal["battery.reserve"]
    args: ReserveArgs


class PlanReplan(Envelope):
    """Plan anew at once."""

    op: Literal["plan.replan"]
    args: NoArgs


class TradeSet(Envelope):
    """Trade, or do not."""

    op: Literal["trade.set"]
    args: TradeArgs


class AlarmAcknowledge(Envelope):
    """Clear what is latched: emergency stop, locked generator."""

    op: Literal["alarm.acknowledge"]
    args: NoArgs


Command = (
    ModeSet
    | BatterySetpoint
    | PvLimit
    | ExportLimit
    | ImportLimit
    | PriceSet
    | GeneratorStart
    | GeneratorStop
    | BatteryReserve
    | PlanReplan
    | TradeSet
    | AlarmAcknowledge
)
ADAPTER: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Discriminator("op")])
OPERATIONS = (
    "mode.set",
    "battery.setpoint",
    "pv.limit",
    "grid.export_limit",
    "grid.import_limit",
    "price.set",
    "generator.start",
    "generator.stop",
    "battery.reserve",
    "plan.replan",
    "trade.set",
    "alarm.acknowledge",
)


class EnvelopeError(ValueError):
    """An envelope that is none; one line says why."""


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. Raises EnvelopeError."""
    if len(raw) > MAX_BYTES:
        raise EnvelopeError(f"{len(raw)} bytes; {MAX_BYTES} at most")
    try:
        plain = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
        canonical(plain)
    except EnvelopeError:
        raise
    except (ValueError, RecursionError) as error:
        raise EnvelopeError(f"not JSON: {error}") from None
    if not isinstance(plain, dict):
        raise EnvelopeError("must be a JSON object")
    return plain


def validated(plain: Mapping[str, Any]) -> Command:
    """The envelope with its operation. Raises EnvelopeError that names the first wrong field."""
    try:
        return ADAPTER.validate_python(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if part not in OPERATIONS)
    if first["type"].startswith("union_tag"):
        raise EnvelopeError(f"op: must be one of {', '.join(OPERATIONS)}")
    raise EnvelopeError(f"{where}: {in_plain_words(first)}")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise EnvelopeError("the same key twice in one object")
    return found


def _no_number(text: str) -> Any:
    raise EnvelopeError(f"{text} is no number in JSON")


# --- signatures ----------------------------------------------------------------------------


def signed_bytes(plain: Mapping[str, Any]) -> bytes:
    """What the signature of an envelope is over: everything but `sig`."""
    return SIGNED + canonical({key: value for key, value in plain.items() if key != "sig"})


def sign(plain: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
    """The `sig` of an envelope: base64 of an Ed25519 signature (RFC 8032)."""
    return base64.b64encode(key.sign(signed_bytes(plain))).decode()


def is_signed(plain: Mapping[str, Any], public_key: str) -> bool:
    """Whether the envelope bears a signature that the public key (base64) belongs to."""
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
        signature = base64.b64decode(str(plain.get("sig", "")), validate=True)
        key.verify(signature, signed_bytes(plain))
    except (ValueError, InvalidSignature):
        return False
    return True
