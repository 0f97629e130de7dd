"""A site's measured past on a regular grid, and reading it from CSV; NaN stands for missing."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Target = Literal["pv", "load"]
Floats = NDArray[np.float64]

DAY_S = 86_400
GRID_STEPS_S = (300, 900, 1800, 3600)
HELD = "curtailed_frac"  # of an interval: what PV gave then is not the weather's
# Names of value columns per target; a column named `<anything>_<name>` will do as well.
COLUMNS: dict[str, tuple[str, ...]] = {"pv": ("pv_kw", "ghi_w_m2"), "load": ("load_kw",)}


class HistoryError(ValueError):
    """A history file or series that cannot be used; the message is one line."""


@dataclass(frozen=True, slots=True)
class History:
    """Means over intervals [start + i*step, start + (i+1)*step); times in UTC seconds.

    `values` are as measured, in the unit of the source: cleaning happens in `models.cleaning`.
    """

    start_utc_s: int
    step_s: int
    values: Floats

    def __post_init__(self) -> None:
        if self.step_s <= 0 or DAY_S % self.step_s:
            raise HistoryError(f"step_s = {self.step_s}: must be > 0 and divide a day")
        if self.values.ndim != 1:
            raise HistoryError(f"values: one dimension expected, got {self.values.ndim}")

    @property
    def end_utc_s(self) -> int:
        """End of the last interval."""
        return self.start_utc_s + self.step_s * len(self.values)

    def window(self, start_utc_s: int, end_utc_s: int) -> Floats:
        """Copy the values of [start, end), NaN where there are none; both lie on the grid."""
        first = (start_utc_s - self.start_utc_s) // self.step_s
        count = max(0, (end_utc_s - start_utc_s) // self.step_s)
        out = np.full(count, np.nan)
        low, high = max(0, first), min(len(self.values), first + count)
        if low < high:
            out[low - first : high - first] = self.values[low:high]
        return out

    def resampled(self, step_s: int) -> "History":
        """Means on a coarser grid aligned to midnight UTC; a mean needs half of its values."""
        if step_s % self.step_s:
            raise HistoryError(f"step_s = {step_s}: must be a multiple of {self.step_s}")
        if step_s == self.step_s and self.start_utc_s % step_s == 0:
            return self
        start = self.start_utc_s // step_s * step_s
        end = -(-self.end_utc_s // step_s) * step_s
        if (self.start_utc_s - start) % self.step_s:
            raise HistoryError(f"start {self.start_utc_s} is off the {self.step_s} s grid")
        blocks = self.window(start, end).reshape(-1, step_s // self.step_s)
        known = np.isfinite(blocks)
        counts = known.sum(axis=1)
        sums = np.where(known, blocks, 0.0).sum(axis=1)
        enough = 2 * counts >= blocks.shape[1]
        return History(start, step_s, np.where(enough, sums / np.maximum(counts, 1), np.nan))


def parse_utc_s(text: str) -> int:
    """Parse an ISO 8601 time into UTC seconds; a time without an offset is UTC."""
    moment = datetime.fromisoformat(text.strip())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = moment.timestamp()
    if seconds != int(seconds):
        raise ValueError("fractions of a second")
    return int(seconds)


def format_utc(utc_s: int) -> str:
    """Format UTC seconds as ISO 8601 with a trailing Z."""
    return datetime.fromtimestamp(utc_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_history(path: Path, target: Target, column: str | None = None) -> tuple[History, str]:
    """Read a CSV or gzip CSV whose first column is `ts_utc`; returns it with the column's name.

    Rows that are missing altogether count as missing values, as does PV power while a limit held it
    down (a column `curtailed_frac` above 0, as `nanogrid export` writes it). Raises HistoryError.
    """
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise HistoryError(f"{path}: {error}") from error
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        header = [name.strip() for name in next(rows, [])]
        name = _value_column(path, header, target, column)
        held = header.index(HELD) if HELD in header and name.endswith("pv_kw") else None
        times, values = _parse_rows(path, rows, header.index(name), held)
    except csv.Error as error:
        raise HistoryError(f"{path}, line {rows.line_num}: {error}") from error
    return _on_grid(path, times, values), name


def read_origins(path: Path) -> list[int]:
    """Read one ISO 8601 time per line; empty lines and lines starting with `#` are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: {error}") from error
    origins = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            origins.append(parse_utc_s(line))
        except (ValueError, OverflowError) as error:
            raise HistoryError(f"{path}, line {number}: not an ISO 8601 time: {line!r}") from error
    if not origins:
        raise HistoryError(f"{path}: no origins")
    return origins


def value_columns(header: Iterable[str], target: Target) -> list[str]:
    """Return the columns that can hold the target, the target's own unit first."""
    names = list(header)
    for wanted in COLUMNS[target]:
        found = [name for name in names if name == wanted or name.endswith("_" + wanted)]
        if found:
            return found
    return []


def _value_column(path: Path, header: list[str], target: Target, column: str | None) -> str:
    if not header or header[0] != "ts_utc":
        raise HistoryError(f"{path}: the first column must be ts_utc, got {header[:1]}")
    if column is not None:
        if column not in header[1:]:
            raise HistoryError(f"{path}: no column {column!r}; there are {', '.join(header[1:])}")
        return column
    found = value_columns(header[1:], target)
    if not found:
        allowed = " or ".join(COLUMNS[target])
        raise HistoryError(f"{path}: no column for {target}: a name ending in {allowed} is needed")
    if len(found) > 1:
        raise HistoryError(f"{path}: several columns ({', '.join(found)}): choose with --column")
    return found[0]


def _parse_rows(
    path: Path, rows: Iterator[list[str]], column: int, held: int | None
) -> tuple[list[int], list[float]]:
    """Times and values; NaN where the cell is empty or the column `held` is above 0."""
    times: list[int] = []
    values: list[float] = []
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        try:
            time_s = parse_utc_s(row[0])
        except (ValueError, OverflowError) as error:
            raise HistoryError(
                f"{path}, line {number}: not an ISO 8601 time: {row[0]!r}"
            ) from error
        if times and time_s <= times[-1]:
            raise HistoryError(
                f"{path}, line {number}: {row[0]} does not come after the row before"
            )
        value = _number(path, number, row, column)
        is_held = held is not None and _number(path, number, row, held) > 0.0  # not for NaN
        values.append(np.nan if is_held else value)
        times.append(time_s)
    return times, values


def _number(path: Path, line: int, row: list[str], column: int) -> float:
    """A cell's value, NaN for an empty or missing one."""
    cell = row[column].strip() if column < len(row) else ""
    try:
        return float(cell) if cell else np.nan
    except ValueError as error:
        raise HistoryError(f"{path}, line {line}: not a number: {cell!r}") from error


def _on_grid(path: Path, times: list[int], values: list[float]) -> History:
    if len(times) < 2:
        start = times[0] if times else 0
        return History(start, 900, np.asarray(values, dtype=float))
    moments = np.asarray(times, dtype=np.int64)
    gaps = np.diff(moments)
    step_s = int(gaps.min())
    if step_s not in GRID_STEPS_S:
        raise HistoryError(f"{path}: grid of {step_s} s; allowed are 5, 15, 30 and 60 min")
    if (gaps % step_s).any():
        line = int(np.argmax(gaps % step_s != 0)) + 3
        raise HistoryError(f"{path}, line {line}: off the regular grid of {step_s // 60} min")
    index = (moments - moments[0]) // step_s
    if index[-1] > 20 * 366 * DAY_S // step_s:
        raise HistoryError(f"{path}: spans more than 20 years")
    grid = np.full(int(index[-1]) + 1, np.nan)
    grid[index] = values
    return History(int(moments[0]), step_s, grid)
