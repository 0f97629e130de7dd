"""A PV forecast's first slots, as the irradiance sensor foresees them."""

from dataclasses import replace

import numpy as np

from control.nowcast import MINUTES
from control.records import Series
from control.sky import MINUTE_S, BandKw, PvAhead

SAID = "; the next 15 min by the irradiance sensor"


def with_nowcast(
    series: Series, ahead: PvAhead | None, now_s: float, start_s: float, slot_s: float
) -> Series:
    """Return the series with the minutes that the nowcast covers taken from it.

    Times are monotonic, `start_s` that of the first slot, of which only the rest counts. A nowcast
    that is missing or outlived changes nothing.
    """
    if ahead is None or not ahead.is_fresh(now_s):
        return series
    quantiles = [list(series.p10_kw), list(series.p50_kw), list(series.p90_kw)]
    for index in range(len(series.p50_kw)):
        begin = (start_s + index * slot_s - ahead.t_s) / MINUTE_S
        end = begin + slot_s / MINUTE_S
        begin = max(begin, 0.0)
        until = min(end, float(MINUTES))
        if until - begin < 0.5:
            break
        share = (until - begin) / (end - begin)
        for column, kw in zip(quantiles, _means(ahead.means, begin, until), strict=True):
            column[index] = share * kw + (1.0 - share) * column[index]
    low, middle, high = (tuple(column) for column in quantiles)
    source = series.source + SAID
    return replace(series, p10_kw=low, p50_kw=middle, p90_kw=high, source=source)


def _means(means: BandKw, begin: float, until: float) -> tuple[float, float, float]:
    """p10, p50 and p90 of the mean between two minutes ahead."""
    minutes = np.arange(1, MINUTES + 1)
    sums = minutes * np.array(means.p50_kw)
    first, last = np.interp((begin, until), np.r_[0, minutes], np.r_[0.0, sums])
    middle = float(last - first) / (until - begin)
    low, centre, high = (
        float(np.interp(until - begin, minutes, q))
        for q in (means.p10_kw, means.p50_kw, means.p90_kw)
    )
    return max(0.0, middle - (centre - low)), middle, middle + (high - centre)
