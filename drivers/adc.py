"""MCP3008 and MCP3208 analogue-digital converters over the `spidev` API.

Wiring: 3.3 V logic, an external reference rather than the Pi's own supply, 100 nF and an RC of
10 to 50 Hz at every input (one burst of conversions is too short to average mains hum away).
"""

import importlib
from dataclasses import dataclass
from statistics import median
from typing import Any

CLOCK_HZ = 1_000_000  # both converters keep their accuracy at 3.3 V
HARDWARE_ERRORS = (ImportError, RuntimeError, OSError)  # what importing and opening can raise


class AdcError(Exception):
    """The converter cannot be reached, or its frames make no sense."""


@dataclass(frozen=True, slots=True)
class Converter:
    """Frame layout: start, single-ended, channel (3 bits); one clock to sample; null bit; code."""

    name: str
    bits: int

    @property
    def full_scale(self) -> int:
        """The largest code."""
        return (1 << self.bits) - 1

    def request(self, channel: int) -> list[int]:
        """Three bytes that ask for one conversion (MCP3008 DS21295, MCP3208 DS21298, fig. 6-1)."""
        return list(((0b11000 | channel) << (self.bits + 2)).to_bytes(3, "big"))

    def code(self, answer: list[int]) -> int:
        """The code in the answer; AdcError when the null bit is not zero."""
        if len(answer) != 3:
            raise AdcError(f"bus: {self.name} answered {len(answer)} bytes, not 3")
        word = answer[0] << 16 | answer[1] << 8 | answer[2]
        if word >> self.bits & 1:
            raise AdcError(f"bus: {self.name} frame out of step, null bit is 1")
        return word & self.full_scale


CONVERTERS = {c.name: c for c in (Converter("mcp3008", 10), Converter("mcp3208", 12))}


@dataclass(frozen=True, slots=True)
class Burst:
    """Conversions of one channel in quick succession, codes in ascending order."""

    codes: tuple[int, ...]

    @property
    def median(self) -> float:
        """Median code."""
        return float(median(self.codes))

    @property
    def identical(self) -> bool:
        """Whether every conversion gave the same code."""
        return self.codes[0] == self.codes[-1]

    @property
    def noise(self) -> int:
        """Spread in codes without the two extremes, which one spike can make."""
        return self.codes[-2] - self.codes[1] if len(self.codes) >= 4 else 0


class Adc:
    """One converter. Opened when first read, and again after `close`."""

    def __init__(
        self,
        kind: str,
        reference_v: float,
        spi_bus: int = 0,
        spi_device: int = 0,
        oversample: int = 16,
    ) -> None:
        """`kind` is a key of CONVERTERS; `oversample` is the number of conversions per reading."""
        self.converter = CONVERTERS[kind]
        self.reference_v = reference_v
        self.lsb_v = reference_v / (1 << self.converter.bits)
        self._address = spi_bus, spi_device
        self._oversample = oversample
        self._requests = [self.converter.request(channel) for channel in range(8)]
        self._spi: Any = None

    def read(self, channel: int, conversions: int | None = None) -> Burst:
        """Convert a channel `oversample` times, or as often as asked; AdcError when that fails."""
        request, code = self._requests[channel], self.converter.code
        try:
            transfer = self._opened().xfer2
            answers = [transfer(request) for _ in range(conversions or self._oversample)]
        except HARDWARE_ERRORS as error:
            raise AdcError(f"bus: {error or type(error).__name__}") from error
        return Burst(tuple(sorted(code(answer) for answer in answers)))

    def read_volts(self, channel: int) -> float:
        """Median voltage of a burst, V."""
        return self.read(channel).median * self.lsb_v

    def check_reference(self, channel: int, expected_v: float) -> str:
        """Self-test on a channel wired to a known voltage: what is wrong, or nothing.

        Off by more than 1 % (and 2 codes) is a wrong reference. Exactly 0 is a dead data line:
        a converter that answers zeros passes the null-bit check.
        """
        burst = self.read(channel, conversions=4)
        if burst.codes[-1] == 0:
            raise AdcError(f"bus: {self.converter.name} answers only zeros (channel {channel})")
        volts = burst.median * self.lsb_v
        if abs(volts - expected_v) > max(0.01 * expected_v, 2 * self.lsb_v):
            return f"reference: channel {channel} reads {volts:.3f} V, wired to {expected_v:.3f} V"
        return ""

    def close(self) -> None:
        """Let go of the device; the next reading opens it again."""
        if self._spi is not None:
            self._spi.close()
            self._spi = None

    def _opened(self) -> Any:
        if self._spi is None:
            spi = importlib.import_module("spidev").SpiDev()
            spi.open(*self._address)
            spi.max_speed_hz = CLOCK_HZ
            spi.mode = 0
            self._spi = spi
        return self._spi
