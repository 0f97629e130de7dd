"""Asks every device of a site what it is and how it does, without ever writing to it.

The drivers connect and read as in service, but through registers that keep writes to themselves:
what a driver would have written to take control is told, not done. Of the Pi's pins only the
emergency stop, an input, is touched.
"""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from control.records import Quality
from drivers.adc import AdcError
from drivers.device import BusError, DeviceError, Identity, Registers, Table
from drivers.line import Line, UnitRegisters
from drivers.modbus_device import Gateway
from drivers.pi_pins import PinError, PiPins
from drivers.sunspec import SunspecUnit
from firmware.config import Site
from firmware.config_models import Battery, Device, Generator, Grid, Pv, Wind
from firmware.config_tables import Irradiance
from firmware.wiring import build_adc, build_device, build_link, build_sensor

BUDGET_TIMEOUTS = 50  # time for one device, in timeouts of its bus
RATING_TOLERANCE_FRAC = 0.2


@dataclass(frozen=True, slots=True)
class Probed:
    """What one device said."""

    name: str
    bus: str
    unit: int
    identity: Identity | None = None
    values: dict[str, Any] = field(default_factory=dict)  # as in control.records, without unknowns
    round_trip_ms: float | None = None  # median of all requests
    problems: tuple[str, ...] = ()  # did not answer, or is not what the site file says
    notes: tuple[str, ...] = ()  # worth knowing


@dataclass(frozen=True, slots=True)
class ProbedPart:
    """What a part of the Pi said: the irradiance sensor or the emergency stop."""

    name: str
    values: dict[str, Any]
    problems: tuple[str, ...] = ()


class ReadOnlyRegisters:
    """Registers that keep writes to themselves and note how long reads take."""

    def __init__(self, inner: Registers, log: "ReadOnlyRegisters | None" = None) -> None:
        self._inner = inner
        self.seconds: list[float] = log.seconds if log else []
        self.withheld: list[str] = log.withheld if log else []

    def read(self, address: int, count: int, table: Table = Table.HOLDING) -> list[int]:
        """Read, and take the time."""
        start_s = time.perf_counter()
        words = self._inner.read(address, count, table)
        self.seconds.append(time.perf_counter() - start_s)
        return words

    def write(self, address: int, values: Sequence[int]) -> None:
        """Write nothing."""
        self.withheld.append(f"{address} = {', '.join(map(str, values))}")

    def at(self, unit: int) -> Registers:
        """Another unit behind the same address, just as read-only."""
        if not isinstance(self._inner, Gateway):
            raise DeviceError("no gateway to other units")
        return ReadOnlyRegisters(self._inner.at(unit), self)


def probe_devices(site: Site) -> list[Probed]:
    """Ask every Modbus device, bus by bus."""
    found = []
    for bus in site.bus:
        line = Line(build_link(bus))
        for device in site.devices:
            if device.bus == bus.name:
                line.allow(BUDGET_TIMEOUTS * bus.timeout_s)
                found.append(_probe(device, UnitRegisters(line, device.unit)))
        line.close()
    return found


def _probe(device: Device, registers: Registers) -> Probed:
    silent = ReadOnlyRegisters(registers)
    driver = build_device(device)
    identity, values, problems = None, {}, []
    try:
        identity = driver.connect(silent, time.monotonic())
        values = _known(driver.read(silent, time.monotonic()))
        problems = _contradictions(device, values) + _rating(device, silent)
    except BusError as error:
        problems = [f"no answer: {error}"]
    except DeviceError as error:
        problems = [str(error)]
    return Probed(
        name=device.name,
        bus=device.bus,
        unit=device.unit,
        identity=identity,
        values=values,
        round_trip_ms=1e3 * statistics.median(silent.seconds) if silent.seconds else None,
        problems=tuple(problems),
        notes=tuple(_notes(device, values, silent.withheld)),
    )


def _known(measurement: Any) -> dict[str, Any]:
    values = dataclasses.asdict(measurement)
    return {key: value for key, value in values.items() if value not in (None, (), "unknown")}


def _contradictions(device: Device, values: dict[str, Any]) -> list[str]:
    """Where a measurement and the site file cannot both be right."""
    problems = [] if "power_kw" in values else ["it tells no power"]
    if isinstance(device, Battery):
        if "soc_frac" not in values:
            problems.append("it tells no state of charge")
        if device.battery_unit is not None and "charge_limit_kw" not in values:
            problems.append(f"no limits from the BMS at unit {device.battery_unit}")
    if isinstance(device, Grid):
        hz, volts = values.get("frequency_hz", 0.0), values.get("voltage_v", 0.0)
        if hz > 1 and abs(hz - device.nominal_hz) > 5:
            problems.append(f"{hz:.1f} Hz, but nominal_hz = {device.nominal_hz:g}")
        if volts > 20 and not 0.7 < volts / device.nominal_v < 1.3:
            problems.append(f"{volts:.0f} V, but nominal_v = {device.nominal_v:g}")
    return problems


def _rating(device: Device, registers: Registers) -> list[str]:
    """Compare rated_kw with the nameplate of a SunSpec inverter (model 120 or 702)."""
    if not isinstance(device, Pv | Wind):
        return []
    unit = SunspecUnit()
    unit.connect(registers)
    for model, point in ((702, "WMaxRtg"), (120, "WRtg")):
        plate = unit.read_if_present(registers, model)
        watts = plate.value(point) if plate else None
        if watts:
            apart = abs(watts / 1000 / device.rated_kw - 1)
            text = f"nameplate {watts / 1000:.3g} kW, but rated_kw = {device.rated_kw:g}"
            return [text] if apart > RATING_TOLERANCE_FRAC else []
    return []


def _notes(device: Device, values: dict[str, Any], withheld: list[str]) -> list[str]:
    notes = []
    if isinstance(device, Battery) and "soc_frac" in values:
        soc_frac = values["soc_frac"]
        if not device.soc_min_frac <= soc_frac <= device.soc_max_frac:
            notes.append(f"charge {soc_frac:.0%} is outside soc_min_frac to soc_max_frac")
    if isinstance(device, Generator) and values.get("available") is False:
        notes.append(f"not available: mode {values.get('mode', 'unknown')}, starts only in auto")
    if withheld:
        notes.append(f"in service it would write register {'; '.join(dict.fromkeys(withheld))}")
    return notes


# --- the Pi ---------------------------------------------------------------------------------


def probe_pi(site: Site) -> list[ProbedPart]:
    """Read the irradiance sensor and the emergency stop, as far as the site has them."""
    parts = []
    if site.irradiance is not None:
        parts.append(_probe_sensor(site, site.irradiance))
    if site.gpio.emergency_stop_pin is not None:
        parts.append(_probe_emergency_stop(site.gpio.emergency_stop_pin))
    return parts


def _probe_sensor(site: Site, irradiance: Irradiance) -> ProbedPart:
    adc = build_adc(irradiance)
    sensor = build_sensor(site, adc)
    assert sensor is not None
    try:
        volts = adc.read_volts(irradiance.channel)
        seen = sensor.read(time.monotonic(), time.time())
    except AdcError as error:
        return ProbedPart("irradiance", {}, (str(error),))
    finally:
        adc.close()
    values: dict[str, Any] = {"volts": round(volts, 4)}
    if seen.value is not None:
        values["irradiance_w_m2"] = round(seen.value, 1)
    return ProbedPart("irradiance", values, () if seen.quality is Quality.GOOD else (seen.detail,))


def _probe_emergency_stop(pin: int) -> ProbedPart:
    pins = PiPins(emergency_stop_pin=pin)
    try:
        pins.open()
        pressed = pins.read_emergency_stop()
    except PinError as error:
        return ProbedPart("emergency_stop", {"pin": pin}, (str(error),))
    finally:
        pins.close()
    if pressed is None or pressed.good is None:
        return ProbedPart("emergency_stop", {"pin": pin}, (pressed.detail if pressed else "",))
    return ProbedPart("emergency_stop", {"pin": pin, "pressed": pressed.good})
