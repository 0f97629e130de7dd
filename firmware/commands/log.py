"""`nanogrid log`: what happened, from the store."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from firmware.bad_input import BadInput
from firmware.commands.export import store_path, utc_option
from firmware.store_reading import LoggedEvent, read_events
from firmware.store_schema import StoreError


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="The site file, for its store.")
@click.option("--db", type=click.Path(path_type=Path), help="The store's file itself.")
@click.option("--since", "since_s", callback=utc_option, help="First ISO time; default: all.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
def log(config: Path | None, db: Path | None, since_s: int | None, as_json: bool) -> None:
    """Show the events of the store in order: number, time in UTC, severity, key, text."""
    path = store_path(config, db)
    show = _object if as_json else _line
    try:
        for event in read_events(path, since_s):
            click.echo(show(event))
    except StoreError as error:
        raise BadInput(str(error)) from None


def _time(event: LoggedEvent) -> str:
    return datetime.fromtimestamp(event.utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _line(event: LoggedEvent) -> str:
    return f"{event.seq:>6} {_time(event)} {event.severity:7} {event.key}: {event.text}"


def _object(event: LoggedEvent) -> str:
    return json.dumps({**asdict(event), "ts_utc": _time(event)})
