"""What the network sees, on any grid, and how to read its answer.

The network works on 96 quarter hours from the origin on and never in kW. For PV its unit is the
site's own envelope, so its answer is a clearness; for load it is the usual departure from the
28-day mean. Only the clock relative to the origin and the site's own daily shape (which follows
the sun for PV) go in: no date, no place, no size.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from models.baselines import Past, clearness, smoothed
from models.history import Floats, Target

LAYOUT = 1  # raised when anything below changes what a weight means
QUARTERS = 96
SEQUENCE_STEPS = 48  # half hours
# Leads in quarter hours at which the network answers; in between linearly.
KNOTS = (*range(1, 5), *range(6, 13, 2), *range(16, 97, 4))
CHANNELS = 3
SPREAD_CLIP = 6.0
CLEARNESS_CLIP = 1.6
CLEARNESS_WINDOWS = (1, 2, 4, 8, 16, 96)  # quarter hours back from the origin
DEPARTURE_WINDOWS = (1, 2, 4, 8, 16, 32, 96, 192)

Singles = NDArray[np.float32]


def _interpolation() -> Floats:
    leads = np.arange(1, QUARTERS + 1)
    return np.stack([np.interp(leads, KNOTS, row) for row in np.eye(len(KNOTS))], axis=1)


INTERPOLATION = _interpolation()  # (96, knots)
_TO_KNOTS = INTERPOLATION / INTERPOLATION.sum(axis=0)  # local means around each knot


@dataclass(frozen=True, slots=True)
class Inputs:
    """One row per origin, and what turns the network's answer into the unit of the history."""

    sequence: Singles  # (B, 48, 3)
    flat: Singles  # (B, F)
    base: Floats  # (B, D), unit of the history
    unit: Floats  # (B, D), unit of the history


def flat_width(target: Target) -> int:
    """Length of the flat vector."""
    return 3 * len(KNOTS) + 17 if target == "pv" else 4 * len(KNOTS) + 12


def inputs(past: Past, target: Target) -> Inputs:
    """Build the network's inputs; rows without any history come out as zeros, never NaN."""
    return _pv(past) if target == "pv" else _load(past)


def decoded(answer: Floats, given: Inputs) -> tuple[Floats, Floats, Floats]:
    """Turn the network's (B, knots, 3) into p10, p50, p90 (B, D) in the unit of the history."""
    quarters = np.einsum("lk,bkq->blq", INTERPOLATION, answer)
    per_day = given.base.shape[1]
    centre, below, above = (
        from_quarters(quarters[:, :, column], per_day) for column in range(answer.shape[2])
    )
    middle = given.base + given.unit * centre
    low = middle - given.unit * softplus(below)
    return low, middle, middle + given.unit * softplus(above)


def softplus(values: Floats) -> Floats:
    """log(1 + exp(x)) without overflow."""
    return np.asarray(np.maximum(values, 0.0) + np.log1p(np.exp(-np.abs(values))))


def to_quarters(days: Floats, per_day: int) -> Floats:
    """Bring (B, n) on a grid of `per_day` to quarter hours: means of the known, or repeats."""
    if per_day <= QUARTERS:
        return np.repeat(days, QUARTERS // per_day, axis=1)
    blocks = days.reshape(len(days), -1, per_day // QUARTERS)
    known = np.isfinite(blocks)
    sums = np.where(known, blocks, 0.0).sum(axis=2)
    count = known.sum(axis=2)
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def from_quarters(quarters: Floats, per_day: int) -> Floats:
    """Bring (B, 96) to a grid of `per_day`: lines between the quarters' middles, or means."""
    if per_day >= QUARTERS:
        parts = per_day // QUARTERS
        at = ((np.arange(per_day) + 0.5) / parts - 0.5).clip(0, QUARTERS - 1)
        left = at.astype(int).clip(max=QUARTERS - 2)
        share = at - left
        return np.asarray((1 - share) * quarters[:, left] + share * quarters[:, left + 1])
    return cast(Floats, quarters.reshape(len(quarters), per_day, -1).mean(axis=2))


# --- PV ------------------------------------------------------------------------------------


def _pv(past: Past) -> Inputs:
    top = np.nan_to_num(smoothed(past.top, past.step_s, 1800.0))
    peak = np.maximum(top.max(axis=1, keepdims=True), 1e-9)
    ahead = to_quarters(top, past.per_day) / peak
    usual = to_quarters(np.nan_to_num(past.mean), past.per_day) / peak
    value = to_quarters(past.recent, past.per_day) / peak
    light = to_quarters(past.recent_top, past.per_day) / peak
    known = np.isfinite(value) & np.isfinite(light)
    value, light = np.where(known, value, 0.0), np.where(known, light, 0.0)

    monthly = _ratio(usual.sum(axis=1), ahead.sum(axis=1), 0.5, 0.1)
    prior = _ratio(value[:, -96:].sum(axis=1), light[:, -96:].sum(axis=1), monthly, 2.0)
    scalars = [monthly, _ratio(value[:, :96].sum(axis=1), light[:, :96].sum(axis=1), monthly, 2.0)]
    scalars.append(clearness(past, past.step_s))
    for quarters in CLEARNESS_WINDOWS:
        made, lit = value[:, -quarters:].sum(axis=1), light[:, -quarters:].sum(axis=1)
        scalars += [_ratio(made, lit, prior, 0.05 * quarters**0.5), lit / quarters]
    ratios = np.where(light > 0.05, value / np.maximum(light, 0.05), prior[:, None])
    scalars += [
        np.abs(np.diff(ratios[:, -9:], axis=1)).mean(axis=1),
        known[:, -96:].mean(axis=1),
    ]
    at_knots = [
        _ratio(usual @ _TO_KNOTS, ahead @ _TO_KNOTS, monthly[:, None], 0.02),
        ahead @ _TO_KNOTS,
        _ratio(value[:, -96:] @ _TO_KNOTS, light[:, -96:] @ _TO_KNOTS, prior[:, None], 0.02),
    ]
    flat = np.concatenate([np.stack(scalars, axis=1), *at_knots], axis=1)
    filled = np.where(known, value, light * prior[:, None])
    channels = (filled, light, known.astype(float))
    return _inputs(channels, flat, CLEARNESS_CLIP, np.zeros_like(top), top)


def _ratio(made: Floats, light: Floats, prior: Floats | float, weight: float) -> Floats:
    """made / light, drawn to the prior where there is little light."""
    return np.asarray((made + weight * np.asarray(prior)) / (light + weight))


# --- load ----------------------------------------------------------------------------------


def _load(past: Past) -> Inputs:
    mean = np.nan_to_num(past.mean)
    base = smoothed(mean, past.step_s, 3600.0)
    size = np.maximum(np.sqrt((np.nan_to_num(past.spread) ** 2).mean(axis=1, keepdims=True)), 1e-6)
    size = np.maximum(size, 0.1 * mean.mean(axis=1, keepdims=True))
    per_day = past.per_day
    departure = to_quarters((past.recent - past.recent_mean) / size, per_day)
    known = np.isfinite(departure)
    departure = np.where(known, departure, 0.0).clip(-SPREAD_CLIP, SPREAD_CLIP)

    scalars = [
        departure[:, -quarters:].sum(axis=1) / (known[:, -quarters:].sum(axis=1) + 0.25)
        for quarters in DEPARTURE_WINDOWS
    ]
    scalars += [
        departure[:, -16:].std(axis=1),
        known[:, -96:].mean(axis=1),
        (mean.mean(axis=1, keepdims=True) / size)[:, 0],
        past.days / 28.0,
    ]
    weekly = np.where(np.isfinite(past.week), past.week, mean) - mean
    at_knots = [
        to_quarters(values, per_day) @ _TO_KNOTS
        for values in (
            (mean - base.mean(axis=1, keepdims=True)) / size,
            weekly / size,
            np.nan_to_num(past.spread) / size,
        )
    ]
    flat = np.concatenate(
        [np.stack(scalars, axis=1), departure[:, -96:] @ _TO_KNOTS, *at_knots], axis=1
    )
    level = to_quarters(
        (np.nan_to_num(past.recent_mean) - base.mean(axis=1, keepdims=True)) / size, per_day
    )
    channels = (departure, level, known.astype(float))
    unit = np.repeat(size, past.per_day, axis=1)
    return _inputs(channels, flat, SPREAD_CLIP, base, unit)


def _inputs(
    channels: tuple[Floats, ...], flat: Floats, clip: float, base: Floats, unit: Floats
) -> Inputs:
    """Half-hour means of the last 24 h as the sequence; all clipped, in single precision."""
    day = np.stack([channel[:, -QUARTERS:] for channel in channels], axis=2)
    half_hours = day.reshape(len(day), SEQUENCE_STEPS, -1, CHANNELS).mean(axis=2)
    return Inputs(
        half_hours.clip(-clip, clip).astype(np.float32),
        flat.clip(-clip, clip).astype(np.float32),
        base,
        unit,
    )
