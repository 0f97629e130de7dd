"""Modbus peers for the driver tests: pymodbus's own server, and raw sockets and ptys that misbehave."""

import asyncio
import os
import socket
import struct
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice


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
                while len(buffer) >= 8:
                    request, buffer = buffer[:8], buffer[8:]
                    assert crc(request[:6]) == request[6:]
                    asked = struct.unpack(">BBHH", request[:6])
                    self.requests.append(asked)
                    reply = self._answer(asked[0], asked[2], asked[3])
                    if reply is not None:
                        self.send(reply)

    def send(self, data: bytes):
        os.write(self._master, data)

    @staticmethod
    def frame(unit, words, code=3):
        body = bytes([unit, code, 2 * len(words)]) + struct.pack(f">{len(words)}H", *words)
        return body + crc(body)

    def close(self):
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
