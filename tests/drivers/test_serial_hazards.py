"""What happens to serial lines in the field: the bus recovers by itself, and no value is mixed up.

Every unit holds its own number in register 0, so that an answer taken for another shows.
"""

import os
import time
import tty

import pytest

from control.records import GridMeasurement
from drivers.bus import Bus
from drivers.device import BusError, DeviceError, Identity
from drivers.line import Line, RtuLink, UnitRegisters
from drivers.modbus_device import ModbusDevice

TIMEOUT_S = 0.1


class Numbered(ModbusDevice[GridMeasurement]):
    """Reads its unit's number as kW."""

    quantities = frozenset()

    def connect(self, registers, now_s):
        return Identity("maker", str(registers.read(0, 1)[0]))

    def read(self, registers, now_s):
        return GridMeasurement(float(registers.read(0, 1)[0]))

    def write(self, registers, setpoint, now_s):
        raise DeviceError("takes none")

    def release(self, registers, now_s):
        pass


class Serial:
    """A bus with units 1 and 2 on a port, on a clock that a round advances by a second."""

    def __init__(self, port):
        self.now_s = 0.0
        units = [Numbered(name=f"unit {n}", unit=n) for n in (1, 2)]
        link = RtuLink(str(port), timeout_s=TIMEOUT_S)
        self.bus = Bus("serial", link, units, clock=lambda: self.now_s)

    def round(self):
        self.now_s += 1.0
        self.bus.exchange()
        image = self.bus.image()
        for number in (1, 2):
            measured = image[f"unit {number}"].measurement
            assert measured is None or measured.power_kw == number
        return [image[f"unit {number}"].online for number in (1, 2)]

    def until(self, *online):
        """Rounds until these units are online; their number."""
        for count in range(1, 80):
            if self.round() == list(online):
                return count
        raise AssertionError(f"still {self.bus.image()}")


@pytest.fixture
def serial():
    buses = []

    def start(port):
        buses.append(Serial(port))
        return buses[-1]

    yield start
    for each in buses:
        each.bus.stop()


@pytest.fixture
def spoiled(pty_peer):
    """A line that answers well until something is put into `spoil`: (unit, frame) -> bytes."""

    def answer(unit, address, count):
        frame = device.frame(unit, [unit] * count)
        return device.spoil(unit, frame) if device.spoil else frame

    device = pty_peer(answer)
    device.spoil = None
    return device


NOISE = [b"\x00", b"\xff\xff", b"\x01", b"\x01\x03", b"\x01\x83", b"\x00\x01\x03\x02"]
ECHO = bytes.fromhex("010300000001840a") + bytes.fromhex("02030000000185f9")


@pytest.mark.parametrize("noise", NOISE, ids=bytes.hex)
def test_noise_around_an_answer_costs_nothing(spoiled, noise):
    line = Line(RtuLink(spoiled.path, timeout_s=1.0))
    spoiled.spoil = lambda unit, frame: noise + frame + noise
    for _ in range(3):
        assert UnitRegisters(line, 1).read(0, 2) == [1, 1]
    UnitRegisters(line, 1).write(0, [1, 2])
    assert line.resyncs == 0
    line.close()


def test_an_adapter_that_echoes_is_understood(spoiled):
    line = Line(RtuLink(spoiled.path, timeout_s=1.0))
    spoiled.spoil = lambda unit, frame: ECHO[8 * (unit - 1) : 8 * unit] + frame
    assert [UnitRegisters(line, unit).read(0, 1) for unit in (1, 2)] == [[1], [2]]
    line.close()


def test_a_refusal_after_noise_is_a_refusal(spoiled):
    line = Line(RtuLink(spoiled.path, timeout_s=1.0))
    spoiled.spoil = lambda unit, frame: b"\x01\x00" + bytes.fromhex("018302c0f1")
    with pytest.raises(DeviceError, match="illegal address"):
        UnitRegisters(line, 1).read(0, 1)
    line.close()


def test_an_adapter_that_takes_no_bytes_does_not_hold_the_bus():
    master, slave = os.openpty()  # nobody reads at the other end
    tty.setraw(slave)
    line = Line(RtuLink(os.ttyname(slave), timeout_s=0.02))
    line._resynchronise = lambda: None  # leave the connection as it is, and what waits in it
    for _ in range(2000):
        with pytest.raises(BusError) as error:
            UnitRegisters(line, 1).write(0, [0] * 120)
        if "connection closed" in str(error.value):
            break
    else:
        raise AssertionError("the buffer never was full")
    line.close()
    os.close(master)
    os.close(slave)


def test_late_answers_are_never_taken_for_others(serial, spoiled):
    bus = serial(spoiled.path)
    bus.until(True, True)
    late = []

    def spoil(unit, frame):
        if not late:
            late.append(unit)
            time.sleep(1.5 * TIMEOUT_S)
        return frame

    for unit in (1, 2):  # `round` compares the values
        late.clear()
        spoiled.spoil = lambda asked, frame, unit=unit: (
            spoil(asked, frame) if asked == unit else frame
        )
        bus.until(*(number != unit for number in (1, 2)))
        bus.until(True, True)


def test_a_dead_device_leaves_its_neighbour_alone_and_may_come_back(serial, spoiled):
    bus = serial(spoiled.path)
    bus.until(True, True)
    swallowed = []

    def dead(unit, frame):
        if unit != 1:
            return frame
        swallowed.append(unit)
        return b""

    spoiled.spoil = dead
    while not swallowed:  # until then an answer may be under way on a busy machine
        bus.round()
    bus.until(False, True)
    for _ in range(10):
        assert bus.round() == [False, True]
        assert bus.bus.image()["unit 2"].read_at_s == bus.now_s
    spoiled.spoil = None
    assert bus.until(True, True) <= 31  # the longest back-off


def test_an_unplugged_adapter_comes_back_by_itself(serial, pty_peer, tmp_path):
    def plugged_in():
        device = pty_peer(lambda unit, _, count: device.frame(unit, [unit] * count))
        port.unlink(missing_ok=True)
        port.symlink_to(device.path)
        return device

    port = tmp_path / "ttyUSB0"  # as udev names it, whichever number the kernel gives
    device = plugged_in()
    bus = serial(port)
    bus.until(True, True)
    device.close()
    port.unlink()
    bus.until(False, False)
    for _ in range(5):
        bus.round()
    assert "cannot" in bus.bus.image()["unit 1"].error
    plugged_in()
    bus.until(True, True)
