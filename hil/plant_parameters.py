"""The true parameters of the plant: the site file's figures, and how far reality is from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import isfinite
from random import Random
from typing import Any, TypeVar

from hil.plant_battery import BatteryTruth
from hil.plant_generator import GeneratorTruth
from hil.plant_inverters import PvTruth, WindTruth

T = TypeVar("T", PvTruth, WindTruth, BatteryTruth, GeneratorTruth, "GridTruth")
Table = Mapping[str, Any]
KEYS = ("seed", "exact", "pv", "wind", "battery", "generator", "grid")
NEVER_ZERO = frozenset(
    (
        "array_kw",
        "capacity_kwh",
        "coulombic_frac",
        "fuel_linear_l_per_kwh",
        "inverter_efficiency_frac",
        "loss_quadratic_frac",
        "module_efficiency_frac",
        "nominal_hz",
        "nominal_v",
        "ohmic_frac",
        "rated_kw",
        "response_s",
        "tank_l",
    )
)


@dataclass(frozen=True, slots=True)
class GridTruth:
    """The connection to the utility as it really is."""

    name: str
    import_max_kw: float  # of the contract: exceeding them is possible, and counted
    export_max_kw: float
    nominal_v: float = 230.0
    nominal_hz: float = 50.0
    source_ohm: float = 0.3  # per phase, up to the meter
    reconnect_s: float = 30.0  # the transfer switch waits so long after the grid's return


@dataclass(frozen=True, slots=True)
class PlantParameters:
    """Everything that `Plant` needs to know."""

    pv: tuple[PvTruth, ...] = ()
    wind: tuple[WindTruth, ...] = ()
    battery: BatteryTruth | None = None
    generator: GeneratorTruth | None = None
    grid: GridTruth | None = None
    nominal_v: float = 230.0
    nominal_hz: float = 50.0
    black_start_s: float = 60.0
    batteries: tuple[BatteryTruth, ...] = ()  # where there are several; `battery` is the first
    generators: tuple[GeneratorTruth, ...] = ()  # likewise

    @classmethod
    def from_site(cls, site: Table, truth: Table) -> "PlantParameters":
        """Build from a parsed site file and a scenario's `[plant]` table.

        `truth` may hold `seed`, `exact = true` (no deviations), `[plant.battery]`,
        `[plant.generator]` (of several `[plant.battery.NAME]`, `[plant.generator.NAME]`),
        `[plant.grid]`, and `[plant.pv.NAME]`, `[plant.wind.NAME]`, whose keys are the fields of
        the classes here. Everything else deviates from the nameplate as real devices do, by a
        seeded draw of its own per device and quantity. Raises ValueError with one line that names
        the key.
        """
        _refuse_unknown("plant", truth, KEYS)
        luck = _Luck(truth.get("seed", 0), truth.get("exact", False))
        grid = _at_most_one(site, "grid")
        volts = float(grid.get("nominal_v", 230.0)) if grid else 230.0
        hertz = float(grid.get("nominal_hz", 50.0)) if grid else 50.0
        batteries = _units(
            "battery", [_battery(each, luck) for each in _listed(site, "battery")], truth
        )
        generators = _units(
            "generator",
            [_generator(each, luck, volts, hertz) for each in _listed(site, "generator")],
            truth,
        )
        return cls(
            pv=_named("pv", [_pv(entry, luck) for entry in site.get("pv", ())], truth),
            wind=_named("wind", [_wind(entry) for entry in site.get("wind", ())], truth),
            battery=batteries[0] if batteries else None,
            generator=generators[0] if generators else None,
            grid=_overridden("grid", _grid(grid, volts, hertz) if grid else None, truth),
            nominal_v=volts,
            nominal_hz=hertz,
            batteries=batteries if len(batteries) > 1 else (),
            generators=generators if len(generators) > 1 else (),
        )


class _Luck:
    """Deviations: the same for the same seed, device and quantity, whatever else is on site."""

    def __init__(self, seed: int, exact: bool) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(f"plant.seed: {seed!r} is not an integer")
        if not isinstance(exact, bool):
            raise ValueError(f"plant.exact: {exact!r} is not true or false")
        self._seed = seed
        self._exact = exact

    def around(self, device: str, quantity: str, mean: float, spread: float) -> float:
        """A normal deviate, at most two spreads from its mean."""
        if self._exact:
            return mean
        deviate = Random(f"{self._seed}/{device}/{quantity}").gauss(0.0, 1.0)
        return mean + spread * min(2.0, max(-2.0, deviate))


def _pv(entry: Table, luck: _Luck) -> PvTruth:
    name, rated_kw = str(entry["name"]), float(entry["rated_kw"])
    return PvTruth(
        name=name,
        rated_kw=rated_kw,
        array_kw=rated_kw * luck.around(name, "array", 1.10, 0.03),
        soiling_frac=luck.around(name, "soiling", 0.03, 0.01),
        mismatch_frac=luck.around(name, "mismatch", 0.02, 0.005),
        temperature_per_k=luck.around(name, "temperature", -0.0037, 0.0002),
        noct_degc=luck.around(name, "noct", 45.0, 1.0),
        inverter_efficiency_frac=luck.around(name, "inverter", 0.97, 0.004),
    )


def _wind(entry: Table) -> WindTruth:
    return WindTruth(name=str(entry["name"]), rated_kw=float(entry["rated_kw"]))


def _battery(entry: Table, luck: _Luck) -> BatteryTruth:
    name = str(entry["name"])
    charge_kw, discharge_kw = float(entry["charge_max_kw"]), float(entry["discharge_max_kw"])
    rated_kw = entry.get("inverter_rated_kw") or max(charge_kw, discharge_kw)
    return BatteryTruth(
        name=name,
        capacity_kwh=float(entry["capacity_kwh"]) * luck.around(name, "capacity", 0.97, 0.02),
        charge_max_kw=charge_kw,
        discharge_max_kw=discharge_kw,
        rated_kw=float(rated_kw),
        floor_soc_frac=float(entry["soc_min_frac"]),
        standby_frac=luck.around(name, "standby", 0.008, 0.001),
        loss_linear_frac=luck.around(name, "linear", 0.012, 0.002),
        loss_quadratic_frac=luck.around(name, "quadratic", 0.020, 0.003),
        ohmic_frac=luck.around(name, "ohmic", 0.020, 0.004),
        coulombic_frac=luck.around(name, "coulombic", 0.985, 0.003),
    )


def _generator(entry: Table, luck: _Luck, nominal_v: float, nominal_hz: float) -> GeneratorTruth:
    name, rated_kw = str(entry["name"]), float(entry["rated_kw"])
    thirst = luck.around(name, "thirst", 1.03, 0.02)
    no_load = float(entry.get("fuel_no_load_l_per_h_per_kw", 0.08))
    return GeneratorTruth(
        name=name,
        rated_kw=rated_kw,
        min_load_frac=float(entry.get("min_load_frac", 0.3)),
        start_s=luck.around(name, "start", 6.0, 1.5),
        warm_up_s=float(entry.get("warm_up_s", 60.0)),
        cool_down_s=float(entry.get("cool_down_s", 120.0)),
        ramp_kw_per_s=rated_kw / 5.0,
        fuel_no_load_l_per_h_per_kw=no_load * thirst,
        fuel_linear_l_per_kwh=float(entry.get("fuel_linear_l_per_kwh", 0.246)) * thirst,
        fuel_quadratic_l_per_kw2h=0.002 * thirst / rated_kw,
        tank_l=10.0 * rated_kw,
        nominal_hz=nominal_hz,
        nominal_v=nominal_v,
    )


def _grid(entry: Table, nominal_v: float, nominal_hz: float) -> GridTruth:
    return GridTruth(
        name=str(entry["name"]),
        import_max_kw=float(entry["import_max_kw"]),
        export_max_kw=float(entry["export_max_kw"]),
        nominal_v=nominal_v,
        nominal_hz=nominal_hz,
    )


def _at_most_one(site: Table, kind: str) -> Table | None:
    entry = site.get(kind)
    if isinstance(entry, Mapping) or entry is None:
        return entry
    if len(entry) > 1:
        raise ValueError(f"{kind}: the bench simulates one per site, not {len(entry)}")
    return entry[0] if entry else None


def _listed(site: Table, kind: str) -> Sequence[Table]:
    entry = site.get(kind) or ()
    return (entry,) if isinstance(entry, Mapping) else entry


def _units(kind: str, devices: Sequence[T], truth: Table) -> tuple[T, ...]:
    """Of one unit the table is its own, of several there is a table for each name."""
    if len(devices) > 1:
        return _named(kind, devices, truth)
    one = _overridden(kind, devices[0] if devices else None, truth)
    return () if one is None else (one,)


def _named(kind: str, devices: Sequence[T], truth: Table) -> tuple[T, ...]:
    tables = truth.get(kind, {})
    _refuse_unknown(f"plant.{kind}", tables, [device.name for device in devices])
    return tuple(
        _replaced(f"plant.{kind}.{device.name}", device, tables.get(device.name, {}))
        for device in devices
    )


def _overridden(kind: str, device: T | None, truth: Table) -> T | None:
    if device is None:
        if kind in truth:
            raise ValueError(f"plant.{kind}: the site has none")
        return None
    return _replaced(f"plant.{kind}", device, truth.get(kind, {}))


def _replaced(where: str, device: T, table: Table) -> T:
    _refuse_unknown(where, table, [f.name for f in fields(device) if f.name != "name"])
    for key, value in table.items():
        _refuse_wrong(f"{where}.{key}", value, type(getattr(device, key)))
    try:
        return replace(device, **table)
    except ValueError as error:
        raise ValueError(f"{where}.{error}") from error


def _refuse_unknown(where: str, table: Any, known: Sequence[str]) -> None:
    if not isinstance(table, Mapping):
        raise ValueError(f"{where}: {table!r} is not a table")
    for key in table:
        if key not in known:
            raise ValueError(f"{where}.{key}: unknown; known are {', '.join(known)}")


def _refuse_wrong(where: str, value: Any, kind: type) -> None:
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{where}: {value!r} is not true or false")
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{where}: {value!r} is not a number")
    key = where.rpartition(".")[2]
    if value < 0.0 and key != "temperature_per_k":
        raise ValueError(f"{where}: {value!r} is negative")
    if value == 0.0 and key in NEVER_ZERO:
        raise ValueError(f"{where}: has to be above 0")
    if key.endswith("_frac") and value > 1.0:
        raise ValueError(f"{where}: {value!r} is not between 0 and 1")
