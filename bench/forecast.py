"""How good the forecasts are on measured sites: RMSE against the best simple one, and the band.

Run as `python -m bench.forecast [--quick]`. Every set is judged with weights that never saw it:
sets that may not train weights with the shipped ones, the others with weights trained without
them (extra [train]; kept in a folder outside the checkout). Ridge and LightGBM (extra [bench])
have seen the same sets.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from bench import forecast_rivals
from bench.forecast_scores import HORIZONS_S, Score, score
from models import features
from models.forecaster import Forecaster
from models.gru import FORMAT, WEIGHTS
from models.history import DAY_S, Floats, History, Target
from models.training.examples import read_sites

PERMITTED: dict[Target, tuple[str, ...]] = {
    "pv": ("dtu_lyngby_weather_5min", "fontana_5houses_1h", "ausgrid_customer12_30min"),
    "load": ("swiss_load_15min", "fontana_5houses_1h", "ausgrid_customer12_30min"),
}
TEST_ONLY: dict[Target, tuple[str, ...]] = {
    "pv": ("ucsd_pv_15min",),
    "load": ("nsw_sgsc_load_30min", "ucsd_building_load_15min"),
}
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "nanogrid-bench"
QUICK = (150, 2)  # origins and series
COMPARED = 600  # origins per series for int8 against float


def say(text: str) -> None:
    """Progress, apart from the table."""
    click.echo(text, err=True)


def file_of(data: Path, name: str) -> Path:
    """A set's file."""
    return data / f"{name}.csv.gz"


def fold(data: Path, target: Target, left_out: str) -> Path:
    """Weights trained without a set, from the cache or anew."""
    folder = CACHE / f"{FORMAT}-layout{features.LAYOUT}" / f"{target}-without-{left_out}"
    weights = folder / f"{target}.tflite"
    if weights.exists():
        return weights
    if importlib.util.find_spec("tensorflow") is None:
        raise click.ClickException(f"no {weights}, and no TensorFlow (extra [train]) to train it")
    from models.training.train import train

    say(f"training {target} without {left_out}")
    others = [file_of(data, name) for name in PERMITTED[target] if name != left_out]
    with tempfile.TemporaryDirectory() as made:
        train(target, others, Path(made), seed=0, say=say)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-r", made, str(folder)], check=True)
    return weights


def series(path: Path, target: Target, most: int) -> Iterator[tuple[str, History]]:
    """Up to `most` series of a set, spread over its columns."""
    sites = list(read_sites(path, target))
    for position in np.unique(np.linspace(0, len(sites) - 1, most).astype(int)):
        yield sites[position]


def some_origins(history: History, count: int) -> NDArray[np.int64]:
    """Origins at random, four weeks after the first value at the earliest."""
    per_day = DAY_S // history.step_s
    first = int(np.argmax(np.isfinite(history.values))) + 28 * per_day
    possible = np.arange(first, len(history.values) - per_day)
    chosen = np.random.default_rng(1).choice(possible, min(count, len(possible)), replace=False)
    return np.asarray(history.start_utc_s + np.sort(chosen) * history.step_s)


def judge(
    path: Path,
    target: Target,
    weights: Path,
    origins: int,
    most: int,
    rivals: dict[str, forecast_rivals.Rival],
) -> tuple[list[Score], float]:
    """Scores of a set's series, and the largest RMSE of int8 over float at any horizon."""
    forecaster = Forecaster(target, weights=weights)
    if forecaster.problem:
        raise click.ClickException(forecaster.problem)
    scores, worst = [], 0.0
    for name, history in series(path, target, most):
        moments = some_origins(history, origins)
        begun = time.process_time()
        made = forecaster.forecast_many(history, moments.tolist(), DAY_S // history.step_s)
        spent = time.process_time() - begun
        others = forecast_rivals.forecasts(rivals, history, moments, target)
        scores.append(score(history, moments, target, made, others))
        scores[-1].seconds = spent
        worst = max(worst, _int8_over_float(history, moments[:COMPARED], target, weights))
        say(f"{target} {name}: {' '.join(f'{r:.3f}' for r in scores[-1].ratios())}")
    return scores, worst


def _int8_over_float(
    history: History, origins: NDArray[np.int64], target: Target, weights: Path
) -> float:
    twin = weights.with_name(f"{target}_float.tflite")
    squares = []
    for path in (weights, twin):
        plain = Forecaster(target, weights=path, learning=False)
        made = plain.forecast_many(history, origins.tolist(), DAY_S // history.step_s)
        squares.append(score(history, origins, target, made, {}).squares["forecast"])
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmax(np.sqrt(squares[0] / squares[1])))


def report(target: str, name: str, scores: list[Score], worst_int8: float) -> Floats:
    """Print a set's lines; returns the mean ratios over its series."""
    ratios = np.array([s.ratios() for s in scores if s.counts.any()])
    inside = sum(s.inside for s in scores) / np.maximum(sum(s.lit for s in scores), 1)
    pinball = [s.pinball_ratio() for s in scores]
    pace = 1000 * sum(s.seconds for s in scores) / sum(s.origins for s in scores)
    mean = ratios.mean(axis=0)
    bands = " ".join(
        "  - " if np.isnan(r) else f"{b:.2f}" for r, b in zip(mean, inside, strict=True)
    )
    loss = f"{np.mean(pinball):.3f} {max(pinball):.3f}"
    last = f"| {bands} | {loss} | {worst_int8:.3f} | {pace:5.1f}"
    click.echo(f"{target:5}{name:26}{_cells(mean)} {last}")
    click.echo(f"{'':5}{'  worst series':26}{_cells(ratios.max(axis=0))} |")
    for rival in sorted(scores[0].rivals):
        click.echo(
            f"{'':5}  {rival:24}{_cells(np.mean([s.ratios(rival) for s in scores], axis=0))} |"
        )
    return np.asarray(mean)


def _cells(ratios: Floats) -> str:
    return " ".join("   -  " if np.isnan(ratio) else f"{ratio:6.3f}" for ratio in ratios)


def cost() -> str:
    """Memory and time of a process that only forecasts."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.forecast_light"], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    return ", ".join(f"{name} {value}" for name, value in found.items())


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path, exists=True), default=Path("../shared/data")
)
@click.option("--origins", default=1000, show_default=True, help="per series")
@click.option("--series", "most", default=12, show_default=True, help="per set at most")
@click.option("--target", type=click.Choice(["pv", "load"]), help="default: both")
@click.option("--quick", is_flag=True, help="shipped weights, few origins and series, no LightGBM")
def main(data: Path, origins: int, most: int, target: Target | None, quick: bool) -> None:
    """Judge the forecasters on measured sites."""
    if quick:
        origins, most = min(origins, QUICK[0]), min(most, QUICK[1])
    click.echo(
        f"{'RMSE / best simple':31}{' '.join(f'{h:>6}' for h in HORIZONS_S)} | in p10..p90"
        "         | pinball     | int8  | s/1000"
    )
    means = []
    targets: tuple[Target, ...] = (target,) if target else ("pv", "load")
    for which in targets:
        for name in (*TEST_ONLY[which], *PERMITTED[which]):
            seen = quick and name in PERMITTED[which]
            others = [file_of(data, n) for n in PERMITTED[which] if n != name]
            rivals = {} if quick else forecast_rivals.train(others, which, trees=True)
            shipped = quick or name in TEST_ONLY[which]
            weights = WEIGHTS / f"{which}.tflite" if shipped else fold(data, which, name)
            scores, worst = judge(file_of(data, name), which, weights, origins, most, rivals)
            means.append(report(which, name + " (seen)" * seen, scores, worst))
    table = np.array(means)
    click.echo(f"{'mean over sets':31}{_cells(np.nanmean(table, axis=0))} |")
    click.echo(f"{'worst set':31}{_cells(np.nanmax(table, axis=0))} |")
    click.echo(cost())


if __name__ == "__main__":
    sys.exit(main())
