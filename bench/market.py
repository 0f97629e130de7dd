"""How long it takes to clear a market, beside the two matching engines of gsy-framework.

Run as `python -m bench.market [--orders N]...`. Random books: half of the peers buy, prices in a
band of 6,000, up to 3 steps of 1 to 3,000 Wh. CPU of one thread, best of several runs, without the
garbage collector as in `nanogrid clear`. gsy-framework is not on the package index; where it can be
imported it gets the same orders, one step each.
"""

import gc
import importlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from control.canonical import canonical, parse
from control.market import clear
from control.market_book import Book

DEFAULT_ORDERS = (10, 100, 1_000, 10_000, 100_000)
SLOW_FROM = 5_000  # orders that gsy-framework's engines are not asked for
STEPS = 3
GSY_ENGINES = ("PayAsBidMatchingAlgorithm", "PayAsClearMatchingAlgorithm")


def content(orders: int, steps: int, seed: int = 0) -> dict[str, Any]:
    """A book as its file holds it."""
    dice = random.Random(seed)
    return {
        "version": 1,
        "epoch": 1,
        "seed": "ab" * 32,
        "fee": 200,
        "price_floor": 7000,
        "price_ceiling": 13000,
        "orders": [order(dice, number, dice.randint(1, steps)) for number in range(orders)],
    }


def order(dice: random.Random, number: int, steps: int) -> dict[str, Any]:
    """A random order of one peer."""
    side = dice.choice(("buy", "sell"))
    pxs = sorted(dice.sample(range(7000, 13001), steps), reverse=side == "buy")
    rows = [{"px": px, "q": dice.randint(1, 3000)} for px in pxs]
    return {"peer": f"house-{number:06}", "side": side, "steps": rows}


def gsy_data(book: dict[str, Any]) -> dict[str, Any]:
    """The same orders as gsy-framework wants them."""
    bids: list[dict[str, Any]] = []
    offers: list[dict[str, Any]] = []
    for one in book["orders"]:
        owner, rows = ("buyer", bids) if one["side"] == "buy" else ("seller", offers)
        fee = 0 if one["side"] == "buy" else book["fee"]
        for index, step in enumerate(one["steps"]):
            rows.append(
                {
                    "id": f"{one['peer']}/{index}",
                    owner: one["peer"],
                    "energy": step["q"] / 1000,
                    "energy_rate": (step["px"] + fee) / 1e5,
                }
            )
    return {"market": {"2026-01-01T00:00": {"bids": bids, "offers": offers}}}


def gsy_engines() -> list[Any]:
    """Both engines, or none where they are not installed."""
    try:
        module = importlib.import_module("gsy_framework.matching_algorithms")
    except ImportError:
        return []
    return [getattr(module, name) for name in GSY_ENGINES]


def best_ms(job: Callable[[], object], runs: int) -> float:
    """CPU of the shortest of several runs."""
    times = []
    gc.disable()
    for _ in range(runs):
        start_s = time.thread_time()
        job()
        times.append(time.thread_time() - start_s)
    gc.enable()
    return 1e3 * min(times)


def row(orders: int, steps: int, engines: Sequence[Any]) -> list[str]:
    """One line of the table."""
    raw = canonical(content(orders, steps))
    runs = max(3, min(200, 100_000 // orders))
    book = Book.from_dict(parse(raw))
    result = clear(book)
    times = [
        best_ms(lambda: clear(book), runs),
        best_ms(result.to_dict, 3),
        best_ms(lambda: Book.from_dict(parse(raw)), 3),
    ]
    data = gsy_data(content(orders, 1))
    others = [
        f"{best_ms(lambda e=engine: e.get_matches_recommendations(data), 1):.1f}"  # type: ignore[misc]
        if orders < SLOW_FROM
        else "-"
        for engine in engines
    ]
    return [f"{orders:,}", str(steps), *(f"{ms:.2f}" for ms in times), *others]


@click.command()
@click.option("--orders", type=click.IntRange(1), multiple=True, default=DEFAULT_ORDERS)
def main(orders: tuple[int, ...]) -> None:
    """Print a table of times in ms."""
    engines = gsy_engines()
    table = Table(
        "orders", "steps up to", "clear", "hash, write", "read, check", *GSY_ENGINES[: len(engines)]
    )
    for count in orders:
        for steps in (1, STEPS):
            table.add_row(*row(count, steps, engines))
    console = Console(width=120)
    console.print(table)
    if not engines:
        console.print("gsy-framework is not installed here: no comparison")


if __name__ == "__main__":
    main()
