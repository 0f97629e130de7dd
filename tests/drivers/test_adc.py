"""The converter's frames, bit for bit, and what happens when it does not answer."""

import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.adc import CONVERTERS, Adc, AdcError
from hil import fake_pi
from hil.fake_pi import FakePi

# What the microcontroller must clock out per channel, read off the data sheets' figures 6-1.
MCP3008_FRAMES = [
    [0x01, 0x80, 0x00],
    [0x01, 0x90, 0x00],
    [0x01, 0xA0, 0x00],
    [0x01, 0xB0, 0x00],
    [0x01, 0xC0, 0x00],
    [0x01, 0xD0, 0x00],
    [0x01, 0xE0, 0x00],
    [0x01, 0xF0, 0x00],
]
MCP3208_FRAMES = [
    [0x06, 0x00, 0x00],
    [0x06, 0x40, 0x00],
    [0x06, 0x80, 0x00],
    [0x06, 0xC0, 0x00],
    [0x07, 0x00, 0x00],
    [0x07, 0x40, 0x00],
    [0x07, 0x80, 0x00],
    [0x07, 0xC0, 0x00],
]


class Wire:
    """A spidev that records what it is told and answers as a test wants."""

    def __init__(self, answer: Callable[[list[int]], list[int]]) -> None:
        self.answer = answer
        self.sent: list[list[int]] = []
        self.opened: list[tuple[int, int]] = []
        self.closed = 0
        self.mode: int | None = None
        self.max_speed_hz = 0

    def open(self, bus: int, device: int) -> None:
        self.opened.append((bus, device))

    def close(self) -> None:
        self.closed += 1

    def xfer2(self, values: list[int]) -> list[int]:
        self.sent.append(list(values))
        return self.answer(values)


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    spi = Wire(lambda values: [0, 0, 0])
    monkeypatch.setitem(sys.modules, "spidev", SimpleNamespace(SpiDev=lambda: spi))  # type: ignore[arg-type]
    return spi


@pytest.fixture
def bench() -> Iterator[Callable[..., FakePi]]:
    def installed(**arguments: Any) -> FakePi:
        pi = FakePi(**arguments)
        fake_pi.install(pi)
        return pi

    yield installed
    fake_pi.uninstall()


@pytest.mark.parametrize(
    ("kind", "frames"), [("mcp3008", MCP3008_FRAMES), ("mcp3208", MCP3208_FRAMES)]
)
def test_asks_for_each_channel_as_the_data_sheet_shows(
    wire: Wire, kind: str, frames: list[list[int]]
) -> None:
    adc = Adc(kind, 3.3, spi_bus=1, spi_device=2, oversample=1)
    for channel in range(8):
        adc.read(channel)
    assert wire.sent == frames
    assert wire.opened == [(1, 2)]
    assert wire.mode == 0
    assert wire.max_speed_hz == 1_000_000


@pytest.mark.parametrize(
    ("kind", "answer", "code"),
    [
        ("mcp3208", [0xFF, 0xEA, 0x5C], 0xA5C),  # floating bits read as ones
        ("mcp3208", [0x00, 0x0A, 0x5C], 0xA5C),  # or as zeros
        ("mcp3208", [0x00, 0x0F, 0xFF], 4095),
        ("mcp3008", [0xFF, 0xFA, 0x5C], 0x25C),
        ("mcp3008", [0x00, 0x02, 0x5C], 0x25C),
        ("mcp3008", [0x00, 0x03, 0xFF], 1023),
    ],
)
def test_takes_the_code_out_of_the_answer(
    wire: Wire, kind: str, answer: list[int], code: int
) -> None:
    wire.answer = lambda values: answer
    assert Adc(kind, 3.3).read(0).codes == (code,) * 16


@pytest.mark.parametrize(
    ("kind", "answer"),
    [("mcp3208", [0xFF] * 3), ("mcp3208", [0, 0x10, 0]), ("mcp3008", [0, 0x04, 0])],
)
def test_refuses_a_frame_whose_null_bit_is_one(wire: Wire, kind: str, answer: list[int]) -> None:
    wire.answer = lambda values: answer
    with pytest.raises(AdcError, match=r"^bus: .*null bit"):
        Adc(kind, 3.3).read(0)


def test_refuses_a_short_answer(wire: Wire) -> None:
    wire.answer = lambda values: [0, 0]
    with pytest.raises(AdcError, match="2 bytes"):
        Adc("mcp3208", 3.3).read(0)


def test_one_spike_moves_neither_median_nor_noise(wire: Wire) -> None:
    codes = iter([1000] * 9 + [4000] + [1000] * 6)

    def answer(values: list[int]) -> list[int]:
        code = next(codes)
        return [0, code >> 8, code & 0xFF]

    wire.answer = answer
    burst = Adc("mcp3208", 3.3).read(0)
    assert (burst.median, burst.noise, burst.identical) == (1000.0, 0, False)


@pytest.mark.parametrize("kind", list(CONVERTERS))
@given(channel=st.integers(0, 7), volts=st.floats(0.0, 2.5))
def test_reads_the_voltage_at_the_input_within_half_a_code(
    kind: str, channel: int, volts: float
) -> None:
    pi = FakePi(adc=kind, reference_v=2.5)
    fake_pi.install(pi)
    try:
        adc = Adc(kind, 2.5)
        pi.set_voltage(channel, volts)
        top = adc.converter.full_scale * adc.lsb_v
        assert abs(adc.read_volts(channel) - min(volts, top)) <= 0.5 * adc.lsb_v + 1e-9
        assert adc.read_volts((channel + 1) % 8) == 0.0
    finally:
        fake_pi.uninstall()


def test_oversampling_takes_noise_away(bench: Callable[..., FakePi]) -> None:
    bench(noise_v=0.005, seed=7).set_voltage(0, 1.0)
    single = [Adc("mcp3208", 3.3, oversample=1).read_volts(0) - 1.0 for _ in range(200)]
    median = [Adc("mcp3208", 3.3, oversample=16).read_volts(0) - 1.0 for _ in range(200)]
    assert sum(e * e for e in median) < 0.25 * sum(e * e for e in single)


def test_reference_channel(bench: Callable[..., FakePi]) -> None:
    pi = bench()
    adc = Adc("mcp3208", 3.3)
    pi.set_voltage(7, 1.66)
    assert adc.check_reference(7, 1.65) == ""
    pi.set_voltage(7, 1.68)
    assert adc.check_reference(7, 1.65) == "reference: channel 7 reads 1.680 V, wired to 1.650 V"
    pi.inject("miso-low")
    with pytest.raises(AdcError, match="only zeros"):
        adc.check_reference(7, 1.65)


@pytest.mark.parametrize("error", [ImportError("no spidev"), RuntimeError("not a Pi"), OSError(2)])
def test_opening_fails_clearly_and_is_tried_again(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(bus: int, device: int) -> None:
        raise error

    monkeypatch.setattr(wire, "open", refuse)
    adc = Adc("mcp3208", 3.3)
    with pytest.raises(AdcError, match=r"^bus: "):
        adc.read(0)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "spidev", SimpleNamespace(SpiDev=lambda: wire))  # type: ignore[arg-type]
    assert adc.read(0).median == 0.0


def test_a_lost_device_is_opened_again_after_close(bench: Callable[..., FakePi]) -> None:
    pi = bench()
    pi.set_voltage(0, 1.0)
    adc = Adc("mcp3208", 3.3)
    pi.inject("spi-gone")
    with pytest.raises(AdcError, match="Input/output error"):
        adc.read(0)
    adc.close()
    adc.close()
    pi.clear()
    assert adc.read_volts(0) == pytest.approx(1.0, abs=0.001)


def test_without_the_module_it_is_a_bus_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spidev", None)
    with pytest.raises(AdcError, match=r"^bus: .*spidev"):
        Adc("mcp3208", 3.3).read(0)
