"""What a person sees while a scenario runs, and at its end."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from hil.scenario import Head

REFRESH_S = 0.2
NEGLIGIBLE = 0.05  # currency: of so little no share is told


class Glance(Protocol):
    """What runs."""

    def glance(self) -> str:
        """It now, in a few words."""


class Watch:
    """A live line on standard error; silent when that is no terminal."""

    def __init__(self, head: Head) -> None:
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[now]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
        )
        self._task = self._progress.add_task(
            head.title, total=head.duration_h * 3600.0, now="starting"
        )
        self._next_s = 0.0

    def __enter__(self) -> "Watch":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, elapsed_s: float, seen: Glance) -> None:
        """Show where the run is, a few times a second."""
        now = time.monotonic()
        if now < self._next_s:
            return
        self._next_s = now + REFRESH_S
        self._progress.update(self._task, completed=elapsed_s, now=seen.glance())


def print_summary(summary: dict[str, object], folder: Path) -> None:
    """Print the verdict of a run and where its report is."""
    currency = summary["currency"]
    table = Table(title=str(summary["title"]), show_header=False)
    cost, other = _number(summary, "cost"), _number(summary, "cost_rule_based")
    share = 100 * (other - cost) / abs(other) if abs(other) >= NEGLIGIBLE else 0.0
    saved = f" ({abs(share):.1f} % {'less' if share > 0 else 'more'})" if share else ""
    rows = (
        ("cost", f"{cost:.2f} {currency}{saved}"),
        ("cost, rule-based controller", f"{other:.2f} {currency}"),
        (
            "energy balance",
            f"closed to {100 * _number(summary, 'energy_balance_error_frac'):.2g} %",
        ),
        ("limit violations", str(summary["limit_violations"])),
        ("unserved", f"{_number(summary, 'unserved_kwh'):.2f} kWh"),
        ("generator", f"{summary['generator_starts']} starts, {_number(summary, 'fuel_l'):.1f} l"),
        ("cycles", f"{summary['cycles']}, {summary['cycles_missed']} missed"),
        (
            "simulated",
            f"{_number(summary, 'sim_s') / 3600:.1f} h in {_number(summary, 'wall_s'):.0f} s",
        ),
    )
    for name, value in rows:
        table.add_row(name, value)
    console = Console()
    console.print(table)
    console.print(f"report: {folder / 'report.html'}", highlight=False)


def print_street(summary: Mapping[str, object], folder: Path) -> None:
    """Print what a street came to and where its report is."""
    currency = summary["currency"]
    bill, alone = _number(summary, "bill"), _number(summary, "bill_alone")
    share = summary["share_of_gain"]
    rows = [
        ("energy bill", f"{bill:.2f} {currency}"),
        ("each house by rules", f"{alone:.2f} {currency}"),
        ("traded", f"{_number(summary, 'traded_kwh'):.1f} kWh"),
        ("of the possible gain", f"{share:.0%}" if isinstance(share, float) else "not known"),
        ("self-sufficiency", f"{_number(summary, 'self_sufficiency_frac'):.0%}"),
    ]
    market = summary.get("market")
    if isinstance(market, dict):
        sound = "sound, and agree" if market["sound"] else "NOT in order"
        rows.append(("ledgers", f"{sound}: {market['trades']} trades"))
        rows.append(("limit violations", str(summary["limit_violations"])))
        rows.append(("cycles", f"{summary['cycles']}, {summary['cycles_missed']} missed"))
    simulated_h = _number(summary, "sim_s") / 3600
    rows.append(("simulated", f"{simulated_h:.1f} h in {_number(summary, 'wall_s'):.0f} s"))
    table = Table(title=str(summary["title"]), show_header=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(f"report: {folder / 'report.html'}", highlight=False)


def _number(summary: Mapping[str, object], key: str) -> float:
    value = summary[key]
    assert isinstance(value, int | float)
    return float(value)
