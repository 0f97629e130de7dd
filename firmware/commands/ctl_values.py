"""What people write on a command line for power, time, charge and prices."""

import csv
import re
from datetime import UTC, datetime
from pathlib import Path

import click

from firmware.bad_input import BadInput

NUMBER = r"\d+(?:\.\d+)?"
POWER = re.compile(rf"([+-]?{NUMBER})\s*(kw|w)?", re.IGNORECASE)
DURATION = re.compile(rf"(?:({NUMBER})h)?(?:({NUMBER})m(?:in)?)?(?:({NUMBER})s)?")
SHARE = re.compile(rf"({NUMBER})(%?)")
LONGEST_S = 86400
PRICE_COLUMNS = ["from", "buy", "sell"]
MOST_PRICES = 500


class Power(click.ParamType[int]):
    """Watts, from kW; or from what the unit says."""

    name = "kW"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Whole watts."""
        found = POWER.fullmatch(value)
        if found is None:
            self.fail(f"{value!r}: must be a power like 2, -1.5 (kW) or 800W", param, ctx)
        unit_w = 1.0 if (found[2] or "").lower() == "w" else 1000.0
        return round(float(found[1]) * unit_w)


class Duration(click.ParamType[int]):
    """Seconds, from hours, minutes and seconds."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Whole seconds; a number without a unit is not guessed at."""
        found = DURATION.fullmatch(value)
        if found is None or not any(found.groups()):
            self.fail(f"{value!r}: must be a time like 30m, 2h, 1h30m or 90s", param, ctx)
        hours, minutes, seconds = (float(part or 0.0) for part in found.groups())
        total_s = round(3600.0 * hours + 60.0 * minutes + seconds)
        if not 1 <= total_s <= LONGEST_S:
            self.fail(f"{value!r}: must be from 1s to 24h", param, ctx)
        return total_s


class Share(click.ParamType[float]):
    """A state of charge from 0 to 1, from percent."""

    name = "PERCENT"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A fraction; a bare number has to be one already."""
        found = SHARE.fullmatch(value)
        share = float("inf") if found is None else float(found[1]) / (100.0 if found[2] else 1.0)
        if not share <= 1.0:
            self.fail(f"{value!r}: must be a charge like 40% or 0.4", param, ctx)
        return share


def read_prices(path: Path) -> list[dict[str, float]]:
    """Return the rows of a price table: when each begins (UTC), and prices per kWh.

    Columns `from` (ISO 8601, UTC unless it says otherwise), `buy`, `sell`. Raises BadInput.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not rows or [name.strip() for name in rows[0]] != PRICE_COLUMNS:
        raise BadInput(f"{path}: line 1: must be {','.join(PRICE_COLUMNS)}")
    prices = [_price(path, line, row) for line, row in enumerate(rows[1:], start=2) if row]
    if not 1 <= len(prices) <= MOST_PRICES:
        raise BadInput(f"{path}: {len(prices)} prices; must be 1 to {MOST_PRICES}")
    return prices


def _price(path: Path, line: int, row: list[str]) -> dict[str, float]:
    if len(row) != len(PRICE_COLUMNS):
        raise BadInput(f"{path}: line {line}: {len(row)} values; must be from,buy,sell")
    try:
        moment = datetime.fromisoformat(row[0].strip())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        begin = int(moment.timestamp())
    except (ValueError, OverflowError):
        raise BadInput(
            f"{path}: line {line}: from: {row[0]!r} must be a time like 2026-05-13T17:30:00Z"
        ) from None
    return {
        "from": begin,
        "buy": _per_kwh(path, line, "buy", row[1]),
        "sell": _per_kwh(path, line, "sell", row[2]),
    }


def _per_kwh(path: Path, line: int, column: str, text: str) -> float:
    if re.fullmatch(rf"[+-]?{NUMBER}", text.strip()) is None:
        raise BadInput(f"{path}: line {line}: {column}: {text!r} must be a price per kWh like 0.31")
    return float(text)
