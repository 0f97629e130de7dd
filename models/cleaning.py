"""Throwing out what cannot be a measurement, without looking ahead.

Whether value i is kept depends on values up to i only. A forecast made at any origin therefore
never learns from what came after it that a value before it was bad.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.history import DAY_S, Floats, History, Target

ABSURD_FACTOR = 5.0  # times the usual daily peak
USUAL_PEAK_DAYS = 28
STUCK_S = {"pv": 3 * 3600, "load": 12 * 3600}
CLIPPING_S = 10 * 3600  # an inverter at its limit repeats its value for long
NIGHT_OFFSET_FRAC = 0.02  # of the usual daily peak: the offsets of meters


def cleaned(history: History, target: Target, capacity_kw: float | None = None) -> Floats:
    """Return the values with NaN for what is missing, absurd, negative or stuck.

    Absurd is more than five times the usual daily peak (80th percentile of the daily peaks of the
    28 days before) or, for PV, more than one and a half times the capacity. Stuck is the same
    value above zero for 3 h (PV; 10 h near the usual peak, where inverters clip) or 12 h (load),
    from the moment when it can be known.
    """
    values = history.values.astype(float, copy=True)
    values[~np.isfinite(values)] = np.nan
    values[np.abs(values) > 1e7] = np.nan
    usual = _usual_peaks(history, values)
    limit = ABSURD_FACTOR * usual
    offset = np.zeros(len(values))
    longest = np.full(len(values), STUCK_S[target])
    if target == "pv":
        if capacity_kw is not None:
            limit = np.minimum(limit, 1.5 * capacity_kw)
        offset = np.where(np.isfinite(usual), NIGHT_OFFSET_FRAC * usual, 0.0)
        values = np.where((values < 0) & (values >= -offset), 0.0, values)
        longest[(values >= 0.9 * usual) | np.isinf(usual)] = CLIPPING_S
    stuck = (values > offset) & (_run_lengths(values) * history.step_s > longest)
    values[stuck | (values < 0) | (values > limit)] = np.nan
    return values


def _usual_peaks(history: History, values: Floats) -> Floats:
    """80th percentile of the peaks of the days before a value's own day; inf without any."""
    per_day = DAY_S // history.step_s
    lead = history.start_utc_s % DAY_S // history.step_s
    days = -(-(lead + len(values)) // per_day)
    padded = np.full(days * per_day, np.nan)
    padded[lead : lead + len(values)] = values
    peaks = np.fmax.reduce(padded.reshape(days, per_day), axis=1, initial=np.nan)
    peaks[~(peaks > 0)] = np.nan
    before = np.concatenate([np.full(USUAL_PEAK_DAYS, np.nan), peaks[:-1]])
    ordered = np.sort(sliding_window_view(before, USUAL_PEAK_DAYS), axis=1)  # missing ones last
    count = np.isfinite(ordered).sum(axis=1)
    rank = np.ceil(0.8 * count).astype(int).clip(1) - 1
    usual = np.where(count >= 3, ordered[np.arange(days), rank], np.inf)
    return np.repeat(usual, per_day)[lead : lead + len(values)]


def _run_lengths(values: Floats) -> Floats:
    """How many times in a row the value has occurred, counting itself."""
    index = np.arange(len(values))
    changed = np.ones(len(values), dtype=bool)
    changed[1:] = values[1:] != values[:-1]
    start = np.maximum.accumulate(np.where(changed, index, 0))
    return (index - start + 1).astype(float)
