"""The tables of site.toml as frozen models: types, units, allowed ranges, defaults, and why.

Attributes are named as the keys in the file (`from` alone is `from_`). What one value alone cannot
show, such as limits that contradict each other, is checked in `config_rules`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Discriminator, Field, field_validator
from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Says:
    """What a key's value is, in words: for error lines and for the reference."""

    text: str
    unit: str = ""


def _number(unit: str, note: str = "") -> Says:
    return Says(f"{unit}, {note}" if note else unit, unit)


Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$"), Says("a-z, 0-9, - and _, up to 32")]
Text = Annotated[str, Field(min_length=1), Says("a text that is not empty")]
Path = Annotated[str, Says("a path, or empty", "path")]
Clock = Annotated[
    str, Field(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$"), Says('a local time like "17:00"')
]
Kw = Annotated[float, Field(ge=0.05, le=250), _number("kW", "not W")]
LimitKw = Annotated[float, Field(ge=0, le=250), _number("kW", "not W")]
KwPerS = Annotated[float, Field(ge=0.001, le=250), _number("kW/s", "not W/s")]
Kwh = Annotated[float, Field(ge=0.1, le=1000), _number("kWh", "not Wh")]
Fraction = Annotated[float, Field(ge=0, le=1), Says("a fraction, not percent", "fraction")]
Efficiency = Annotated[float, Field(ge=0.5, le=1), Says("a fraction, not percent", "fraction")]
Seconds = Annotated[float, Field(ge=0, le=604800), _number("s")]
Price = Annotated[float, Field(ge=-100000, le=100000), _number("currency/kWh")]
Cost = Annotated[float, Field(ge=0, le=100000), _number("currency/kWh")]
Weight = Annotated[float, Field(ge=0, le=1), Says("a share; the three add up to 1", "share")]
Volts = Annotated[float, Field(ge=0, le=5.5), _number("V", "not mV")]
Channel = Annotated[int, Field(ge=0, le=7)]
Pin = Annotated[int, Field(ge=2, le=27), Says("the BCM number, not the header's", "BCM")]
Unit = Annotated[int, Field(ge=0, le=255), Says("the Modbus unit address")]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Month = Annotated[int, Field(ge=1, le=12), Says("a month's number")]


class Table(BaseModel):
    """One table of the file: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @classmethod
    def entries(cls) -> dict[str, tuple[str, FieldInfo]]:
        """Key in the file -> attribute and field."""
        return {f.alias or name: (name, f) for name, f in cls.model_fields.items()}


# --- the place and the loop -----------------------------------------------------------------


class Place(Table):
    """`[site]`: who and where."""

    name: Name = Field(description="The site's name, also on MQTT.")
    latitude_deg: float = Field(ge=-90, le=90, description="North is positive; for the sun.")
    longitude_deg: float = Field(ge=-180, le=180, description="East is positive; for the sun.")
    timezone: Annotated[str, Says('an IANA name like "Europe/Copenhagen"')] = Field(
        description="Local clock of tariffs and daily patterns."
    )
    currency: Annotated[str, Says('three capitals like "EUR"')] = Field(
        pattern=r"^[A-Z]{3}$", description="Unit of every price and cost in this file."
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (OSError, ValueError, KeyError):  # unknown, a folder of the database, not a name
            raise ValueError("unknown time zone") from None
        return name


class Loop(Table):
    """`[loop]`: pace of the control loop."""

    period_s: float = Field(1.0, ge=0.05, le=60, description="One control cycle.")
    realtime_priority: int = Field(
        0, ge=0, le=99, description="SCHED_FIFO priority; 0 leaves ordinary scheduling."
    )
    stale_after_s: float = Field(
        5.0, ge=0.2, le=300, description="A measurement older than this is not used."
    )


class Safety(Table):
    """`[safety]`: how long what is known still counts, and when the grid counts as lost."""

    lease_s: float = Field(
        30.0, ge=2, le=600, description="Life of a setpoint, also in the device's revert timer."
    )
    hold_s: float = Field(
        10.0, ge=0, le=300, description="The last good value stands in for a missing one so long."
    )
    start_up_s: float = Field(
        60.0, ge=0, le=3600, description="Then start-up goes on without devices that are missing."
    )
    grid_v_min_frac: Fraction = Field(
        0.85, description="Below this share of nominal voltage the grid counts as lost."
    )
    grid_v_max_frac: Annotated[float, Says("a factor, not percent", "fraction")] = Field(
        1.1, ge=1, le=1.5, description="Above this share of nominal voltage it counts as lost."
    )
    grid_hz_below: Annotated[float, _number("Hz")] = Field(
        2.5, gt=0, le=5, description="Further below nominal frequency the grid counts as lost."
    )
    grid_hz_above: Annotated[float, _number("Hz")] = Field(
        1.5, gt=0, le=5, description="Further above nominal frequency the grid counts as lost."
    )


# --- wires ----------------------------------------------------------------------------------


class TcpBus(Table):
    """A `[[bus]]` with kind = "tcp": one Modbus TCP server."""

    name: Name = Field(description="What devices refer to.")
    kind: Literal["tcp"] = Field(description='"tcp" or "rtu".')
    host: Annotated[str, Says("an IP address or a host name")] = Field(
        pattern=r"^[A-Za-z0-9_.:%-]{1,253}$",
        description="Better an address: nothing limits the time to look up a name.",
    )
    port: int = Field(502, ge=1, le=65535, description="TCP port.")
    timeout_s: float = Field(0.2, ge=0.02, le=5, description="Longest wait for an answer.")


class RtuBus(Table):
    """A `[[bus]]` with kind = "rtu": one serial line."""

    name: Name = Field(description="What devices refer to.")
    kind: Literal["rtu"] = Field(description='"tcp" or "rtu".')
    port: Annotated[str, Says('a serial device like "/dev/ttyUSB0"')] = Field(
        pattern=r"^/[^\s]+$", description="The adapter; a path under /dev/serial/by-id is stable."
    )
    baudrate: int = Field(ge=1200, le=921600, description="As set in the devices.")
    parity: Literal["N", "E", "O"] = Field("N", description="As set in the devices.")
    stop_bits: Literal[1, 2] = Field(1, description="As set in the devices.")
    timeout_s: float = Field(0.2, ge=0.02, le=5, description="Longest wait for an answer.")


Bus = Annotated[TcpBus | RtuBus, Discriminator("kind")]


# --- devices --------------------------------------------------------------------------------


class Device(Table):
    """What every device on a bus has."""

    name: Name = Field(description="Unique among the devices; also on MQTT.")
    bus: Name = Field(description="Name of the bus it is on.")
    unit: Unit = Field(description="Unit address; 1 to 247 on a serial line.")
    driver: str


class Pv(Device):
    """A `[[pv]]` inverter, curtailed by an active power limit."""

    driver: Literal["sunspec-inverter"] = Field(description="What it speaks.")
    rated_kw: Kw = Field(description="AC rating of the inverter.")


class Wind(Device):
    """A `[[wind]]` inverter; measured, never curtailed."""

    driver: Literal["sunspec-inverter"] = Field(description="What it speaks.")
    rated_kw: Kw = Field(description="AC rating of the inverter.")


class Battery(Device):
    """A `[[battery]]` with its inverter."""

    driver: Literal["victron-gx", "sunspec-storage"] = Field(description="What it speaks.")
    battery_unit: Unit | None = Field(
        None,
        description="victron-gx: the BMS's unit; without one only this file limits the battery.",
    )
    capacity_kwh: Kwh = Field(description="Usable energy from empty to full.")
    charge_max_kw: Kw = Field(description="At the AC side, as a positive number.")
    discharge_max_kw: Kw = Field(description="At the AC side.")
    inverter_rated_kw: Kw = Field(description="AC rating of its inverter, for its efficiency.")
    soc_min_frac: Fraction = Field(description="Never discharged below.")
    soc_max_frac: Fraction = Field(description="Never charged above.")
    reserve_soc_frac: Fraction = Field(
        0.25, description="Kept for a bad day while the grid or the generator can serve."
    )
    ramp_kw_per_s: KwPerS = Field(2.0, description="Fastest change of the setpoint.")
    charge_from_grid: bool = Field(True, description="May the grid charge it?")
    charge_efficiency_frac: Efficiency = Field(0.97, description="Cells, without inverter.")
    discharge_efficiency_frac: Efficiency = Field(0.97, description="Cells, without inverter.")
    generation_cost_per_kwh: Cost = Field(
        0.005, description="Unit cost in the plan's generation objective."
    )
    om_linear_per_kwh: Cost = Field(0.01, description="Wear per kWh at low power.")
    om_quadratic_per_kwh_at_max: Cost = Field(
        0.02, description="Wear per kWh more at discharge_max_kw, in proportion to power."
    )


class Generator(Device):
    """A diesel `[[generator]]` behind its own controller."""

    driver: Literal["deepsea-gencomm"] = Field(description="What its controller speaks.")
    start: Literal["relay", "gencomm"] = Field(
        description='"relay": hard-wired contact, drops when the Pi dies; "gencomm": by Modbus.'
    )
    rated_kw: Kw = Field(description="Rating of the set.")
    min_load_frac: Annotated[float, Says("a fraction, not percent", "fraction")] = Field(
        0.3, ge=0, le=0.8, description="Lowest load of the rating; below, the engine glazes."
    )
    min_run_s: Seconds = Field(1800.0, description="Once running, at least so long.")
    min_rest_s: Seconds = Field(600.0, description="Once stopped, at least so long.")
    warm_up_s: Annotated[float, Says("s", "s")] = Field(
        60.0, ge=0, le=1800, description="Unloaded after the start."
    )
    cool_down_s: Annotated[float, Says("s", "s")] = Field(
        120.0, ge=0, le=1800, description="Unloaded before the stop."
    )
    max_run_s: Seconds = Field(43200.0, description="Then it rests, come what may.")
    start_timeout_s: Annotated[float, Says("s", "s")] = Field(
        120.0, ge=5, le=1800, description="Not running by then: the start has failed."
    )
    fuel_price_per_l: Annotated[float, _number("currency/l")] = Field(
        ge=0, le=100000, description="Delivered price of diesel."
    )
    fuel_no_load_l_per_h_per_kw: Annotated[float, _number("l/h per kW rated")] = Field(
        0.08, ge=0, le=1, description="Fuel while running, whatever the load."
    )
    fuel_linear_l_per_kwh: Annotated[float, _number("l/kWh", "not g/kWh")] = Field(
        0.246, ge=0.05, le=2, description="Fuel per kWh."
    )
    fuel_quadratic_l_per_h_per_kw2: Annotated[float, _number("l/h per kW squared")] = Field(
        0.0, ge=0, le=1, description="Fuel that grows with the square of power."
    )
    startup_cost: Annotated[float, _number("currency")] = Field(
        0.4, ge=0, le=100000, description="Wear and fuel of one start."
    )
    generation_cost_per_kwh: Cost = Field(
        0.01, description="Unit cost in the plan's generation objective."
    )
    om_per_kwh: Cost = Field(0.02, description="Maintenance per kWh.")
    om_per_h_on: Annotated[float, _number("currency/h")] = Field(
        0.05, ge=0, le=100000, description="Maintenance per hour of running."
    )
    pollution_per_kwh: Cost = Field(
        0.117, description="Damage of its emissions, in the plan's pollution objective."
    )


class Grid(Device):
    """`[grid]`: the meter at the grid connection. An island has none."""

    driver: Literal["eastron-sdm630", "sunspec-meter"] = Field(description="What it speaks.")
    import_max_kw: LimitKw = Field(description="Most that may be drawn.")
    export_max_kw: LimitKw = Field(description="Most that may be fed in; 0 for zero export.")
    nominal_v: Annotated[float, _number("V", "line to neutral")] = Field(
        230.0, ge=100, le=300, description="Nominal voltage, for islanding detection."
    )
    nominal_hz: Annotated[float, _number("Hz")] = Field(
        50.0, ge=50, le=60, description="Nominal frequency, 50 or 60."
    )
    pollution_per_kwh: Cost = Field(
        0.008, description="Damage of bought energy's emissions, in the pollution objective."
    )
