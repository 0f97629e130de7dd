"""One horizon of one nano-grid to be planned: what is available, what it costs, what is allowed.

Built by code from arrays (`Instance(...)`) or from a file's JSON content (`Instance.from_dict`).
Both ways every number is checked, and the first wrong one is named in a one-line `ValueError`.
Signs: battery > 0 discharges, grid > 0 buys. Series are means over their step.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

SCHEMA = "nanogrid-dispatch/1"
LARGEST = 1e9  # beyond it double precision no longer balances to 1e-6

# A small battery inverter's efficiency over its load, as fractions of rated power.
INVERTER_LOAD_FRAC = (0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
INVERTER_EFFICIENCY_FRAC = (0.7, 0.86, 0.92, 0.955, 0.965, 0.955, 0.935)

# Social cost and emission of CO2, NOx, SO2, CO and particles: currency per kg, kg per kWh.
ZETA_PER_KG = (0.03, 9.0, 2.2, 1.2, 5.0)
DIESEL_KG_PER_KWH = (0.697, 0.0099, 0.0002, 0.003, 0.0005)
GRID_KG_PER_KWH = (0.14, 0.0003, 0.0002, 0.0001, 0.0001)
DIESEL_POLLUTION_PER_KWH = sum(z * m for z, m in zip(ZETA_PER_KG, DIESEL_KG_PER_KWH, strict=True))
GRID_POLLUTION_PER_KWH = sum(z * m for z, m in zip(ZETA_PER_KG, GRID_KG_PER_KWH, strict=True))


def _number(
    key: str = "",
    *,
    low: float = 0.0,
    high: float = LARGEST,
    above: bool = False,
    **default: float,
) -> Any:
    """A field for one number: its key in files (default: its name) and what is allowed."""
    rule = {"key": key, "low": low, "high": high, "above": above}
    return field(metadata=rule, **default)  # type: ignore[call-overload]


class _Count(str):
    """A number of values, shown without quotes."""


def _complain(where: str, value: object, allowed: str) -> ValueError:
    shown = value if isinstance(value, _Count) else repr(value)
    return ValueError(f"{where}: {shown if len(shown) <= 60 else shown[:57] + '...'} ({allowed})")


def _allowed(rule: Mapping[str, Any], value: object) -> str:
    low, high = rule["low"], rule["high"]
    start = "allowed: a number " + (f"> {low:g}" if rule["above"] else f">= {low:g}")
    obvious = high == LARGEST and not (_is_number(value) and value > high)
    return start if obvious else f"{start} and <= {high:g}"


def _is_number(value: object) -> bool:
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of float
        return False


def _check_numbers(thing: Any, where: str, *, by_key: bool = False) -> None:
    """Raise for the first number of a dataclass that is not allowed."""
    for item in dataclasses.fields(thing):
        rule = item.metadata
        if "low" not in rule:
            continue
        value = getattr(thing, item.name)
        low, high = rule["low"], rule["high"]
        fits = _is_number(value) and low <= value <= high and not (rule["above"] and value == low)
        if not fits:
            name = rule["key"] if by_key and rule["key"] else item.name
            raise _complain(f"{where}{name}", value, _allowed(rule, value))


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery with its inverter; capacity 0 is no battery.

    Costs are per kWh through the terminals; the quadratic one is what a kWh costs more at
    `discharge_max_kw`. Inverter efficiency is linear between its points and constant outside.
    """

    capacity_kwh: float = _number(default=0.0)
    soc_min_frac: float = _number(high=1.0, default=0.0)
    soc_max_frac: float = _number(high=1.0, default=1.0)
    soc_initial_frac: float = _number(high=1.0, default=0.0)
    charge_max_kw: float = _number(default=0.0)
    discharge_max_kw: float = _number(default=0.0)
    charge_efficiency_frac: float = _number(high=1.0, above=True, default=0.97)
    discharge_efficiency_frac: float = _number(high=1.0, above=True, default=0.97)
    generation_cost_per_kwh: float = _number("generation_cost_usd_per_kwh", default=0.005)
    om_linear_per_kwh: float = _number("om_linear_usd_per_kwh", default=0.01)
    om_quadratic_per_kwh_at_max: float = _number("om_quadratic_usd_per_kwh_at_max", default=0.02)
    inverter_rated_kw: float = 1.0
    inverter_load_frac: tuple[float, ...] = INVERTER_LOAD_FRAC
    inverter_efficiency_frac: tuple[float, ...] = INVERTER_EFFICIENCY_FRAC

    def __post_init__(self) -> None:
        """Check every number."""
        _check_numbers(self, "battery.", by_key=True)
        if self.soc_min_frac > self.soc_max_frac:
            raise _complain("battery.soc_min_frac", self.soc_min_frac, "allowed: <= soc_max_frac")
        if not (_is_number(self.inverter_rated_kw) and self.inverter_rated_kw > 0):
            raise _complain("inverter.rated_kw", self.inverter_rated_kw, "allowed: a number > 0")
        load, efficiency = self.inverter_load_frac, self.inverter_efficiency_frac
        rising = all(a < b for a, b in itertools.pairwise(load))
        if not load or not rising or load[0] < 0:
            raise _complain("inverter.load_frac", load, "allowed: one or more, >= 0 and rising")
        if len(efficiency) != len(load) or not all(0 < e <= 1 for e in efficiency):
            allowed = f"allowed: {len(load)} numbers > 0 and <= 1, one per load_frac"
            raise _complain("inverter.efficiency_frac", efficiency, allowed)


@dataclass(frozen=True, slots=True)
class Diesel:
    """A diesel generator; power_max_kw 0 is no diesel.

    Fuel in l/h: no_load * rated while on, + linear * kW + quadratic * kW^2. Minimum times round up
    to whole steps.
    """

    rated_kw: float = _number(default=0.0)
    power_min_kw: float = _number(default=0.0)
    power_max_kw: float = _number(default=0.0)
    fuel_no_load_l_per_h_per_rated_kw: float = _number(default=0.08)
    fuel_linear_l_per_kwh: float = _number(default=0.246)
    fuel_quadratic_l_per_h_per_kw2: float = _number(default=0.0)
    fuel_price_per_l: float = _number("fuel_price_usd_per_l", default=1.5)
    generation_cost_per_kwh: float = _number("generation_cost_usd_per_kwh", default=0.01)
    om_per_kwh: float = _number("om_usd_per_kwh", default=0.02)
    om_per_h_on: float = _number("om_usd_per_h_on", default=0.05)
    startup: float = _number("startup_usd", default=0.4)
    min_up_h: float = _number(default=0.5)
    min_down_h: float = _number(default=0.5)
    initial_on: bool = False
    initial_time_in_state_h: float = _number(default=24.0)

    def __post_init__(self) -> None:
        """Check every number."""
        _check_numbers(self, "diesel.", by_key=True)
        if not isinstance(self.initial_on, bool):
            raise _complain("diesel.initial_on", self.initial_on, "allowed: true, false")
        if self.power_min_kw > self.power_max_kw:
            raise _complain("diesel.power_min_kw", self.power_min_kw, "allowed: <= power_max_kw")


NO_BATTERY = Battery()
NO_DIESEL = Diesel()


def _series(name: str, value: ArrayLike, steps: int, *, low: float) -> Floats:
    """A read-only series of `steps` numbers >= low; one number stands for all steps."""
    try:
        given = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise _complain(name, value, f"allowed: {steps} numbers") from None
    if given.ndim > 1 or (given.ndim == 1 and given.size != steps):
        raise _complain(
            name, _Count(f"{given.size} values"), f"allowed: {steps}, as many as load_kw"
        )
    series = np.broadcast_to(given, (steps,)).copy()
    wrong = np.flatnonzero(~((series >= low) & (series <= LARGEST)))
    if wrong.size:
        allowed = "allowed: finite numbers" + (f" >= {low:g}" if low > -LARGEST else "")
        if abs(series[wrong[0]]) > LARGEST:
            allowed += f", at most {LARGEST:g}"
        raise _complain(f"{name}[{wrong[0]}]", float(series[wrong[0]]), allowed)
    series.flags.writeable = False
    return series


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Instance:
    """All that a plan depends on. Series: one value per step, or a single number for every step.

    Prices in currency per kWh, pollution in currency per kWh (the sum over pollutants of social
    cost times emission). The weights are alpha, beta and gamma of Qian 2024, eq. 5.
    """

    step_h: float = _number(above=True)
    load_kw: Floats
    pv_kw: Floats = 0.0  # type: ignore[assignment]
    wind_kw: Floats = 0.0  # type: ignore[assignment]
    price_buy_per_kwh: Floats = 0.0  # type: ignore[assignment]
    price_sell_per_kwh: Floats = 0.0  # type: ignore[assignment]
    import_max_kw: Floats = 0.0  # type: ignore[assignment]
    export_max_kw: Floats = 0.0  # type: ignore[assignment]
    reserve_kwh: Floats = 0.0  # type: ignore[assignment]  # wanted above soc_min after every step
    reserve_short_per_kwh_h: float = _number(default=0.0)
    battery: Battery = NO_BATTERY
    diesel: Diesel = NO_DIESEL
    weight_generation: float = _number("weights.alpha_generation", default=1 / 3)
    weight_equipment: float = _number("weights.beta_equipment", default=1 / 3)
    weight_pollution: float = _number("weights.gamma_pollution", default=1 / 3)
    pv_cost_per_kwh: float = _number("pv.generation_cost_usd_per_kwh", default=0.01)
    wind_cost_per_kwh: float = _number("wind.generation_cost_usd_per_kwh", default=0.01)
    diesel_pollution_per_kwh: float = _number(default=DIESEL_POLLUTION_PER_KWH)
    grid_pollution_per_kwh: float = _number(default=GRID_POLLUTION_PER_KWH)
    unserved_per_kwh: float = _number("penalties.unserved_usd_per_kwh", default=5.0)
    curtailed_per_kwh: float = _number("penalties.curtailed_usd_per_kwh", default=0.002)
    dumped_per_kwh: float = _number("penalties.dumped_usd_per_kwh", default=0.05)
    energy_value_per_kwh: float = _number(
        "terminal.energy_value_usd_per_kwh", low=-LARGEST, default=0.0
    )
    target_soc_frac: float = _number("terminal.target_soc_frac", high=1.0, default=0.0)
    shortfall_per_kwh: float = _number("terminal.shortfall_usd_per_kwh", default=0.0)
    name: str = ""

    def __post_init__(self) -> None:
        """Check every number and make the series read-only arrays."""
        _check_numbers(self, "", by_key=True)
        steps = np.size(self.load_kw)
        if steps < 1:
            raise _complain("load_kw", _Count("no values"), "allowed: one or more")
        limits = ("import_max_kw", "export_max_kw", "reserve_kwh")
        for name in ("load_kw", "pv_kw", "wind_kw", *limits):
            object.__setattr__(self, name, _series(name, getattr(self, name), steps, low=0.0))
        for name in ("price_buy_per_kwh", "price_sell_per_kwh"):
            value = _series(name, getattr(self, name), steps, low=-LARGEST)
            object.__setattr__(self, name, value)

    @property
    def steps(self) -> int:
        """How many steps the horizon has."""
        return self.load_kw.size

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """The instance that a dispatch file's JSON content describes; ValueError if malformed."""
        top = _section(content, "the file")
        if top.get("schema", SCHEMA) != SCHEMA:
            raise _complain("schema", top["schema"], f"allowed: {SCHEMA!r}")
        time = _section(top.get("time"), "time")
        series = _section(top.get("series"), "series")
        steps = _get(time, "steps", "time")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise _complain("time.steps", steps, "allowed: a whole number >= 1")
        return cls(
            name=str(top.get("name", "")),
            step_h=_get(time, "step_h", "time"),
            **_file_series(top, series, steps),
            **_file_numbers(cls, top),
            **_file_pollution(top),
            battery=_file_battery(top),
            diesel=_file_part(Diesel, top, "diesel"),
        )


def _section(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _complain(where, value, "allowed: an object with named values")
    return value


def _get(section: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in section:
        raise ValueError(f"{where}.{key}: missing")
    return section[key]


def _file_list(section: Mapping[str, Any], key: str, where: str, steps: int) -> Sequence[float]:
    """A list of finite numbers; `steps` of them unless steps is 0."""
    value = _get(section, key, where)
    if not isinstance(value, list) or (steps and len(value) != steps):
        found = _Count(f"{len(value)} values") if isinstance(value, list) else value
        raise _complain(f"{where}.{key}", found, f"allowed: a list of {steps or 'some'} numbers")
    for index, item in enumerate(value):
        if not _is_number(item):
            raise _complain(f"{where}.{key}[{index}]", item, "allowed: a finite number")
    return value


def _file_series(top: Mapping[str, Any], series: Mapping[str, Any], steps: int) -> dict[str, Any]:
    """The series by field name; a site without PV or wind may leave out that source's series."""
    keys = {
        "load_kw": "load_kw",
        "pv_kw": "pv_available_kw",
        "wind_kw": "wind_available_kw",
        "price_buy_per_kwh": "price_buy_usd_per_kwh",
        "price_sell_per_kwh": "price_sell_usd_per_kwh",
        "import_max_kw": "grid_import_max_kw",
        "export_max_kw": "grid_export_max_kw",
    }
    for source in ("pv", "wind"):
        if top.get(source) is None and f"{source}_available_kw" not in series:
            del keys[f"{source}_kw"]
    read = {name: _file_list(series, key, "series", steps) for name, key in keys.items()}
    for name, key in keys.items():  # by the file's name, before the constructor says its own
        _series(f"series.{key}", read[name], steps, low=-LARGEST if "price" in key else 0.0)
    return read


def _file_numbers(cls: type, top: Mapping[str, Any]) -> dict[str, Any]:
    """The instance's own numbers, whose keys are dotted paths."""
    read = {}
    for item in dataclasses.fields(cls):
        part, _, key = item.metadata.get("key", "").partition(".")
        if not key or (part in ("pv", "wind") and top.get(part) is None):
            continue
        read[item.name] = _get(_section(top.get(part), part), key, part)
    return read


def _file_pollution(top: Mapping[str, Any]) -> dict[str, Any]:
    """Social cost of pollution in currency per kWh, of diesel and of bought energy."""
    part = _section(top.get("emissions"), "emissions")
    zeta = _file_list(part, "zeta_usd_per_kg", "emissions", 0)
    result = {}
    for name, key in (
        ("diesel_pollution_per_kwh", "diesel_kg_per_kwh"),
        ("grid_pollution_per_kwh", "grid_purchase_kg_per_kwh"),
    ):
        kg = _file_list(part, key, "emissions", len(zeta))
        _series(f"emissions.{key}", kg, len(zeta), low=0.0)
        result[name] = float(sum(z * m for z, m in zip(zeta, kg, strict=True)))
    _series("emissions.zeta_usd_per_kg", zeta, len(zeta), low=0.0)
    return result


def _file_part(cls: type[Any], top: Mapping[str, Any], part: str, **more: Any) -> Any:
    """A `Battery` or `Diesel` from its section; a missing or null section is a site without one."""
    if top.get(part) is None:
        return cls()
    section = _section(top[part], part)
    read = dict(more)
    for item in dataclasses.fields(cls):
        if "low" in item.metadata:
            read[item.name] = _get(section, item.metadata["key"] or item.name, part)
    if cls is Diesel:
        read["initial_on"] = _get(section, "initial_on", part)
    return cls(**read)


def _file_battery(top: Mapping[str, Any]) -> Battery:
    """The battery with the inverter section's curve."""
    if top.get("battery") is None:
        return NO_BATTERY
    inverter = _section(top.get("inverter"), "inverter")
    battery: Battery = _file_part(
        Battery,
        top,
        "battery",
        inverter_rated_kw=_get(inverter, "rated_kw", "inverter"),
        inverter_load_frac=tuple(_file_list(inverter, "load_frac", "inverter", 0)),
        inverter_efficiency_frac=tuple(_file_list(inverter, "efficiency_frac", "inverter", 0)),
    )
    return battery
