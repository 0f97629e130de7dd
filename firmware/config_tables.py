"""The rest of site.toml: prices, the Pi's pins, judgement; and the whole file as `Site`."""

from typing import Annotated, Literal

from pydantic import Field

from firmware.config_models import (
    Battery,
    Bus,
    Channel,
    Clock,
    Cost,
    Day,
    Generator,
    Grid,
    Loop,
    Month,
    Path,
    Pin,
    Place,
    Price,
    Pv,
    Safety,
    Says,
    Table,
    Volts,
    Weight,
    Wind,
)
from firmware.config_operation import Broker, Commands, Metrics, Mqtt, Trading, Web
from firmware.config_surplus import Surplus

ALL_DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ALL_MONTHS = tuple(range(1, 13))
PREFERENCE = (
    r"^(cheapest|gentlest|cleanest) within \d{1,3}(\.\d)? % of the (cheapest|gentlest|cleanest)$"
)


class Period(Table):
    """A `[[prices.period]]` on the local clock; over midnight it belongs to the day it starts."""

    from_: Clock = Field(alias="from", description="Start, included.")
    to: Clock = Field(description="End, excluded; before `from`: on the next day.")
    days: tuple[Day, ...] = Field(ALL_DAYS, min_length=1, description="Days on which it starts.")
    months: tuple[Month, ...] = Field(
        ALL_MONTHS, min_length=1, description="Months in which it starts."
    )
    buy_per_kwh: Price | None = Field(None, description="Price of import; default: as outside.")
    sell_per_kwh: Price | None = Field(None, description="Price of export; default: as outside.")


class Prices(Table):
    """`[prices]`: needed with a grid connection. The first period that matches counts."""

    buy_per_kwh: Price = Field(description="Price of import outside the periods.")
    sell_per_kwh: Price = Field(description="Price of export outside the periods.")
    period: tuple[Period, ...] = Field((), description="Times with other prices.")


class Irradiance(Table):
    """`[irradiance]`: G = gain * (U - offset_v) * w_m2_per_v, sampled through an SPI converter."""

    adc: Literal["mcp3208", "mcp3008"] = Field(description="12 or 10 bits.")
    spi_bus: int = Field(0, ge=0, le=1, description="Number of the bus in /dev/spidev0.0.")
    spi_device: int = Field(0, ge=0, le=2, description="Chip select.")
    channel: Channel = Field(description="The sensor's input.")
    reference_v: Annotated[float, Says("V, not mV", "V")] = Field(
        ge=0.25, le=5.5, description="The converter's reference."
    )
    w_m2_per_v: Annotated[float, Says("W/m2 per volt at the input", "W/m2/V")] = Field(
        ge=10, le=200000, description="From the sensor's calibration sheet."
    )
    gain: Annotated[float, Says("a factor near 1")] = Field(
        1.0, ge=0.5, le=2, description="Correction from a comparison with a better sensor."
    )
    offset_v: Annotated[float, Says("V, not mV", "V")] = Field(
        0.0, ge=-1, le=2, description="Voltage in the dark."
    )
    oversample: int = Field(16, ge=1, le=256, description="Conversions per sample; median.")
    reference_channel: Channel | None = Field(
        None, description="An input wired to a known voltage, as a self-test."
    )
    reference_channel_v: Volts | None = Field(None, description="That voltage.")


class Gpio(Table):
    """`[gpio]`: what is wired to the Pi's header."""

    emergency_stop_pin: Pin | None = Field(
        None, description="Input, normally closed to ground: open means pressed."
    )
    generator_relay_pin: Pin | None = Field(None, description="Output, high: run.")
    heartbeat_pin: Pin | None = Field(
        None, description="Output, toggles each cycle, for an external watchdog relay."
    )
    led_pin: Pin | None = Field(None, description="Output, high: alarm.")


class Planner(Table):
    """`[planner]`: the day plan of battery and generator."""

    enabled: bool = Field(True, description="Without it, rules decide.")
    slot_s: int = Field(900, ge=60, le=3600, description="Step of the plan; divides an hour.")
    horizon_h: int = Field(24, ge=1, le=72, description="How far it looks ahead.")
    interval_s: float = Field(300.0, ge=5, le=86400, description="How often it plans anew.")
    expiry_s: float = Field(3600.0, ge=10, le=86400, description="An older plan is not used.")
    budget_s: float = Field(1.0, ge=0.02, le=60, description="Computing time per plan.")
    weight_generation: Weight = Field(0.45, description="Weight of generation cost (Qian's alpha).")
    weight_equipment: Weight = Field(0.45, description="Weight of equipment cost (beta).")
    weight_pollution: Weight = Field(0.1, description="Weight of pollution cost (gamma).")
    preference: Annotated[str, Says('empty, or like "cheapest within 5 % of the cleanest"')] = (
        Field(
            "",
            pattern=PREFERENCE + "|^$",
            description="In place of the weights: cheapest, gentlest (on equipment) or cleanest "
            "within a share of the best in another of these.",
        )
    )
    unserved_cost_per_kwh: Cost = Field(
        5.0,
        description="What a kWh costs of load that nothing serves, or of a generator's power that "
        "nothing takes; above every price.",
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Same seed, same plan.")


class Forecast(Table):
    """`[forecast]`: PV and load of the hours to come."""

    enabled: bool = Field(True, description="Without it, 28-day means.")
    history: Path = Field(
        "", description="CSV with ts_utc,pv_kw,load_kw of the past, for a warm start."
    )
    pv_model: Path = Field("", description="Weights; empty: the shipped ones.")
    load_model: Path = Field("", description="Weights; empty: the shipped ones.")


class Recording(Table):
    """`[recording]`: every cycle's input and command, for replay."""

    path: Path = Field(
        "", description="For example /var/lib/nanogrid/cycles.jsonl.gz; empty: none."
    )
    max_mb: float = Field(
        200.0,
        ge=1,
        le=100000,
        description="Of all recordings together, the oldest make room; 10 MB a day at 1 s.",
    )


class Store(Table):
    """`[store]`: history, events, energy counters and what must survive a restart."""

    path: Path = Field("", description="For example /var/lib/nanogrid/state.db; empty: none.")
    history_days: int = Field(
        400, ge=1, le=3650, description="Days of 1-minute means that are kept; 150 kB each."
    )
    events: int = Field(50000, ge=100, le=1000000, description="Events that are kept.")


class Local(Table):
    """`[local]`: where `nanogrid status` and `nanogrid why` ask the running service."""

    socket: Path = Field(
        "",
        description="For example /run/nanogrid/nanogrid.sock, open to owner and group;"
        " empty: none.",
    )


class Site(Table):
    """A whole site.toml."""

    site: Place
    loop: Loop = Loop()
    safety: Safety = Safety()
    bus: tuple[Bus, ...] = ()
    pv: tuple[Pv, ...] = ()
    wind: tuple[Wind, ...] = ()
    battery: tuple[Battery, ...] = ()
    generator: tuple[Generator, ...] = ()
    grid: Grid | None = None
    prices: Prices | None = None
    irradiance: Irradiance | None = None
    gpio: Gpio = Gpio()
    planner: Planner = Planner()
    surplus: Surplus = Surplus()
    forecast: Forecast = Forecast()
    recording: Recording = Recording()
    store: Store = Store()
    local: Local = Local()
    mqtt: Mqtt = Mqtt()
    commands: Commands = Commands()
    trading: Trading = Trading()
    web: Web = Web()
    metrics: Metrics = Metrics()

    @property
    def market_broker(self) -> Broker:
        """Where the neighbours' market is."""
        return self.trading.broker if self.trading.broker.host else self.mqtt

    @property
    def devices(self) -> tuple[Pv | Wind | Battery | Generator | Grid, ...]:
        """Every Modbus device, in the order pv, wind, battery, generator, grid."""
        grid = () if self.grid is None else (self.grid,)
        return (*self.pv, *self.wind, *self.battery, *self.generator, *grid)
