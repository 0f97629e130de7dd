"""What becomes of thousands of trades when messages are lost and boxes die.

Run as `python -m bench.protocol [--trades N] [--members N] [--seed N]`. Each row is a simulated
street (`bench.protocol_street`): 5 % doubled messages, a fifth of them out of order, clocks off by
up to 5 s; in rough weather also a crash at 1 % of all points between saving and sending, down up to
90 s, and partitions of 10 to 300 s in 30 % of the slots. Exit status 1 when a trade was made by
half or twice.
"""

import sys
import time
from dataclasses import replace

import click
from rich.console import Console
from rich.table import Table

from bench.protocol_street import Street, Weather, judge

LOSSES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
ROUGH = Weather(crash_frac=0.01, partition_frac=0.3)
EPOCHS_AT_ONCE = 25
COLUMNS = (
    "loss",
    "weather",
    "possible trades",
    "committed",
    "of the energy",
    "by half",
    "sold twice",
    "two books",
    "in doubt after healing",
    "messages per member and slot",
    "s",
)


def row(weather: Weather, name: str, trades: int, members: int, seed: int) -> tuple[list[str], int]:
    """One line of the table, and how much was wrong."""
    start_s = time.perf_counter()
    sums = [0] * 9
    epochs = 0
    while sums[0] < trades:
        street = Street(members, weather, seed + epochs)
        street.run(EPOCHS_AT_ONCE)
        epochs += EPOCHS_AT_ONCE
        v = judge(street)
        made = (v.possible, v.committed, v.possible_wh, v.committed_wh)
        parts = (*made, v.split_brain, v.double_sold, v.two_roots, v.in_doubt, v.messages)
        sums = [total + part for total, part in zip(sums, parts, strict=True)]
    wrong = sum(sums[4:8])
    cells = [
        f"{weather.loss_frac:.0%}",
        name,
        f"{sums[0]:,}",
        f"{sums[1] / sums[0]:.1%}",
        f"{sums[3] / sums[2]:.1%}",
        *(str(count) for count in sums[4:8]),
        f"{sums[8] / epochs / members:.0f}",
        f"{time.perf_counter() - start_s:.0f}",
    ]
    return cells, wrong


@click.command()
@click.option("--trades", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--members", type=click.IntRange(2), default=16, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(trades: int, members: int, seed: int) -> None:
    """Print a table; so many trades in each row."""
    table = Table(*COLUMNS)
    wrong = 0
    for name, weather in (("fair", Weather()), ("rough", ROUGH)):
        for loss_frac in LOSSES:
            cells, faults = row(replace(weather, loss_frac=loss_frac), name, trades, members, seed)
            table.add_row(*cells)
            wrong += faults
    Console(width=150).print(table)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
