"""Whether what is measured is off the forecast by more than its band: then a new plan is due.

The error of the net load (load minus sun) is averaged over some minutes, so that a kettle is none,
and set against the distance from the forecast's median to the end of its band, load and sun taken
as independent. It is off beyond the band and on again well inside it: between the two nothing
changes, so that no plan follows the next in turn.
"""

import math
from dataclasses import dataclass, replace

from control.records import Forecast

AVERAGED_S = 300.0
AGAIN_FRAC = 0.5  # of the band: inside this it is on again
LEAST_KW = 0.2  # a band narrower than this is taken as so wide
GAP_S = 120.0  # after a longer time without a look the mean begins anew


@dataclass(frozen=True, slots=True)
class OffBand:
    """The mean error (kW, > 0: more load or less sun than forecast) and what follows from it."""

    error_kw: float = 0.0
    known_s: float = 0.0  # time in the mean, up to AVERAGED_S
    t_s: float = -math.inf
    off: bool = False


def watch(
    before: OffBand,
    forecast: Forecast | None,
    now_s: float,
    load_kw: float | None,
    pv_kw: float | None,
) -> OffBand:
    """Return the judgement after one more look; what cannot be judged leaves it as it was."""
    if forecast is None or load_kw is None or pv_kw is None:
        return before
    index = int((now_s - forecast.start_t_s) // forecast.step_s)
    if not 0 <= index < len(forecast.load.p50_kw):
        return before
    load, pv = forecast.load, forecast.pv
    error_kw = (load_kw - load.p50_kw[index]) - (pv_kw - pv.p50_kw[index])
    more_kw = math.hypot(
        load.p90_kw[index] - load.p50_kw[index], pv.p50_kw[index] - pv.p10_kw[index]
    )
    less_kw = math.hypot(
        load.p50_kw[index] - load.p10_kw[index], pv.p90_kw[index] - pv.p50_kw[index]
    )
    if not math.isfinite(error_kw):  # it would stay in the mean for ever
        return before
    mean = _averaged(before, now_s, error_kw)
    band_kw = max(LEAST_KW, more_kw if mean.error_kw > 0 else less_kw)
    full = mean.known_s >= AVERAGED_S
    limit_kw = band_kw * (AGAIN_FRAC if before.off else 1.0)
    return replace(mean, off=full and abs(mean.error_kw) > limit_kw)


def _averaged(before: OffBand, now_s: float, error_kw: float) -> OffBand:
    """The mean with one more error in it, by the time since the last."""
    passed_s = now_s - before.t_s
    if not 0.0 <= passed_s <= GAP_S:
        return OffBand(error_kw, 0.0, now_s, before.off)
    known_s = min(AVERAGED_S, before.known_s + passed_s)
    weight = min(1.0, passed_s / max(known_s, passed_s, 1e-9))
    mean_kw = before.error_kw + weight * (error_kw - before.error_kw)
    return OffBand(mean_kw, known_s, now_s, before.off)
