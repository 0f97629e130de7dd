"""What crosses the borders of one control cycle: frozen records, the unit in every name.

Signs are source-positive: PV, wind, battery discharge, generator and grid import are > 0; battery
charging and grid export are < 0; load (>= 0) is what their sum feeds.
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Quality(StrEnum):
    """How far a value can be trusted."""

    GOOD = "good"
    STALE = "stale"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Observed(Generic[T]):
    """A value with its age and quality; `good` is the only way policy should read it."""

    value: T | None = None
    age_s: float = float("inf")
    quality: Quality = Quality.BAD
    detail: str = "never read"

    @property
    def good(self) -> T | None:
        """The value while it is good, else None."""
        return self.value if self.quality is Quality.GOOD else None


# --- what devices say ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InverterMeasurement:
    """A PV or wind inverter. None means that the device does not say."""

    power_kw: float | None
    limit_kw: float | None = None  # the active power limit the device reports, None without one
    energy_kwh: float | None = None
    state: str = "unknown"  # off, starting, running, throttled, fault, unknown
    temperature_degc: float | None = None


@dataclass(frozen=True, slots=True)
class BatteryMeasurement:
    """A battery with its inverter; limits are the live ones of the BMS, both >= 0."""

    power_kw: float | None
    soc_frac: float | None
    charge_limit_kw: float | None = None
    discharge_limit_kw: float | None = None
    setpoint_kw: float | None = None  # what the device says it is following, None when autonomous
    voltage_v: float | None = None
    state: str = "unknown"  # off, standby, running, fault, unknown


@dataclass(frozen=True, slots=True)
class GeneratorMeasurement:
    """A generator controller. `phase` is the controller's own word for its engine."""

    power_kw: float | None
    phase: str = "unknown"  # stopped, starting, warming, running, cooling, unknown
    mode: str = "unknown"  # stop, auto, manual, test, unknown; only auto obeys remote starts
    available: bool = True  # False: shut down, tripped or not in auto
    fuel_frac: float | None = None
    frequency_hz: float | None = None
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GridMeasurement:
    """The meter at the grid connection; > 0 imports."""

    power_kw: float | None
    voltage_v: float | None = None
    frequency_hz: float | None = None
    import_kwh: float | None = None
    export_kwh: float | None = None


class Quantity(StrEnum):
    """What a setpoint sets."""

    POWER_KW = "power_kw"  # battery: > 0 discharges
    LIMIT_KW = "limit_kw"  # PV: active power at most
    RUN = "run"  # generator: 1 run, 0 stop


@dataclass(frozen=True, slots=True)
class Ack:
    """What a device made of a setpoint: commanded and acknowledged (read back)."""

    device: str
    quantity: Quantity
    commanded: float
    acknowledged: float | None  # None: not read back
    t_s: float  # monotonic, of the last successful write
    error: str = ""


Applied = tuple[Ack, ...]


# --- one cycle's input ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sample:
    """All that one cycle knows of the world, read once. Optional devices are None or empty."""

    cycle: int
    t_s: float  # monotonic: the only time that decisions use
    utc_s: float
    irradiance_w_m2: Observed[float] | None
    emergency_stop: Observed[bool] | None  # True: pressed
    pv: tuple[Observed[InverterMeasurement], ...]
    wind: tuple[Observed[InverterMeasurement], ...]
    batteries: tuple[Observed[BatteryMeasurement], ...]
    generators: tuple[Observed[GeneratorMeasurement], ...]
    grid: Observed[GridMeasurement] | None
    sun_elevation_deg: float
    hour_local: float  # 0 to 24, on the site's clock
    price_buy_per_kwh: float
    price_sell_per_kwh: float
    interest_frac: float = 0.0  # buyers asking in the market / members
    temperature_degc: float | None = None  # outdoors


@dataclass(frozen=True, slots=True)
class Series:
    """A forecast quantity in kW per step: three quantiles."""

    p10_kw: tuple[float, ...]
    p50_kw: tuple[float, ...]
    p90_kw: tuple[float, ...]
    source: str  # which forecaster, and why if it is not the first choice
    skill: tuple[float | None, ...] = ()  # against persistence so far: 15 min, 1, 6, 24 h ahead
    coverage: tuple[float | None, ...] = ()  # share of outcomes between p10 and p90, as far ahead
    shadow: str = ""  # who else forecasts, unused, and how that goes


@dataclass(frozen=True, slots=True)
class Forecast:
    """PV and load for the steps from `start_t_s` on."""

    issued_t_s: float
    start_t_s: float
    step_s: float
    pv: Series
    load: Series


@dataclass(frozen=True, slots=True)
class Plan:
    """Battery and generator per slot, from `start_t_s` (monotonic) on, void after `expires_t_s`."""

    issued_t_s: float
    start_t_s: float
    step_s: float
    expires_t_s: float
    battery_kw: tuple[float, ...]
    generator_on: tuple[bool, ...]
    generator_kw: tuple[float, ...]
    grid_kw: tuple[float, ...]
    curtailed_kw: tuple[float, ...]
    soc_frac: tuple[float, ...]  # at the end of each step
    cover_deficit: tuple[bool, ...]  # beside a grid: is unforeseen load the battery's?
    store_surplus: tuple[bool, ...]  # and unforeseen surplus?
    cost: float
    solver: str
    reserve: tuple[str, ...] = ()  # what is kept for a bad day after each step, in words
    stored_value_per_kwh: tuple[float, ...] = ()  # of a stored kWh; empty: money does not count
    traded_kw: tuple[float, ...] = ()  # of `grid_kw`, what was committed already; > 0 bought
    battery_units_kw: tuple[tuple[float, ...], ...] = ()  # a row for each, where there are several
    generator_units_on: tuple[tuple[bool, ...], ...] = ()
    generator_units_kw: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Advice:
    """What the second process last said. Either part may be missing or expired."""

    forecast: Forecast | None = None
    plan: Plan | None = None
    detail: str = ""  # why something is missing
    events: tuple[str, ...] = ()  # what has changed among the forecasters, told once


# --- who wants what ------------------------------------------------------------------------


class Level(IntEnum):
    """Who decides: the higher wins."""

    RULES = 0
    PLAN = 1
    COMMITTED_TRADES = 2
    SUPERVISOR = 3
    LOCAL_OPERATOR = 4
    GRID_OPERATOR = 5
    SAFETY = 6

    @property
    def title(self) -> str:
        """The level as people say it."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A wish for one quantity of one device: a value, or bounds, or both, until it expires."""

    level: Level
    device: str
    quantity: Quantity
    reason: str
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    expires_t_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class PricePeriod:
    """Ordered prices, currency per kWh, from one moment until another, both UTC."""

    from_utc_s: float
    until_utc_s: float
    buy_per_kwh: float
    sell_per_kwh: float


@dataclass(frozen=True, slots=True)
class Orders:
    """What operators and the supervisor want now. Limits can only be tightened."""

    stop: bool = False  # give the plant back to the devices
    manual: bool = False  # only operators' setpoints count
    acknowledge: bool = False  # clear what is latched: emergency stop, locked generator
    proposals: tuple[Proposal, ...] = ()
    import_max_kw: float | None = None  # None: the site's own
    export_max_kw: float | None = None
    reserve_soc_frac: float | None = None
    reserve_level: Level = Level.PLAN  # setpoints of this level and below keep the reserve
    prices: tuple[PricePeriod, ...] = ()  # instead of the tariff, where they apply
    trading: bool = True
    replans: int = 0  # counts up: each step asks for a new plan
    active: tuple[str, ...] = ()  # what stands, in words, with who and until when


# --- one cycle's output --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setpoint:
    """A lease on one quantity of one device: it holds for `lease_s` unless renewed."""

    device: str
    quantity: Quantity
    value: float
    lease_s: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a setpoint is what it is."""

    device: str
    quantity: Quantity
    source: str  # the deciding level: safety, grid operator, local operator, supervisor, ...
    reason: str
    wanted: float  # before bounds
    clips: tuple[str, ...] = ()  # what moved it from there, in order
    losers: tuple[str, ...] = ()  # what would have been done otherwise


@dataclass(frozen=True, slots=True)
class Command:
    """Everything one cycle tells the plant, and why."""

    setpoints: tuple[Setpoint, ...]
    why: tuple[Explanation, ...]
    generator_relay: bool | None = None  # None: no relay
    alarm: bool = False  # status LED
    release: bool = False  # give every device back its own control


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ALARM = "alarm"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an operator wants to know happened."""

    severity: Severity
    key: str  # stable, for filters: mode, generator, obedience, supply, ...
    text: str
