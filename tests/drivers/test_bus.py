"""The bus: its process image, leased setpoints, back-off, and isolation of bad devices."""

import socket
import threading
import time
from itertools import pairwise

import pytest

from control.records import GridMeasurement, Quantity, Setpoint
from drivers.bus import Bus
from drivers.device import DeviceError, Identity
from drivers.line import RtuLink, TcpLink
from drivers.modbus_device import ModbusDevice

LEASE_S = 30.0


class Clock:
    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s


class Probe(ModbusDevice[GridMeasurement]):
    """Register 0 is its power in W, register 1 its setpoint in W."""

    quantities = frozenset({Quantity.POWER_KW})

    def __init__(self, name="probe", unit=1):
        super().__init__(name=name, unit=unit)
        self.calls = []
        self.refusal = ""

    def connect(self, registers, now_s):
        self.calls.append("connect")
        registers.read(0, 1)
        return Identity("maker", self.name)

    def read(self, registers, now_s):
        self.calls.append("read")
        return GridMeasurement(registers.read(0, 1)[0] / 1000)

    def write(self, registers, setpoint, now_s):
        self.calls.append(("write", setpoint.value, setpoint.lease_s))
        if self.refusal:
            raise DeviceError(self.refusal)
        registers.write(1, [round(1000 * setpoint.value)])
        return registers.read(1, 1)[0] / 1000

    def release(self, registers, now_s):
        self.calls.append("release")
        registers.write(1, [0])

    def writes(self):
        return [call for call in self.calls if isinstance(call, tuple)]


def power(kw, device="probe", lease_s=LEASE_S):
    return Setpoint(device, Quantity.POWER_KW, kw, lease_s)


@pytest.fixture
def rig(serve, unit):
    """One probe on a TCP bus with a clock that stands still."""

    class Rig:
        unit_1 = unit({0: 1500, 1: 0})
        probe, clock = Probe(), Clock()
        bus = Bus("lan", TcpLink("127.0.0.1", serve({1: unit_1}), 5.0), [probe], clock=clock)

        def image(self):
            return self.bus.image()["probe"]

        def ack(self):
            (ack,) = self.image().acks
            return ack

    rig = Rig()
    yield rig
    rig.bus.stop()


def test_a_round_connects_reads_and_publishes(rig):
    before = rig.bus.image()
    assert not before["probe"].online
    assert before["probe"].error == "never connected"
    rig.bus.exchange()
    image = rig.image()
    assert image.measurement == GridMeasurement(1.5)
    assert (image.online, image.error, image.read_at_s) == (True, "", 100.0)
    assert image.identity == Identity("maker", "probe")
    assert not before["probe"].online  # a snapshot does not change
    with pytest.raises(TypeError):
        before["probe"] = image


def test_a_setpoint_is_written_once_and_acknowledged(rig):
    rig.bus.submit(power(2.0))
    for _ in range(3):
        rig.bus.exchange()
    assert rig.probe.writes() == [("write", 2.0, LEASE_S)]
    assert rig.ack().commanded == rig.ack().acknowledged == 2.0
    assert (rig.ack().t_s, rig.ack().error) == (100.0, "")


def test_the_last_wish_before_a_round_wins(rig):
    rig.bus.submit(power(2.0))
    rig.bus.submit(power(3.0))
    rig.bus.exchange()
    assert rig.unit_1.writes == [(1, [3000])]


def test_the_same_setpoint_is_renewed_at_a_third_of_its_lease(rig):
    for second in range(31):
        rig.clock.now_s = 100.0 + second
        rig.bus.submit(power(2.0))
        rig.bus.exchange()
    assert rig.probe.writes() == [("write", 2.0, LEASE_S)] * 4


def test_a_wish_that_nobody_renews_is_dropped_at_the_end_of_its_lease(rig):
    rig.bus.submit(power(2.0))
    for second in (0, 10, 29.9):
        rig.clock.now_s = 100.0 + second
        rig.bus.exchange()
    assert len(rig.probe.writes()) == 1
    rig.clock.now_s = 130.0
    rig.unit_1.put(1, [0])
    rig.bus.exchange()
    assert rig.ack().error == "lease ran out"
    assert rig.ack().acknowledged is None
    assert len(rig.probe.writes()) == 1


def test_what_is_left_of_the_lease_goes_to_the_device(rig):
    rig.bus.submit(power(2.0))
    rig.clock.now_s += 12.0
    rig.bus.exchange()
    assert rig.probe.writes() == [("write", 2.0, LEASE_S - 12.0)]


def test_a_changed_value_is_written_at_once(rig):
    for value in (1.0, 2.0, 1.0):
        rig.bus.submit(power(value))
        rig.bus.exchange()
    assert [call[1] for call in rig.probe.writes()] == [1.0, 2.0, 1.0]


def test_a_disagreeing_read_back_is_told_and_written_again(rig):
    rig.bus.exchange()
    rig.unit_1.after_write = lambda unit, *_: unit.put(1, [500])
    rig.bus.submit(power(2.0))
    rig.bus.exchange()
    assert rig.ack().acknowledged == 0.5
    assert rig.ack().error == "the device holds 0.5"
    rig.bus.exchange()
    assert len(rig.probe.writes()) == 1  # not more than once a second
    rig.clock.now_s += 1.0
    rig.unit_1.after_write = lambda *_: None
    rig.bus.exchange()
    assert len(rig.probe.writes()) == 2
    assert rig.ack().acknowledged == 2.0


def test_a_refused_setpoint_does_not_stop_the_reading(rig):
    rig.probe.refusal = "not in auto"
    rig.bus.submit(power(2.0))
    for _ in range(3):
        rig.bus.exchange()
    assert rig.image().online
    assert rig.image().measurement == GridMeasurement(1.5)
    assert rig.ack().error == "not in auto"
    assert rig.ack().t_s == -float("inf")
    assert len(rig.probe.writes()) == 1
    rig.clock.now_s += 1.0
    rig.probe.refusal = ""
    rig.bus.exchange()
    assert rig.ack().error == ""


def test_after_a_reconnect_the_setpoint_is_written_again(rig):
    rig.bus.submit(power(2.0))
    rig.bus.exchange()
    del rig.unit_1.holding[0]
    rig.bus.exchange()
    assert not rig.image().online
    assert "illegal address" in rig.image().error
    assert rig.image().measurement == GridMeasurement(1.5)  # with its time: the reader judges
    rig.unit_1.put(0, [1600])
    rig.clock.now_s += 1.0
    rig.bus.exchange()
    assert rig.probe.calls[-3:] == ["connect", ("write", 2.0, LEASE_S - 1.0), "read"]
    assert rig.image().errors == 1


def test_flush_writes_without_reading(rig):
    rig.bus.exchange()
    rig.probe.calls.clear()
    rig.bus.submit(power(2.0))
    rig.bus.flush()
    assert rig.probe.calls == [("write", 2.0, LEASE_S)]
    assert rig.ack().acknowledged == 2.0


@pytest.mark.parametrize(
    "setpoint",
    [
        power(1.0, device="other"),
        Setpoint("probe", Quantity.RUN, 1.0, 10.0),
        power(float("nan")),
        power(1.0, lease_s=0.0),
        power(1.0, lease_s=float("inf")),
    ],
)
def test_what_is_no_setpoint_for_this_bus_is_refused(rig, setpoint):
    with pytest.raises(ValueError, match=r"bus lan|probe"):
        rig.bus.submit(setpoint)


def test_back_off_grows_to_half_a_minute_and_ends_with_success(rig):
    del rig.unit_1.holding[0]
    tried_s = []
    for tenth in range(1200):
        rig.clock.now_s = 100.0 + tenth / 10
        before = len(rig.probe.calls)
        rig.bus.exchange()
        if len(rig.probe.calls) > before:
            tried_s.append(rig.clock.now_s)
    gaps = [round(b - a, 1) for a, b in pairwise(tried_s)]
    assert gaps == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    rig.unit_1.put(0, [1])
    rig.clock.now_s += 30.0
    rig.bus.exchange()
    assert rig.image().online
    del rig.unit_1.holding[0]
    rig.bus.exchange()
    rig.unit_1.put(0, [1])
    rig.clock.now_s += 0.5
    rig.bus.exchange()
    assert rig.image().online


def test_stop_releases_every_device(rig):
    rig.bus.submit(power(2.0))
    rig.bus.exchange()
    rig.bus.stop()
    assert rig.probe.calls[-1] == "release"
    assert rig.unit_1.holding[1] == 0
    assert rig.image().error == "stopped"


def test_release_forgets_the_setpoints_and_goes_on_reading(rig):
    rig.bus.submit(power(2.0))
    rig.bus.exchange()
    rig.bus.submit(power(3.0))
    rig.bus.release()
    rig.probe.calls.clear()
    rig.clock.now_s += 20.0
    rig.bus.exchange()
    assert rig.probe.calls == ["release", "read"]
    assert rig.image().online
    assert rig.image().acks == ()
    rig.bus.exchange()
    assert rig.probe.calls == ["release", "read", "read"]
    rig.bus.release()
    rig.bus.submit(power(1.0))
    rig.bus.exchange()
    assert rig.unit_1.writes == [(1, [2000]), (1, [0]), (1, [0]), (1, [1000])]


def test_a_release_that_fails_is_told(rig):
    rig.bus.exchange()
    rig.unit_1.refuse_writes = True
    rig.bus.release()
    rig.bus.flush()
    assert rig.image().error == "not released: unit 1 refuses 1: busy (6)"


def test_dead_units_are_tried_one_per_round_after_the_living(pty_peer):
    device = pty_peer(lambda unit, _, count: device.frame(unit, [7] * count) if unit == 9 else None)
    probes = [Probe("dead-1", 1), Probe("living", 9), Probe("dead-2", 2), Probe("dead-3", 3)]
    clock = Clock()
    bus = Bus("serial", RtuLink(device.path, timeout_s=0.2), probes, clock=clock)
    bus.exchange()
    bus.exchange()
    assert bus.image()["living"].online
    tried = []
    for _ in range(4):
        clock.now_s += 30.0  # all dead ones are due, every time
        device.requests.clear()
        bus.exchange()
        assert bus.image()["living"].read_at_s == clock.now_s
        units = [unit for unit, *_ in device.requests]
        assert units[0] == 9
        assert len(units) == 2
        tried.append(units[1])
    assert set(tried) == {1, 2, 3}
    assert "no answer" in bus.image()["dead-1"].error
    bus.stop()


def test_a_dead_address_is_tried_once_per_round():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    probes = [Probe("a", 1), Probe("b", 2)]
    bus = Bus("lan", TcpLink("127.0.0.1", port, 0.05), probes, clock=Clock())
    bus.exchange()
    assert [len(probe.calls) for probe in probes] == [1, 0]
    bus.exchange()
    assert [len(probe.calls) for probe in probes] == [1, 1]
    bus.stop()


def wait_until(condition, seconds=10.0):
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "it never happened"
        time.sleep(0.005)


def test_the_thread_polls_writes_and_stops(serve, unit):
    unit_1, probe = unit({0: 1, 1: 0}), Probe()
    bus = Bus("lan", TcpLink("127.0.0.1", serve({1: unit_1}), 5.0), [probe])
    bus.start(0.01)
    wait_until(lambda: bus.image()["probe"].online)
    bus.submit(power(2.0))
    wait_until(lambda: bus.image()["probe"].acks)
    unit_1.put(0, [2500])
    wait_until(lambda: bus.image()["probe"].measurement == GridMeasurement(2.5))
    bus.stop()
    assert unit_1.writes == [(1, [2000]), (1, [0])]
    assert not [each for each in threading.enumerate() if each.name == "bus-lan"]


def test_a_setpoint_does_not_wait_for_the_next_round(serve, unit):
    unit_1 = unit({0: 1, 1: 0})
    bus = Bus("lan", TcpLink("127.0.0.1", serve({1: unit_1}), 5.0), [Probe()])
    bus.start(3600.0)
    wait_until(lambda: bus.image()["probe"].online)
    bus.submit(power(2.0))
    wait_until(lambda: unit_1.writes == [(1, [2000])])
    bus.stop()


def test_readers_never_wait_for_the_wire(peer):
    asked = threading.Event()

    def hang(connection, _):
        connection.recv(100)
        asked.set()
        connection.recv(100)

    bus = Bus("lan", TcpLink("127.0.0.1", peer(hang), timeout_s=2.0), [Probe()])
    bus.start(0.01)
    assert asked.wait(10)
    started = time.monotonic()
    for _ in range(100):
        bus.submit(power(1.0))
        assert not bus.image()["probe"].online
    assert time.monotonic() - started < 1.0  # the request hangs for two
    bus.stop()


def test_a_late_round_skips_and_does_not_burst(serve, unit):
    rounds = []

    class Slow(Probe):
        def read(self, registers, now_s):
            rounds.append(time.monotonic())
            if len(rounds) == 3:
                time.sleep(0.35)
            return super().read(registers, now_s)

    bus = Bus("lan", TcpLink("127.0.0.1", serve({1: unit({0: 1})}), 5.0), [Slow()])
    bus.start(0.1)
    wait_until(lambda: len(rounds) >= 6)
    bus.stop()
    # five periods and the three that the slow round missed; catching up would take only five
    assert rounds[5] - rounds[0] > 0.65
