"""The sources of weather and load that a scenario asks for, and the past made from them."""

import csv
from datetime import UTC, datetime
from pathlib import Path

from hil.household import SyntheticLoad
from hil.measured import MeasuredPv, MeasuredSeries, MeasuredWeather, read_column
from hil.plant_inverters import PvTruth
from hil.scenario import LoadedScenario, ScenarioError
from hil.sources import LoadSource, WeatherSource, pv_means_kw
from hil.weather import SyntheticWeather

DAY_S = 86400.0
GRID_S = 900.0
CALM_M_S = 3.0


def weather_source(
    loaded: LoadedScenario, arrays: tuple[PvTruth, ...], start_utc_s: float
) -> WeatherSource:
    """The scenario's weather as if it began at `start_utc_s`; raises ScenarioError."""
    table, head, place = loaded.scenario.weather, loaded.scenario.scenario, loaded.site.site
    if not table.csv:
        return SyntheticWeather(
            table.kind,
            place.latitude_deg,
            place.longitude_deg,
            head.seed if table.seed is None else table.seed,
            tilt_deg=table.tilt_deg,
            wind_mean_m_s=table.wind_mean_m_s,
        )
    series = _measured(loaded, table.csv, table.column, table.scale, start_utc_s)

    def ambient(_utc_s: float) -> float:
        return table.ambient_degc

    def calm(_utc_s: float) -> float:
        return CALM_M_S

    try:
        if table.column.endswith("w_m2"):
            return MeasuredWeather(series, ambient, calm)
        return MeasuredPv(series, arrays, ambient, calm)
    except ValueError as error:
        raise ScenarioError([f"{loaded.path}: weather: {error}"]) from None


def load_source(loaded: LoadedScenario, start_utc_s: float) -> LoadSource:
    """The scenario's load as if it began at `start_utc_s`; raises ScenarioError."""
    table, head, place = loaded.scenario.load, loaded.scenario.scenario, loaded.site.site
    if table.csv:
        return _measured(loaded, table.csv, table.column, table.scale, start_utc_s)
    return SyntheticLoad(
        table.kind,
        table.kwh_per_day,
        place.latitude_deg,
        place.longitude_deg,
        place.timezone,
        head.seed,
    )


def _measured(
    loaded: LoadedScenario, name: str, column: str, scale: float, start_utc_s: float
) -> MeasuredSeries:
    """A measured column, moved by whole days when the run begins at another time."""
    head = loaded.scenario.scenario
    shift_s = round((head.start_utc_s - start_utc_s) / DAY_S) * DAY_S
    start = start_utc_s - (head.history_days + 1) * DAY_S
    end = start_utc_s + head.duration_h * 3600.0 + GRID_S
    try:
        found = read_column(loaded.file(name), column)
        return MeasuredSeries(found, start, end, shift_s=shift_s, scale=scale, fill=True)
    except ValueError as error:
        raise ScenarioError([str(error)]) from None


def write_history(
    path: Path,
    loaded: LoadedScenario,
    arrays: tuple[PvTruth, ...],
    weather: WeatherSource,
    load: LoadSource,
    start_utc_s: float,
) -> None:
    """Write the days before the run as a measured history for the forecasters."""
    head = loaded.scenario.scenario
    start = start_utc_s // GRID_S * GRID_S - head.history_days * DAY_S
    count = int(head.history_days * DAY_S // GRID_S)
    pv_kw = pv_means_kw(arrays, weather.means(start, count, GRID_S))
    load_kw = load.means(start, count, GRID_S)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("ts_utc", "pv_kw", "load_kw"))
        for index, (pv, wanted) in enumerate(zip(pv_kw, load_kw, strict=True)):
            moment = datetime.fromtimestamp(start + index * GRID_S, UTC)
            rows.writerow((moment.strftime("%Y-%m-%dT%H:%M:%SZ"), f"{pv:.4f}", f"{wanted:.4f}"))
