"""`nanogrid run`: the service."""

import logging
import sys
from pathlib import Path

import click

from firmware.config import SiteError, load_site


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
    help="Record every cycle here (instead of [recording] path).",
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
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    try:
        site = load_site(config)
    except SiteError as error:
        click.echo("\n".join(error.errors), err=True)
        sys.exit(2)
    from firmware.service import Service

    if record is not None:
        site = site.model_copy(
            update={"recording": site.recording.model_copy(update={"path": str(record)})}
        )
    try:
        service = Service(site)
    except OSError as error:
        click.echo(f"nanogrid run: {error}", err=True)
        sys.exit(1)
    service.run(stats)
