"""Modbus peers for the tests: pymodbus's own server, raw sockets and ptys that misbehave."""

import asyncio
import json
import os
import socket
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sunspec2
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.line import Line, TcpLink, UnitRegisters


class Unit:
    """The registers of one simulated unit. Addresses without a value are refused."""

    def __init__(self, holding=None, inputs=None):
        self.holding = dict(holding or {})
        self.inputs = dict(inputs or {})
        self.reads = []
        self.writes = []
        self.after_write = lambda unit, address, values: None
        self.refuse_writes = False

    def put(self, address, words):
        self.holding.update(enumerate(words, start=address))

    async def act(self, code, start, address, count, current, values):
        table = self.inputs if code == 4 else self.holding
        wanted = range(address, address + count)
        if any(each not in table for each in wanted):
            return ExcCodes.ILLEGAL_ADDRESS
        if values is not None:
            if self.refuse_writes:
                return ExcCodes.DEVICE_BUSY
            self.writes.append((address, list(values)))
            self.put(address, values)
            self.after_write(self, address, list(values))
        else:
            self.reads.append((address, count))
        current[address - start : address - start + count] = [table[each] for each in wanted]
        return None


class Server:
    """pymodbus's TCP server with these units, in a thread of its own."""

    def __init__(self, units):
        self._devices = [
            SimDevice(
                id=number,
                simdata=[SimData(0, count=65536, values=0, datatype=DataType.REGISTERS)],
                action=unit.act,
            )
            for number, unit in units.items()
        ]
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self):
        self._loop = asyncio.get_running_loop()
        self._server = ModbusTcpServer(self._devices, address=("127.0.0.1", 0))
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]
        self._done = asyncio.Event()
        self._ready.set()
        await self._done.wait()
        await self._server.shutdown()

    def close(self):
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)


@pytest.fixture
def unit():
    return Unit


@pytest.fixture
def serve() -> Iterator[Callable[[dict], int]]:
    """serve({unit number: Unit}) -> TCP port on 127.0.0.1."""
    servers = []

    def start(units):
        servers.append(Server(units))
        return servers[-1].port

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def peer() -> Iterator[Callable[[Callable], int]]:
    """peer(handler) -> port; handler(connection, number of this connection) runs in a thread."""
    listeners = []

    def start(handler):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept():
            count = 0
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=guard, args=(connection, count), daemon=True).start()
                count += 1

        def guard(connection, count):
            with connection, suppress(OSError):
                handler(connection, count)

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def crc(frame: bytes) -> bytes:
    """CRC-16/MODBUS, low byte first, bit by bit."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return struct.pack("<H", value)


class PtyPeer:
    """A serial device on a pty: answer(unit, address, count) -> what to send, or None."""

    def __init__(self, answer):
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.path = os.ttyname(self._slave)
        self.requests = []
        self._answer = answer
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        buffer = b""
        with suppress(OSError):
            while chunk := os.read(self._master, 256):
                buffer += chunk
                while len(buffer) >= 8 and len(buffer) >= (size := self._size(buffer)):
                    request, buffer = buffer[:size], buffer[size:]
                    assert crc(request[:-2]) == request[-2:]
                    self._serve(request)

    @staticmethod
    def _size(request):
        return 9 + request[6] if request[1] == 16 else 8

    def _serve(self, request):
        unit, code, address, count = struct.unpack(">BBHH", request[:6])
        self.requests.append((unit, code, address, count))
        if code == 16:
            self.send(request[:6] + crc(request[:6]))
        elif (reply := self._answer(unit, address, count)) is not None:
            self.send(reply)

    def send(self, data: bytes):
        os.write(self._master, data)

    @staticmethod
    def frame(unit, words, code=3):
        body = bytes([unit, code, 2 * len(words)]) + struct.pack(f">{len(words)}H", *words)
        return body + crc(body)

    def close(self):
        with suppress(OSError):
            os.close(self._slave)
            os.close(self._master)


@pytest.fixture
def pty_peer() -> Iterator[Callable[[Callable], PtyPeer]]:
    peers = []

    def start(answer):
        peers.append(PtyPeer(answer))
        return peers[-1]

    yield start
    for each in peers:
        each.close()


SUNSPEC_JSON = Path(sunspec2.__file__).parent / "models" / "json"
NOT_IMPLEMENTED = {
    "int16": 0x8000,
    "sunssf": 0x8000,
    "int32": 0x8000_0000,
    "int64": 0x8000_0000_0000_0000,
    "float32": 0x7FC0_0000,
    "acc32": 0,
    "string": 0,
    "pad": 0x8000,
}


def sunspec_definition(model_id: int) -> dict[str, tuple[int, str, int, str]]:
    """A model by the SunSpec Alliance's own file: name -> (offset, type, size, scale factor)."""
    group = json.loads((SUNSPEC_JSON / f"model_{model_id}.json").read_text())["group"]
    points, offset = {}, 0
    for point in group["points"]:
        sf = point.get("sf", "")
        points[point["name"]] = (offset, point["type"], point["size"], sf)
        offset += point["size"]
    return points


def sunspec_words(model_id: int, values: dict, length: int | None = None) -> list[int]:
    """A whole model as registers, points that are not given not implemented."""
    words: list[int] = []
    for name, (_, kind, size, _) in sunspec_definition(model_id).items():
        value = values.get(name)
        if isinstance(value, str):
            raw = value.encode().ljust(2 * size, b"\0")
        elif kind == "float32" and value is not None:
            raw = struct.pack(">f", value)
        else:
            none = NOT_IMPLEMENTED.get(kind, (1 << 16 * size) - 1)
            number = none if value is None else value
            raw = (number & ((1 << 16 * size) - 1)).to_bytes(2 * size, "big")
        words += struct.unpack(f">{size}H", raw)
    if length is not None:
        words = (words + [0] * length)[: length + 2]
    words[0], words[1] = model_id, len(words) - 2
    return words


class SunspecDevice(Unit):
    """A SunSpec device: its chain laid out by the Alliance's definitions."""

    def __init__(self, models: dict[int, dict], base: int = 40000, end: bool = True):
        super().__init__()
        self.at = {}
        self.put(base, [0x5375, 0x6E53])
        address = base + 2
        common = {"Mn": "Maker", "Md": "Model", "SN": "1234", "Vr": "1.0"}
        for model_id, values in {1: common, **models}.items():
            values = dict(values)
            words = sunspec_words(model_id, values, values.pop("L", None))
            self.at[model_id] = address
            self.put(address, words)
            address += len(words)
        if end:
            self.put(address, [0xFFFF, 0])

    def address(self, model_id: int, name: str) -> int:
        return self.at[model_id] + sunspec_definition(model_id)[name][0]

    def set(self, model_id: int, name: str, value: int) -> None:
        size = sunspec_definition(model_id)[name][2]
        bits = value & ((1 << 16 * size) - 1)
        words = [bits >> 16 * shift & 0xFFFF for shift in reversed(range(size))]
        self.put(self.address(model_id, name), words)

    def get(self, model_id: int, name: str) -> int:
        _, kind, size, _ = sunspec_definition(model_id)[name]
        address = self.address(model_id, name)
        bits = 0
        for each in range(address, address + size):
            bits = bits << 16 | self.holding[each]
        negative = kind in ("int16", "int32", "sunssf") and bits >> (16 * size - 1)
        return bits - (1 << 16 * size) if negative else bits


@pytest.fixture
def sunspec_device():
    return SunspecDevice


@pytest.fixture
def definition():
    return sunspec_definition


@pytest.fixture
def attach(serve):
    """attach({unit number: Unit}, unit=1) -> the registers of that unit, over TCP."""
    lines = []

    def start(units, unit=1):
        line = Line(TcpLink("127.0.0.1", serve(units), timeout_s=2.0))
        lines.append(line)
        return UnitRegisters(line, unit)

    yield start
    for line in lines:
        line.close()
