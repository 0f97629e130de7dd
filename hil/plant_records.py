"""What goes into the simulated plant and what comes out of it.

Signs are source-positive, as everywhere: discharge, generation and grid import are > 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Electrics = tuple[float, float]
"""Frequency in Hz and voltage to neutral in V, the same on all three phases."""


@dataclass(frozen=True, slots=True)
class Weather:
    """The world outside during one step."""

    ghi_w_m2: float  # on the horizontal
    plane_w_m2: float  # in the plane of the PV arrays
    ambient_degc: float
    wind_m_s: float = 0.0
    grid_present: bool = True  # the utility delivers; without effect at a site without a grid


@dataclass(frozen=True, slots=True)
class Controls:
    """What the devices want during one step, and what is wrong with them.

    The defaults are an untouched plant: inverters unlimited, battery autonomous, generator off.
    """

    pv_limit_kw: Mapping[str, float | None] = field(default_factory=dict)  # PV and wind, by name
    inverters_off: frozenset[str] = frozenset()  # PV and wind inverters disconnected, by name
    battery_kw: float | None = None  # None: autonomous self-consumption
    battery_off: bool = False  # contactor open, or inverter switched off
    generator_run: bool = False  # the start request, as the genset controller sees it
    generator_kw: float | None = None  # in parallel with the grid; None: its own base load
    generator_stop: bool = False  # local stop or emergency stop: at once, no cool-down
    generator_trip: bool = False  # a protection acts: at once, and locked out until reset
    generator_reset: bool = False  # clears the lock-out while no trip is active
    generator_crank_fails: bool = False  # the engine turns but does not fire
    refuel_l: float = 0.0  # filled into the tank in this step
    units: Mapping[str, "Controls"] = field(default_factory=dict)  # of several, each one's by name

    def of(self, name: str) -> "Controls":
        """What is wanted of one battery or generator."""
        return self.units.get(name, self)


@dataclass(frozen=True, slots=True)
class InverterState:
    """A PV or wind inverter. `state`: off, sleeping, starting, running, throttled."""

    name: str
    power_kw: float
    available_kw: float  # AC power it could deliver without any limit
    limit_kw: float  # active power limit in force, the rating when unlimited
    dc_kw: float
    energy_kwh: float
    temperature_degc: float  # PV: of the cells; wind: ambient
    state: str


@dataclass(frozen=True, slots=True)
class BatteryState:
    """Battery, BMS and inverter. `state`: off, standby, running."""

    power_kw: float  # AC
    dc_kw: float  # at the battery terminals
    soc_frac: float
    stored_kwh: float
    voltage_v: float
    current_a: float  # > 0 discharges
    charge_limit_kw: float  # live limits of the BMS at the battery terminals, both >= 0
    discharge_limit_kw: float
    setpoint_kw: float | None  # None: autonomous, or forming the island's grid
    grid_forming: bool
    loss_kw: float
    temperature_degc: float
    charged_kwh: float  # AC energy taken
    discharged_kwh: float  # AC energy given
    state: str


@dataclass(frozen=True, slots=True)
class GeneratorState:
    """Generator and its controller. `phase`: stopped, starting, warming, running, cooling."""

    power_kw: float  # < 0: reverse power
    phase: str
    on_bus: bool  # breaker closed
    available_kw: float  # after derating (Qian 2024, eq. 3), whether running or not
    rpm: float
    frequency_hz: float  # of the machine, breaker open or closed
    voltage_v: float  # phase to neutral
    coolant_degc: float
    fuel_l: float
    fuel_frac: float
    fuel_l_per_h: float
    starts: int
    run_h: float
    energy_kwh: float
    locked_out: bool
    alarm: str  # "", failed to start, reverse power, out of fuel, emergency stop, tripped


@dataclass(frozen=True, slots=True)
class Energy:
    """Totals since the start, all >= 0. The AC bus balances:

    pv + wind + grid_import + generator + battery_discharge
    = served + dumped + grid_export + generator_reverse + battery_charge, and the battery:
    battery_charge - battery_discharge = stored_kwh now - stored_kwh at the start + battery_loss.
    """

    pv_kwh: float = 0.0
    wind_kwh: float = 0.0
    grid_import_kwh: float = 0.0
    grid_export_kwh: float = 0.0
    generator_kwh: float = 0.0
    generator_reverse_kwh: float = 0.0
    battery_charge_kwh: float = 0.0
    battery_discharge_kwh: float = 0.0
    battery_loss_kwh: float = 0.0
    load_kwh: float = 0.0  # wanted: served + unserved
    served_kwh: float = 0.0
    unserved_kwh: float = 0.0
    curtailed_kwh: float = 0.0  # PV and wind that a limit, a throttle or a trip kept from the bus
    dumped_kwh: float = 0.0  # in the dump load of the wind turbine
    fuel_l: float = 0.0
    import_excess_kwh: float = 0.0  # beyond the connection's limits: served, but a violation
    export_excess_kwh: float = 0.0
    import_excess_s: float = 0.0
    export_excess_s: float = 0.0
    generator_low_load_s: float = 0.0  # on the bus below its minimum load
    black_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PlantState:
    """Everything that a device on site could measure, means over the step just made."""

    t_s: float
    weather: Weather
    pv: tuple[InverterState, ...]
    wind: tuple[InverterState, ...]
    battery: BatteryState | None
    generator: GeneratorState | None
    mode: str  # who holds the bus: grid, generator, battery, black
    load_kw: float  # wanted
    served_kw: float
    unserved_kw: float
    curtailed_kw: float
    dumped_kw: float
    grid_kw: float
    grid_present: bool
    grid_connected: bool  # the transfer switch; it waits a while after the grid's return
    grid_frequency_hz: float  # at the meter, 0 when absent
    grid_voltage_v: tuple[float, float, float]
    bus_frequency_hz: float  # behind the transfer switch, 0 when black
    bus_voltage_v: tuple[float, float, float]
    energy: Energy
    batteries: Mapping[str, BatteryState] = field(default_factory=dict)  # of several, by name;
    generators: Mapping[str, GeneratorState] = field(default_factory=dict)  # the above is them all
