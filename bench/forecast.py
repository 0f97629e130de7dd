"""How good the forecasts are on measured sites: RMSE against the best simple one, and the band.

Run as `python bench/forecast.py [--data DIR]`. With `--leave-one-out` (extra [train]) every set
that the shipped weights were trained on is judged with weights that never saw it.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from models import baselines
from models.forecaster import Forecaster
from models.history import DAY_S, Floats, History, Target

HORIZONS_S = {"15 min": 900, "1 h": 3600, "6 h": 21_600, "24 h": 86_400}
PERMITTED = {
    "pv": ("dtu_lyngby_weather_5min", "fontana_5houses_1h", "ausgrid_customer12_30min"),
    "load": ("swiss_load_15min", "fontana_5houses_1h", "ausgrid_customer12_30min"),
}
TEST_ONLY = {
    "pv": ("ucsd_pv_15min",),
    "load": ("nsw_sgsc_load_30min", "ucsd_building_load_15min"),
}
PLACES = {  # latitude, longitude
    "dtu_lyngby_weather_5min": (55.79, 12.53),
    "fontana_5houses_1h": (34.10, -117.44),
    "ausgrid_customer12_30min": (-33.9, 151.2),
    "ucsd_pv_15min": (32.88, -117.235),
}


@dataclass
class Score:
    """Sums over one series; the last axis is the horizon."""

    squares: dict[str, Floats] = field(default_factory=dict)
    counts: Floats = field(default_factory=lambda: np.zeros(len(HORIZONS_S)))
    inside: Floats = field(default_factory=lambda: np.zeros(len(HORIZONS_S)))
    lit: Floats = field(default_factory=lambda: np.zeros(len(HORIZONS_S)))
    pinball: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    origins: int = 0

    def add(self, name: str, squares: Floats) -> None:
        """Add squared errors (B, horizons)."""
        self.squares[name] = self.squares.get(name, 0.0) + squares.sum(axis=0)

    def ratios(self) -> Floats:
        """RMSE of the forecast over that of the best simple one, per horizon; NaN off the grid."""
        best = np.min([v for name, v in self.squares.items() if name != "forecast"], axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.sqrt(self.squares["forecast"] / best))

    def coverage(self) -> Floats:
        """Share of outcomes inside the band; for PV those with light only."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.inside / self.lit


def score(forecaster: Forecaster, history: History, origins: NDArray[np.int64]) -> Score:
    """Judge one series; every simple forecast is judged on the same outcomes."""
    result, target = Score(), forecaster.target
    columns = np.array([h // history.step_s - 1 for h in HORIZONS_S.values()])
    usable = columns >= 0
    for group in baselines.neighbours(origins):
        moments = origins[group]
        begun = time.perf_counter()
        found = forecaster.forecast_many(history, moments.tolist(), DAY_S // history.step_s)
        result.seconds += time.perf_counter() - begun
        result.origins += len(moments)
        past = baselines.look_back(history, moments, target)
        truth = np.stack([history.window(int(o), int(o) + DAY_S) for o in moments])[:, columns]
        simple = {name: days[:, columns] for name, days in _simple(past, target)}
        known = usable & np.isfinite(truth)
        for days in simple.values():
            known &= np.isfinite(days)
        truth = np.where(known, truth, 0.0)
        p10, p50, p90 = (days[:, columns] for days in (found.p10, found.p50, found.p90))
        result.counts += known.sum(axis=0)
        result.add("forecast", np.where(known, p50 - truth, 0.0) ** 2)
        for name, days in simple.items():
            result.add(name, np.where(known, days - truth, 0.0) ** 2)
        lit = known & (p90 > 0)
        result.lit += lit.sum(axis=0)
        result.inside += (lit & (p10 <= truth) & (truth <= p90)).sum(axis=0)
        climate = [days[:, columns] for days in (past.low, past.mean, past.high)]
        for name, three in (("forecast", [p10, p50, p90]), ("climate", climate)):
            loss = sum(
                _pinball(truth, q, tau) for q, tau in zip(three, (0.1, 0.5, 0.9), strict=True)
            )
            result.pinball[name] = result.pinball.get(name, 0.0) + float(np.sum(loss[known]))
    return result


def _pinball(truth: Floats, quantile: Floats, tau: float) -> Floats:
    gap = truth - quantile
    return np.maximum(tau * gap, (tau - 1) * gap)


def _simple(past: baselines.Past, target: Target) -> Iterator[tuple[str, Floats]]:
    yield "persistence", baselines.persistence(past)
    yield "yesterday", baselines.yesterday(past)
    yield "28-day mean", past.mean
    if target == "pv":
        yield "clear-sky persistence", baselines.clear_sky_persistence(past)
    else:
        yield "last week", past.last_week


def series(path: Path, target: Target, most: int) -> Iterator[tuple[str, History]]:
    """Up to `most` series of a set, spread over its columns."""
    from models.training.examples import read_sites

    sites = list(read_sites(path, target))
    for position in np.unique(np.linspace(0, len(sites) - 1, most).astype(int)):
        yield sites[position]


def judge(
    path: Path, target: Target, weights: Path | None, origins: int, most: int, place: bool
) -> list[Score]:
    """Score the series of one set with the given weights."""
    name = path.name.split(".")[0]
    where = PLACES.get(name, (None, None)) if place else (None, None)
    forecaster = Forecaster(target, *where, weights=weights)
    if forecaster.problem:
        raise click.ClickException(forecaster.problem)
    rng = np.random.default_rng(1)
    scores = []
    for _, history in series(path, target, most):
        per_day = DAY_S // history.step_s
        range_ = np.arange(28 * per_day, len(history.values) - per_day)
        chosen = rng.choice(range_, min(origins, len(range_)), replace=False)
        scores.append(
            score(forecaster, history, history.start_utc_s + np.sort(chosen) * history.step_s)
        )
    return scores


def report(name: str, target: str, scores: list[Score]) -> None:
    """One line per set: mean ratios over its series, coverage, pinball against climatology."""
    with np.errstate(invalid="ignore"):
        ratios = np.nanmean([s.ratios() for s in scores if s.counts.any()], axis=0)
        inside = np.sum([s.inside for s in scores], axis=0) / np.sum(
            [s.lit for s in scores], axis=0
        )
    pinball = sum(s.pinball["forecast"] for s in scores) / sum(s.pinball["climate"] for s in scores)
    pace = 1000 * sum(s.seconds for s in scores) / sum(s.origins for s in scores)
    cells = "  ".join("   - " if np.isnan(r) else f"{r:5.3f}" for r in ratios)
    bands = "  ".join("  - " if np.isnan(r) else f"{r:4.2f}" for r in inside)
    click.echo(f"{target:5}{name:34}{cells}   | {bands} | {pinball:5.3f} | {pace:5.2f}")


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), default=Path("../shared/data")
)
@click.option("--origins", default=1500, show_default=True, help="per series")
@click.option("--series", "most", default=12, show_default=True, help="per set at most")
@click.option("--weights", type=click.Path(path_type=Path), help="folder with pv and load .tflite")
@click.option("--target", type=click.Choice(["pv", "load"]), help="default: both")
@click.option("--place/--no-place", default=True, help="tell the forecaster where the site is")
@click.option("--leave-one-out", is_flag=True, help="train without each permitted set first")
def main(
    data: Path,
    origins: int,
    most: int,
    weights: Path | None,
    target: Target | None,
    place: bool,
    leave_one_out: bool,
) -> None:
    """Judge the forecasters on measured sites."""
    click.echo(
        f"{'RMSE / best simple':39}"
        + "  ".join(f"{h:>5}" for h in HORIZONS_S)
        + "   | inside p10..p90        | pinball | s/1000"
    )
    targets: tuple[Target, ...] = (target,) if target else ("pv", "load")
    for which in targets:
        file = weights / f"{which}.tflite" if weights else None
        for name in TEST_ONLY[which]:
            report(name, which, judge(data / f"{name}.csv.gz", which, file, origins, most, place))
        for name in PERMITTED[which]:
            path = data / f"{name}.csv.gz"
            if not leave_one_out:
                report(name + " (seen)", which, judge(path, which, file, origins, most, place))
                continue
            with tempfile.TemporaryDirectory() as folder:
                from models.training.train import train

                others = [data / f"{other}.csv.gz" for other in PERMITTED[which] if other != name]
                train(which, others, Path(folder), seed=0, say=lambda text: None)
                file_ = Path(folder) / f"{which}.tflite"
                report(name, which, judge(path, which, file_, origins, most, place))


if __name__ == "__main__":
    sys.exit(main())
