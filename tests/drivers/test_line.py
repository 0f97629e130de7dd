"""One Modbus line: bounded time, and no late answer taken for the next one."""

import socket
import struct
import time
from itertools import pairwise

import pytest

from drivers.device import BusError, DeviceError, Table
from drivers.line import Line, RtuLink, TcpLink, UnitRegisters

TIMEOUT_S = 0.1


def tcp(port, timeout_s=TIMEOUT_S):
    return UnitRegisters(Line(TcpLink("127.0.0.1", port, timeout_s)), 1)


def answer(request, words, *, tid=None, unit=None):
    """A good reply to a read, or one with another transaction or unit number."""
    asked_tid, _, _, asked_unit, code = struct.unpack(">HHHBB", request[:8])
    body = struct.pack(f">BBB{len(words)}H", unit or asked_unit, code, 2 * len(words), *words)
    return struct.pack(">HHH", asked_tid if tid is None else tid, 0, len(body)) + body


def elapsed(call):
    started = time.monotonic()
    with pytest.raises(BusError) as error:
        call()
    return time.monotonic() - started, str(error.value)


def settled(call):
    """What `call` returns once no time-out of a busy machine gets in the way."""
    deadline_s = time.monotonic() + 20
    while True:
        try:
            return call()
        except BusError:
            assert time.monotonic() < deadline_s


def test_reads_and_writes_both_tables(serve, unit):
    device = unit({100: 7, 101: 8}, {100: 9})
    registers = tcp(serve({1: device}), 5.0)
    assert registers.read(100, 2) == [7, 8]
    assert registers.read(100, 1, Table.INPUT) == [9]
    registers.write(100, [1, 2])
    assert registers.read(100, 2) == [1, 2]
    assert device.writes == [(100, [1, 2])]


def test_a_refusal_keeps_the_connection_and_says_why(serve, unit):
    registers = tcp(serve({1: unit({100: 7})}), 5.0)
    with pytest.raises(DeviceError, match=r"unit 1 refuses 200: illegal address \(2\)"):
        registers.read(200, 1)
    assert registers.read(100, 1) == [7]
    assert registers._line.resyncs == 0


def test_other_units_are_reached_through_the_same_line(serve, unit):
    port = serve({1: unit({5: 1}), 2: unit({5: 2})})
    assert tcp(port, 5.0).at(2).read(5, 1) == [2]


def silent(connection, _):
    while connection.recv(100):
        pass


def garbage(connection, _):
    while connection.recv(100):
        connection.sendall(b"\xff\x00\xa5" * 30)


def drip(connection, _):
    request = connection.recv(100)
    for byte in answer(request, [1] * 20):
        time.sleep(TIMEOUT_S / 4)
        connection.sendall(bytes([byte]))


def flood(connection, _):
    connection.recv(100)
    while True:
        connection.sendall(b"\x00\x00\x00\x00\x00\x03\x01\x83\x02" * 50)


def hang_up(connection, _):
    connection.recv(100)


def too_short(connection, _):
    while request := connection.recv(100):
        connection.sendall(answer(request, [1]))


def wrong_function(connection, _):
    while request := connection.recv(100):
        body = request[6:7] + b"\x10\x00\x00\x00\x02"
        connection.sendall(request[:4] + struct.pack(">H", len(body)) + body)


@pytest.mark.parametrize(
    "handler", [silent, garbage, drip, flood, hang_up, too_short, wrong_function]
)
def test_a_bad_peer_costs_a_bounded_time_and_gives_no_value(peer, handler):
    registers = tcp(peer(handler))
    for _ in range(3):
        seconds, message = elapsed(lambda: registers.read(0, 2))
        assert seconds < 2 * TIMEOUT_S + 1.0  # slack for a busy machine
        assert "unit 1" in message


def test_a_refused_connection_fails_at_once():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    seconds, message = elapsed(lambda: tcp(port).read(0, 1))
    assert seconds < 1.0
    assert message == f"cannot connect to 127.0.0.1:{port}"


def test_after_a_wrong_transaction_number_the_connection_is_new(peer):
    def shifted_once(connection, number):
        while request := connection.recv(100):
            tid = struct.unpack(">H", request[:2])[0]
            connection.sendall(answer(request, [number], tid=tid + 1 if number == 0 else tid))

    registers = tcp(peer(shifted_once))
    elapsed(lambda: registers.read(0, 1))
    assert settled(lambda: registers.read(0, 1)) != [0]


def test_an_answer_of_another_unit_is_not_ours(peer):
    def other_unit(connection, _):
        while request := connection.recv(100):
            connection.sendall(answer(request, [1], unit=9))

    elapsed(lambda: tcp(peer(other_unit)).read(0, 1))


def test_a_late_tcp_answer_is_not_taken_for_the_next(peer):
    def late_once(connection, number):
        while request := connection.recv(100):
            if number == 0:
                time.sleep(1.5 * TIMEOUT_S)
            connection.sendall(answer(request, [struct.unpack(">H", request[8:10])[0]]))

    registers = tcp(peer(late_once))
    elapsed(lambda: registers.read(111, 1))
    assert settled(lambda: registers.read(222, 1)) == [222]


def test_a_late_rtu_answer_is_not_taken_for_the_next(pty_peer):
    calls = []

    def answer_late_once(unit, address, count):
        calls.append(address)
        if len(calls) == 1:
            time.sleep(1.6 * TIMEOUT_S)  # busy; the next request has to wait its turn
        return device.frame(unit, [address] * count)

    device = pty_peer(answer_late_once)
    line = Line(RtuLink(device.path, timeout_s=TIMEOUT_S))
    registers = UnitRegisters(line, 1)
    elapsed(lambda: registers.read(100, 1))
    assert settled(lambda: registers.read(200, 1)) == [200]
    assert line.resyncs >= 1
    line.close()


def test_rtu_garbage_and_bad_checksums_are_survived(pty_peer):
    def bad_checksum(frame):
        return frame[:-1] + bytes([frame[-1] ^ 1])

    spoiling = []  # how every answer is spoilt: a slow machine may give more than one to a request

    def spoil(unit, address, count):
        frame = device.frame(unit, [address] * count)
        return spoiling[-1](frame) if spoiling else frame

    device = pty_peer(spoil)
    line = Line(RtuLink(device.path, timeout_s=TIMEOUT_S))
    registers = UnitRegisters(line, 1)
    for kind in (lambda _: b"\x00\xff\x13", lambda _: b"", bad_checksum):
        spoiling.append(kind)
        elapsed(lambda: registers.read(100, 3))
    spoiling.clear()
    assert settled(lambda: registers.read(100, 3)) == [100] * 3
    line.close()


def test_a_long_rtu_answer_in_pieces_is_put_together(pty_peer):
    def in_pieces(unit, address, count):
        frame = device.frame(unit, list(range(count)))
        for start in range(0, len(frame), 7):
            device.send(frame[start : start + 7])

    device = pty_peer(in_pieces)
    line = Line(RtuLink(device.path, timeout_s=0.5))
    assert settled(lambda: UnitRegisters(line, 1).read(0, 125)) == list(range(125))
    line.close()


def test_an_adapter_that_is_unplugged_is_a_bus_error(pty_peer):
    device = pty_peer(lambda unit, address, count: device.frame(unit, [address] * count))
    registers = UnitRegisters(Line(RtuLink(device.path, timeout_s=TIMEOUT_S)), 1)
    assert settled(lambda: registers.read(1, 1)) == [1]
    device.close()
    elapsed(lambda: registers.read(1, 1))
    assert "cannot" in elapsed(lambda: registers.read(1, 1))[1]


def test_requests_keep_the_silence_between_frames(pty_peer):
    sent_s = []

    def note(unit, address, count):
        sent_s.append(time.monotonic())
        return device.frame(unit, [0] * count)

    device = pty_peer(note)
    line = Line(RtuLink(device.path, timeout_s=0.5))
    line._silence_s = 0.05
    for _ in range(3):
        settled(lambda: UnitRegisters(line, 1).read(0, 1))
    assert min(b - a for a, b in pairwise(sent_s)) > 0.04
    line.close()


def test_a_write_that_is_answered_for_another_address_is_a_bus_error(peer):
    def elsewhere(connection, _):
        while request := connection.recv(100):
            body = request[6:8] + struct.pack(">HH", 1, 1)
            connection.sendall(request[:4] + struct.pack(">H", len(body)) + body)

    registers = tcp(peer(elsewhere))
    assert "does not fit the write to 7" in elapsed(lambda: registers.write(7, [1]))[1]
    settled(lambda: registers.write(1, [1]))


def test_a_missing_serial_port_is_a_bus_error():
    seconds, message = elapsed(lambda: UnitRegisters(Line(RtuLink("/dev/none")), 1).read(0, 1))
    assert seconds < 1.0
    assert message == "cannot connect to /dev/none"


def test_the_budget_ends_a_slow_conversation(serve, unit):
    line = Line(TcpLink("127.0.0.1", serve({1: unit({0: 1})}), 5.0))
    line.allow(0.0)
    with pytest.raises(BusError, match="time in this round is used up"):
        UnitRegisters(line, 1).read(0, 1)
    line.allow(10.0)
    assert UnitRegisters(line, 1).read(0, 1) == [1]


def test_silence_between_frames_follows_the_baud_rate(pty_peer):
    assert RtuLink("/dev/ttyUSB0", 9600).silence_s == pytest.approx(3.5 * 11 / 9600)
    assert RtuLink("/dev/ttyUSB0", 115200).silence_s == 1.75e-3
    assert RtuLink(pty_peer(lambda *_: None).path, 9600).silence_s == 0.0
