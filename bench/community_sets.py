"""Communities of houses out of measured series, with their tariffs: what `bench.community` plays.

The sets, weeks and cases are those of the interface's contract for communities; the data stays
where it is and is never copied.
"""

import csv
import gzip
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DATA = Path(__file__).parents[2] / "shared" / "data"
COMPOSITE_PV = (
    "cup",
    "leichtag",
    "sdsc",
    "bsb_library",
    "bio_engineering",
    "ebu2_a",
    "hopkins_parking",
    "price_center_b",
    "electric_shop",
)
COMPOSITE_PV_KW = 8.0
ETA = float(np.sqrt(0.90))  # one way
LOWEST_KWH, CAPACITY_KWH, START_KWH, POWER_KW = 0.64, 6.4, 3.2, 5.0  # of every battery
FEE_PER_KWH = 0.01  # leaves the community
FONTANA_WEEKS = (
    "2016-09-05",
    "2016-10-10",
    "2016-11-14",
    "2016-12-12",
    "2017-01-16",
    "2017-02-13",
    "2017-03-06",
    "2017-03-20",
)
COMPOSITE_WEEKS = ("2018-11-12", "2018-11-19", "2018-11-26", "2018-12-03", "2018-12-10")


@dataclass(frozen=True)
class Community:
    """Houses by slots. `load_kw`, `pv_kw`: (slots, houses); prices: (slots,)."""

    name: str
    step_h: float
    load_kw: Floats
    pv_kw: Floats
    retail_per_kwh: Floats
    feed_in_per_kwh: float
    weeks: tuple[tuple[int, int], ...]  # first slot and the one after the last
    batteries: tuple[bool, ...]
    genset_kw: float = 0.0  # at the first house; > 0 only on an island

    @property
    def is_island(self) -> bool:
        """No grid: a generator at the first house, what it cannot give is unserved."""
        return self.genset_kw > 0

    @property
    def energy_value_per_kwh(self) -> float:
        """What is left in a battery is worth so much."""
        return ETA * float(self.retail_per_kwh.min())

    @property
    def houses(self) -> int:
        """How many."""
        return int(self.load_kw.shape[1])

    @property
    def slots_per_day(self) -> int:
        """How many."""
        return round(24.0 / self.step_h)


CASES = {
    "fontana5": ("tou_fit05", "tou_fit00", "ontario_fit05", "mixed_fit05", "island_genset"),
    "swiss_ucsd12": (
        "ontario_fit05",
        "evening_peak_fit05",
        "mixed_evening_peak_fit05",
        "island_genset",
    ),
}


def load_case(community: str, case: str, data: Path = DATA) -> Community:
    """Return one set with one of its tariffs. Raises OSError, KeyError."""
    if community == "fontana5":
        return _fontana(case, data)
    return _composite(case, data)


def _fontana(case: str, data: Path) -> Community:
    start, columns = _read(data / "fontana_5houses_1h.csv.gz")
    names = [f"h{number:02}" for number in range(1, 6)]
    load_kw = np.column_stack([_filled(columns[f"{name}_load_kw"]) for name in names])
    pv_kw = np.column_stack([_filled(columns[f"{name}_pv_kw"]) for name in names])
    retail = _filled(columns["price_usd_per_kwh"])
    zone, batteries = ZoneInfo("America/Los_Angeles"), [True] * 5
    if case == "ontario_fit05":
        retail = _ontario(start, 1.0, len(retail), zone)
    if case == "mixed_fit05":
        pv_kw[:, 1], batteries[3] = 0.0, False
    community = Community(
        name=f"fontana5 {case}",
        step_h=1.0,
        load_kw=load_kw,
        pv_kw=pv_kw,
        retail_per_kwh=retail,
        feed_in_per_kwh=0.0 if case == "tou_fit00" else 0.05,
        weeks=_weeks(FONTANA_WEEKS, zone, start, 1.0),
        batteries=tuple(batteries),
    )
    return _island(community, 12.5) if case == "island_genset" else community


def _composite(case: str, data: Path) -> Community:
    start, loads = _read(data / "swiss_load_15min.csv.gz")
    slots = 49 * 96
    load_kw = np.column_stack([loads[f"ch{n:03}_load_kw"][:slots] for n in range(12)])
    pv_start, roofs = _read(data / "ucsd_pv_15min.csv.gz")
    first = round((datetime(2016, 10, 31, 8, tzinfo=UTC) - pv_start) / timedelta(minutes=15))
    pv_kw = np.zeros((slots, 12))
    for house, name in enumerate(COMPOSITE_PV):
        column = roofs[f"{name}_pv_kw"]
        peak_kw = np.nanpercentile(column, 99.9)
        part = np.nan_to_num(column[first : first + slots])
        pv_kw[:, house] = np.maximum(0.0, part) / peak_kw * COMPOSITE_PV_KW
    zone = ZoneInfo("Europe/Zurich")
    batteries = [not (case.startswith("mixed") and house in (3, 7, 11)) for house in range(12)]
    retail = _evening_peak(start, 0.25, slots, zone)
    if case == "ontario_fit05":
        retail = _ontario(start, 0.25, slots, zone)
    community = Community(
        name=f"swiss_ucsd12 {case}",
        step_h=0.25,
        load_kw=load_kw,
        pv_kw=pv_kw,
        retail_per_kwh=retail,
        feed_in_per_kwh=0.05,
        weeks=_weeks(COMPOSITE_WEEKS, zone, start, 0.25),
        batteries=tuple(batteries),
    )
    return _island(community, 40.0) if case == "island_genset" else community


def _island(community: Community, genset_kw: float) -> Community:
    return replace(
        community,
        retail_per_kwh=np.full(len(community.retail_per_kwh), 0.36),
        feed_in_per_kwh=0.0,
        genset_kw=genset_kw,
    )


def _read(path: Path) -> tuple[datetime, dict[str, Floats]]:
    """First time and every column, NaN where a cell is empty."""
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows)
        content = list(rows)
    start = datetime.fromisoformat(content[0][0].replace("Z", "+00:00"))
    values = np.array([[float(cell) if cell else np.nan for cell in row[1:]] for row in content])
    return start, dict(zip(header[1:], values.T, strict=True))


def _filled(column: Floats) -> Floats:
    """The value before stands in for an empty cell."""
    known = np.where(np.isnan(column), 0, np.arange(len(column)))
    return np.asarray(column[np.maximum.accumulate(known)])


def _weeks(
    mondays: tuple[str, ...], zone: ZoneInfo, start: datetime, step_h: float
) -> tuple[tuple[int, int], ...]:
    slots = round(168 / step_h)
    weeks = []
    for monday in mondays:
        begin = datetime.fromisoformat(monday).replace(tzinfo=zone)
        first = round((begin.astimezone(UTC) - start) / timedelta(hours=step_h))
        weeks.append((first, first + slots))
    return tuple(weeks)


def _local(start: datetime, step_h: float, slots: int, zone: ZoneInfo) -> list[datetime]:
    return [(start + timedelta(hours=step_h * slot)).astimezone(zone) for slot in range(slots)]


def _evening_peak(start: datetime, step_h: float, slots: int, zone: ZoneInfo) -> Floats:
    hours = np.array([time.hour for time in _local(start, step_h, slots, zone)])
    return np.where((hours >= 16) & (hours < 21), 0.50, 0.21)


def _ontario(start: datetime, step_h: float, slots: int, zone: ZoneInfo) -> Floats:
    return np.array([_ontario_at(time) for time in _local(start, step_h, slots, zone)])


def _ontario_at(time: datetime) -> float:
    """Time of use on the local clock; in winter the peaks are in the morning and the evening."""
    if time.weekday() >= 5 or not 7 <= time.hour < 19:
        return 0.07
    noon = 11 <= time.hour < 17
    summer = 5 <= time.month <= 10
    return 0.13 if noon == summer else 0.10
