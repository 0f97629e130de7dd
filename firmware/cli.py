"""The `nanogrid` command: subcommands load on first use, so that each starts fast."""

import importlib
import os
import sys
from importlib.metadata import entry_points, version
from typing import Any, NoReturn

import click

SUMMARIES = {
    "run": "Run the control loop: the service.",
    "check": "Validate a site file; with --probe, talk to every device.",
    "plan": "Plan a day of battery and generator for a dispatch instance.",
    "forecast": "Forecast PV or load from a history file.",
    "surplus": "Split surplus energy among battery, grid and peers.",
    "clear": "Clear a market book: price, trades, what was left out.",
    "community": "Trade with neighbours: begin a community, take boxes in, join.",
    "ledger": "Verify, show or export a ledger of trades.",
    "train": "Train a forecasting model (extra [train]).",
    "export": "Write the store's history as CSV.",
    "log": "Show the store's events.",
    "status": "Show what the running service knows, live.",
    "ctl": "Order the running service to do something.",
    "why": "Say who decided each setpoint, why, and what came of it.",
    "replay": "Recompute a recording's commands and report the first difference.",
}
PLUGIN_GROUP = "nanogrid.commands"
PROGRAM = "nanogrid"


class LazyGroup(click.Group):
    """A group whose commands live in `firmware.commands.<name>`, or behind the plug-in group."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of the summaries, plug-ins last."""
        return [*SUMMARIES, *sorted(point.name for point in entry_points(group=PLUGIN_GROUP))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name in SUMMARIES:
            module = importlib.import_module(f"firmware.commands.{cmd_name}")
            command: click.Command = getattr(module, cmd_name)
            return command
        for point in entry_points(group=PLUGIN_GROUP, name=cmd_name):
            loaded: click.Command = point.load()
            return loaded
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing our own."""
        rows = list(SUMMARIES.items())
        for name in self.list_commands(ctx)[len(rows) :]:
            command = self.get_command(ctx, name)
            rows.append((name, command.get_short_help_str() if command else ""))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run as a program: an error is one line, its exit status 2 for bad input."""
        # Before numpy is loaded, here and in child processes: on small matrices the threads of its
        # linear algebra wait for each other for longer than they work, and take the loop's cores.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            status = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            status = 0
        except click.ClickException as error:
            context = getattr(error, "ctx", None)
            name = context.command_path if context else PROGRAM
            click.echo(f"{name}: {' '.join(error.format_message().split())}", err=True)
            status = error.exit_code
        except click.Abort:
            click.echo(f"{PROGRAM}: interrupted", err=True)
            status = 130
        sys.exit(status or 0)


@click.group(PROGRAM, cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("nanogrid"), prog_name=PROGRAM)
def cli() -> None:
    """Controller firmware of a nano-grid: PV, batteries, diesel generators, grid."""


def main() -> None:
    """Entry point of the console script."""
    cli.main(prog_name=PROGRAM)
