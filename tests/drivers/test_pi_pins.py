"""The controller's pins: levels at start and stop, the emergency stop's sense, lost hardware."""

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from control.records import Quality
from drivers.device import DeviceError
from drivers.pi_pins import PinError, PiPins
from hil import fake_pi
from hil.fake_pi import FakePi, PinEvent

STOP, RELAY, HEARTBEAT, LED = 17, 27, 22, 23


@pytest.fixture
def pi() -> Iterator[FakePi]:
    ticks = iter(range(1_000_000))
    pi = FakePi(clock=lambda: float(next(ticks)))
    pi.set_input(STOP, 0)  # closed contact: released
    fake_pi.install(pi)
    yield pi
    fake_pi.uninstall()


@pytest.fixture
def pins(pi: FakePi) -> Iterator[PiPins]:
    pins = PiPins(STOP, RELAY, HEARTBEAT, LED)
    pins.open()
    yield pins
    pins.close()


def levels(pi: FakePi) -> list[int | None]:
    return [pi.output(pin) for pin in (RELAY, HEARTBEAT, LED)]


def test_every_output_is_off_from_its_first_moment(pi: FakePi, pins: PiPins) -> None:
    assert [(event.pin, event.level) for event in pi.history] == [
        (RELAY, 0),
        (HEARTBEAT, 0),
        (LED, 0),
    ]
    assert pi.output(STOP) is None
    assert pins.generator_relay is False


def test_nothing_is_touched_before_open(pi: FakePi) -> None:
    pins = PiPins(STOP, RELAY, HEARTBEAT, LED)
    assert pins.read_emergency_stop() is not None
    with pytest.raises(PinError, match="not open"):
        pins.set_generator_relay(True)
    assert levels(pi) == [None] * 3
    assert "RPi.GPIO" not in sys.modules
    assert pins.generator_relay is None


def test_relay_led_and_heartbeat(pi: FakePi, pins: PiPins) -> None:
    pins.set_generator_relay(True)
    pins.set_led(True)
    assert levels(pi) == [1, 0, 1]
    assert pins.generator_relay is True
    beats = []
    for _ in range(4):
        pins.beat()
        beats.append(pi.output(HEARTBEAT))
    assert beats == [1, 0, 1, 0]
    edges = [event for event in pi.history if event.pin == HEARTBEAT]
    assert edges == [PinEvent(t, HEARTBEAT, n % 2) for n, t in enumerate([1.0, 5.0, 6.0, 7.0, 8.0])]
    pins.set_generator_relay(False)
    assert pins.generator_relay is False


@pytest.mark.parametrize(("level", "pressed"), [(0, False), (1, True), (None, True)])
def test_an_open_contact_means_pressed(
    pi: FakePi, pins: PiPins, level: int | None, pressed: bool
) -> None:
    pi.set_input(STOP, level)  # None: wire off, the pull-up decides
    seen = pins.read_emergency_stop()
    assert seen is not None
    assert seen.good is pressed


@pytest.mark.parametrize("disturbed", [1, 2])
@pytest.mark.parametrize("level", [0, 1])
def test_the_majority_of_five_reads_counts(
    pi: FakePi, pins: PiPins, monkeypatch: pytest.MonkeyPatch, level: int, disturbed: int
) -> None:
    reads = iter([1 - level] * disturbed + [level] * (5 - disturbed))
    monkeypatch.setattr(pi, "level", lambda pin: next(reads))
    seen = pins.read_emergency_stop()
    assert seen is not None
    assert seen.good is bool(level)
    assert next(reads, None) is None


def test_what_is_not_wired_is_left_alone(pi: FakePi) -> None:
    pins = PiPins(led_pin=LED)
    pins.open()
    pins.beat()
    pins.set_generator_relay(True)
    assert pins.read_emergency_stop() is None
    assert pins.generator_relay is None
    assert [event.pin for event in pi.history] == [LED]
    pins.close()


def test_close_switches_off_before_it_lets_go_and_may_be_repeated(pi: FakePi, pins: PiPins) -> None:
    pins.set_generator_relay(True)
    pi.history.clear()
    pins.close()
    pins.close()
    assert [(e.pin, e.level) for e in pi.history if e.pin == RELAY] == [(RELAY, 0), (RELAY, None)]
    assert levels(pi) == [None] * 3
    assert not pins.is_open


def test_opens_again_after_close_with_everything_off(pi: FakePi, pins: PiPins) -> None:
    pins.set_generator_relay(True)
    pins.open()  # idempotent: changes nothing
    assert pi.output(RELAY) == 1
    pins.close()
    pins.open()
    assert levels(pi) == [0, 0, 0]
    assert pins.generator_relay is False


def test_a_pin_that_another_process_holds_leaves_none_taken(pi: FakePi) -> None:
    pi.claim(owner=-1, pin=LED, is_output=True, level=1)
    pins = PiPins(STOP, RELAY, HEARTBEAT, LED)
    with pytest.raises(PinError, match="busy"):
        pins.open()
    assert levels(pi) == [None, None, 1]
    pi.release(-1)
    pins.open()
    assert levels(pi) == [0, 0, 0]


@pytest.mark.parametrize("error", [OSError(5, "gone"), RuntimeError("gone")])
def test_lost_hardware_is_a_clear_error_and_can_be_opened_again(
    pi: FakePi, pins: PiPins, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def gone(*arguments: Any) -> None:
        raise error

    pins.set_generator_relay(True)
    with monkeypatch.context() as broken:
        broken.setattr(pi, "drive", gone)
        with pytest.raises(PinError, match="gone"):
            pins.beat()
    assert pins.generator_relay is None
    pins.open()
    with monkeypatch.context() as broken:
        broken.setattr(pi, "level", gone)
        seen = pins.read_emergency_stop()
    assert seen is not None
    assert (seen.good, seen.quality) == (None, Quality.BAD)
    assert "gone" in seen.detail


def test_without_the_module_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "RPi.GPIO", None)
    with pytest.raises(PinError, match=r"^GPIO: .*RPi"):
        PiPins(led_pin=LED).open()
    assert issubclass(PinError, DeviceError)


def test_the_error_of_lgpio_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class LgpioError(Exception):
        """rpi-lgpio passes these on from `lgpio`; they derive from Exception alone."""

    def setup(*arguments: Any, **named: Any) -> None:
        raise LgpioError("can not open gpiochip")

    lgpio = ModuleType("lgpio")
    lgpio.error = LgpioError  # type: ignore[attr-defined]
    gpio: Any = SimpleNamespace(
        BCM=11,
        OUT=0,
        LOW=0,
        setmode=lambda mode: None,
        setwarnings=lambda flag: None,
        setup=setup,
        cleanup=setup,
    )
    monkeypatch.setitem(sys.modules, "lgpio", lgpio)
    monkeypatch.setitem(sys.modules, "RPi.GPIO", gpio)
    with pytest.raises(PinError, match="can not open gpiochip"):
        PiPins(led_pin=LED).open()
