"""`nanogrid export`: the store's history as CSV, in the format that `nanogrid train` reads."""

import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import click

from firmware.bad_input import BadInput
from firmware.config import SiteError, load_site
from firmware.store_reading import Span, find_span, read_steps
from firmware.store_records import COLUMNS
from firmware.store_schema import StoreError
from models.history import format_utc, parse_utc_s

STEPS_MIN = ("1", "5", "15", "30", "60")
SHOWN_EVERY = 1000


def utc_option(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """An option's ISO 8601 time as UTC seconds; without an offset it is UTC."""
    try:
        return None if value is None else parse_utc_s(value)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{value!r} is not a time like 2026-05-13T12:00:00Z") from None


def store_path(config: Path | None, db: Path | None) -> Path:
    """The store that is meant by exactly one of a site file and a store's file."""
    if (config is None) == (db is None):
        raise BadInput("give either --config or --db")
    if db is not None:
        return db
    assert config is not None
    try:
        path = load_site(config).store.path
    except SiteError as error:
        raise BadInput(error.errors[0]) from None
    if not path:
        raise BadInput(f"{config}: [store] path is empty: this site keeps no history")
    return Path(path)


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="The site file, for its store.")
@click.option("--db", type=click.Path(path_type=Path), help="The store's file itself.")
@click.option(
    "--from", "since_s", callback=utc_option, help="First ISO time, included; default: all."
)
@click.option("--to", "until_s", callback=utc_option, help="Last ISO time, excluded.")
@click.option(
    "--step",
    "step_min",
    type=click.Choice(STEPS_MIN),
    default="15",
    show_default=True,
    help="Minutes per row; `nanogrid train` and `forecast` take 5 and more.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The CSV file; compressed if its name ends in .gz.",
)
def export(
    config: Path | None,
    db: Path | None,
    since_s: int | None,
    until_s: int | None,
    step_min: str,
    output: Path,
) -> None:
    """Write the store's history as CSV on a regular grid, with the service running or not.

    First column ts_utc, the interval's start; then means in the unit of the column's name; empty
    where less than half is known.
    """
    path = store_path(config, db)
    try:
        span = find_span(path, since_s, until_s, 60 * int(step_min))
        _write(output, _lines(path, span))
    except StoreError as error:
        raise BadInput(str(error)) from None
    rows = "1 row" if span.steps == 1 else f"{span.steps} rows"
    click.echo(f"{output}: {rows} from {format_utc(span.start_utc_s)}", err=True)


def _lines(path: Path, span: Span) -> Iterator[str]:
    yield ",".join(("ts_utc", *COLUMNS)) + "\n"
    with _progress(span.steps) as bar:
        for number, (start_utc_s, values) in enumerate(read_steps(path, span), start=1):
            cells = ("" if value is None else f"{value:.6g}" for value in values)
            yield ",".join((format_utc(start_utc_s), *cells)) + "\n"
            if number % SHOWN_EVERY == 0:
                bar(SHOWN_EVERY)


def _write(output: Path, lines: Iterator[str]) -> None:
    """The file appears only when it is complete."""
    partial = output.with_name(output.name + ".part")
    try:
        with _opened(partial, output.suffix == ".gz") as file:
            file.writelines(lines)
        os.replace(partial, output)
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def _opened(path: Path, packed: bool) -> Iterator[TextIO]:
    """A text file, compressed if asked for; equal rows make equal files."""
    with path.open("wb") as raw, ExitStack() as inner:
        file: BinaryIO = raw
        if packed:
            compressed = gzip.GzipFile("", "wb", fileobj=raw, mtime=0)
            file = cast(BinaryIO, inner.enter_context(compressed))
        yield inner.enter_context(io.TextIOWrapper(file, encoding="utf-8", newline=""))


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda count: bar.advance(task, count)
