"""A controller in a process of its own meets the bench's Pi over the socket."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil.fake_pi import FakePi
from hil.fake_pi_link import FakePiServer, MirrorPi

# Obeys one word per line and says what came of it, as a controller would through its drivers.
CONTROLLER = """
import sys
from drivers.adc import Adc, AdcError
from drivers.pi_pins import PinError, PiPins

adc = Adc("mcp3208", 3.3)
pins = PiPins(emergency_stop_pin=17, generator_relay_pin=27, heartbeat_pin=22, led_pin=23)

def volts():
    try:
        return f"{adc.read_volts(0):.3f}"
    except AdcError as error:
        adc.close()
        return str(error)

def open_pins():
    try:
        return pins.open()
    except PinError as error:
        return str(error)

do = {
    "volts": volts,
    "open": open_pins,
    "stop": lambda: pins.read_emergency_stop().good,
    "on": lambda: pins.set_generator_relay(True),
    "beat": pins.beat,
    "close": pins.close,
}
for word in sys.stdin:
    print(do[word.strip()](), flush=True)
"""


class Controller:
    def __init__(self, server: FakePiServer) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLER],
            env={**os.environ, **server.environment()},
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def do(self, word: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def pi() -> FakePi:
    pi = FakePi()
    pi.set_input(17, 0)
    return pi


@pytest.fixture
def server(pi: FakePi, tmp_path: Path) -> Iterator[FakePiServer]:
    with FakePiServer(pi, tmp_path / "pi") as server:
        yield server


@pytest.fixture
def controller(server: FakePiServer) -> Iterator[Controller]:
    controller = Controller(server)
    yield controller
    controller.kill()


def eventually(holds: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_separate_process_reads_and_drives_the_bench(pi: FakePi, controller: Controller) -> None:
    pi.set_voltage(0, 1.234)
    assert controller.do("volts") == "1.234"
    pi.set_voltage(0, 0.5)
    eventually(lambda: controller.do("volts") == "0.500")
    assert controller.do("open") == "None"
    assert [pi.output(pin) for pin in (27, 22, 23)] == [0, 0, 0]
    assert controller.do("stop") == "False"
    pi.set_input(17, None)
    eventually(lambda: controller.do("stop") == "True")
    controller.do("on")
    controller.do("beat")
    eventually(lambda: (pi.output(27), pi.output(22)) == (1, 1))
    controller.do("close")
    eventually(lambda: [pi.output(pin) for pin in (27, 22, 23)] == [None] * 3)
    assert [event.level for event in pi.history if event.pin == 27] == [0, 1, 0, None]


def test_faults_reach_across(pi: FakePi, controller: Controller) -> None:
    pi.set_voltage(0, 1.0)
    assert controller.do("volts") == "1.000"
    pi.inject("frozen", 0)
    pi.set_voltage(0, 2.0)
    assert controller.do("volts") == "1.000"
    pi.inject("spi-gone")
    eventually(lambda: "Input/output error" in controller.do("volts"))
    pi.clear()
    eventually(lambda: controller.do("volts") == "2.000")


def test_a_killed_process_lets_go_of_its_lines(pi: FakePi, controller: Controller) -> None:
    controller.do("open")
    controller.do("on")
    eventually(lambda: pi.output(27) == 1)
    controller.kill()
    eventually(lambda: pi.output(27) is None)
    assert [event.level for event in pi.history if event.pin == 27] == [0, 1, None]


def test_two_processes_cannot_hold_the_same_pins(
    pi: FakePi, server: FakePiServer, controller: Controller
) -> None:
    controller.do("open")
    controller.do("on")
    second = Controller(server)
    try:
        assert "busy" in second.do("open")
        eventually(lambda: pi.output(27) == 1)
        controller.kill()
        eventually(lambda: second.do("open") == "None")
        assert pi.output(27) == 0
    finally:
        second.kill()


def test_a_bench_that_leaves_and_returns(
    pi: FakePi, server: FakePiServer, controller: Controller
) -> None:
    pi.set_voltage(0, 1.0)
    assert controller.do("volts") == "1.000"
    server.close()
    eventually(lambda: controller.do("volts").startswith("bus: "))
    with FakePiServer(pi, server.path):
        eventually(lambda: controller.do("volts") == "1.000")


def test_a_burst_costs_one_round_trip(
    pi: FakePi, server: FakePiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    snapshot = pi.snapshot

    def counted() -> dict[str, object]:
        nonlocal asked
        asked += 1
        return snapshot()

    monkeypatch.setattr(pi, "snapshot", counted)
    monkeypatch.setattr("hil.fake_pi_link.SNAPSHOT_AGE_S", 60.0)
    mirror = MirrorPi(str(server.path))
    for _ in range(16):
        mirror.transfer(0, 0, 0, 1_000_000, [6, 0, 0])
    mirror.level(17)
    assert asked == 2  # on connecting, and then once


def test_the_socket_is_for_its_owner_only(server: FakePiServer) -> None:
    assert server.path.stat().st_mode & 0o077 == 0
