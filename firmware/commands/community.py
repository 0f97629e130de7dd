"""`nanogrid community`: begin one, take boxes in, join, see who is in it."""

import functools
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from firmware.bad_input import BadInput
from firmware.trading.envelope import one_line
from firmware.trading.folder import DEFAULT, Folder, FolderError
from firmware.trading.founding import first_document, member_of, times_of_slot
from firmware.trading.identity import KEY_BYTES, peer_id
from firmware.trading.membership import (
    Market,
    Member,
    Membership,
    MembershipError,
    read_membership,
)

PRICE_UNIT = Decimal(100_000)  # prices are kept in 1e-5 per kWh
T = TypeVar("T")

folder_option = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=DEFAULT,
    show_default=True,
    help="Where this box keeps its key, the community's document and its ledger.",
)


def said_in_one_line(command: Callable[..., T]) -> Callable[..., T]:
    """What cannot be used is one line on stderr and exit status 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> T:
        try:
            return command(*args, **kwargs)
        except (FolderError, MembershipError) as error:
            raise BadInput(str(error)) from None
        except ValidationError as error:  # of what was put together here
            raise BadInput(one_line(error)) from None
        except ValueError as error:  # text that is not Unicode
            raise BadInput(" ".join(str(error).split())) from None

    return wrapped


def _price(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    try:
        value = Decimal(text) * PRICE_UNIT
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value != value.to_integral_value():
        raise click.BadParameter(f"{text}: a number with up to 5 decimals allowed")
    return int(value)


def _key(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise click.BadParameter(f"{text[:80]}: {2 * KEY_BYTES} hex digits allowed")
    return raw.hex()


@click.group()
def community() -> None:
    """Trade with neighbours: begin a community, take boxes in, join one.

    The administrator's box: `create`, then `invite KEY` for every other box. Every other box:
    `join` shows its KEY, `join FILE` takes over the community.json of the administrator.
    """


@community.command()
@click.argument("name")
@folder_option
@click.option("--house", default="", help="What this box is called in the list of members.")
@click.option("--fee", callback=_price, default="0.01", show_default=True, help="Per kWh.")
@click.option(
    "--feed-in", callback=_price, required=True, help="What the grid pays per kWh: no order below."
)
@click.option(
    "--retail", callback=_price, required=True, help="What the grid asks per kWh: no order above."
)
@click.option("--slot", type=click.IntRange(10, 86400), default=900, show_default=True, help="s")
@click.option("--max-kw", type=click.FloatRange(0, 10_000), default=10.0, show_default=True)
@said_in_one_line
def create(
    name: str,
    folder: Path,
    house: str,
    fee: int,
    feed_in: int,
    retail: int,
    slot: int,
    max_kw: float,
) -> None:
    """Begin the community NAME on this box, which becomes its administrator and first member."""
    box = Folder(folder)
    if box.membership() is not None:
        raise FolderError(f"{box.document}: this box is in a community already")
    admin = box.administrator(make=True)
    times = times_of_slot(slot)
    market = Market(fee=fee, price_floor=feed_in, price_ceiling=retail, times=times)
    own = member_of(box.identity().public_key.hex(), house, max_kw, slot)
    box.keep(first_document(name, admin, [own], market))
    click.echo(f"{box.document}: community {name}, version 1, one member: this box")


@community.command()
@click.argument("key", callback=_key)
@folder_option
@click.option("--house", default="", help="What the box is called in the list of members.")
@click.option(
    "--max-kw",
    type=click.FloatRange(0, 10_000),
    default=10.0,
    show_default=True,
    help="What it may buy and sell at most.",
)
@said_in_one_line
def invite(key: str, folder: Path, house: str, max_kw: float) -> None:
    """Take the box with this KEY in, or change what it may; `nanogrid community join` shows it."""
    box = Folder(folder)
    document = _joined(box)
    member = member_of(key, house, max_kw, document.timeline().slot_s)
    others = [other for other in document.members if other.peer != member.peer]
    _publish(box, document, [*others, member])


@community.command()
@click.argument("peer")
@folder_option
@said_in_one_line
def remove(peer: str, folder: Path) -> None:
    """Take the box PEER out: nobody trades with it once the new document is known."""
    box = Folder(folder)
    document = _joined(box)
    if document.member(peer) is None:
        raise FolderError(f"{peer}: no member; see `nanogrid community members`")
    _publish(box, document, [other for other in document.members if other.peer != peer])


@community.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@folder_option
@said_in_one_line
def join(file: Path | None, folder: Path) -> None:
    """Show this box's key, or join with the community.json FILE of the administrator."""
    box = Folder(folder)
    identity = box.identity()
    if file is None:
        click.echo(f"This box is {identity.peer}. On the administrator's box:")
        click.echo(f"  nanogrid community invite {identity.public_key.hex()} --house NAME")
        return
    try:
        document = read_membership(file.read_bytes())
        box.join(document)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    except MembershipError as error:
        raise BadInput(f"{file}: {error}") from None
    click.echo(f"{box.document}: community {document.community}, version {document.version}")
    for key in document.admins.keys:
        click.echo(f"administrator {peer_id(bytes.fromhex(key))}: compare it with the one you know")


@community.command()
@folder_option
@said_in_one_line
def members(folder: Path) -> None:
    """Who is in the community, and what they may."""
    box = Folder(folder)
    document, me = _joined(box), box.identity().peer
    market = document.market
    band = f"{_shown(market.price_floor)} to {_shown(market.price_ceiling)}"
    slot_s = document.timeline().slot_s
    click.echo(f"{document.community}, version {document.version}, slots of {slot_s:g} s")
    click.echo(f"prices {band} per kWh, fee {_shown(market.fee)}")
    for key in document.admins.keys:
        click.echo(f"administrator {peer_id(bytes.fromhex(key))}")
    for member in document.members:
        limits = f"buys {member.max_buy_wh} Wh, sells {member.max_sell_wh} Wh per slot"
        own = "  (this box)" if member.peer == me else ""
        click.echo(f"{member.peer}  {member.name or '-':16} {limits}{own}")


def _joined(box: Folder) -> Membership:
    document = box.membership()
    if document is None:
        raise FolderError(f"{box.document}: no such file: this box is in no community")
    return document


def _publish(box: Folder, document: Membership, members: list[Member]) -> None:
    """The next version, signed by the administrator of this box."""
    changes = {
        "version": document.version + 1,
        "prev": document.hash,
        "members": members,
        "sigs": [],
    }
    following = Membership.model_validate(document.model_dump() | changes)
    box.keep(following.signed(box.administrator()))
    count = f"{len(members)} members"
    click.echo(
        f"{box.document}: community {document.community}, version {following.version}, {count}"
    )
    click.echo("Bring this file to every box: nanogrid community join community.json")


def _shown(price: int) -> str:
    return f"{Decimal(price) / PRICE_UNIT:f}"
