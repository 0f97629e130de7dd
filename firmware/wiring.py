"""From the site file to drivers: buses with their devices, the irradiance sensor, the pins."""

import time
from collections.abc import Callable
from typing import Any

from drivers.adc import Adc
from drivers.bus import Bus
from drivers.catalogue import CATALOGUE
from drivers.irradiance import Calibration, IrradianceSensor
from drivers.line import Link, RtuLink, TcpLink
from drivers.modbus_device import ModbusDevice
from drivers.pi_pins import PiPins
from firmware.config import Site
from firmware.config_models import Device, RtuBus, TcpBus
from firmware.config_tables import Irradiance


def build_buses(site: Site, clock: Callable[[], float] = time.monotonic) -> list[Bus]:
    """Every bus of the site with the drivers of its devices, in the file's order; opens nothing."""
    return [
        Bus(bus.name, build_link(bus), build_devices(site, bus.name), clock=clock)
        for bus in site.bus
    ]


def build_devices(site: Site, bus: str) -> list[ModbusDevice[Any]]:
    """The drivers of the devices on one bus."""
    return [build_device(device) for device in site.devices if device.bus == bus]


def build_device(device: Device) -> ModbusDevice[Any]:
    """The driver of one device, given the keys of the site file that it asks for."""
    entry = CATALOGUE[device.driver]
    wanted = {key: getattr(device, key) for key in (*entry.required, *entry.optional)}
    return entry.make(name=device.name, unit=device.unit, **wanted)


def build_link(bus: TcpBus | RtuBus) -> Link:
    """How to reach a bus."""
    if isinstance(bus, TcpBus):
        return TcpLink(bus.host, bus.port, bus.timeout_s)
    return RtuLink(bus.port, bus.baudrate, bus.parity, bus.stop_bits, bus.timeout_s)


def build_adc(irradiance: Irradiance) -> Adc:
    """The converter behind the irradiance sensor; opens nothing."""
    return Adc(
        irradiance.adc,
        irradiance.reference_v,
        irradiance.spi_bus,
        irradiance.spi_device,
        irradiance.oversample,
    )


def build_sensor(site: Site, adc: Adc | None = None) -> IrradianceSensor | None:
    """The irradiance sensor, None without one; `adc` to share a converter."""
    sensor = site.irradiance
    if sensor is None:
        return None
    reference = None
    if sensor.reference_channel is not None and sensor.reference_channel_v is not None:
        reference = sensor.reference_channel, sensor.reference_channel_v
    return IrradianceSensor(
        adc or build_adc(sensor),
        sensor.channel,
        Calibration(sensor.w_m2_per_v, sensor.gain, sensor.offset_v),
        site.site.latitude_deg,
        site.site.longitude_deg,
        reference,
    )


def build_pins(site: Site) -> PiPins | None:
    """The Pi's own pins, None when nothing is wired; takes none before `open`."""
    pins = site.gpio.model_dump()
    return PiPins(**pins) if any(pin is not None for pin in pins.values()) else None
