"""The seam between the loop and the field devices: what every Modbus driver can do."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from control.records import Quantity, Setpoint

M = TypeVar("M", covariant=True)


class BusError(Exception):
    """A request failed: no answer in time, a refused connection, or one that makes no sense."""


class DeviceError(Exception):
    """The device answered, but it is not what the configuration says, or it refuses."""


class Table(StrEnum):
    """The two register tables of Modbus that we use."""

    HOLDING = "holding"  # function codes 3, 6, 16
    INPUT = "input"  # function code 4


class Registers(Protocol):
    """One unit on one bus. Every call takes a bounded time and raises BusError when it fails."""

    def read(self, address: int, count: int, table: Table = Table.HOLDING) -> list[int]:
        """Read `count` (1 to 125) 16-bit registers."""

    def write(self, address: int, values: Sequence[int]) -> None:
        """Write registers in one request (function code 16)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says it is."""

    maker: str
    model: str
    serial: str = ""
    version: str = ""


class Device(ABC, Generic[M]):
    """Encodes and decodes for one device; owns no socket, no thread and no clock.

    `now_s` is monotonic. Methods raise BusError or DeviceError. After either the bus calls
    `connect` again before anything else; only a DeviceError from `write`, a refusal, leaves the
    device connected.
    """

    name: str
    quantities: frozenset[Quantity]  # what `write` understands; empty for a read-only device

    @abstractmethod
    def connect(self, registers: Registers, now_s: float) -> Identity:
        """Find out what the device is and bring it under remote control, dead-man timer first."""

    @abstractmethod
    def read(self, registers: Registers, now_s: float) -> M:
        """Read one consistent measurement."""

    @abstractmethod
    def write(self, registers: Registers, setpoint: Setpoint, now_s: float) -> float:
        """Write a setpoint, read it back and return what the device acknowledged.

        Arms the device's own revert timer with `setpoint.lease_s` where it has one. Writing the
        same setpoint again renews the lease.
        """

    @abstractmethod
    def release(self, registers: Registers, now_s: float) -> None:
        """Give control back to the device: its safe autonomous behaviour."""
