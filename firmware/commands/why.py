"""`nanogrid why`: who decided each setpoint, for what reason, and what came of it."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from firmware.bad_input import BadInput
from firmware.commands.status import ask, socket_path
from firmware.recording import Recording, RecordingError, own_version
from firmware.replay import Replayed, replay
from firmware.status import status, utc_text
from firmware.why import changes, moment_of, sentences, visible

EXPLAINED = ("format", "site", "version", "cycle", "utc", "mode", "orders", "setpoints", "alarms")


class Instant(click.ParamType[float]):
    """A moment in ISO 8601; UTC unless it says otherwise."""

    name = "ISO"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds since 1970."""
        try:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{value!r}: must be a time like 2026-05-13T17:30:00Z", param, ctx)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="JSON; with --changes one object per line.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="The service's site file."
)
@click.option("--socket", type=click.Path(path_type=Path), help="The service's socket.")
@click.option(
    "--recording",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Explain a recording instead of the running service.",
)
@click.option("--at", "at_utc_s", type=Instant(), help="Moment of the recording; default: its end.")
@click.option(
    "--changes",
    "all_changes",
    is_flag=True,
    help="Every change in the recording that two decimals show.",
)
def why(
    as_json: bool,
    config: Path | None,
    socket: Path | None,
    recording: Path | None,
    at_utc_s: float | None,
    all_changes: bool,
) -> None:
    """Say for each setpoint who decided it, why, and what would have been done otherwise.

    Asks the running service, or explains a recording: its state at some moment, or every change of
    a setpoint. Exit status: 1 when no service answers, 2 for bad input.
    """
    if recording is None:
        if all_changes or at_utc_s is not None:
            raise click.UsageError("--at and --changes need --recording")
        _say(ask(socket_path(config, socket)), as_json)
        return
    if config is not None or socket is not None:
        raise click.UsageError("--recording needs neither --config nor --socket")
    if all_changes and at_utc_s is not None:
        raise click.UsageError("--at and --changes exclude each other")
    try:
        if all_changes:
            _tell_changes(Recording(recording), as_json)
        else:
            _tell_moment(Recording(recording), at_utc_s, as_json)
    except RecordingError as error:
        raise BadInput(str(error)) from None


def _say(document: dict[str, object], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({key: document[key] for key in EXPLAINED}, indent=1))
    else:
        click.echo("\n".join(sentences(document)))


def _tell_moment(recording: Recording, at_utc_s: float | None, as_json: bool) -> None:
    """The last cycle, or the last one until then."""
    found: Replayed | None = None
    first: Replayed | None = None
    for replayed in replay(recording):
        first = first or replayed
        if at_utc_s is not None and replayed.cycle.sample.utc_s > at_utc_s:
            break
        found = replayed
    if first is None:
        raise BadInput(f"{recording.path}: no cycles")
    if found is None:
        begin = utc_text(first.cycle.sample.utc_s)
        raise BadInput(f"{recording.path}: nothing so early, it begins at {begin}")
    document = status("", recording.version, recording.site, moment_of(found))
    _say(document, as_json)
    _warn(int(found.differs), recording)


def _tell_changes(recording: Recording, as_json: bool) -> None:
    differing = 0

    def counted() -> Iterator[Replayed]:
        nonlocal differing
        for replayed in replay(recording):
            differing += replayed.differs
            yield replayed

    told = changes(counted())
    for change in told if as_json else visible(told):
        click.echo(json.dumps(asdict(change)) if as_json else change.line())
    _warn(differing, recording)


def _warn(differing: int, recording: Recording) -> None:
    """Reasons are as recorded; where today's code decides otherwise, the mode may be too."""
    if differing:
        click.echo(
            f"nanogrid why: recorded by version {recording.version}; this is {own_version()} and"
            f" decides {differing} of these cycles otherwise: reasons are as recorded",
            err=True,
        )
