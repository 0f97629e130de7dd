"""`nanogrid clear`: what a market book comes to."""

import gc
from pathlib import Path

import click

from control import market
from control.canonical import canonical, parse
from control.market_book import Book
from firmware.bad_input import BadInput


@click.command()
@click.argument("book", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The result's file; default: stdout."
)
def clear(book: Path, output: Path | None) -> None:
    """Clear the market book in BOOK (JSON): price, trades, orders left out and why.

    Integers only: prices in 1e-5 currency per kWh, energy in Wh. The result is canonical JSON: the
    same book gives the same bytes, in whatever order its orders stand.
    """
    gc.disable()  # a large book is many objects, none of them in circles
    try:
        result = _result(book)
    finally:
        gc.enable()
    if output is None:
        click.echo(result, nl=False)
        return
    try:
        output.write_bytes(result)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from None


def _result(path: Path) -> bytes:
    """Canonical JSON; `BadInput` names the file, the key and what is wrong."""
    try:
        book = Book.from_dict(parse(path.read_bytes()))
        return canonical(market.clear(book).to_dict()) + b"\n"
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except ValueError as error:  # also from integers too long to write
        raise BadInput(f"{path}: {error}") from None
