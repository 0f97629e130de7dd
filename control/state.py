"""What one cycle hands to the next: the estimate of the plant, the mode, timers and suspicions."""

from dataclasses import dataclass
from enum import StrEnum

from control.records import Quantity
from control.sky import NO_SKY, Sky


class Mode(StrEnum):
    """The controller's operating mode."""

    STARTING = "starting"
    AUTO = "auto"
    MANUAL = "manual"
    DEGRADED = "degraded"
    SAFE = "safe"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Held:
    """The last good value of a quantity and when it was seen; for a short time it stands in."""

    value: float
    t_s: float


@dataclass(frozen=True, slots=True)
class BatteryEstimate:
    """One battery of several, as far as it is known; None is unknown."""

    kw: float | None = None
    soc_frac: float | None = None
    charge_limit_kw: float | None = None  # live, both >= 0
    discharge_limit_kw: float | None = None


@dataclass(frozen=True, slots=True)
class GeneratorEstimate:
    """One generator of several, as far as it is known."""

    kw: float | None = None
    phase: str = "unknown"
    available: bool = False

    @property
    def carries(self) -> bool:
        """It takes load."""
        return self.phase == "running"


@dataclass(frozen=True, slots=True)
class Estimate:
    """The plant as far as it is known; None is unknown. Powers are source-positive."""

    pv_kw: float | None = None
    wind_kw: float | None = None
    battery_kw: float | None = None
    generator_kw: float | None = None
    grid_kw: float | None = None
    load_kw: float | None = None
    measured_net_kw: float | None = None  # battery, generator and grid together, see `net_kw`
    pv_throttled: bool = False  # an inverter says that its limit holds it back, not the sun
    pv_answering_kw: float | None = None  # see `pv_seen_kw`
    soc_frac: float | None = None
    charge_limit_kw: float | None = None  # live, both >= 0
    discharge_limit_kw: float | None = None
    grid_present: bool = False
    grid_for_s: float = float("inf")  # so long the grid has been present, or absent
    generator_phase: str = "unknown"
    generator_available: bool = False
    emergency_stop: bool = False
    missing: tuple[str, ...] = ()  # devices without a good measurement
    batteries: tuple[BatteryEstimate, ...] = ()  # where there are several: the above is them all
    generators: tuple[GeneratorEstimate, ...] = ()

    @property
    def generator_carries(self) -> bool:
        """The generator takes load."""
        return self.generator_phase == "running"

    @property
    def sources_kw(self) -> float:
        """PV plus wind, unknown ones left out."""
        return (self.pv_kw or 0.0) + (self.wind_kw or 0.0)

    @property
    def pv_seen_kw(self) -> float:
        """PV of the inverters that answer; guesses for silent ones left out."""
        return (self.pv_kw or 0.0) if self.pv_answering_kw is None else self.pv_answering_kw

    @property
    def net_kw(self) -> float | None:
        """What PV and wind leave of the load; known without them where all else is measured."""
        if self.measured_net_kw is not None:
            return self.measured_net_kw
        return None if self.load_kw is None else self.load_kw - self.sources_kw


@dataclass(frozen=True, slots=True)
class GeneratorState:
    """Our side of the generator's sequence; the times are monotonic."""

    run: bool = False  # what we ask for
    since_s: float = float("-inf")  # of the last change of `run`; -inf before the first look
    carried: bool = False  # this run has reached the phase in which the set takes load
    still_since_s: float | None = None  # it was seen still since then, although it had carried
    attempts: int = 0  # failed starts in a row
    locked: str = ""  # why no start is tried, until acknowledged
    low_soc: bool = False  # hysteresis of the rule that saves an island's battery
    strained_since_s: float | None = None  # an island's battery gives nearly all it can since then
    short_since_s: float | None = None  # the sets that run do not suffice since then


@dataclass(frozen=True, slots=True)
class Obedience:
    """Whether a device does what it was told: commanded, acknowledged, obeyed."""

    device: str
    quantity: Quantity
    status: str  # settling, obeyed, unacknowledged, disobeyed, not applicable
    since_s: float  # monotonic, of the status
    deviates_since_s: float | None = None
    lowest: float = 0.0  # what was commanded lately: the device may still be on its way from there
    highest: float = 0.0


@dataclass(frozen=True, slots=True)
class State:
    """All memory of the controller. Nothing else is carried from cycle to cycle."""

    t_s: float | None = None  # of the last cycle; None before the first
    started_s: float = 0.0
    mode: Mode = Mode.STARTING
    mode_since_s: float = 0.0
    mode_reason: str = "process start"
    estimate: Estimate = Estimate()
    held: tuple[tuple[str, Held], ...] = ()
    generator: GeneratorState = GeneratorState()
    obedience: tuple[Obedience, ...] = ()
    battery_kw: float | None = None  # last commanded setpoint: ramps start there
    pv_limit_kw: float | None = None
    emergency_latched: bool = False
    acknowledged: bool = False  # the acknowledgement of the last cycle: only a new one counts
    absent: tuple[tuple[str, float], ...] = ()  # devices and when they were last missing
    meter_seen_s: float = float("-inf")  # when the grid's meter last answered
    grid_seen_s: float | None = None  # since when the grid has been inside its band
    grid_lost_s: float | None = None  # since when it has been outside
    sky: Sky = NO_SKY  # the irradiance sensor's last hours and what they say of the next minutes
    battery_units_kw: tuple[float, ...] = ()  # where there are several: each one's last setpoint
    generators: tuple[GeneratorState, ...] = ()  # and each one's sequence; `generator` is them all
