"""`nanogrid run`: the service."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import click

from firmware.config import SiteError, load_site
from firmware.log import background_log


@click.command()
@click.option(
    "--config",
    "config",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The site file.",
)
@click.option(
    "--record",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Record every cycle here (instead of [recording] path), in one file without limit.",
)
@click.option(
    "--stats",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write cycle counts, lateness and stage times here at the end (JSON).",
)
def run(config: Path, record: Path | None, stats: Path | None) -> None:
    """Run the control loop of the nano-grid that the site file describes, until told to stop.

    SIGTERM and Ctrl-C stop it: devices go back to their own control, outputs off. Devices, broker
    and network may be absent at the start; they are taken in when they answer.
    """
    try:
        site = load_site(config)
    except SiteError as error:
        click.echo("\n".join(error.errors), err=True)
        sys.exit(2)
    from firmware.alone import Claims, NotAloneError, claimed_by
    from firmware.service import Service
    from firmware.unexpected import note_thread

    threading.excepthook = note_thread

    with background_log(site=site.site.name):
        try:
            claims = Claims(claimed_by(site).items())
            service = Service(site, record)
        except NotAloneError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            raise click.ClickException(f"{record}: {error.strerror}") from error
        service.run()
        claims.close()
    if stats is not None:
        _write(stats, service.statistics())


def _write(path: Path, statistics: dict[str, Any]) -> None:
    try:
        path.write_text(json.dumps(statistics, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error
