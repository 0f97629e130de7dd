"""What a site's own last four weeks say about a day ahead: envelope, same-clock mean and others.

Everything is computed for many origins at once. Index i on the grid is known at an origin o when
i < o; the same-clock statistics of index i use i - 1 d, i - 2 d, ... i - 28 d, so those of the day
that starts at an origin are all known at that origin.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from models.cleaning import cleaned
from models.history import DAY_S, Floats, History, Target

WINDOW_DAYS = 28
LONG_DAYS = 91  # for what changes slowly: 13 weeks
MEMORY_DAYS = 123  # the longest statistics of the past two days, and the peaks that cleaning needs
FRESH_HALF_DAYS = 4.0
LONG_HALF_DAYS = 28.0
WEEKS_HALF_DAYS = 21.0
RECENT_DAYS = 2
LIT_DAYS = 5
BRIGHT_DAYS = 10
PROFILE_SMOOTH_S = 3600.0
GROUP_ORIGINS = 96
GROUP_S = 20 * DAY_S


@dataclass(frozen=True, slots=True)
class Past:
    """The past of B origins on the history's grid of D intervals a day.

    `recent*` have shape (B, 2 D) and end at the origin; the others have shape (B, D) and cover the
    day that starts there. NaN where nothing is known; `days` (B,) counts days' worth of values.
    """

    step_s: int
    origin_utc_s: NDArray[np.int64]  # (B,)
    recent: Floats  # cleaned values
    recent_top: Floats  # the envelope at that time
    recent_mean: Floats  # the same-clock mean at that time
    recent_profile: Floats  # `profile` at that time
    top: Floats  # mean of the largest three (fewer on young sites) of 28 days
    mean: Floats
    spread: Floats  # standard deviation
    low: Floats  # 10th percentile
    high: Floats  # 90th percentile
    week: Floats  # mean of 7, 14, 21 and 28 days ago
    last_week: Floats  # 7 days ago
    fresh: Floats  # mean of 28 days that forgets half in four days
    long: Floats  # mean of 13 weeks that forgets half in four weeks
    weeks: Floats  # mean of the same weekday of 13 weeks
    fresh_weeks: Floats  # the same, forgetting half in three weeks
    profile: Floats  # the same drawn to `long` where weeks are few, smoothed over neighbours
    lit: Floats  # largest of the last five days
    bright: Floats  # largest of the last ten days
    days: Floats

    @property
    def per_day(self) -> int:
        """Intervals in a day."""
        return DAY_S // self.step_s

    def __len__(self) -> int:
        return len(self.days)


def look_back(
    history: History,
    origins_utc_s: NDArray[np.int64],
    target: Target,
    capacity: float | None = None,
) -> Past:
    """Collect the past of origins that lie on the history's grid, ideally close to each other.

    Nothing that the history holds at or after an origin has an influence on that origin's rows.
    """
    step_s, per_day = history.step_s, DAY_S // history.step_s
    begin = int(origins_utc_s.min()) - MEMORY_DAYS * DAY_S
    end = int(origins_utc_s.max())
    known = History(begin, step_s, history.window(begin, end))
    values = cleaned(known, target, capacity)
    values = np.concatenate([values, np.full(per_day, np.nan)])
    origins = (origins_utc_s - begin) // step_s
    first = int(origins.min()) - RECENT_DAYS * per_day
    clock = _same_clock(values, per_day, first, len(values))
    ahead = origins[:, None] + np.arange(per_day)
    back = origins[:, None] - np.arange(RECENT_DAYS * per_day, 0, -1)
    month = np.concatenate([[0.0], np.cumsum(np.isfinite(values))])
    held = month[origins] - month[origins - WINDOW_DAYS * per_day]
    fill = {name: _filled(clock[name][ahead - first], step_s) for name in AHEAD}
    fill["profile"] = smoothed(fill["profile"], step_s, PROFILE_SMOOTH_S)
    days = _filled(clock["profile"][back - first].reshape(-1, per_day), step_s)
    return Past(
        step_s=step_s,
        origin_utc_s=origins_utc_s,
        recent=values[back],
        recent_top=clock["top"][back - first],
        recent_mean=clock["mean"][back - first],
        recent_profile=smoothed(days, step_s, PROFILE_SMOOTH_S).reshape(back.shape),
        days=held / per_day,
        **fill,
    )


def neighbours(origins_utc_s: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Positions of the origins in order of time, in groups small enough for `look_back`."""
    groups: list[list[int]] = []
    for position in np.argsort(origins_utc_s, kind="stable").tolist():
        group = groups[-1] if groups else []
        far = bool(group) and origins_utc_s[position] - origins_utc_s[group[0]] > GROUP_S
        if not group or far or len(group) == GROUP_ORIGINS:
            groups.append([])
        groups[-1].append(position)
    return [np.array(group) for group in groups]


FADING = ("fresh", "long", "weeks", "fresh_weeks")
AHEAD = (
    *("top", "mean", "spread", "low", "high", "week", "last_week", "lit", "bright", "profile"),
    *FADING,
)


def _same_clock(values: Floats, per_day: int, first: int, last: int) -> dict[str, Floats]:
    """Statistics over the 28 values of the same clock time before each index in [first, last)."""
    count = last - first
    stride = values.strides[0]
    base = values[first - WINDOW_DAYS * per_day :]
    lags = as_strided(base, (WINDOW_DAYS, count), (per_day * stride, stride), writeable=False)
    ordered = np.sort(lags, axis=0)  # missing values last
    known = np.isfinite(ordered)
    n = known.sum(axis=0)
    zeroed = np.where(known, ordered, 0.0)
    some = np.maximum(n, 1)
    mean = zeroed.sum(axis=0) / some
    variance = (np.where(known, ordered - mean, 0.0) ** 2).sum(axis=0) / some
    at = np.arange(count)
    largest = [zeroed[np.maximum(n - rank, 0), at] for rank in (1, 2, 3)]
    tops = 1 + (n >= 7).astype(int) + (n >= 14)
    top = np.cumsum(largest, axis=0)[tops - 1, at] / tops
    found = {
        "top": top,
        "mean": mean,
        "spread": np.sqrt(variance),
        "low": zeroed[((n - 1) * 0.1 + 0.5).astype(int).clip(0), at],
        "high": zeroed[((n - 1) * 0.9 + 0.5).astype(int).clip(0), at],
    }
    found = {name: np.where(n > 0, array, np.nan) for name, array in found.items()}
    weekly = lags[::7]  # the first is 28 days ago
    found["week"], found["last_week"] = _mean_known(weekly), weekly[-1].copy()
    found["lit"] = np.fmax.reduce(lags[-LIT_DAYS:], axis=0)
    found["bright"] = np.fmax.reduce(lags[-BRIGHT_DAYS:], axis=0)
    return found | _fading_means(values, per_day, first, last)


def _fading_means(values: Floats, per_day: int, first: int, last: int) -> dict[str, Floats]:
    """Weighted means of the same clock time; lag by lag, so that no bit depends on the span.

    "profile" counts `long` like one value of the eve of the weeks.
    """
    known = np.isfinite(values)
    zeroed = np.where(known, values, 0.0)
    sums, weights = (np.zeros((len(FADING), last - first)) for _ in range(2))
    for lag, shares in enumerate(_lag_shares().T, start=1):
        span = slice(first - lag * per_day, last - lag * per_day)
        for index in np.flatnonzero(shares):
            sums[index] += shares[index] * zeroed[span]
            weights[index] += shares[index] * known[span]
    means = np.where(weights > 0, sums / np.maximum(weights, 1e-12), np.nan)
    found = dict(zip(FADING, means, strict=True))
    habit = FADING.index("fresh_weeks")
    found["profile"] = (sums[habit] + found["long"]) / (weights[habit] + 1.0)
    return found


def _lag_shares() -> Floats:
    """Weight of the value n = 1, 2 ... days ago in each of the fading means, (4, 91)."""
    lags = np.arange(1, LONG_DAYS + 1)
    weekly = lags % 7 == 0
    return np.stack(
        [
            np.where(lags <= WINDOW_DAYS, 0.5 ** (lags / FRESH_HALF_DAYS), 0.0),
            0.5 ** (lags / LONG_HALF_DAYS),
            np.where(weekly, 1.0, 0.0),
            np.where(weekly, 0.5 ** (lags / WEEKS_HALF_DAYS), 0.0),
        ]
    )


def _mean_known(stack: Floats) -> Floats:
    known = np.isfinite(stack)
    n = known.sum(axis=0)
    return np.where(n > 0, np.where(known, stack, 0.0).sum(axis=0) / np.maximum(n, 1), np.nan)


def _filled(days: Floats, step_s: int) -> Floats:
    """Bridge clock times without a value from their neighbours; rows may stay all NaN."""
    known = np.isfinite(days)
    for row in np.flatnonzero(known.any(axis=1) & ~known.all(axis=1)):
        at = np.flatnonzero(known[row])
        days[row] = np.interp(np.arange(days.shape[1]), at, days[row, at], period=days.shape[1])
    return days


def smoothed(days: Floats, step_s: int, width_s: float) -> Floats:
    """Triangular smoothing round the clock, half-width `width_s`; shape (B, D) kept."""
    reach = int(width_s // step_s)
    if reach == 0:
        return days
    offsets = np.arange(-reach, reach + 1)
    weights = 1.0 - np.abs(offsets) / (reach + 1)
    out = np.zeros_like(days)
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        out += weight * np.roll(days, offset, axis=1)
    return out


# --- forecasts that need no network --------------------------------------------------------


def persistence(past: Past) -> Floats:
    """The last interval's value for a day; NaN when it is missing."""
    return np.repeat(past.recent[:, -1:], past.per_day, axis=1)


def yesterday(past: Past) -> Floats:
    """The same clock time of the day before."""
    return past.recent[:, -past.per_day :]


def clearness(past: Past, seconds: float = 3600.0) -> Floats:
    """Recent value over envelope (B,), drawn to the 28-day ratio when there was little light."""
    count = max(1, int(seconds // past.step_s))
    value, top = past.recent[:, -count:], past.recent_top[:, -count:]
    both = np.isfinite(value) & np.isfinite(top)
    light = np.where(both, top, 0.0).sum(axis=1)
    prior_weight = 0.05 * np.nan_to_num(past.top.max(axis=1)) + 1e-9
    usual = np.nan_to_num(past.mean.sum(axis=1) / np.maximum(past.top.sum(axis=1), 1e-9))
    made = np.where(both, value, 0.0).sum(axis=1)
    return np.asarray((made + prior_weight * usual) / (light + prior_weight))


def clear_sky_persistence(past: Past) -> Floats:
    """The envelope of the past 28 days times the clearness of the last hour."""
    return past.top * clearness(past)[:, None]


def envelope_blend(past: Past) -> tuple[Floats, Floats, Floats]:
    """PV without a network: clearness of the last hour fading into the 28-day mean (4 h)."""
    weight = _fading(past, 4 * 3600.0)
    middle = weight * clear_sky_persistence(past) + (1 - weight) * past.mean
    return _ordered(past.low, middle, past.high)


def mean_blend(past: Past) -> tuple[Floats, Floats, Floats]:
    """Load without a network: the 28-day mean plus half of the last hour's departure (1.5 h)."""
    mean = smoothed(past.mean, past.step_s, 3600.0)
    count = max(1, 3600 // past.step_s)
    departure = _mean_known((past.recent - past.recent_mean)[:, -count:].T)
    shift = 0.5 * _fading(past, 5400.0) * np.nan_to_num(departure)[:, None]
    return _ordered(past.low, np.maximum(mean + shift, 0.0), past.high)


def _fading(past: Past, seconds: float) -> Floats:
    return np.asarray(np.exp(-(np.arange(past.per_day) + 0.5) * past.step_s / seconds)[None, :])


def _ordered(low: Floats, middle: Floats, high: Floats) -> tuple[Floats, Floats, Floats]:
    return np.minimum(low, middle), middle, np.maximum(high, middle)
