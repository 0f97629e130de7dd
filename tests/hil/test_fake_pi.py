"""The bench's Pi answers as a real one: frames, noise, faults, and complaints about misuse."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil import fake_pi
from hil.fake_pi import FakePi, PiFault, PinEvent


@pytest.fixture
def pi() -> Iterator[FakePi]:
    pi = FakePi(clock=lambda: 5.0)
    fake_pi.install(pi)
    yield pi
    fake_pi.uninstall()


@pytest.fixture
def spi(pi: FakePi) -> Any:
    spi = importlib.import_module("spidev").SpiDev()
    spi.open(0, 0)
    spi.max_speed_hz = 1_000_000
    return spi


@pytest.fixture
def gpio(pi: FakePi) -> Any:
    return importlib.import_module("RPi.GPIO")


# --- converter -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adc", "request_", "answer"),
    [
        ("mcp3208", [0x06, 0x80, 0x00], [0xFF, 0xE8, 0x00]),  # channel 2: null bit, 1000 0000 0000
        ("mcp3208", (0x07, 0x40, 0x00), [0xFF, 0xEF, 0xFF]),  # channel 5
        ("mcp3208", b"\x06\x00\x00", [0xFF, 0xE0, 0x01]),  # channel 0: one code
        ("mcp3008", [0x01, 0xA0, 0x00], [0xFF, 0xFA, 0x00]),  # channel 2: null bit, 10 0000 0000
        ("mcp3008", [0x01, 0xD0, 0x00], [0xFF, 0xFB, 0xFF]),
        ("mcp3008", [0x01, 0x80, 0x00], [0xFF, 0xF8, 0x00]),
    ],
)
def test_frames_bit_for_bit(adc: str, request_: Any, answer: list[int]) -> None:
    pi = FakePi(adc=adc, reference_v=3.3)
    pi.set_voltage(2, 1.65)
    pi.set_voltage(5, 9.0)
    pi.set_voltage(0, 3.3 / 4096)
    assert pi.transfer(0, 0, 0, 1_000_000, request_) == answer


@pytest.mark.parametrize(
    "frame",
    [
        [],
        [0x06, 0x00],
        [0x06, 0x00, 0x00, 0x00],
        [0x00, 0x00, 0x00],
        [0x02, 0x00, 0x00],
        [0x04, 0x00, 0x00],  # differential
        [0x06, 0x00, 0x01],
        [0x06, 0x20, 0x00],
        [0x01, 0x80, 0x00],  # an MCP3008's
        [0x01, 0x40, 0x00],
    ],
)
def test_a_wrong_frame_is_an_error_of_the_driver(spi: Any, frame: list[int]) -> None:
    with pytest.raises(ValueError, match="no conversion"):
        spi.xfer2(frame)


def test_only_what_the_chip_can_follow_is_accepted(pi: FakePi) -> None:
    module = importlib.import_module("spidev")
    spi = module.SpiDev()
    with pytest.raises(OSError, match="Bad file descriptor"):
        spi.xfer2([6, 0, 0])
    with pytest.raises(FileNotFoundError):
        spi.open(0, 1)
    spi.open(0, 0)
    with pytest.raises(ValueError, match="clock"):
        spi.xfer2([6, 0, 0])  # the kernel's default speed
    spi.max_speed_hz = 1_000_000
    spi.mode = 1
    with pytest.raises(ValueError, match="mode"):
        spi.xfer2([6, 0, 0])
    spi.mode = 0
    assert len(spi.xfer2([6, 0, 0])) == 3
    spi.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        spi.xfer2([6, 0, 0])


def test_the_converter_sits_where_it_is_wired() -> None:
    pi = FakePi(spi=(1, 2))
    assert pi.transfer(1, 2, 0, 1_000_000, [6, 0, 0]) == [0xFF, 0xE0, 0x00]
    with pytest.raises(FileNotFoundError):
        pi.transfer(0, 0, 0, 1_000_000, [6, 0, 0])


def codes(pi: FakePi, n: int, channel: int = 0) -> list[int]:
    answers = [pi.transfer(0, 0, 0, 1_000_000, [6, channel << 6, 0]) for _ in range(n)]
    return [(a[1] & 0x0F) << 8 | a[2] for a in answers]


@given(st.integers(0, 2**32), st.floats(0.0, 3.3))
def test_noise_is_seeded(seed: int, volts: float) -> None:
    one, two = (FakePi(noise_v=0.002, seed=seed) for _ in range(2))
    one.set_voltage(0, volts)
    two.set_voltage(0, volts)
    assert codes(one, 10) == codes(two, 10)
    assert all(0 <= code <= 4095 for code in codes(one, 10))


def test_noise_has_its_strength() -> None:
    pi = FakePi(noise_v=10 * 3.3 / 4096)
    pi.set_voltage(0, 1.65)
    seen = codes(pi, 2000)
    mean = sum(seen) / len(seen)
    assert mean == pytest.approx(2048, abs=1.5)
    assert sum((c - mean) ** 2 for c in seen) / len(seen) == pytest.approx(100, rel=0.15)


def test_faults_of_a_channel_leave_the_others_alone(pi: FakePi) -> None:
    for channel in range(4):
        pi.set_voltage(channel, 1.0)
    pi.inject("open", 0)
    pi.inject("short", 1)
    pi.inject("frozen", 2)
    for channel in range(4):
        pi.set_voltage(channel, 2.0)
    assert [codes(pi, 1, channel)[0] for channel in range(4)] == [4095, 0, 1241, 2482]
    pi.clear("open", 0)
    assert [codes(pi, 1, channel)[0] for channel in range(4)] == [2482, 0, 1241, 2482]
    pi.clear()
    assert [codes(pi, 1, channel)[0] for channel in range(4)] == [2482] * 4


def test_faults_of_the_converter(pi: FakePi, spi: Any) -> None:
    pi.set_voltage(0, 1.65)
    for fault, answer in [
        (PiFault.MISO_LOW, [0x00, 0x00, 0x00]),
        (PiFault.MISO_HIGH, [0xFF, 0xFF, 0xFF]),
        (PiFault.NULL_BIT, [0xFF, 0xF8, 0x00]),
    ]:
        pi.inject(fault)
        assert spi.xfer2([6, 0, 0]) == answer
        pi.clear(fault)
    pi.inject(PiFault.SPI_GONE)
    with pytest.raises(OSError, match="Input/output"):
        spi.xfer2([6, 0, 0])


@pytest.mark.parametrize(("fault", "channel"), [("open", None), ("miso-low", 0), ("soggy", None)])
def test_a_fault_needs_its_place(pi: FakePi, fault: str, channel: int | None) -> None:
    with pytest.raises(ValueError, match=fault):
        pi.inject(fault, channel)


# --- pins ----------------------------------------------------------------------------------


def test_misuse_raises_as_on_a_pi(gpio: Any) -> None:
    with pytest.raises(RuntimeError, match="numbering mode"):
        gpio.setup(17, gpio.IN)
    with pytest.raises(ValueError, match="mode"):
        gpio.setmode(99)
    gpio.setmode(gpio.BCM)
    with pytest.raises(ValueError, match="different mode"):
        gpio.setmode(gpio.BOARD)
    with pytest.raises(RuntimeError, match=r"setup\(\) the GPIO channel first"):
        gpio.input(17)
    with pytest.raises(RuntimeError, match="OUTPUT"):
        gpio.output(17, 1)
    gpio.setup(17, gpio.IN)
    with pytest.raises(RuntimeError, match="OUTPUT"):
        gpio.output(17, 1)
    with pytest.raises(ValueError, match="invalid on a Raspberry Pi"):
        gpio.setup(28, gpio.IN)
    with pytest.raises(ValueError, match="pull_up_down"):
        gpio.setup(18, gpio.OUT, pull_up_down=gpio.PUD_UP)
    with pytest.raises(ValueError, match="initial"):
        gpio.setup(18, gpio.IN, initial=1)
    with pytest.raises(ValueError, match="direction"):
        gpio.setup(18, 7)
    with pytest.warns(UserWarning, match="already in use"):
        gpio.setup(17, gpio.IN)


def test_pulls_and_outside_levels(pi: FakePi, gpio: Any) -> None:
    gpio.setmode(gpio.BCM)
    gpio.setup(17, gpio.IN, pull_up_down=gpio.PUD_UP)
    gpio.setup(18, gpio.IN, pull_up_down=gpio.PUD_DOWN)
    assert [gpio.input(17), gpio.input(18)] == [1, 0]
    pi.set_input(17, 0)
    pi.set_input(18, 1)
    assert [gpio.input(17), gpio.input(18)] == [0, 1]
    pi.set_input(17, None)
    assert gpio.input(17) == 1


def test_history_keeps_changes_with_their_time(pi: FakePi, gpio: Any) -> None:
    gpio.setmode(gpio.BOARD)
    gpio.setup([11, 13], gpio.OUT, initial=gpio.LOW)  # BCM 17 and 27
    gpio.output(11, gpio.HIGH)
    gpio.output(11, gpio.HIGH)
    assert (pi.output(17), gpio.input(11)) == (1, 1)
    gpio.cleanup()
    assert gpio.getmode() is None
    assert pi.output(17) is None
    assert list(pi.history) == [
        PinEvent(5.0, 17, 0),
        PinEvent(5.0, 27, 0),
        PinEvent(5.0, 17, 1),
        PinEvent(5.0, 17, None),
        PinEvent(5.0, 27, None),
    ]


def test_partial_cleanup_keeps_the_numbering_and_the_other_pins(pi: FakePi, gpio: Any) -> None:
    gpio.setmode(gpio.BCM)
    gpio.setup([5, 6], gpio.OUT, initial=gpio.HIGH)
    gpio.cleanup(5)
    assert (pi.output(5), pi.output(6), gpio.getmode()) == (None, 1, gpio.BCM)


def test_a_header_pin_without_a_gpio_is_refused(gpio: Any) -> None:
    gpio.setmode(gpio.BOARD)
    for pin in (0, 1, 27, 39, 41):
        with pytest.raises(ValueError, match="invalid on a Raspberry Pi"):
            gpio.setup(pin, gpio.IN)


def test_lines_belong_to_one_process(pi: FakePi) -> None:
    pi.claim(1, 17, is_output=True, level=1)
    with pytest.raises(RuntimeError, match="busy"):
        pi.claim(2, 17, is_output=True, level=0)
    with pytest.raises(RuntimeError, match="not an output of this process"):
        pi.drive(2, 17, 0)
    pi.release(2)
    assert pi.output(17) == 1
    pi.release(1)
    pi.claim(2, 17, is_output=True, level=0)
    assert pi.output(17) == 0


def test_off_the_bench_the_modules_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fake_pi.SOCKET_VARIABLE, raising=False)
    fake_pi.uninstall()
    with pytest.raises(RuntimeError, match="no bench"):
        fake_pi.current()


def test_each_bench_starts_with_fresh_modules(pi: FakePi, gpio: Any) -> None:
    gpio.setmode(gpio.BCM)
    other = FakePi()
    fake_pi.install(other)
    assert importlib.import_module("RPi.GPIO").getmode() is None
    assert fake_pi.current() is other
