"""Training examples from history files: inputs of the network and what came then."""

import csv
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models import features
from models.baselines import look_back, neighbours
from models.cleaning import cleaned
from models.history import (
    DAY_S,
    Floats,
    History,
    HistoryError,
    Target,
    read_history,
    value_columns,
)

ORIGIN_EVERY_S = 7200
ORIGINS_PER_FILE = 12_000
YOUNG_FRAC = 0.25  # of the examples pretend that the site is 7 to 28 days old
COARSER_FRAC = 0.5  # of the examples are seen through a coarser grid
MIN_KNOWN_FRAC = 0.5  # of the past 24 h and of the next
TRUTH_CLIP = 10.0  # network units: one house's freak peak must not outweigh a thousand examples
DARK_FRAC = 0.02  # of the envelope's peak; below, clearness is noise


@dataclass(frozen=True, slots=True)
class Examples:
    """N examples; `weight` is 0 where the truth is missing or, for PV, dark."""

    sequence: features.Singles  # (N, 48, 3)
    flat: features.Singles  # (N, F)
    truth: features.Singles  # (N, 96) in the network's unit
    weight: features.Singles  # (N, 96) of the squared error
    site: tuple[str, ...]  # one name per example

    def __len__(self) -> int:
        return len(self.site)

    def take(self, rows: np.ndarray) -> "Examples":
        """Some of the examples."""
        sites = tuple(self.site[row] for row in rows)
        return Examples(
            self.sequence[rows], self.flat[rows], self.truth[rows], self.weight[rows], sites
        )


def read_sites(path: Path, target: Target) -> Iterator[tuple[str, History]]:
    """Every column of a file that can hold the target, named `<file>:<column>`."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as error:
        raise HistoryError(f"{path}: {error}") from error
    columns = value_columns(header, target)
    if not columns:
        raise HistoryError(f"{path}: no column for {target}")
    for column in columns:
        yield f"{path.name.split('.')[0]}:{column}", read_history(path, target, column)[0]


def collect(paths: list[Path], target: Target, seed: int) -> Examples:
    """Examples of all files: a random origin per two hours and site, at most 12,000 per file."""
    rng = np.random.default_rng(seed)
    parts: list[Examples] = []
    for path in paths:
        sites = list(read_sites(path, target))
        available = sum((h.end_utc_s - h.start_utc_s) // ORIGIN_EVERY_S for _, h in sites)
        share = min(1.0, ORIGINS_PER_FILE / max(available, 1))
        for name, history in sites:
            count = int(share * ((history.end_utc_s - history.start_utc_s) // ORIGIN_EVERY_S))
            for grid, part in _views(history, count):
                origins = _origins(grid, part, rng)
                parts += _examples(grid, origins, target, name, rng)
    if not parts:
        raise HistoryError("the data hold no usable example (8 days of history are the least)")
    return Examples(
        np.concatenate([part.sequence for part in parts]),
        np.concatenate([part.flat for part in parts]),
        np.concatenate([part.truth for part in parts]),
        np.concatenate([part.weight for part in parts]),
        tuple(name for part in parts for name in part.site),
    )


def _views(history: History, count: int) -> list[tuple[History, int]]:
    """The history on its own grid and on coarser ones."""
    own = history
    coarser = [step for step in (900, 1800, 3600) if step > own.step_s]
    if not coarser:
        return [(own, count)]
    views = [(own, round(count * (1 - COARSER_FRAC)))]
    return views + [
        (own.resampled(step), round(count * COARSER_FRAC / len(coarser))) for step in coarser
    ]


def _origins(history: History, count: int, rng: np.random.Generator) -> np.ndarray:
    first = 8 * DAY_S // history.step_s
    last = len(history.values) - DAY_S // history.step_s
    if last <= first:
        return np.empty(0, dtype=np.int64)
    chosen = rng.choice(np.arange(first, last), min(count, last - first), replace=False)
    return np.asarray(history.start_utc_s + np.sort(chosen) * history.step_s, dtype=np.int64)


def _examples(
    history: History, origins: np.ndarray, target: Target, name: str, rng: np.random.Generator
) -> Iterator[Examples]:
    clean = History(history.start_utc_s, history.step_s, cleaned(history, target))
    per_day = DAY_S // history.step_s
    for group in neighbours(origins) if len(origins) else []:
        moments = origins[group]
        seen = history
        if rng.random() < YOUNG_FRAC:
            start = int(moments.min()) - int(rng.integers(7, 28)) * DAY_S
            seen = History(start, history.step_s, history.window(start, history.end_utc_s))
        past = look_back(seen, moments, target)
        given = features.inputs(past, target)
        truth = np.stack([clean.window(int(o), int(o) + DAY_S) for o in moments])
        value, weight = _scored(truth, given, target)
        known = np.isfinite(past.recent[:, -per_day:]).mean(axis=1) >= MIN_KNOWN_FRAC
        known &= np.isfinite(truth).mean(axis=1) >= MIN_KNOWN_FRAC
        rows = np.flatnonzero(known & (past.days >= 6) & (given.unit.max(axis=1) > 1e-6))
        yield Examples(
            given.sequence[rows],
            given.flat[rows],
            features.to_quarters(value, per_day)[rows].astype(np.float32),
            features.to_quarters(weight, per_day)[rows].astype(np.float32),
            (name,) * len(rows),
        )


def _scored(truth: Floats, given: features.Inputs, target: Target) -> tuple[Floats, Floats]:
    """The truth in the network's unit, and the weight of its squared error."""
    unit = given.unit
    weight = np.isfinite(truth).astype(float)
    if target == "pv":
        share = unit / np.maximum(unit.max(axis=1, keepdims=True), 1e-9)
        weight *= np.where(share > DARK_FRAC, share, 0.0) ** 2
    value = (np.nan_to_num(truth) - given.base) / np.maximum(unit, 1e-9)
    return np.where(weight > 0, value, 0.0).clip(-TRUTH_CLIP, TRUTH_CLIP), weight
