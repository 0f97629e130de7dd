"""Forecasts against what came: charts and scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hil.report_figures import PLAN_STYLE, Figure, Series
from hil.report_series import Floats, step_means
from hil.report_words import clock, figure
from hil.result import ForecastShot
from hil.trace import NOWCAST_MINUTES

STEP_S = 900.0
MINUTE_S = 60.0
ALIGNED_S = 6.0
MOST_KEPT = 8
DARK_FRAC = 0.02  # PV below this share of its highest value is night, and easily foreseen

Band = tuple[Floats, Floats, Floats]  # p10, p50, p90


@dataclass(frozen=True, slots=True)
class Score:
    """A forecast against the truth's means over its steps."""

    name: str
    source: str
    steps: int
    inside_frac: float  # of the truth between p10 and p90; 0.8 when the band is right
    rmse_kw: float
    skill_frac: float | None  # 1 - RMSE over that of persistence, the step before goes on
    bias_kw: float  # > 0: foreseen too high


@dataclass(frozen=True)
class Target:
    """PV or load: its truth and what was said about it."""

    series: Series
    name: str  # pv, load
    truth: Floats

    @classmethod
    def of(cls, series: Series, name: str) -> "Target | None":
        """None without a truth to compare with; what PV could have given is PV's truth."""
        for column in {"pv": ("pv_available_kw", "pv_kw"), "load": ("load_kw",)}[name]:
            truth = series.truth(column)
            if truth is not None and float(np.nanmax(truth)) > 0.0:
                return cls(series, name, truth)
        return None

    @property
    def title(self) -> str:
        """As people write it."""
        return {"pv": "PV", "load": "Load"}[self.name]

    def scores(self) -> list[Score]:
        """The newest forecast of each moment, then each kept one; very many are taken together."""
        shots = self.series.result.forecasts
        kept = [self._kept([shot]) for shot in shots]
        found = [self._newest(), *(kept if len(shots) <= MOST_KEPT else [self._kept(shots)])]
        found += [self._nowcast(minutes) for minutes in NOWCAST_MINUTES if self.name == "pv"]
        return [item for item in found if item is not None]

    def figure(self) -> Figure | None:
        """Band, median and truth; the first kept forecast is what was foreseen at the start."""
        band, shots = self._quantiles(), self.series.result.forecasts[:1]
        values: list[Floats | None] = [self.truth, *(band or ())]
        values += [self._within_run(shot)[1] for shot in shots]
        chart = self.series.chart(f"forecast-{self.name}", "kW", values, 190)
        if chart is None or (band is None and not shots):
            return None
        style = self.name
        if band is not None:
            chart.band(band[0], band[2], "quantiles", "p10 to p90")
        chart.line(self.truth, f"{style} faint")
        start_s, step_s, count = self._steps()
        means = step_means(self.series.axis.times, self.truth, start_s, step_s, count)
        at = np.maximum(start_s + step_s * np.arange(count), self.series.axis.start_s)
        chart.steps(means, style, f"Truth, means of {step_s / 60.0:g} min", times=at)
        for shot in shots:
            times, foreseen = self._within_run(shot)
            label = f"Foreseen at {self._made_at(shot)}"
            chart.line(foreseen, "first", label, times=times)
        if band is not None:
            chart.steps(band[1], PLAN_STYLE, "p50")
        return Figure(f"{self.title}: forecast and truth", "", chart, self._description())

    def _steps(self) -> tuple[float, float, int]:
        """Start, length and number of the steps of UTC that cover the run."""
        shots, axis = self.series.result.forecasts, self.series.axis
        step_s = shots[0].step_s if shots else STEP_S
        start_s = math.floor(axis.start_s / step_s) * step_s
        return start_s, step_s, math.ceil((axis.end_s - start_s) / step_s)

    def _quantiles(self) -> Band | None:
        found = [self.series.controller(f"{self.name}_{q}_kw") for q in ("p10", "p50", "p90")]
        low, middle, high = found
        if low is None or middle is None or high is None:
            return None
        return low, middle, high

    def _newest(self) -> Score | None:
        band = self._quantiles()
        if band is None:
            return None
        low, middle, high = (step_means(self.series.axis.times, v, *self._steps()) for v in band)
        truth = step_means(self.series.axis.times, self.truth, *self._steps())
        before = np.append(np.nan, truth[:-1])
        return self._score("newest of each moment", "", truth, (low, middle, high), before)

    def _kept(self, shots: Sequence[ForecastShot]) -> Score | None:
        low, middle, high = (
            np.concatenate([np.array(self._quantiles_of(shot)[index], float) for shot in shots])
            for index in range(3)
        )
        truth = np.concatenate([self._came_after(shot) for shot in shots])
        before = np.concatenate([self._went_on(shot) for shot in shots])
        first = shots[0]
        name = f"of {self._made_at(first)}" if len(shots) == 1 else f"all {len(shots)} kept"
        source = first.pv_source if self.name == "pv" else first.load_source
        return self._score(name, source, truth, (low, middle, high), before)

    def _nowcast(self, minutes: int) -> Score | None:
        """Of the minute so far ahead, against the minute before the nowcast was made."""
        parts = [
            self.series.controller(f"nowcast{minutes}_{part}")
            for part in ("p10_kw", "p50_kw", "p90_kw", "age_s")
        ]
        low, middle, high, age_s = parts
        if low is None or middle is None or high is None or age_s is None:
            return None
        if minutes == 1 and _is_blurred(age_s):
            return None
        made = self.series.axis.times - age_s
        truth = self._means_from(made + MINUTE_S * (minutes - 1))
        before = self._means_from(made - MINUTE_S)
        name, source = f"nowcast, minute {minutes}", "irradiance sensor"
        return self._score(name, source, truth, (low, middle, high), before)

    def _means_from(self, times: Floats) -> Floats:
        """The truth's means over the minutes that begin at some times; NaN outside the run."""
        axis, point_s = self.series.axis.times, np.median(np.diff(self.series.axis.times))
        edges = np.append(axis, axis[-1] + point_s)
        total = np.append(0.0, np.cumsum(np.nan_to_num(self.truth) * np.diff(edges)))
        begin, end = (np.interp(t, edges, total, np.nan, np.nan) for t in (times, times + MINUTE_S))
        return np.asarray((end - begin) / MINUTE_S)

    def _went_on(self, shot: ForecastShot) -> Floats:
        """Persistence: the truth of the step before the forecast was made."""
        begin_s = shot.start_utc_s - shot.step_s
        last = step_means(self.series.axis.times, self.truth, begin_s, shot.step_s, 1)
        return np.repeat(last, len(self._quantiles_of(shot)[1]))

    def _came_after(self, shot: ForecastShot) -> Floats:
        steps = (shot.start_utc_s, shot.step_s, len(self._quantiles_of(shot)[1]))
        return step_means(self.series.axis.times, self.truth, *steps)

    def _score(
        self, name: str, source: str, truth: Floats, band: Band, persistence: Floats
    ) -> Score | None:
        """Over the steps of which everything is known; of PV by day only. None without any."""
        low, middle, high = band
        known = np.isfinite(truth) & np.isfinite(low) & np.isfinite(middle) & np.isfinite(high)
        if self.name == "pv":
            known &= np.fmax(truth, middle) >= DARK_FRAC * float(np.nanmax(self.truth))
        if not known.any():
            return None
        error = (middle - truth)[known]
        inside = ((truth >= low) & (truth <= high))[known]
        rmse_kw = math.sqrt(float((error**2).mean()))
        steps, bias_kw = int(known.sum()), float(error.mean())
        skill = _skill(middle[known] - truth[known], persistence[known] - truth[known])
        return Score(name, source, steps, float(inside.mean()), rmse_kw, skill, bias_kw)

    def _within_run(self, shot: ForecastShot) -> tuple[Floats, Floats]:
        axis, middle = self.series.axis, np.array(self._quantiles_of(shot)[1], np.float64)
        times = shot.start_utc_s + shot.step_s * (np.arange(len(middle), dtype=np.float64) + 0.5)
        within = (times >= axis.start_s) & (times <= axis.end_s)
        return times[within], middle[within]

    def _quantiles_of(self, shot: ForecastShot) -> tuple[tuple[float, ...], ...]:
        return shot.pv_kw if self.name == "pv" else shot.load_kw

    def _made_at(self, shot: ForecastShot) -> str:
        axis = self.series.axis
        return clock(shot.start_utc_s, axis.zone, dated=axis.dated)[:-3]

    def _description(self) -> str:
        scores = self.scores()
        if not scores:
            return "No forecast falls on a moment of which the truth is known."
        first = scores[0]
        inside = figure(100.0 * first.inside_frac, "%", 0)
        return f"{inside} of the truth inside the band, RMSE {figure(first.rmse_kw, 'kW')}."


def _is_blurred(age_s: Floats) -> bool:
    """Whether nowcasts begin within the truth's minutes, which then tell next from last too ill."""
    late_s = float(np.nanmedian(age_s % MINUTE_S))
    return min(late_s, MINUTE_S - late_s) > ALIGNED_S


def _skill(error: Floats, persisting: Floats) -> float | None:
    """1 - RMSE over that of persistence, where both are known."""
    both = np.isfinite(persisting)
    simple = float((persisting[both] ** 2).sum())
    return 1.0 - math.sqrt(float((error[both] ** 2).sum()) / simple) if simple > 0.0 else None
