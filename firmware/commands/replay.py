"""`nanogrid replay`: does today's code decide what the recording says was decided?"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from firmware.recording import Recording, RecordingError, own_version
from firmware.replay import Replayed, describe_difference
from firmware.replay import replay as replay_recording


@click.command()
@click.argument("recording", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def replay(recording: Path) -> None:
    """Recompute every command of RECORDING and report the first that differs.

    Exit status: 0 all the same, 1 a command differs, 2 not a recording.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    cycles = differing = 0
    first: Replayed | None = None
    columns = (SpinnerColumn(), TextColumn("{task.completed} cycles"), TimeElapsedColumn())
    try:
        source = Recording(recording)
        with Progress(*columns, console=Console(stderr=True), disable=not _is_terminal()) as bar:
            task = bar.add_task("replay", total=None)
            for replayed in replay_recording(source):
                cycles += 1
                if replayed.differs:
                    differing += 1
                    first = first or replayed
                if cycles % 100 == 0:
                    bar.update(task, completed=cycles)
    except RecordingError as error:
        click.echo(f"nanogrid replay: {error}", err=True)
        sys.exit(2)
    click.echo(f"{cycles} cycles, {differing} differing commands")
    if source.version != own_version():
        click.echo(f"recorded by version {source.version}, this is {own_version()}")
    if first is not None:
        sample = first.cycle.sample
        when = datetime.fromtimestamp(sample.utc_s, UTC).isoformat(timespec="milliseconds")
        click.echo(f"first difference: cycle {sample.cycle} at {when}")
        for line in describe_difference(first):
            click.echo(f"  {line}")
        sys.exit(1)


def _is_terminal() -> bool:
    return sys.stderr.isatty()
