"""Clues to the network's errors in a site's own past, for `models/correction.py` to weigh.

Beyond what the network sees: simple forecasts, departures from the site's own week, steps that look
like an appliance, the last clearnesses on the site's own grid, their products and the clock. Every
clue is in the unit of the history, at some leads of B origins; one that is unknown is 0. Only the
past of an origin goes in.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models import baselines
from models.baselines import Past, smoothed
from models.history import DAY_S, Floats, Target

# How large a weight is expected to be, before the record speaks.
SIMPLE_STD = {"pv": 0.2, "load": 0.3}
CLUE_STD = {"pv": 0.2, "load": 0.2}
PRODUCT_STD = {"pv": 0.2, "load": 0.1}
WINDOW_QUARTERS = (1, 2, 4, 8, 16, 32, 96, 192)  # back from the origin, for departures
WINDOW_STEPS = (1, 2, 3, 4, 6, 12, 24, 48)  # on the site's own grid, for clearness
VARIED_S = (3600, 14_400)
DEPARTURE_CLIP = 6.0
EASE_S = 3600
LIT_FRAC = 0.05  # of the envelope's peak: below, clearness is noise
DIM_FRAC = 0.02  # of the envelope's peak: what comes then is not the last value's matter
ORDINARY = 0.6  # clearness
STEPS = (0.5, 1.5, 3.0)  # of a departure: an appliance has been switched on
TURNS = (0.5, 2.0)  # of a departure between two intervals


@dataclass(frozen=True, slots=True)
class Clues:
    """E clues at L leads of B origins, and how large a weight each is expected to have."""

    values: Floats  # (E, B, L)
    widths: Floats  # (E,)


def clues(
    past: Past, target: Target, middle: Floats, unit: Floats, leads: NDArray[np.intp]
) -> Clues:
    """Collect what may explain the error of the network's centre; it and its unit are (B, L)."""
    simple = [days[:, leads] - middle for days in _simple(past, target)]
    made, products = (_pv if target == "pv" else _load)(past, middle, unit, leads)
    stack = np.stack([*simple, *made, *products])
    widths = (SIMPLE_STD[target], CLUE_STD[target], PRODUCT_STD[target])
    counts = (len(simple), len(made), len(products))
    return Clues(np.where(np.isfinite(stack), stack, 0.0), np.repeat(widths, counts))


def _simple(past: Past, target: Target) -> list[Floats]:
    found = [past.mean, baselines.yesterday(past)]
    if target == "pv":
        now = baselines.clearness(past, past.step_s)[:, None]
        found += [baselines.clear_sky_persistence(past), past.top * now]
        found += [past.bright, past.bright * now]
    else:
        found += [baselines.persistence(past), past.last_week, past.week, past.profile]
    return [*found, past.fresh, past.long, past.weeks, past.fresh_weeks]


def _clock(past: Past, leads: NDArray[np.intp]) -> list[Floats]:
    """Sines and cosines of a day and half a day at the middle of each interval ahead, (B, L)."""
    ends_s = past.origin_utc_s[:, None] % DAY_S + (leads + 0.5) * past.step_s
    phase = 2 * np.pi * ends_s / DAY_S
    return [np.sin(phase), np.cos(phase), np.sin(2 * phase), np.cos(2 * phase)]


def _window_sums(values: Floats, count: int) -> tuple[Floats, Floats]:
    """Sum and number of the known among the last `count`, (B,) each."""
    last = values[:, -count:]
    known = np.isfinite(last)
    return np.where(known, last, 0.0).sum(axis=1), known.sum(axis=1).astype(float)


# --- load ----------------------------------------------------------------------------------


def _load(
    past: Past, middle: Floats, unit: Floats, leads: NDArray[np.intp]
) -> tuple[list[Floats], list[Floats]]:
    """Departures from the site's week, lately and at the same clock time; and products."""
    size = np.maximum(unit[:, :1], 1e-9)
    departure = (past.recent - past.recent_profile) / size
    windows = []
    for quarters in WINDOW_QUARTERS:
        count = max(1, quarters * 900 // past.step_s)
        total, known = _window_sums(departure, count)
        mean = total / (known + 0.25 * count)
        windows.append(mean.clip(-DEPARTURE_CLIP, DEPARTURE_CLIP)[:, None])
    per_day, reach = past.per_day, EASE_S // past.step_s
    eased = _eased(departure, reach)
    before = eased[:, np.minimum(per_day + leads, 2 * per_day - 1 - reach)] * size
    made = [size * window * np.ones(len(leads)) for window in windows]
    made += [departure[:, per_day + leads] * size, before, eased[:, leads] * size]
    made += [size * bend * np.ones(len(leads)) for bend in _switched(departure)]
    profile = past.profile[:, leads]
    turned = [made[0], made[2], made[4], made[6], before, profile - middle]
    products = [clue * wave for clue in turned for wave in _clock(past, leads)]
    for window in (windows[0], windows[2], windows[4]):
        products += [size * np.maximum(window, 0.0) * np.ones(len(leads))]
        products += [size * (window**2).clip(0.0, DEPARTURE_CLIP) * np.ones(len(leads))]
        products += [window * profile.clip(-3 * size, 3 * size)]
    spread = past.spread[:, leads]
    return made, [*products, spread, spread * windows[2], spread * before / size]


def _switched(departure: Floats) -> list[Floats]:
    """How far the last two departures, and the turn between them, lie beyond steps, (B, 1) each."""
    last, second = (
        np.nan_to_num(departure[:, -back, None]).clip(-DEPARTURE_CLIP, DEPARTURE_CLIP)
        for back in (1, 2)
    )
    turn = last - second
    beyond = [value - step for step in STEPS for value in (last, second)]
    beyond += [way - step for step in TURNS for way in (turn, -turn)]
    return [np.maximum(value, 0.0) for value in beyond]


def _eased(departure: Floats, reach: int) -> Floats:
    """Triangular means of the known neighbours up to `reach` intervals away; 0 where none is."""
    known = np.isfinite(departure)
    values = np.where(known, departure, 0.0)
    total, weight = np.zeros_like(values), np.zeros_like(values)
    length = values.shape[1]
    for offset in range(-reach, reach + 1):
        share = 1.0 - abs(offset) / (reach + 1)
        to = slice(max(0, -offset), length - max(0, offset))
        source = slice(max(0, offset), length - max(0, -offset))
        total[:, to] += share * values[:, source]
        weight[:, to] += share * known[:, source]
    return total / np.maximum(weight, 1e-9)


# --- PV ------------------------------------------------------------------------------------


def _pv(
    past: Past, middle: Floats, unit: Floats, leads: NDArray[np.intp]
) -> tuple[list[Floats], list[Floats]]:
    """Clearness lately against the last day's and the month's, how it varied; and products."""
    per_day = past.per_day
    peak = np.nan_to_num(past.top.max(axis=1))
    days = np.nan_to_num(past.recent_top).reshape(-1, per_day)
    light = smoothed(days, past.step_s, 1800.0).reshape(past.recent.shape)
    light = np.where(np.isfinite(past.recent) & (light > LIT_FRAC * peak[:, None]), light, np.nan)
    made_kw = np.where(np.isfinite(light), past.recent, np.nan)
    month = np.nan_to_num(past.mean).sum(axis=1) / (np.nan_to_num(past.top).sum(axis=1) + 1e-9)

    def ratio(count: int, prior: Floats, weight: Floats) -> Floats:
        made, lit = (_window_sums(values, count)[0] for values in (made_kw, light))
        return np.asarray((made + weight * prior) / (lit + weight + 1e-9))

    day = ratio(per_day, month, 0.02 * peak * per_day)
    now = [ratio(count, day, 0.05 * peak * count**0.5) - day for count in WINDOW_STEPS]
    changes = np.abs(np.diff(made_kw / light, axis=1)).clip(0.0, 2.0)
    varied = []
    for span_s in VARIED_S:
        total, known = _window_sums(changes, span_s // past.step_s)
        varied.append(total / np.maximum(known, 1.0))
    unusual = day - month
    scalars = [value.clip(-1.5, 1.5) for value in now] + [unusual]
    bent = [now[0] ** 2, now[0] * unusual, unusual**2, np.abs(now[0] - now[3])]
    bent += [value for v in varied for value in (v, v * now[0])]
    clues_made = [unit * scalar[:, None] for scalar in scalars]
    turned = [clues_made[0], clues_made[3], clues_made[5], clues_made[8], unit]
    products = [clue * wave for clue in turned for wave in _clock(past, leads)]
    products += [unit * value.clip(-2.0, 2.0)[:, None] for value in bent]
    shares = [(value + day).clip(0.0, 2.0)[:, None] for value in (now[0], now[3])]
    products += _skies(unit, peak[:, None], [*shares, day[:, None]], varied)
    known = np.isfinite(past.recent[:, -1:]) & (unit > DIM_FRAC * peak[:, None])
    products.append(np.where(known, past.recent[:, -1:] - middle, 0.0))
    seen = (past.bright[:, leads], past.lit[:, leads])
    return clues_made, products + [light * (shares[0] - ORDINARY) for light in seen]


def _skies(unit: Floats, peak: Floats, shares: list[Floats], varied: list[Floats]) -> list[Floats]:
    """Clearnesses (B, 1) under a high or low sun, under a restless sky, and bent."""
    height = unit / np.maximum(peak, 1e-9)
    found = [unit * height, unit * height * varied[0][:, None]]
    found.append(unit * (varied[0] ** 2).clip(0.0, 1.0)[:, None])
    for share in shares:
        found.append(unit * height * (share - ORDINARY))
        found.append(unit * (share * (1.0 - share)).clip(-1.0, 1.0))
        found += [unit * (share * value[:, None]).clip(-1.0, 1.0) for value in varied]
    return found
