"""Columns of a run as arrays, thinned to what a screen can show. NaN is a gap."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MOST_POINTS = 1500


def column(columns: Mapping[str, Sequence[float | None]], name: str, length: int) -> Floats | None:
    """A column of `length` points; None when it is absent or holds nothing finite."""
    found = columns.get(name)
    if not found:
        return None
    values = np.full(length, np.nan)
    known = [np.nan if value is None else float(value) for value in found[:length]]
    values[: len(known)] = known
    values[~np.isfinite(values)] = np.nan
    return values if np.isfinite(values).any() else None


def mean_of_bins(values: Floats, most: int = MOST_POINTS) -> Floats:
    """At most `most` means over equally many neighbours each; a bin of gaps is a gap."""
    size = _bin_size(len(values), most)
    if size == 1:
        return values
    bins = _in_bins(values, size)
    known = np.isfinite(bins)
    count = known.sum(axis=1)
    total = np.where(known, bins, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def extremes(times: Floats, values: Floats, most: int = MOST_POINTS) -> tuple[Floats, Floats]:
    """At most `most` points: the lowest and the highest of each bin, in the order of time."""
    size = _bin_size(len(values), max(1, most // 2))
    if len(values) <= most:
        return times, values
    bins = _in_bins(values, size)
    starts = np.arange(len(bins)) * size
    low = starts + np.argmin(np.where(np.isfinite(bins), bins, np.inf), axis=1)
    high = starts + np.argmax(np.where(np.isfinite(bins), bins, -np.inf), axis=1)
    chosen = np.sort(np.stack([low, high], axis=1), axis=1).ravel()
    return times[chosen], values[chosen]


def runs(holds: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and one past the last index of each stretch that holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def near_any(holds: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True at the points that hold and at their neighbours."""
    near = holds.copy()
    near[1:] |= holds[:-1]
    near[:-1] |= holds[1:]
    return near


def spans(times: Floats, holds: NDArray[np.bool_], end_s: float) -> list[tuple[float, float]]:
    """From when to when a condition held."""
    limits = np.append(times, end_s)
    return [(float(limits[first]), float(limits[last])) for first, last in runs(holds)]


def step_means(times: Floats, values: Floats, start_s: float, step_s: float, count: int) -> Floats:
    """Means over `count` steps from `start_s` on; a step without values is a gap."""
    index = np.floor((times - start_s) / step_s)
    known = np.isfinite(values) & (index >= 0) & (index < count)
    place = index[known].astype(np.int64)
    total = np.bincount(place, weights=values[known], minlength=count)
    points = np.bincount(place, minlength=count)
    return np.where(points > 0, total / np.maximum(points, 1), np.nan)


def _bin_size(length: int, most: int) -> int:
    return max(1, -(-length // most))


def _in_bins(values: Floats, size: int) -> Floats:
    missing = -len(values) % size
    return np.concatenate([values, np.full(missing, np.nan)]).reshape(-1, size)
