"""Modbus servers of the bench: simulated devices on 127.0.0.1 (TCP) or on a pseudo-terminal (RTU).

A small server of our own, because faults have to happen on the wire (wrong transaction ids, bytes
that drip, connections that reset), where a library's server offers no hook. A day in lockstep makes
some 100,000 requests: a thread per connection that blocks in `recv` takes about a third of the
time of pymodbus's event loop in the same process.
"""

import contextlib
import os
import select
import socket
import struct
import termios
import threading
import tty
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from hil.devices.device import SimulatedDevice
from hil.devices.registers import (
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    READ_HOLDING,
    READ_INPUT,
    WRITE_MANY,
    WRITE_ONE,
    IllegalRequestError,
    Unit,
)
from hil.wire_faults import Fault, exception_code, pieces

GATEWAY_NO_ANSWER = 0x0B
_MBAP = struct.Struct(">HHHB")
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_CONNECTION_FAULTS = frozenset({Fault.REFUSED, Fault.RESET})
_SILENCE_S = 0.02  # ends a frame of unknown length, generously: a pty has no bit times
_LONGEST_FRAME = 256


def serve(unit: Unit, pdu: bytes, faults: set[Fault]) -> bytes:
    """Answer one request's protocol data unit (function code and what follows)."""
    function = pdu[0]
    try:
        return _serve(unit, function, pdu, faults)
    except IllegalRequestError as error:
        return bytes((function | 0x80, error.code))


def _serve(unit: Unit, function: int, pdu: bytes, faults: set[Fault]) -> bytes:
    if function in (READ_HOLDING, READ_INPUT) and len(pdu) == 5:
        address, count = struct.unpack(">HH", pdu[1:])
        values = unit.read(function, address, count, faults)
        return struct.pack(f">BB{count}H", function, 2 * count, *values)
    if function == WRITE_ONE and len(pdu) == 5:
        address, value = struct.unpack(">HH", pdu[1:])
        unit.write(function, address, [value], faults)
        return pdu
    if function == WRITE_MANY and len(pdu) > 6:
        address, count, size = struct.unpack(">HHB", pdu[1:6])
        if size != 2 * count or len(pdu) != 6 + size:
            raise IllegalRequestError(ILLEGAL_VALUE)
        unit.write(function, address, struct.unpack(f">{count}H", pdu[6:]), faults)
        return pdu[:5]
    # Coils (function code 5 and its kin) are in none of the simulated maps.
    known = function in (READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY)
    raise IllegalRequestError(ILLEGAL_VALUE if known else ILLEGAL_FUNCTION)


def crc16(frame: bytes) -> bytes:
    """The check sum of an RTU frame, low byte first."""
    crc = 0xFFFF
    for byte in frame:
        crc = crc >> 8 ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(2, "little")


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value


_CRC_TABLE = tuple(_crc_entry(value) for value in range(256))


class SimulatedBus(ABC):
    """A wire with devices on it. Faults of the bus hold for all of its devices."""

    def __init__(self, name: str, devices: Sequence[SimulatedDevice]) -> None:
        self.name = name
        self.devices = tuple(devices)
        self.faults: set[Fault] = set()
        self._owner = {number: d for d in devices for number in d.units}
        if len(self._owner) != sum(len(d.units) for d in devices):
            raise ValueError(f"bus {name}: two devices share a unit number")
        self._stop = threading.Event()

    def set_fault(self, fault: Fault, device: str | None = None, active: bool = True) -> None:
        """Switch a fault of one device, or of the whole bus, on or off."""
        target = self.faults if device is None else self._device(device).faults
        if active:
            target.add(fault)
        else:
            target.discard(fault)

    @abstractmethod
    def close(self) -> None:
        """Stop serving; returns when the threads have ended."""

    def _device(self, name: str) -> SimulatedDevice:
        for device in self.devices:
            if device.name == name:
                return device
        raise ValueError(f"bus {self.name} has no device {name}")

    def _answer(self, number: int, pdu: bytes) -> tuple[bytes | None, set[Fault]]:
        """The answer of a unit (None: nobody is there) and the faults it has to pass."""
        device = self._owner.get(number)
        if device is None:
            return None, self.faults
        faults = self.faults | device.faults
        code = exception_code(faults)
        if code is not None:
            return bytes((pdu[0] | 0x80, code)), faults
        with device.lock:
            return serve(device.units[number], pdu, faults), faults

    def _send(self, frame: bytes, faults: set[Fault], write: Callable[[bytes], object]) -> None:
        if not faults:
            write(frame)
            return
        for delay_s, piece in pieces(frame, faults):
            if delay_s and self._stop.wait(delay_s):
                return
            write(piece)


class TcpBus(SimulatedBus):
    """Modbus TCP on an ephemeral port of 127.0.0.1, one thread per connection."""

    host = "127.0.0.1"

    def __init__(self, name: str, devices: Sequence[SimulatedDevice]) -> None:
        super().__init__(name, devices)
        self._lock = threading.Lock()  # around the three below
        self._listener: socket.socket | None = None
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port = 0
        self._listen()

    def set_fault(self, fault: Fault, device: str | None = None, active: bool = True) -> None:
        """As for every bus; while any device refuses, nobody listens."""
        super().set_fault(fault, device, active)
        refusing = Fault.REFUSED in self.faults.union(*(d.faults for d in self.devices))
        if refusing and self._listener is not None:
            self._deafen()
        elif not refusing and self._listener is None:
            self._listen()

    def close(self) -> None:
        """Stop listening and cut all connections."""
        self._stop.set()
        self._deafen()
        for thread in self._threads:
            thread.join()

    def _listen(self) -> None:
        listener = socket.create_server((self.host, self.port), backlog=16)
        self.port = listener.getsockname()[1]
        with self._lock:
            self._listener = listener
        self._start(self._accept, listener)

    def _deafen(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            connections = tuple(self._connections)
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept
            listener.close()
        for connection in connections:
            _abort(connection)

    def _start(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(
            target=target, args=(argument,), name=f"bus {self.name}", daemon=True
        )
        with self._lock:
            self._threads = [t for t in self._threads if t.is_alive()] + [thread]
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                welcome = self._listener is listener
                if welcome:
                    self._connections.add(connection)
            if welcome:
                self._start(self._converse, connection)
            else:
                _abort(connection)

    def _converse(self, connection: socket.socket) -> None:
        buffer = b""
        try:
            while received := connection.recv(4096):
                buffer += received
                while (frame := _first_frame(buffer)) is not None:
                    buffer = buffer[len(frame) :]
                    self._reply(frame, connection)
        except OSError:  # cut by either side
            pass
        finally:
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _reply(self, frame: bytes, connection: socket.socket) -> None:
        transaction, protocol, _, number = _MBAP.unpack_from(frame)
        if protocol != 0 or len(frame) < 8:
            raise ConnectionAbortedError("not Modbus")
        pdu, faults = self._answer(number, frame[7:])
        if pdu is None:
            pdu = bytes((frame[7] | 0x80, GATEWAY_NO_ANSWER))
        if faults:
            if faults & _CONNECTION_FAULTS:
                _abort(connection)
                return
            transaction = transaction + (Fault.WRONG_TRANSACTION in faults) & 0xFFFF
            number = number + (Fault.WRONG_UNIT in faults) & 0xFF
        header = _MBAP.pack(transaction, 0, len(pdu) + 1, number)
        self._send(header + pdu, faults - {Fault.BAD_CRC}, connection.sendall)


def _first_frame(buffer: bytes) -> bytes | None:
    """The first complete TCP frame in the buffer."""
    if len(buffer) < 6:
        return None
    size = 6 + int.from_bytes(buffer[4:6], "big")
    return buffer[:size] if len(buffer) >= size else None


def _abort(connection: socket.socket) -> None:
    """Close with a reset, and wake whoever reads."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
        connection.shutdown(socket.SHUT_RD)
    connection.close()


class RtuBus(SimulatedBus):
    """Modbus RTU on a pseudo-terminal; `path` is the serial port for the client."""

    def __init__(self, name: str, devices: Sequence[SimulatedDevice]) -> None:
        super().__init__(name, devices)
        self._master, self._slave = os.openpty()  # the slave stays open: a client may come and go
        tty.setraw(self._slave, termios.TCSANOW)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._wake_out, self._wake_in = os.pipe()
        self._thread = threading.Thread(target=self._converse, name=f"bus {name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and remove the port."""
        self._stop.set()
        os.write(self._wake_in, b"x")
        self._thread.join()
        for descriptor in (self._master, self._slave, self._wake_out, self._wake_in):
            os.close(descriptor)

    def _converse(self) -> None:
        buffer = b""
        while not self._stop.is_set():
            patience_s = _SILENCE_S if buffer else None
            ready, _, _ = select.select([self._master, self._wake_out], [], [], patience_s)
            if not ready:
                buffer = b""  # silence ends whatever that was
            elif self._master in ready:
                buffer += os.read(self._master, _LONGEST_FRAME)
                buffer = self._take_frames(buffer)

    def _take_frames(self, buffer: bytes) -> bytes:
        """Answer complete frames, return the rest."""
        while (size := _request_size(buffer)) is not None and len(buffer) >= size:
            frame, rest = buffer[:size], buffer[size:]
            if crc16(frame[:-2]) != frame[-2:]:
                return b""  # out of step: wait for silence
            self._reply(frame)
            buffer = rest
        return buffer

    def _reply(self, frame: bytes) -> None:
        number = frame[0]
        pdu, faults = self._answer(number, frame[1:-2])
        if pdu is None or faults & _CONNECTION_FAULTS:
            return  # nobody there: on a serial line that is silence
        answer = bytes((number + (Fault.WRONG_UNIT in faults) & 0xFF,)) + pdu
        self._send(answer + crc16(answer), faults, self._write)

    def _write(self, piece: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # nobody reads: lost, as on a wire
            os.write(self._master, piece)


def _request_size(buffer: bytes) -> int | None:
    """The length of the request that starts the buffer, None while it cannot be known."""
    if len(buffer) < 4:
        return None
    if buffer[1] in (15, WRITE_MANY):
        return 9 + buffer[6] if len(buffer) > 6 else None
    if 1 <= buffer[1] <= 6:
        return 8
    # Unknown function: the frame ends where its check sum is right.
    return next(
        (n for n in range(4, len(buffer) + 1) if crc16(buffer[: n - 2]) == buffer[n - 2 : n]), None
    )
