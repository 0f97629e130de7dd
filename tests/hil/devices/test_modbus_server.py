"""The servers at the wire: function codes, exceptions, several clients, and every fault."""

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.buses import Buses
from hil.devices.registers import KINDS, Point
from hil.modbus_server import crc16
from hil.plant import PlantState
from hil.wire_faults import DRIP_S, LATE_S, Fault

W_103 = 40000 + 2 + 68 + 14  # marker, model 1, offset of W
W_SF_103 = W_103 + 1
LIMIT_123 = 40000 + 2 + 68 + 52 + 28 + 32 + 5
WAIT_S = 5.0


def read_request(unit: int, address: int, count: int, function: int = 3) -> bytes:
    return struct.pack(">BBHH", unit, function, address, count)


def write_request(unit: int, address: int, *words: int) -> bytes:
    head = struct.pack(">BBHHB", unit, 16, address, len(words), 2 * len(words))
    return head + struct.pack(f">{len(words)}H", *words)


class Wire:
    """A raw TCP connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        self.transaction = 0

    def ask(self, body: bytes, timeout_s: float = WAIT_S) -> tuple[int, int, bytes]:
        """(transaction id, unit, PDU) of the answer."""
        self.send(body)
        header = self.receive(7, timeout_s)
        transaction, protocol, size, unit = struct.unpack(">HHHB", header)
        assert protocol == 0
        return transaction, unit, self.receive(size - 1, timeout_s)

    def send(self, body: bytes) -> None:
        self.transaction += 1
        self.socket.sendall(struct.pack(">HHH", self.transaction, 0, len(body)) + body)

    def receive(self, size: int, timeout_s: float = WAIT_S) -> bytes:
        self.socket.settimeout(timeout_s)
        received = b""
        while len(received) < size:
            piece = self.socket.recv(size - len(received))
            if not piece:
                raise ConnectionError("closed")
            received += piece
        return received


@pytest.fixture
def port(buses: Buses) -> int:
    return int(next(b["port"] for b in buses.site()["bus"] if b["name"] == "lan"))


@pytest.fixture
def wire(port: int) -> Iterator[Wire]:
    connection = Wire(port)
    yield connection
    connection.socket.close()


@pytest.fixture
def serial(buses: Buses) -> Iterator[int]:
    """The client's end of the serial line."""
    path = next(b["port"] for b in buses.site()["bus"] if b["name"] == "serial")
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY)
    yield descriptor
    os.close(descriptor)


def power(wire: Wire) -> int:
    """The inverter's power in W, as read over the wire."""
    _, _, pdu = wire.ask(read_request(1, W_103, 1))
    assert pdu[:2] == b"\x03\x02", pdu
    return int(struct.unpack(">h", pdu[2:])[0])


# --- protocol -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (read_request(1, 40000, 1, function=1), 1),  # coils
        (struct.pack(">BBHH", 1, 5, 0, 0xFF00), 1),  # write a coil
        (read_request(1, 40000, 1, function=4), 1),  # SunSpec has no input registers
        (read_request(1, 39999, 2), 2),
        (read_request(1, W_103, 126), 3),
        (read_request(1, W_103, 0), 3),
        (write_request(1, W_103, 1), 2),  # read only
        (write_request(1, LIMIT_123, 10001), 3),  # 100.01 %
        (struct.pack(">BBHHBH", 1, 16, LIMIT_123, 2, 2, 5000), 3),  # count and size differ
        (read_request(9, 40000, 1), 0x0B),
    ],
)
def test_exceptions(wire: Wire, body: bytes, code: int) -> None:
    assert wire.ask(body) == (1, body[0], bytes((body[1] | 0x80, code)))


def test_write_one_and_write_many(wire: Wire, buses: Buses) -> None:
    assert wire.ask(struct.pack(">BBHH", 1, 6, LIMIT_123, 5000))[2][0] == 6
    assert wire.ask(write_request(1, LIMIT_123 + 1, 0, 60, 0, 1))[2] == struct.pack(
        ">BHH", 16, LIMIT_123 + 1, 4
    )
    assert buses.controls(100.0).pv_limit_kw["roof"] == pytest.approx(2.5)


def test_requests_in_pieces_and_in_one_packet(wire: Wire) -> None:
    frame = struct.pack(">HHH", 7, 0, 6) + read_request(1, W_103, 1)
    wire.socket.sendall(frame[:5])
    wire.socket.sendall(frame[5:] + frame)
    assert wire.receive(11) == wire.receive(11) == frame[:4] + b"\0\x05" + b"\x01\x03\x02\x0c\x91"


def test_many_clients_at_once(port: int, buses: Buses, state: PlantState) -> None:
    """Each sees whole measurements while the plant moves: W and the energy belong together."""
    torn: list[bytes] = []
    stop = threading.Event()

    def client() -> None:
        connection = Wire(port)
        while not stop.is_set():
            _, _, pdu = connection.ask(read_request(1, W_103, 12))
            watts, energy = struct.unpack(">h18xI", pdu[2:])
            if energy != 1000 * watts:
                torn.append(pdu)
        connection.socket.close()

    def moved(kw: int) -> PlantState:
        return replace(
            state, pv=tuple(replace(i, power_kw=kw, energy_kwh=1000.0 * kw) for i in state.pv)
        )

    buses.update(moved(1), 200.0)
    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(200):
        buses.update(moved(1 + step % 5), 201.0 + step)
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert not torn


def test_crc_known_value() -> None:
    # the example in the Modbus serial line guide: unit 2, function 7 -> 41 12
    assert crc16(b"\x02\x07") == b"\x41\x12"


def rtu_ask(line: int, body: bytes, timeout_s: float = WAIT_S) -> bytes:
    """What comes back on the serial line until it has been silent for a while."""
    os.write(line, body + crc16(body))
    answer = b""
    while select.select([line], [], [], 0.1 if answer else timeout_s)[0]:
        answer += os.read(line, 300)
    return answer


def test_rtu_answers_and_resynchronises(serial: int) -> None:
    body = read_request(1, 0x34, 2, function=4)
    answer = rtu_ask(serial, body)
    assert struct.unpack(">f", answer[3:7]) == (-1117.0,)
    assert crc16(answer[:-2]) == answer[-2:]
    assert rtu_ask(serial, b"\x01\x04\x00\x34\x00\x02noise", 0.1) == b""
    assert rtu_ask(serial, read_request(77, 0, 1), 0.1) == b"", "nobody has this address"
    assert rtu_ask(serial, body) == answer
    assert rtu_ask(serial, b"\x0a\x11")[:3] == b"\x0a\x91\x01", "unknown function"


def test_rtu_gencomm_key_is_checked(serial: int, buses: Buses) -> None:
    assert rtu_ask(serial, write_request(10, 4104, 35732, 29802))[:3] == b"\x0a\x90\x07"
    assert not buses.controls(100.0).generator_run
    assert rtu_ask(serial, write_request(10, 4104, 35732, 29803))[:2] == b"\x0a\x10"
    assert buses.controls(100.0).generator_run


# --- faults -------------------------------------------------------------------------------


def test_every_fault_says_what_it_does() -> None:
    assert all(fault.description and "\n" not in fault.description for fault in Fault)
    assert Fault("late") is Fault.LATE


def test_unknown_targets_are_named(buses: Buses) -> None:
    with pytest.raises(ValueError, match=r"no bus or device 'attic'; there are: lan, .*roof"):
        buses.set_fault(Fault.HANG, "attic")


def test_hang_is_for_one_device(wire: Wire, buses: Buses) -> None:
    buses.set_fault(Fault.HANG, "roof")
    with pytest.raises(TimeoutError):
        wire.ask(read_request(1, W_103, 1), timeout_s=0.1)
    assert wire.ask(read_request(2, 50000, 2))[2][0] == 3
    buses.set_fault(Fault.HANG, "roof", active=False)
    assert power(wire) == 3217


def test_late_answer_comes_after_all(wire: Wire, buses: Buses) -> None:
    buses.set_fault(Fault.LATE, "lan")
    started = time.monotonic()
    assert power(wire) == 3217
    assert time.monotonic() - started >= LATE_S


def test_drip(wire: Wire, buses: Buses) -> None:
    buses.set_fault(Fault.DRIP, "roof")
    started = time.monotonic()
    wire.send(read_request(1, W_103, 1))
    wire.receive(4)
    assert time.monotonic() - started >= 3 * DRIP_S


def test_answers_that_make_no_sense(wire: Wire, buses: Buses) -> None:
    good = wire.ask(read_request(1, W_103, 1))
    for fault, wrong in (
        (Fault.WRONG_TRANSACTION, lambda a: (a[0] + 1, a[1], a[2])),
        (Fault.WRONG_UNIT, lambda a: (a[0], a[1] + 1, a[2])),
    ):
        buses.set_fault(fault, "roof")
        answer = wire.ask(read_request(1, W_103, 1))
        assert answer == wrong((wire.transaction, *good[1:]))
        buses.set_fault(fault, "roof", active=False)
    buses.set_fault(Fault.GARBAGE, "roof")
    wire.send(read_request(1, W_103, 1))
    assert wire.receive(11)[2:4] != b"\0\0"


def test_truncated(wire: Wire, buses: Buses) -> None:
    buses.set_fault(Fault.TRUNCATED, "roof")
    wire.send(read_request(1, W_103, 1))
    assert len(wire.receive(5)) == 5
    with pytest.raises(TimeoutError):
        wire.receive(1, timeout_s=0.1)


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Fault.BUSY, 6), (Fault.ILLEGAL_ADDRESS, 2), (Fault.DEVICE_FAILURE, 4)],
)
def test_exception_faults(wire: Wire, buses: Buses, fault: Fault, code: int) -> None:
    buses.set_fault(fault, "roof")
    assert wire.ask(read_request(1, W_103, 1))[2] == bytes((0x83, code))


def test_refused_and_back_on_the_same_port(wire: Wire, port: int, buses: Buses) -> None:
    assert power(wire) == 3217
    buses.set_fault(Fault.REFUSED, "lan")
    with pytest.raises((ConnectionError, OSError)):
        power(wire)
    with pytest.raises(ConnectionRefusedError):
        Wire(port)
    buses.set_fault(Fault.REFUSED, "lan", active=False)
    again = Wire(port)
    assert power(again) == 3217
    again.socket.close()


def test_reset_on_every_request(wire: Wire, port: int, buses: Buses) -> None:
    buses.set_fault(Fault.RESET, "roof")
    with pytest.raises(ConnectionError):
        power(wire)
    buses.set_fault(Fault.RESET, "roof", active=False)
    again = Wire(port)
    assert power(again) == 3217
    again.socket.close()


def test_frozen_values(wire: Wire, buses: Buses, state: PlantState) -> None:
    assert power(wire) == 3217
    buses.set_fault(Fault.FROZEN, "roof")
    moved = replace(state, pv=tuple(replace(i, power_kw=1.0) for i in state.pv))
    buses.update(moved, 110.0)
    assert power(wire) == 3217
    buses.set_fault(Fault.FROZEN, "roof", active=False)
    buses.update(moved, 111.0)
    assert power(wire) == 1000


def test_scale_factors_flip(wire: Wire, buses: Buses) -> None:
    def factor(address: int) -> int:
        return int(struct.unpack(">h", wire.ask(read_request(1, address, 1))[2][2:])[0])

    volts = W_103 - 1
    before = factor(volts)
    buses.set_fault(Fault.SCALE_FLIP, "roof")
    assert factor(volts) == -before == 1
    assert power(wire) == 3217, "only the scale factors"


def test_measurements_without_value(wire: Wire, serial: int, buses: Buses) -> None:
    for device in ("roof", "grid"):
        buses.set_fault(Fault.NOT_IMPLEMENTED, device)
    assert power(wire) == -0x8000
    answer = rtu_ask(serial, read_request(1, 0x34, 2, function=4))
    assert answer[3:7] == bytes.fromhex("7fc00000")
    assert wire.ask(read_request(1, 40000, 2))[2][2:] == b"SunS"


def test_writes_ignored_and_writes_not_obeyed(wire: Wire, buses: Buses) -> None:
    half = write_request(1, LIMIT_123, 5000, 0, 60, 0, 1)
    buses.set_fault(Fault.WRITES_IGNORED, "roof")
    assert wire.ask(half)[2][0] == 16
    assert wire.ask(read_request(1, LIMIT_123, 1))[2][2:] == struct.pack(">H", 10000)
    buses.set_fault(Fault.WRITES_IGNORED, "roof", active=False)

    assert buses.controls(100.0).pv_limit_kw["roof"] is None
    buses.set_fault(Fault.NOT_OBEYED, "roof")
    assert wire.ask(half)[2][0] == 16
    assert wire.ask(read_request(1, LIMIT_123, 1))[2][2:] == struct.pack(">H", 5000)
    assert buses.controls(101.0).pv_limit_kw["roof"] is None
    buses.set_fault(Fault.NOT_OBEYED, "roof", active=False)
    assert buses.controls(102.0).pv_limit_kw["roof"] == pytest.approx(2.5)


def test_rtu_faults(serial: int, buses: Buses) -> None:
    body = read_request(1, 0x34, 2, function=4)
    good = rtu_ask(serial, body)
    buses.set_fault(Fault.BAD_CRC, "grid")
    assert rtu_ask(serial, body) == good[:-1] + bytes([good[-1] ^ 0xFF])
    buses.set_fault(Fault.BAD_CRC, "grid", active=False)
    buses.set_fault(Fault.WRONG_UNIT, "grid")
    wrong = rtu_ask(serial, body)
    assert wrong[:1] == b"\x02"
    assert crc16(wrong[:-2]) == wrong[-2:]
    buses.set_fault(Fault.REFUSED, "serial")
    assert rtu_ask(serial, body, 0.1) == b""


# --- encoding -----------------------------------------------------------------------------


@given(
    kind=st.sampled_from(["u16", "i16", "u32", "i32", "u64"]),
    exponent=st.integers(-3, 3),
    value=st.floats(-1e12, 1e12),
)
def test_points_round_to_the_resolution_and_clip(kind: str, exponent: int, value: float) -> None:
    point = Point(0, kind, 10.0**-exponent)
    words = point.encode(value)
    assert len(words) == KINDS[kind].words
    assert all(0 <= word <= 0xFFFF for word in words)
    seen = point.decode(words)
    low, high = KINDS[kind].low, KINDS[kind].high
    raw = min(max(value * 10.0**-exponent, low), high)
    if seen is not None:  # None: the value happens to be the one that stands for "no value"
        assert abs(seen - raw / 10.0**-exponent) <= 0.51 * 10.0**exponent + 1e-9 * abs(seen)


def test_accumulators_wrap_and_floats_may_be_no_number() -> None:
    assert Point(0, "acc32").encode(2**32 + 5) == (0, 5)
    assert Point(0, "f32").decode(Point(0, "f32").encode(None)) is None
