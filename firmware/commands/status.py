"""`nanogrid status`: what the running service knows, live."""

import json
import time
from pathlib import Path
from typing import Any

import click

from firmware.bad_input import BadInput
from firmware.config import SiteError, load_site
from firmware.local_client import LocalError, ask_status

DEFAULT_SOCKET = Path("/run/nanogrid/nanogrid.sock")
REFRESH_S = 1.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the document once, as JSON.")
@click.option("--once", is_flag=True, help="Print once; the default when not on a terminal.")
@click.option(
    "--config", type=click.Path(dir_okay=False, path_type=Path), help="The service's site file."
)
@click.option(
    "--socket",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The service's socket.  [default: {DEFAULT_SOCKET}]",
)
def status(as_json: bool, once: bool, config: Path | None, socket: Path | None) -> None:
    """Show what the running service knows: mode, powers, devices, setpoints, plan, alarms.

    Exit status: 1 when no service answers.
    """
    path = socket_path(config, socket)
    document = ask(path)
    if as_json:
        click.echo(json.dumps(document, indent=1))
        return
    from rich.console import Console
    from rich.live import Live

    from firmware.status_view import view

    console = Console()
    if once or not console.is_terminal:
        console.print(view(document))
        return
    try:
        with Live(view(document), console=console, auto_refresh=False, screen=True) as live:
            while True:
                time.sleep(REFRESH_S)
                live.update(view(ask(path)), refresh=True)
    except KeyboardInterrupt:
        return


def ask(path: Path) -> dict[str, Any]:
    """The status document; ends the program with one line when there is none."""
    try:
        return ask_status(path)
    except LocalError as error:
        raise click.ClickException(str(error)) from None


def socket_path(config: Path | None, socket: Path | None) -> Path:
    """Where the service answers, as the options say. Raises BadInput."""
    if socket is not None:
        return socket
    if config is None:
        return DEFAULT_SOCKET
    try:
        site = load_site(config)
    except SiteError as error:
        more = len(error.errors) - 1
        raise BadInput(error.errors[0] + (f" (and {more} more)" if more else "")) from None
    if not site.local.socket:
        raise BadInput(f"{config}: [local] socket is empty: the service has no local interface")
    return Path(site.local.socket)
