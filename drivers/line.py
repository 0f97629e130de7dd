"""One Modbus line, TCP or serial: bounded requests, and a clean line again after every failure."""

import logging
import os
import struct
import termios
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ConnectionException, ModbusException
from pymodbus.pdu import ModbusPDU

from drivers.device import BusError, DeviceError, Registers, Table
from drivers.serial_client import SerialClient

# A failed request is told once, as a BusError; pymodbus would tell it again on stderr.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)

MAX_COUNT = 125  # registers in one read, by the Modbus specification
_WIRE_ERRORS = (ModbusException, OSError, termios.error, struct.error, ValueError, IndexError)
_EXCEPTION_CODES = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done",
    6: "busy",
    10: "gateway path unavailable",
    11: "gateway target does not answer",
}


@dataclass(frozen=True, slots=True)
class TcpLink:
    """Modbus TCP. `timeout_s` is for connecting and for each answer; give an address, not a name:
    nothing bounds the time of a name look-up.
    """

    host: str
    port: int = 502
    timeout_s: float = 0.2

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RtuLink:
    """Modbus RTU on a serial port, 8 data bits."""

    port: str
    baudrate: int = 19200
    parity: str = "N"
    stop_bits: int = 1
    timeout_s: float = 0.2

    def __str__(self) -> str:
        return self.port

    @property
    def silence_s(self) -> float:
        """The silence between two frames: 3.5 characters, at least 1.75 ms; a pty needs none."""
        if os.path.realpath(self.port).startswith("/dev/pts/"):
            return 0.0
        return max(3.5 * 11 / self.baudrate, 1.75e-3)


Link = TcpLink | RtuLink


def _client(link: Link) -> ModbusTcpClient | ModbusSerialClient:
    if isinstance(link, TcpLink):
        return ModbusTcpClient(link.host, port=link.port, timeout=link.timeout_s, retries=0)
    return SerialClient(
        link.port,
        baudrate=link.baudrate,
        parity=link.parity,
        stopbits=link.stop_bits,
        timeout=link.timeout_s,
        retries=0,
    )


class Line:
    """The one connection of a bus. Not for use by two threads at a time.

    A request ends within 2 * timeout_s even when the answer drips in byte by byte. After a
    failure the connection is closed; a serial line is then left alone for another 2 * timeout_s,
    because a late answer would be taken for the answer to the next request (RTU frames carry no
    transaction number).
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.resyncs = 0
        self._client = _client(link)
        self._silence_s = link.silence_s if isinstance(link, RtuLink) else 0.0
        self._quiet_since_s = 0.0
        self._deadline_s = float("inf")

    def allow(self, budget_s: float) -> None:
        """From now on accept requests for `budget_s`; later ones fail without being sent."""
        self._deadline_s = time.monotonic() + budget_s

    def read(self, unit: int, address: int, count: int, table: Table) -> list[int]:
        """Read `count` registers; BusError or DeviceError."""
        client = self._client
        read = (
            client.read_input_registers if table is Table.INPUT else client.read_holding_registers
        )
        pdu = self._request(unit, address, lambda: read(address, count=count, device_id=unit))
        if len(pdu.registers) != count or pdu.function_code != (4 if table is Table.INPUT else 3):
            self._resynchronise()
            raise BusError(f"unit {unit}: the answer does not fit the request for {address}")
        return list(pdu.registers)

    def write(self, unit: int, address: int, values: Sequence[int]) -> None:
        """Write registers with function code 16; BusError or DeviceError."""
        pdu = self._request(
            unit,
            address,
            lambda: self._client.write_registers(address, list(values), device_id=unit),
        )
        if pdu.function_code != 16 or pdu.address != address or pdu.count != len(values):
            self._resynchronise()
            raise BusError(f"unit {unit}: the answer does not fit the write to {address}")

    def close(self) -> None:
        """Close the connection; the next request opens it again."""
        self._client.close()  # type: ignore[no-untyped-call]

    def _request(self, unit: int, address: int, send: Callable[[], ModbusPDU]) -> ModbusPDU:
        if time.monotonic() >= self._deadline_s:
            raise BusError(f"unit {unit}: too slow, its time in this round is used up")
        self._open()
        try:
            self._keep_silence()
            pdu = send()
        except _WIRE_ERRORS as error:
            closed = isinstance(error, ConnectionException)
            self._resynchronise()
            reason = "connection closed" if closed else f"no answer in {self.link.timeout_s:g} s"
            raise BusError(f"unit {unit} on {self.link}: {reason}") from error
        self._quiet_since_s = time.monotonic()
        if pdu.isError():
            code = pdu.exception_code
            meaning = _EXCEPTION_CODES.get(code, "unknown exception")
            raise DeviceError(f"unit {unit} refuses {address}: {meaning} ({code})")
        return pdu

    def _open(self) -> None:
        client = self._client
        if client.connected:
            return
        try:
            opened = client.connect()
            if opened and isinstance(client, ModbusSerialClient) and client.socket is not None:
                client.socket.reset_input_buffer()
        except _WIRE_ERRORS as error:
            self.close()
            raise BusError(f"cannot open {self.link}: {error}") from error
        if not opened:
            raise BusError(f"cannot connect to {self.link}")

    def _keep_silence(self) -> None:
        if self._silence_s:
            wait_s = self._quiet_since_s + self._silence_s - time.monotonic()
            if wait_s > 0:
                time.sleep(wait_s)

    def _resynchronise(self) -> None:
        self.resyncs += 1
        self.close()
        if isinstance(self.link, RtuLink):
            time.sleep(2 * self.link.timeout_s)


class UnitRegisters:
    """One unit on a line: what drivers get to see."""

    def __init__(self, line: Line, unit: int) -> None:
        self._line = line
        self._unit = unit

    def read(self, address: int, count: int, table: Table = Table.HOLDING) -> list[int]:
        """Read `count` (1 to 125) registers."""
        return self._line.read(self._unit, address, count, table)

    def write(self, address: int, values: Sequence[int]) -> None:
        """Write registers in one request."""
        self._line.write(self._unit, address, values)

    def at(self, unit: int) -> Registers:
        """The registers of another unit on the same line."""
        return UnitRegisters(self._line, unit)
