"""The two sites of the month, as scenario files for the bench, out of measured series.

`house`: beside a grid with time-of-use prices. Load of a household near Newcastle (NSW, half an
hour), moved by whole weeks and half a year so that local time, weekday and season are those of
San Diego; PV of a roof there (UCSD, quarters of an hour), scaled. A composite of measured series.
`clinic`: an island with a generator. Load of a building of that campus, scaled to a clinic's, and
the same roof, both as they were at the same moments (UCSD).

The weights that ship with the product never saw any of them.
"""

import csv
import gzip
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hil.scenario import LoadedScenario
from hil.site_file import to_toml

SITES = Path(__file__).parents[1] / "hil" / "scenarios" / "sites"
DATA = Path(__file__).parents[2] / "shared" / "data"
ZONE, CURRENCY = "America/Los_Angeles", "USD"
PLACE = {"latitude_deg": 32.88, "longitude_deg": -117.235, "timezone": ZONE, "currency": CURRENCY}
START = "2017-01-09T08:00:00+00:00"  # Monday, midnight on the sites' clock
HISTORY_DAYS = 60
PERIOD_S = 10.0
TANK_L = 1000.0  # enough for the month: nobody comes to fill it up
ROOF_KW = 46.0  # of the measured roof at its best
BUILDING_KW = 131.1  # of the measured building, mean
MOVED = timedelta(weeks=183, hours=18)  # from July 2013 in UTC+10 to January 2017 in UTC-8
HOUSEHOLD = "nsw05_load_kw"


@dataclass(frozen=True)
class Place:
    """One of the sites: the site file it is made from, what differs, and its series."""

    name: str
    site: str
    rated_kw: float
    changes: Mapping[str, Mapping[str, Any]]
    load: Mapping[str, Any]
    has_generator: bool = False


HOUSE = Place(
    "house",
    "fontana",
    4.0,
    {"battery": {"capacity_kwh": 9.6, "charge_max_kw": 4.0, "discharge_max_kw": 4.0}},
    {"csv": "house_load.csv", "column": HOUSEHOLD},
)
CLINIC = Place(
    "clinic",
    "island",
    6.0,
    {},
    {
        "csv": "ucsd_building_load_15min.csv.gz",
        "column": "student_services_load_kw",
        "scale": 1.0 / BUILDING_KW,
    },
    has_generator=True,
)
PLACES = {place.name: place for place in (HOUSE, CLINIC)}


def scenario(
    place: Place, folder: Path, first_day: int, days: int, soc_frac: float, iterations: int
) -> LoadedScenario:
    """The scenario of some days of the month, its files written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if place.load["csv"] == "house_load.csv":
        _write_household(folder / "house_load.csv")
    (folder / f"{place.name}.site.toml").write_text(to_toml(_site(place)), encoding="utf-8")
    start = datetime.fromisoformat(START) + timedelta(days=first_day)
    roof = {
        "csv": "ucsd_pv_15min.csv.gz",
        "column": "leichtag_pv_kw",
        "scale": place.rated_kw / ROOF_KW,
    }
    head = {
        "title": f"A month of a {place.name}, day {first_day + 1} and on",
        "site": f"{place.name}.site.toml",
        "start": start.isoformat(),
        "duration_h": 24.0 * days,
        "seed": 5,
        "history_days": HISTORY_DAYS,
        "plan_iterations": iterations,
    }
    plant: dict[str, Any] = {"battery": {"initial_soc_frac": soc_frac}}
    if place.has_generator:
        plant["generator"] = {"tank_l": TANK_L}
    tables = {"scenario": head, "weather": roof, "load": dict(place.load), "plant": plant}
    path = folder / f"{place.name}.toml"
    path.write_text(to_toml(tables), encoding="utf-8")
    return LoadedScenario(path, DATA)


def _site(place: Place) -> dict[str, Any]:
    table = tomllib.loads((SITES / f"{place.site}.toml").read_text(encoding="utf-8"))
    table.pop("wind", None)
    table["bus"] = [bus for bus in table["bus"] if bus["name"] != "lan-wind"]
    table["site"] |= {**PLACE, "name": place.name}
    table["loop"] |= {"period_s": PERIOD_S, "stale_after_s": 3.0 * PERIOD_S + 1.0}
    table["pv"][0]["rated_kw"] = place.rated_kw
    for kind, changes in place.changes.items():
        table[kind][0] |= changes
    return table


def _write_household(path: Path) -> None:
    """The household's load at the moved times."""
    if path.exists():
        return
    with gzip.open(DATA / "nsw_sgsc_load_30min.csv.gz", "rt", encoding="utf-8") as file:
        rows = [(row["ts_utc"], row[HOUSEHOLD]) for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        written = csv.writer(file)
        written.writerow(("ts_utc", HOUSEHOLD))
        for moment, load_kw in rows:
            moved = datetime.fromisoformat(moment).astimezone(UTC) + MOVED
            written.writerow((moved.strftime("%Y-%m-%dT%H:%M:%SZ"), load_kw))
