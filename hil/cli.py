"""`nanogrid hil`: the bench."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class SpeedType(click.ParamType[float | None]):
    """`max`, or a multiple of real time."""

    name = "N|max"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | None:
        """None for `max`."""
        if value == "max":
            return None
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0.0 < number <= 1e6:
            self.fail(f"{value!r}: must be max or a number above 0", param, ctx)
        return number


with_data = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("../shared/data"),
    show_default=True,
    help="Where measured files that the scenario names are, if not beside it.",
)


def with_report(files: str) -> Callable[[Command], Command]:
    """The option that says where a run's files go."""
    return click.option(
        "--report",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=None,
        help=f"Where {files} go.  [default: out/SCENARIO]",
    )


@click.group(short_help="Bench: the controller against a simulated plant.")
def hil() -> None:
    """Bench: the real controller against a simulated nano-grid."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")


@hil.command()
@click.argument("scenario", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--speed",
    type=SpeedType(),
    default="max",
    show_default=True,
    help="1: real time, `nanogrid run` as its own process. max or another multiple: virtual time"
    " in lockstep, reproducible by the scenario's seed.",
)
@with_report("report.html, summary.json and the recording")
@with_data
def run(scenario: Path, speed: float | None, folder: Path | None, data: Path) -> None:
    """Run SCENARIO (TOML), one house or a street that trades, and write its report.

    The controller is the real one: it meets simulated devices behind real Modbus sockets, and a
    simulated SPI converter and GPIO.
    """
    from firmware.trading.folder import FolderError
    from firmware.trading.ledger import LedgerError
    from hil.broker import BrokerError
    from hil.live import LiveError
    from hil.progress import Watch, print_street, print_summary
    from hil.run import Speed, run_scenario
    from hil.scenario import LoadedScenario, ScenarioError
    from hil.street import LoadedStreet, is_street
    from hil.street_run import run_street

    folder = folder or Path("out") / scenario.stem
    how = Speed(live=speed == 1.0, multiple=speed)
    try:
        if is_street(scenario):
            street = LoadedStreet(scenario, data)
            with Watch(street.head) as watch:
                summary = run_street(street, folder, how, watch)
        else:
            loaded = LoadedScenario(scenario, data)
            with Watch(loaded.scenario.scenario) as watch:
                summary = run_scenario(loaded, folder, how, watch)
    except ScenarioError as error:
        click.echo("\n".join(error.errors), err=True)
        sys.exit(2)
    except (BrokerError, LiveError, FolderError, LedgerError, OSError) as error:
        click.echo(f"nanogrid hil run: {error}", err=True)
        sys.exit(1)
    (print_street if "houses" in summary else print_summary)(summary, folder)


@hil.command()
@click.argument("scenario", type=click.Path(dir_okay=False, path_type=Path))
@with_report("report.html, summary.json and slots.csv")
@with_data
def street(scenario: Path, folder: Path | None, data: Path) -> None:
    """Play the street in SCENARIO slot by slot: weeks and months of many houses.

    Houses are energy balances here: no devices, no control loop, no messages, no recording. For
    those use `nanogrid hil run`.
    """
    from hil.progress import Watch, print_street
    from hil.scenario import ScenarioError
    from hil.street import LoadedStreet
    from hil.street_run import run_slots

    folder = folder or Path("out") / scenario.stem
    try:
        loaded = LoadedStreet(scenario, data)
        with Watch(loaded.head) as watch:
            summary = run_slots(loaded, folder, watch)
    except ScenarioError as error:
        click.echo("\n".join(error.errors), err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"nanogrid hil street: {error}", err=True)
        sys.exit(1)
    print_street(summary, folder)


@hil.command()
@click.argument("scenario", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("out/serve"),
    show_default=True,
    help="Where the site file for the controller goes.",
)
def serve(scenario: Path, folder: Path) -> None:
    """Serve SCENARIO's devices in real time for a controller that you start yourself.

    Prints the command that starts it. Ctrl-C or SIGTERM ends it.
    """
    import shlex
    import signal
    import time

    from hil.live import served
    from hil.scenario import LoadedScenario, ScenarioError
    from hil.world import World

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs ignore SIGINT
        signal.signal(number, stop)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        world = World(LoadedScenario(scenario), float(int(time.time())))
    except ScenarioError as error:
        click.echo("\n".join(error.errors), err=True)
        sys.exit(2)
    try:
        with served(world, folder, None) as (site, environment):
            settings = [f"{name}={shlex.quote(value)}" for name, value in environment.items()]
            program = shlex.quote(str(Path(sys.executable).with_name("nanogrid")))
            where = shlex.quote(str(site))
            click.echo(" ".join([*settings, program, "run", "--config", where]))
            click.echo(f"{program} status --config {where}", err=True)
            while True:
                time.sleep(1.0)
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
    finally:
        world.close()
