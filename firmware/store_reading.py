"""Reading the store beside a running service: history on a regular grid, and events."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware.minutes import MINUTE_S, Minute
from firmware.store_records import COLUMNS, Values
from firmware.store_schema import StoreError, connect_to_read

LONGEST_S = 20 * 366 * 86_400  # what a history file may span
FOREVER_S = 2**53


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the history: [start, end) in UTC seconds, on the grid of `step_s`."""

    start_utc_s: int
    end_utc_s: int
    step_s: int

    @property
    def steps(self) -> int:
        """How many intervals it has."""
        return (self.end_utc_s - self.start_utc_s) // self.step_s


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its sequence number, which is never used twice in one file."""

    seq: int
    utc_s: float
    severity: str
    key: str
    text: str


def find_span(path: Path, since_s: float | None, until_s: float | None, step_s: int) -> Span:
    """The part of the history within [since, until) that has data. Raises StoreError."""
    limits = (-FOREVER_S if since_s is None else since_s, FOREVER_S if until_s is None else until_s)
    query = (
        "SELECT min(start_utc_s), max(start_utc_s) FROM minute WHERE start_utc_s BETWEEN ? AND ?"
    )
    with closing(connect_to_read(path)) as connection:
        rows = list(_rows(path, connection, query, (limits[0], limits[1] - MINUTE_S)))
    first, last = rows[0]
    if first is None:
        raise StoreError(f"{path}: no history in that time")
    span = Span(first // step_s * step_s, (last // step_s + 1) * step_s, step_s)
    if span.end_utc_s - span.start_utc_s > LONGEST_S:
        raise StoreError(f"{path}: spans more than 20 years: was the clock wrong? Choose a part")
    return span


def read_steps(path: Path, span: Span) -> Iterator[tuple[int, Values]]:
    """Yield every interval's start and means in the order of COLUMNS. Raises StoreError.

    A mean needs half of its minutes; where fewer are known it is None.
    """
    start_utc_s, minutes = span.start_utc_s, list[Values]()
    query = (
        f"SELECT start_utc_s, {', '.join(COLUMNS)} FROM minute "
        "WHERE start_utc_s >= ? AND start_utc_s < ? ORDER BY start_utc_s"
    )
    with closing(connect_to_read(path)) as connection:
        limits = (span.start_utc_s, span.end_utc_s)
        for minute_utc_s, *values in _rows(path, connection, query, limits):
            while minute_utc_s >= start_utc_s + span.step_s:
                yield start_utc_s, _means(minutes, span.step_s)
                start_utc_s, minutes = start_utc_s + span.step_s, []
            minutes.append(tuple(values))
    yield start_utc_s, _means(minutes, span.step_s)


def read_minutes(path: Path, count: int) -> list[Minute]:
    """The last `count` minutes for the forecasters, oldest first. Raises StoreError.

    PV that a limit held down is not the weather's: it is left out.
    """
    query = (
        "SELECT start_utc_s, CASE WHEN curtailed_frac > 0 THEN NULL ELSE pv_kw END, load_kw "
        "FROM minute ORDER BY start_utc_s DESC LIMIT ?"
    )
    with closing(connect_to_read(path)) as connection:
        found = [Minute(*row) for row in _rows(path, connection, query, (count,))]
    return found[::-1]


def read_sparse_means(
    path: Path, step_s: int, least: int, count: int
) -> Iterator[tuple[int, float | None, float | None]]:
    """Yield start and means of PV and load of the last `count` steps of the forecasters' grid.

    Oldest first; steps without a minute are left out, a mean of fewer than `least` is None, and PV
    counts as in `read_minutes`. The database does the sums: a year is half a million minutes.
    Raises StoreError.
    """
    query = (
        "SELECT * FROM (SELECT start_utc_s / :step * :step AS slot, "
        "CASE WHEN count(pv) >= :least THEN avg(pv) END, "
        "CASE WHEN count(load) >= :least THEN avg(load) END "
        "FROM (SELECT start_utc_s, load_kw AS load, "
        "CASE WHEN curtailed_frac > 0 THEN NULL ELSE pv_kw END AS pv FROM minute) "
        "GROUP BY slot ORDER BY slot DESC LIMIT :count) ORDER BY slot"
    )
    limits = {"step": step_s, "least": least, "count": count}
    with closing(connect_to_read(path)) as connection:
        for slot, pv_kw, load_kw in _rows(path, connection, query, limits):
            yield int(slot), pv_kw, load_kw


def read_events(path: Path, since_s: float | None) -> Iterator[LoggedEvent]:
    """Yield events in the order of their numbers. Raises StoreError."""
    query = "SELECT seq, utc_s, severity, key, text FROM event WHERE utc_s >= ? ORDER BY seq"
    with closing(connect_to_read(path)) as connection:
        limit = (-FOREVER_S if since_s is None else since_s,)
        for row in _rows(path, connection, query, limit):
            yield LoggedEvent(*row)


def _rows(
    path: Path,
    connection: sqlite3.Connection,
    query: str,
    values: tuple[float, ...] | Mapping[str, int],
) -> Iterator[tuple[Any, ...]]:
    try:
        yield from connection.execute(query, values)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from None


def _means(minutes: list[Values], step_s: int) -> Values:
    means: list[float | None] = []
    for index in range(len(COLUMNS)):
        known = [value for minute in minutes if (value := minute[index]) is not None]
        enough = 2 * len(known) * MINUTE_S >= step_s
        means.append(sum(known) / len(known) if enough else None)
    return tuple(means)
