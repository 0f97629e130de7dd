"""From an operation to its envelope, through the local socket, until its fate is known."""

import functools
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from firmware.bad_input import BadInput
from firmware.commands.status import DEFAULT_SOCKET, socket_path
from firmware.local_client import LocalError, UnansweredError, ask

VALID_S = 60  # a command that has not arrived by then is void
ANSWER_S = 10.0  # a service that runs has accepted or refused long before
EFFECT_S = 60.0  # after this nobody watches any more what comes of it
POLL_S = 0.1
KEY = "an Ed25519 private key in PEM, without a password: openssl genpkey -algorithm ed25519"
MAY_COUNT = "the order may still take effect: see nanogrid status"
PENDING, STANDING = ("received",), ("accepted",)
FAILURES = ("rejected", "failed", "expired", "superseded")

Operation = tuple[str, dict[str, Any]]
File = click.Path(dir_okay=False, path_type=Path)


@dataclass(frozen=True, slots=True)
class Way:
    """Where a command goes and what is said about it; with `printed` it goes to the terminal."""

    config: Path | None
    socket: Path | None
    as_json: bool
    wait: bool
    printed: bool
    source: str | None
    key: Path | None
    seq: int | None


ADDRESS = (
    click.option("--config", type=File, help="The service's site file."),
    click.option("--socket", type=File, help=f"The service's socket.  [default: {DEFAULT_SOCKET}]"),
)
OPTIONS = (
    *ADDRESS,
    click.option("--json", "as_json", is_flag=True, help="Acknowledgements as lines of JSON."),
    click.option("--no-wait", is_flag=True, help="End once the command is accepted or refused."),
    click.option(
        "--print", "printed", is_flag=True, help="Print the envelope for MQTT; send nothing."
    ),
    click.option("--source", help="With --print: the name in [[commands.source]]."),
    click.option(
        "--key",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="With --print: the source's Ed25519 private key (PEM) to sign with.",
    ),
    click.option(
        "--seq",
        type=click.IntRange(min=0),
        help="With --print: a number above that of the source's last command.",
    ),
)


def with_address(function: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say where the service is, for those who write them before the order."""
    return functools.reduce(lambda made, option: option(made), reversed(ADDRESS), function)


def sent(function: Callable[..., Operation]) -> Callable[..., None]:
    """Send the operation that a subcommand returns; adds the options that all of them share."""

    @functools.wraps(function)
    def command(
        config: Path | None,
        socket: Path | None,
        as_json: bool,
        no_wait: bool,
        printed: bool,
        source: str | None,
        key: Path | None,
        seq: int | None,
        **given: Any,
    ) -> None:
        if config is None and socket is None:
            config, socket = _address_of_group()
        way = Way(config, socket, as_json, not no_wait, printed, source, key, seq)
        deliver(*function(**given), way)

    return functools.reduce(lambda made, option: option(made), reversed(OPTIONS), command)


def _address_of_group() -> tuple[Path | None, Path | None]:
    group = click.get_current_context().parent
    return (group.params["config"], group.params["socket"]) if group else (None, None)


def deliver(op: str, args: dict[str, Any], way: Way) -> None:
    """Print the operation's envelope, or send it and tell what becomes of it.

    Raises BadInput; ends the program with 1 when there is no service or it comes to nothing.
    """
    now_s = int(time.time())
    envelope: dict[str, Any] = {
        "v": 1,
        "id": str(uuid.uuid4()),
        "iat": now_s,
        "exp": now_s + VALID_S,
        "op": op,
        "args": args,
    }
    if way.printed:
        click.echo(_addressed(envelope, way))
        return
    if way.source is not None or way.key is not None or way.seq is not None:
        raise click.UsageError("--source, --key and --seq need --print")
    path = socket_path(way.config, way.socket)
    for acknowledgement in _acknowledgements(path, envelope, way.wait):
        _tell(acknowledgement, way.as_json)
        last = acknowledgement
    if last["status"] in FAILURES:
        raise SystemExit(1)
    if last["status"] in PENDING:
        late = f"taken, but not answered within {ANSWER_S:g} s"
        raise click.ClickException(f"{path}: {late}; {MAY_COUNT}")


def _addressed(envelope: dict[str, Any], way: Way) -> str:
    """The envelope as a supervisor would send it, signed where there is a key."""
    from firmware.orders.envelope import EnvelopeError, sign, validated

    if way.source is None or way.seq is None:
        raise click.UsageError("--print needs --source and --seq")
    envelope |= {"src": way.source, "seq": way.seq}
    if way.key is not None:
        envelope["sig"] = sign(envelope, _private_key(way.key))
    try:
        validated(envelope)
    except EnvelopeError as error:
        raise BadInput(f"this would be refused: {error}") from None
    return json.dumps(envelope, separators=(",", ":"))


def _private_key(path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it needs a password
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{path}: must be {KEY}")
    return key


def _acknowledgements(path: Path, envelope: dict[str, Any], wait: bool) -> Iterator[dict[str, Any]]:
    """Yield each acknowledgement, as long as one may come."""
    *_, newest = _ask(path, {"command": envelope})
    yield newest
    told, end_s = {newest["status"]}, time.monotonic() + ANSWER_S
    while newest["status"] in (*PENDING, *(STANDING if wait else ())):
        if time.monotonic() > end_s:
            return
        time.sleep(POLL_S)
        for newest in _ask(path, {"ack": envelope["id"]}):
            if newest["status"] not in told:
                yield newest
                told, end_s = told | {newest["status"]}, time.monotonic() + EFFECT_S


def _ask(path: Path, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the acknowledgements so far, the newest last."""
    try:
        answer = ask(path, request)
        return [*answer["earlier"], answer["ack"]]
    except UnansweredError as error:
        raise click.ClickException(f"{error}; {MAY_COUNT}") from None
    except LocalError as error:
        raise click.ClickException(str(error)) from None


def _tell(acknowledgement: dict[str, Any], as_json: bool) -> None:
    """One line; that it was received is told to programs only."""
    status, reason = acknowledgement["status"], acknowledgement["reason"]
    if as_json:
        click.echo(json.dumps(acknowledgement))
    elif status not in PENDING:
        click.echo(f"{status}: {reason}" if reason else status, err=status in FAILURES)
