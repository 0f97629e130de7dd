"""`nanogrid surplus`: what the fuzzy rules make of one situation."""

import json
from collections.abc import Callable
from dataclasses import asdict
from math import inf, isfinite, nan

import click

from control.surplus import DEFAULTS, Parts, split

Callback = Callable[[click.Context, click.Parameter, str], float]

DIGITS = 12  # beyond them lies rounding noise


def number(low: float = -inf, high: float = inf) -> Callback:
    """An option's callback that takes finite numbers from `low` to `high`."""

    def convert(_context: click.Context, _parameter: click.Parameter, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = nan
        if not (isfinite(value) and low <= value <= high):
            allowed = f"{low:g} to {high:g}" if isfinite(high) else "a finite number"
            raise click.BadParameter(f"{text}: {allowed} allowed")
        return value

    return convert


@click.command()
@click.option(
    "--price",
    metavar="NUMBER",
    callback=number(),
    required=True,
    help="Buying price per kWh; the rules know "
    f"{DEFAULTS.price_low_per_kwh} to {DEFAULTS.price_high_per_kwh}.",
)
@click.option(
    "--temperature",
    metavar="NUMBER",
    callback=number(),
    required=True,
    help="Outdoor temperature in degC; the rules know -40 to 50.",
)
@click.option(
    "--hour",
    metavar="NUMBER",
    callback=number(0, 24),
    required=True,
    help="Local time of day, 0 to 24.",
)
@click.option(
    "--interest",
    metavar="NUMBER",
    callback=number(0, 1),
    required=True,
    help="Consumers asking for energy over all consumers, 0 to 1.",
)
@click.option(
    "--capacity",
    metavar="NUMBER",
    callback=number(0, 1),
    required=True,
    help="Free share of the storage, 0 (full) to 1 (empty).",
)
def surplus(
    price: float, temperature: float, hour: float, interest: float, capacity: float
) -> None:
    """Split surplus energy among battery, grid and peers.

    Prints JSON: "raw" holds what the fuzzy rules say of each use by itself, 0 to 1; "shares" the
    parts of the surplus, which add up to 1. Both have the keys "store", "export" and "p2p". A price
    or temperature beyond what the rules know counts as the nearest that they know.

    Example: nanogrid surplus --price 0.13 --temperature 34 --hour 12 --interest 1 --capacity 0.1
    """
    result = split(price, temperature, hour, interest, capacity)
    click.echo(json.dumps({"raw": _rounded(result.raw), "shares": _rounded(result.shares)}))


def _rounded(parts: Parts) -> dict[str, float]:
    return {name: round(part, DIGITS) for name, part in asdict(parts).items()}
