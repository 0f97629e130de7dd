"""`nanogrid forecast`: forecasts of PV or load for given origins, from a history file."""

import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from firmware.bad_input import BadInput
from firmware.config import SiteError, load_site
from firmware.forecast_plot import draw
from models.forecaster import Forecaster, Forecasts
from models.history import History, HistoryError, Target, format_utc, read_history, read_origins

HEADER = "origin_utc,ts_utc,p10,p50,p90\n"
CLEAR_NOON_W_M2 = 1000.0  # what "capacity" means for a column of irradiance


@click.command()
@click.option("--target", type=click.Choice(["pv", "load"]), required=True)
@click.option(
    "--history",
    "history_file",
    type=click.Path(path_type=Path),
    required=True,
    help="CSV or gzip CSV: ts_utc, then pv_kw, ghi_w_m2 or load_kw on a 5, 15, 30 or 60 min grid.",
)
@click.option(
    "--origins",
    "origins_file",
    type=click.Path(path_type=Path),
    required=True,
    help="One ISO 8601 time per line. Only what ended by an origin is used for it.",
)
@click.option(
    "--horizon-h",
    type=click.FloatRange(0, 168, min_open=True),
    default=24.0,
    show_default=True,
    help="Beyond 24 h the first day's forecast is repeated.",
)
@click.option(
    "--site", "site_file", type=click.Path(path_type=Path), help="For place and capacity."
)
@click.option("--column", help="The history's column, where several would do.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="A .tflite with its .json beside it."
)
@click.option("--no-learning", is_flag=True, help="Do not adjust to what the site has shown.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="SVG of up to six of the forecasts, with what came as far as the history knows it.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="The forecasts' file; default: stdout."
)
def forecast(
    target: Target,
    history_file: Path,
    origins_file: Path,
    horizon_h: float,
    site_file: Path | None,
    column: str | None,
    weights: Path | None,
    no_learning: bool,
    plot: Path | None,
    output: Path | None,
) -> None:
    """Forecast PV or load: p10, p50 and p90 in the unit of the history, for each origin.

    Standard error says which forecaster served how many origins, and why if not the network.
    """
    try:
        history, name = read_history(history_file, target, column)
        origins = read_origins(origins_file)
    except HistoryError as error:
        raise BadInput(str(error)) from None
    steps = round(horizon_h * 3600 / history.step_s)
    if steps < 1:
        raise BadInput(f"--horizon-h {horizon_h:g}: shorter than the history's grid")
    irradiance = name.endswith("ghi_w_m2")
    forecaster = _forecaster(target, site_file, irradiance, weights, not no_learning)
    with _progress(len(origins)) as advance:
        made = forecaster.forecast_many(history, origins, steps, advance)
    _write(output, _rows(history, origins, made))
    if plot is not None:
        try:
            plot.write_text(draw(history, origins, made, f"{target} {name}"), encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{plot}: {error.strerror}") from None
    for line in _summary(origins, made):
        click.echo(line, err=True)


def _forecaster(
    target: Target, site_file: Path | None, irradiance: bool, weights: Path | None, learning: bool
) -> Forecaster:
    latitude = longitude = capacity = None
    if site_file is not None:
        try:
            site = load_site(site_file)
        except SiteError as error:
            raise BadInput(str(error)) from None
        latitude, longitude = site.site.latitude_deg, site.site.longitude_deg
        capacity = sum(pv.rated_kw for pv in site.pv) or None
    if irradiance:
        capacity = CLEAR_NOON_W_M2
    if target == "load":
        capacity = None
    forecaster = Forecaster(target, latitude, longitude, capacity, weights, learning)
    if weights is not None and forecaster.problem:
        raise BadInput(forecaster.problem)
    return forecaster


def _rows(history: History, origins: Sequence[int], made: Forecasts) -> Iterator[str]:
    """The lines of the output, one text per origin."""
    stamps: dict[int, str] = {}
    steps = range(made.p50.shape[1])
    for index, origin in enumerate(origins):
        origin_text = format_utc(origin)
        first = int(made.start_utc_s[index])
        lines = []
        quantiles = zip(
            steps,
            made.p10[index].tolist(),
            made.p50[index].tolist(),
            made.p90[index].tolist(),
            strict=True,
        )
        for step, p10, p50, p90 in quantiles:
            moment = first + step * history.step_s
            stamp = stamps.get(moment) or stamps.setdefault(moment, format_utc(moment))
            lines.append(f"{origin_text},{stamp},{p10:.6g},{p50:.6g},{p90:.6g}\n")
        yield "".join(lines)


def _write(output: Path | None, rows: Iterator[str]) -> None:
    """Write to standard output, or to a file that appears only when it is complete."""
    if output is None:
        click.echo(HEADER, nl=False)
        for text in rows:
            click.echo(text, nl=False)
        return
    partial = output.with_name(output.name + ".part")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(HEADER)
            file.writelines(rows)
        os.replace(partial, output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise click.ClickException(f"{output}: {error.strerror}") from None


def _summary(origins: Sequence[int], made: Forecasts) -> Iterator[str]:
    """One line per kind of source: how many origins, and the first of them in full."""
    kinds = [re.sub(r"\d+(\.\d+)?", "0", source) for source in made.sources]
    for kind, count in Counter(kinds).most_common():
        index = kinds.index(kind)
        example = f"{format_utc(origins[index])}: {made.sources[index]}"
        yield f"{count} of {len(origins)} origins, e.g. {example}"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress

    columns = (*Progress.get_default_columns(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("origins", total=total)
        yield lambda count: bar.advance(task, count)
