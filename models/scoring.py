"""Keeping score of live forecasts: each is judged when its hour has come, against persistence.

Several forecasters of one quantity are followed side by side, on the same outcomes. Errors are kept
as fading sums: a slow one for who deserves to serve, a fast one for what has gone wrong lately.
"""

import math
from dataclasses import dataclass
from typing import Any

HORIZONS_S = {"15 min": 900, "1 h": 3600, "6 h": 21_600, "24 h": 86_400}
HALF_LIVES_DAYS = {"slow": 28.0, "fast": 3.0}
ORIGINS_PER_DAY = 96
PERSISTENCE = "persistence"
BAND = "band"
FORMAT = "nanogrid-scores-1"


@dataclass(frozen=True, slots=True)
class Band:
    """p10 and p90 of the forecast that served, per horizon."""

    low_kw: tuple[float, ...]
    high_kw: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """What was said for one interval, to be judged when it is over."""

    horizon: str
    said_kw: dict[str, float]  # by forecaster
    low_kw: float
    high_kw: float


class Scores:
    """Scores of the forecasters of one quantity; `names` may change while it runs."""

    def __init__(self) -> None:
        self._claims: dict[int, list[Claim]] = {}  # by the start of the interval, UTC seconds
        # speed -> forecaster -> horizon -> [squared errors, count]
        self._sums: dict[str, dict[str, dict[str, list[float]]]] = {s: {} for s in HALF_LIVES_DAYS}

    def claim(
        self, origin_utc_s: int, step_s: int, said_kw: dict[str, tuple[float, ...]], band: Band
    ) -> None:
        """Note forecasts made at an origin: each forecaster's and persistence's, per horizon."""
        for index, (horizon, ahead_s) in enumerate(HORIZONS_S.items()):
            if ahead_s < step_s:
                continue
            values = {name: kw[index] for name, kw in said_kw.items()}
            claim = Claim(horizon, values, band.low_kw[index], band.high_kw[index])
            self._claims.setdefault(origin_utc_s + ahead_s - step_s, []).append(claim)

    def settle(self, start_utc_s: int, value_kw: float) -> None:
        """Judge what was said for the interval that begins then; NaN: nobody will ever know."""
        claims = self._claims.pop(start_utc_s, [])
        if not math.isfinite(value_kw):
            return
        for claim in claims:
            for name, said_kw in claim.said_kw.items():
                self._add(name, claim.horizon, (said_kw - value_kw) ** 2)
            inside = claim.low_kw <= value_kw <= claim.high_kw
            self._add(BAND, claim.horizon, float(inside))

    @property
    def first_open_utc_s(self) -> int | None:
        """Start of the first interval that is still to be judged."""
        return min(self._claims, default=None)

    def forget_before(self, utc_s: int) -> None:
        """Drop claims whose outcome was never told."""
        for start in [start for start in self._claims if start < utc_s]:
            del self._claims[start]

    def forget(self, name: str) -> None:
        """Drop a forecaster's score and claims: another bears its name from now on."""
        for by_name in self._sums.values():
            by_name.pop(name, None)
        for claim in (claim for claims in self._claims.values() for claim in claims):
            claim.said_kw.pop(name, None)

    def _add(self, name: str, horizon: str, value: float) -> None:
        for speed, half_days in HALF_LIVES_DAYS.items():
            fade = 0.5 ** (1.0 / (half_days * ORIGINS_PER_DAY))
            sums = self._sums[speed].setdefault(name, {}).setdefault(horizon, [0.0, 0.0])
            sums[0] = fade * sums[0] + value
            sums[1] = fade * sums[1] + 1.0

    def days(self, name: str, speed: str = "slow") -> float:
        """Days' worth of judged forecasts, faded; at most 1.44 half-lives."""
        counts = [count for _, count in self._sums[speed].get(name, {}).values()]
        return min(counts) / ORIGINS_PER_DAY if counts else 0.0

    def ratios(self, name: str, other: str, speed: str = "slow") -> dict[str, float]:
        """RMSE of one forecaster over another's, per horizon known of both."""
        mine, theirs = (self._sums[speed].get(n, {}) for n in (name, other))
        found = {}
        for horizon in HORIZONS_S:
            if horizon in mine and horizon in theirs:
                mean, other_mean = (s[horizon][0] / s[horizon][1] for s in (mine, theirs))
                if other_mean > 0:
                    found[horizon] = math.sqrt(mean / other_mean)
        return found

    def skill(self, name: str) -> dict[str, float]:
        """1 - RMSE over that of persistence, per horizon: 1 is perfect, 0 no better."""
        return {h: 1.0 - ratio for h, ratio in self.ratios(name, PERSISTENCE).items()}

    def coverage(self) -> dict[str, float]:
        """Share of outcomes inside p10..p90 of what served, per horizon."""
        return {h: total / count for h, (total, count) in self._sums["slow"].get(BAND, {}).items()}

    def plain(self) -> dict[str, Any]:
        """As JSON values."""
        claims = {
            str(start): [[c.horizon, c.said_kw, c.low_kw, c.high_kw] for c in found]
            for start, found in self._claims.items()
        }
        return {"format": FORMAT, "sums": self._sums, "claims": claims}

    @classmethod
    def from_plain(cls, plain: Any) -> "Scores":
        """Inverse of `plain`. Raises ValueError for anything else."""
        made = cls()
        try:
            if plain["format"] != FORMAT:
                raise ValueError(f"format {plain['format']!r}, needed is {FORMAT!r}")
            for speed, by_name in made._sums.items():
                for name, by_horizon in plain["sums"][speed].items():
                    by_name[str(name)] = {h: _pair(by_horizon[h]) for h in by_horizon}
                    if not set(by_horizon) <= set(HORIZONS_S):
                        raise ValueError(f"horizons {sorted(by_horizon)}")
            for start, claims in plain.get("claims", {}).items():
                made._claims[int(start)] = [_claim(*parts) for parts in claims]
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"not a score: {error}") from error
        return made


def _claim(horizon: str, said_kw: dict[str, float], low_kw: float, high_kw: float) -> Claim:
    numbers = (*said_kw.values(), low_kw, high_kw)
    if horizon not in HORIZONS_S or not all(map(math.isfinite, numbers)):
        raise ValueError(f"claim {horizon!r}, {numbers}")
    return Claim(horizon, dict(said_kw), low_kw, high_kw)


def _pair(values: Any) -> list[float]:
    total, count = (float(value) for value in values)
    if not (math.isfinite(total) and total >= 0 and math.isfinite(count) and count > 0):
        raise ValueError(f"sums {values!r}")
    return [total, count]
