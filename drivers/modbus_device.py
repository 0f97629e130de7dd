"""What all devices on a Modbus line have in common."""

from typing import Protocol, runtime_checkable

from control.records import (
    BatteryMeasurement,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
)
from drivers.device import Device, M, Registers

Measurement = InverterMeasurement | BatteryMeasurement | GeneratorMeasurement | GridMeasurement


class ModbusDevice(Device[M]):
    """A device with a unit number.

    `write` returns `setpoint.value` when the device holds it to the resolution of its registers,
    otherwise what it holds instead. A DeviceError from `write` means that the device refuses this
    setpoint; reading goes on.
    """

    unit: int

    def __init__(self, *, name: str, unit: int) -> None:
        self.name = name
        self.unit = unit


@runtime_checkable
class Gateway(Registers, Protocol):
    """Registers of a unit that can also reach the other units behind the same address."""

    def at(self, unit: int) -> Registers:
        """The registers of another unit."""


def within(value: float | None, low: float, high: float) -> float | None:
    """The value if it is physically possible, else None."""
    return value if value is not None and low <= value <= high else None


def kilo(value: float | None) -> float | None:
    """W to kW, Wh to kWh; None stays None."""
    return None if value is None else value / 1000
