"""`nanogrid train`: train a forecasting network from history files (extra [train])."""

import importlib.util
from pathlib import Path
from typing import cast

import click

from firmware.bad_input import BadInput
from models.history import HistoryError, Target


@click.command()
@click.option("--target", type=click.Choice(["pv", "load"]), required=True)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="A history file as `nanogrid forecast` reads it, all its columns for the target. "
    "Several: repeat the option, or name further files after it.",
)
@click.argument("more", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The weights' folder."
)
def train(
    target: str, data: tuple[Path, ...], more: tuple[Path, ...], seed: int, output: Path
) -> None:
    """Train a network for PV or load; writes weights, their description and a model card."""
    if importlib.util.find_spec("tensorflow") is None:
        raise click.ClickException(
            "TensorFlow is missing: install the extra with `pip install 'nanogrid[train]'` "
            "(from a checkout: `pip install -e '.[train]'`), on a development machine"
        )
    from models.training.train import train as run

    try:
        described = run(
            cast(Target, target),
            [*data, *more],
            output,
            seed,
            say=lambda text: click.echo(text, err=True),
        )
    except HistoryError as error:
        raise BadInput(str(error)) from None
    except (OSError, RuntimeError) as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{output / target}.tflite {described['sha256'][:8]}", err=True)
