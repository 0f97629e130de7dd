"""The static facts of one nano-grid that decisions need, all in kW, kWh, fractions and seconds."""

from dataclasses import dataclass

from control.surplus import DEFAULTS, SurplusSettings


@dataclass(frozen=True, slots=True)
class PvParameters:
    """A curtailable PV inverter."""

    name: str
    rated_kw: float


@dataclass(frozen=True, slots=True)
class WindParameters:
    """A wind turbine's inverter: measured, never curtailed."""

    name: str
    rated_kw: float


@dataclass(frozen=True, slots=True)
class BatteryParameters:
    """A battery behind its inverter; powers at the AC terminals."""

    name: str
    capacity_kwh: float
    charge_max_kw: float
    discharge_max_kw: float
    soc_min_frac: float
    soc_max_frac: float
    reserve_soc_frac: float  # rules keep this for a bad day while another source serves the load
    ramp_kw_per_s: float
    charge_from_grid: bool


@dataclass(frozen=True, slots=True)
class GeneratorParameters:
    """A generator set behind a controller that cranks, warms and cools it by itself."""

    name: str
    by_relay: bool  # started by the hard-wired contact rather than over its bus
    rated_kw: float
    min_load_frac: float
    min_run_s: float
    min_rest_s: float
    warm_up_s: float
    cool_down_s: float
    max_run_s: float
    start_timeout_s: float
    cost_per_kwh: float = 0.0  # fuel and upkeep at its best load: merit order

    @property
    def min_kw(self) -> float:
        """Least load that avoids wet stacking."""
        return self.min_load_frac * self.rated_kw


@dataclass(frozen=True, slots=True)
class GridParameters:
    """A connection with its import and export limits, and the band inside which it is present."""

    name: str
    import_max_kw: float
    export_max_kw: float
    voltage_min_v: float
    voltage_max_v: float
    frequency_min_hz: float
    frequency_max_hz: float
    import_ordered: bool = False  # the limit is an order, tighter than the site's
    export_ordered: bool = False

    @property
    def import_text(self) -> str:
        """The import limit as a reason."""
        return _limit_text("import", self.import_max_kw, self.import_ordered)

    @property
    def export_text(self) -> str:
        """The export limit as a reason."""
        return _limit_text("export", self.export_max_kw, self.export_ordered)


def _limit_text(direction: str, limit_kw: float, ordered: bool) -> str:
    return f"{direction} limit {limit_kw:g} kW" + (", ordered" if ordered else "")


@dataclass(frozen=True, slots=True)
class SiteParameters:
    """Everything static that `control.cycle.decide` is given."""

    period_s: float
    lease_s: float  # how long a setpoint holds without renewal
    hold_s: float  # how long the last good measurement stands in for a missing one
    start_up_s: float  # after this, start-up goes on without the devices that are missing
    pv: tuple[PvParameters, ...] = ()
    wind: tuple[WindParameters, ...] = ()
    battery: BatteryParameters | None = None
    generator: GeneratorParameters | None = None
    grid: GridParameters | None = None
    emergency_stop: bool = False  # an input is wired
    price_low_per_kwh: float = 0.0  # span of the site's buying price: the fuzzy price universe
    price_high_per_kwh: float = 1.0
    surplus: SurplusSettings = DEFAULTS  # but for its prices, which are the two above
    batteries: tuple[BatteryParameters, ...] = ()  # where there are several: `battery` is them all
    generators: tuple[GeneratorParameters, ...] = ()  # likewise, see `control.fleet`

    @property
    def pv_rated_kw(self) -> float:
        """Sum of the PV inverters' ratings."""
        return sum(pv.rated_kw for pv in self.pv)

    @property
    def battery_units(self) -> tuple[BatteryParameters, ...]:
        """Every battery by itself."""
        return self.batteries or ((self.battery,) if self.battery else ())

    @property
    def generator_units(self) -> tuple[GeneratorParameters, ...]:
        """Every generator by itself."""
        return self.generators or ((self.generator,) if self.generator else ())
