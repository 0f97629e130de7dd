"""What the irradiance sensor's last hours say of PV in the next minutes; kept in the state.

Each cycle adds to the minute under way, each finished minute makes a new nowcast. The state carries
the minutes, so a replay of the recorded samples makes the same nowcasts.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from control.nowcast import LEAST_SKY_W_M2, MINUTES, Band, nowcast
from control.records import Sample
from control.site import SiteParameters
from control.sun import clear_sky_ghi_w_m2

MINUTE_S = 60.0
KEPT_MINUTES = 240
YIELD_MINUTES = 30  # PV per irradiance is learnt from so many
USUAL_YIELD_FRAC = 0.8  # of rating per 1000 W/m2
HELD_FRAC = 0.9  # so near a limit it is the limit that one sees
MOST_W_M2 = 2000.0  # more than any cloud edge gives
SLOPE_MINUTES = 15
FASTEST_DEG = 0.26  # a minute: the sun never rises or sets faster
FRESH_S = 150.0  # a nowcast is used for so long


@dataclass(frozen=True, slots=True)
class SkyMinute:
    """Means of one minute; None where more than half of it is unknown."""

    number: int  # of monotonic time
    sun_w_m2: float | None
    elevation_deg: float  # of the sun, at its last cycle
    pv_kw: float | None  # unknown, too, while a limit held it back


@dataclass(frozen=True, slots=True)
class BandKw:
    """Three quantiles for 1, 2 ... 15 minutes ahead."""

    p10_kw: tuple[float, ...]
    p50_kw: tuple[float, ...]
    p90_kw: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PvAhead:
    """PV power of the minutes after `t_s` (monotonic), and of the means from there on."""

    t_s: float
    minutes: BandKw
    means: BandKw  # over minutes 1 to 1, 1 to 2 ... 1 to 15
    learnt: bool  # from this sky's own minutes; else usual values

    def is_fresh(self, now_s: float) -> bool:
        """Not outlived."""
        return 0.0 <= now_s - self.t_s <= FRESH_S

    def lowest_kw(self, minutes: int) -> float:
        """What PV may sink to within so many minutes (p10)."""
        return min(self.minutes.p10_kw[:minutes])


@dataclass(frozen=True, slots=True)
class Sky:
    """The minutes of the last hours, the one under way, and the newest nowcast."""

    minutes: tuple[SkyMinute, ...] = ()
    number: int | None = None  # of the minute under way
    cycles: int = 0
    sun_sum: float = 0.0
    sun_count: int = 0
    pv_sum: float = 0.0
    pv_count: int = 0
    elevation_deg: float = 0.0
    ahead: PvAhead | None = None  # None: no sensor, no light, or its last minute is unknown


NO_SKY = Sky()


def free_pv_kw(
    site: SiteParameters, pv_kw: float | None, limit_kw: float | None, *, throttled: bool
) -> float | None:
    """`pv_kw` where nothing held it back, else None.

    Held back is what nears a limit below the rating, and what says so itself: on an island whose
    battery is full the inverters give way to the frequency.
    """
    limited = limit_kw is not None and limit_kw < site.pv_rated_kw
    held = limited and limit_kw is not None and (pv_kw or 0.0) >= HELD_FRAC * limit_kw
    return None if pv_kw is None or throttled or held else max(0.0, pv_kw)


def looked_at(sky: Sky, sample: Sample, pv_kw: float | None, rated_kw: float) -> Sky:
    """Return the sky after this cycle; `pv_kw` is None while unknown or held back by a limit."""
    if sample.irradiance_w_m2 is None or rated_kw <= 0.0:
        return sky
    number = int(sample.t_s // MINUTE_S)
    if number != sky.number:
        sky = _finished(sky, number, rated_kw)
    sun_w_m2, elevation_deg = sample.irradiance_w_m2.good, sample.sun_elevation_deg
    if sun_w_m2 is not None and not 0.0 <= sun_w_m2 <= MOST_W_M2:
        sun_w_m2 = None
    return replace(
        sky,
        cycles=sky.cycles + 1,
        sun_sum=sky.sun_sum + (sun_w_m2 or 0.0),
        sun_count=sky.sun_count + (sun_w_m2 is not None),
        pv_sum=sky.pv_sum + (pv_kw or 0.0),
        pv_count=sky.pv_count + (pv_kw is not None),
        elevation_deg=elevation_deg if math.isfinite(elevation_deg) else sky.elevation_deg,
    )


def _finished(sky: Sky, number: int, rated_kw: float) -> Sky:
    """Begin a minute; what was under way is kept, and a nowcast made of all that is."""
    minutes = sky.minutes
    if sky.number is not None and sky.number < number:
        made = SkyMinute(
            sky.number,
            _mean(sky.sun_sum, sky.sun_count, sky.cycles),
            sky.elevation_deg,
            _mean(sky.pv_sum, sky.pv_count, sky.cycles),
        )
        minutes = tuple(m for m in (*minutes, made) if m.number >= number - KEPT_MINUTES)
    return Sky(minutes, number, ahead=_ahead(minutes, number, rated_kw))


def _mean(total: float, count: int, cycles: int) -> float | None:
    return total / count if 2 * count > cycles else None


def _ahead(minutes: tuple[SkyMinute, ...], number: int, rated_kw: float) -> PvAhead | None:
    """The nowcast at the start of a minute."""
    if not minutes or minutes[-1].sun_w_m2 is None or minutes[-1].number != number - 1:
        return None
    places = np.array([m.number for m in minutes]) - minutes[0].number
    sun, clear = np.full((2, places[-1] + 1), np.nan)
    sun[places] = [np.nan if m.sun_w_m2 is None else m.sun_w_m2 for m in minutes]
    clear[places] = clear_sky_ghi_w_m2([m.elevation_deg for m in minutes])
    last = minutes[-1].elevation_deg
    heights = last + _slope_deg(minutes) * np.arange(1, MINUTES + 1)
    made = nowcast(sun, np.nan_to_num(clear), clear_sky_ghi_w_m2(heights))
    if made is None:
        return None
    per_w_m2 = _yield(minutes, rated_kw)

    def in_kw(band: Band) -> BandKw:
        parts = (band.p10_w_m2, band.p50_w_m2, band.p90_w_m2)
        p10, p50, p90 = (tuple(np.minimum(p * per_w_m2, rated_kw).tolist()) for p in parts)
        return BandKw(p10, p50, p90)

    return PvAhead(number * MINUTE_S, in_kw(made.minutes), in_kw(made.means), made.learnt)


def _slope_deg(minutes: tuple[SkyMinute, ...]) -> float:
    """How the sun rises, degrees a minute, from the last quarter of an hour."""
    last = minutes[-1]
    first = next(m for m in minutes if m.number >= last.number - SLOPE_MINUTES)
    slope = (last.elevation_deg - first.elevation_deg) / max(1, last.number - first.number)
    return min(max(slope, -FASTEST_DEG), FASTEST_DEG)


def _yield(minutes: tuple[SkyMinute, ...], rated_kw: float) -> float:
    """PV kW per W/m2 as lately seen, where both were known; else what is usual."""
    pv = sun = 0.0
    for m in minutes[-YIELD_MINUTES:]:
        if m.pv_kw is not None and m.sun_w_m2 is not None and m.sun_w_m2 >= LEAST_SKY_W_M2:
            pv, sun = pv + m.pv_kw, sun + m.sun_w_m2
    return pv / sun if sun > 0.0 else USUAL_YIELD_FRAC * rated_kw / 1000.0
