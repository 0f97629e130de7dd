"""A Raspberry Pi's pins and an MCP3x08 on its SPI bus, as seen from the wires.

`FakePi` holds voltages and levels; the modules under `hil/pi` give it the faces of `spidev` and
`RPi.GPIO`. In one process: `install(FakePi())`. For a controller in a process of its own:
`hil.fake_pi_link.FakePiServer`, with its `environment()` for the other side.
"""

import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

SOCKET_VARIABLE = "NANOGRID_BENCH_PI"
MAX_SPI_HZ = 1_000_000  # what the MCP3208 is specified for near 3 V
HISTORY_EVENTS = 100_000

_MODULES = ("spidev", "RPi", "RPi.GPIO")


class PiFault(StrEnum):
    """What can break. The last three concern one channel, the others the whole converter."""

    MISO_LOW = "miso-low"  # the data line sticks to ground
    MISO_HIGH = "miso-high"
    NULL_BIT = "null-bit"  # frames out of step: a one where the chip sends its null bit
    SPI_GONE = "spi-gone"  # the kernel reports an I/O error
    OPEN = "open"  # sensor wire off: the pull-up takes the input to the rail
    SHORT = "short"
    FROZEN = "frozen"  # the last code for ever


CHANNEL_FAULTS = frozenset({PiFault.OPEN, PiFault.SHORT, PiFault.FROZEN})


@dataclass(frozen=True, slots=True)
class PinEvent:
    """An output changed; level None means that the pin was let go (high impedance)."""

    t_s: float
    pin: int
    level: int | None


@dataclass(frozen=True, slots=True)
class Mcp3x08:
    """How the chip frames a conversion: 3 bytes out, 3 bytes back, most significant bit first.

    MCP3208: ....... 1 S D2 | D1 D0 - - - - - - | -         S=1 single-ended, D channel
             ? ? ? ? ? ? ? ? | ? ? ? 0 B11 .. B8 | B7 .. B0
    MCP3008: ....... . . . 1 | S D2 D1 D0 - - - - | -
             ? ? ? ? ? ? ? ? | ? ? ? ? ? 0 B9 B8 | B7 .. B0
    """

    bits: int

    def request(self, channel: int) -> tuple[int, int, int]:
        """The one frame with which a conversion of this channel is asked for."""
        command = (0b11000 | channel) << (self.bits + 2)  # start, single-ended, D2 D1 D0
        return command >> 16, command >> 8 & 0xFF, command & 0xFF

    def answer(self, code: int, null_bit: int = 0) -> list[int]:
        """The frame that comes back; what the chip leaves floating reads as ones here."""
        word = (0xFFFFFF << (self.bits + 1)) & 0xFFFFFF | null_bit << self.bits | code
        return [word >> 16, word >> 8 & 0xFF, word & 0xFF]


CHIPS = {"mcp3008": Mcp3x08(10), "mcp3208": Mcp3x08(12)}


@dataclass(slots=True)
class _Line:
    owner: int
    is_output: bool
    level: int  # driven when an output, the pull when an input


class FakePi:
    """State of the pins and the converter. Times in `history` come from `clock`."""

    def __init__(
        self,
        adc: str = "mcp3208",
        reference_v: float = 3.3,
        noise_v: float = 0.0,
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
        spi: tuple[int, int] = (0, 0),
    ) -> None:
        """`noise_v`: standard deviation at the input, per conversion; `spi`: bus and device."""
        self.adc = adc
        self.reference_v = reference_v
        self.noise_v = noise_v
        self.spi = spi
        self.history: deque[PinEvent] = deque(maxlen=HISTORY_EVENTS)
        self._chip = CHIPS[adc]
        self._channel_of = {self._chip.request(channel): channel for channel in range(8)}
        self._volts = [0.0] * 8
        self._faults: set[tuple[PiFault, int | None]] = set()
        self._frozen: dict[int, int] = {}
        self._inputs: dict[int, int] = {}
        self._lines: dict[int, _Line] = {}
        self._random = random.Random(seed)
        self._clock = clock
        self._lock = threading.RLock()

    # --- the bench's side ------------------------------------------------------------------

    def set_voltage(self, channel: int, volts: float) -> None:
        """What the sensor on this channel puts out."""
        self._volts[channel] = volts

    def set_input(self, pin: int, level: int | None) -> None:
        """Drive a pin from outside; None leaves it to its pull (an open contact)."""
        with self._lock:
            if level is None:
                self._inputs.pop(pin, None)
            else:
                self._inputs[pin] = int(level)

    def output(self, pin: int) -> int | None:
        """The level the controller drives, None while the pin is not an output."""
        line = self._lines.get(pin)
        return line.level if line is not None and line.is_output else None

    def inject(self, fault: PiFault | str, channel: int | None = None) -> None:
        """Break something until `clear`; the faults of a channel need its number."""
        fault = PiFault(fault)
        if (fault in CHANNEL_FAULTS) != (channel is not None):
            raise ValueError(f"{fault}: a channel is needed for {sorted(CHANNEL_FAULTS)} only")
        with self._lock:
            if fault is PiFault.FROZEN and channel is not None:
                self._frozen[channel] = self._code(channel)
            self._faults.add((fault, channel))

    def clear(self, fault: PiFault | str | None = None, channel: int | None = None) -> None:
        """Mend this fault, or everything."""
        with self._lock:
            if fault is None:
                self._faults.clear()
            else:
                self._faults.discard((PiFault(fault), channel))

    # --- the converter's side --------------------------------------------------------------

    def check_wired(self, bus: int, device: int) -> None:
        """FileNotFoundError when nothing sits there."""
        if (bus, device) != self.spi:
            raise FileNotFoundError(2, "No such file or directory", f"/dev/spidev{bus}.{device}")

    def transfer(
        self, bus: int, device: int, mode: int, speed_hz: int, request: Sequence[int]
    ) -> list[int]:
        """Clock one frame through the chip. ValueError for what no MCP3x08 would understand."""
        self.check_wired(bus, device)
        if mode not in (0, 3):
            raise ValueError(f"SPI mode {mode}: the chip speaks modes 0 and 3")
        if not 10_000 <= speed_hz <= MAX_SPI_HZ:
            raise ValueError(f"SPI clock {speed_hz} Hz: the chip allows 10 kHz to {MAX_SPI_HZ} Hz")
        channel = self._channel_of.get(tuple(request))  # type: ignore[arg-type]
        if channel is None:
            raise ValueError(f"{self.adc}: no conversion is asked for by {list(request)}")
        with self._lock:
            if self._faults:
                return self._faulty_answer(channel)
            return self._chip.answer(self._code(channel))

    def _faulty_answer(self, channel: int) -> list[int]:
        broken = {fault for fault, _ in self._faults}
        if PiFault.SPI_GONE in broken:
            raise OSError(5, "Input/output error")
        if PiFault.MISO_LOW in broken:
            return [0x00] * 3
        if PiFault.MISO_HIGH in broken:
            return [0xFF] * 3
        return self._chip.answer(self._code(channel), int(PiFault.NULL_BIT in broken))

    def _code(self, channel: int) -> int:
        top = (1 << self._chip.bits) - 1
        if self._faults:
            if (PiFault.FROZEN, channel) in self._faults:
                return self._frozen[channel]
            if (PiFault.SHORT, channel) in self._faults:
                return 0
            if (PiFault.OPEN, channel) in self._faults:
                return top
        volts = self._volts[channel]
        if self.noise_v:
            volts += self._random.gauss(0.0, self.noise_v)
        return min(max(round(volts / self.reference_v * (top + 1)), 0), top)

    # --- the pins' side --------------------------------------------------------------------

    def claim(self, owner: int, pin: int, is_output: bool, level: int) -> None:
        """Make a pin an output at `level`, or an input pulled to `level`.

        A line belongs to one process, as the kernel has it: RuntimeError when another holds it.
        """
        with self._lock:
            line = self._lines.get(pin)
            if line is not None and line.owner != owner:
                raise RuntimeError(f"GPIO busy: line {pin} belongs to another process")
            self._lines[pin] = _Line(owner, is_output, level)
            if is_output:
                self.history.append(PinEvent(self._clock(), pin, level))

    def drive(self, owner: int, pin: int, level: int) -> None:
        """Set an output; history keeps the changes."""
        with self._lock:
            line = self._lines.get(pin)
            if line is None or line.owner != owner or not line.is_output:
                raise RuntimeError(f"line {pin} is not an output of this process")
            if line.level != level:
                line.level = level
                self.history.append(PinEvent(self._clock(), pin, level))

    def level(self, pin: int) -> int:
        """What a pin reads: an output its own level, an input what drives it, else its pull."""
        with self._lock:
            line = self._lines.get(pin)
            if line is not None and line.is_output:
                return line.level
            return self._inputs.get(pin, line.level if line is not None else 0)

    def release(self, owner: int, pins: Iterable[int] | None = None) -> None:
        """Let go of these lines, or of all that the owner holds, as when its process dies."""
        with self._lock:
            held = [pin for pin, line in self._lines.items() if line.owner == owner]
            for pin in held if pins is None else set(held) & set(pins):
                if self._lines.pop(pin).is_output:
                    self.history.append(PinEvent(self._clock(), pin, None))

    # --- for a mirror in another process ---------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All that a mirror needs to answer for this Pi, as JSON types."""
        with self._lock:
            return {
                "adc": self.adc,
                "reference_v": self.reference_v,
                "noise_v": self.noise_v,
                "spi": self.spi,
                "volts": list(self._volts),
                "faults": [[fault.value, channel] for fault, channel in self._faults],
                "frozen": list(self._frozen.items()),
                "inputs": list(self._inputs.items()),
            }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over a snapshot of a Pi with the same converter."""
        with self._lock:
            self.reference_v, self.noise_v = state["reference_v"], state["noise_v"]
            self._volts = state["volts"]
            self._faults = {(PiFault(fault), channel) for fault, channel in state["faults"]}
            self._frozen, self._inputs = dict(state["frozen"]), dict(state["inputs"])


_installed: FakePi | None = None


def pi_modules_path() -> Path:
    """The folder that makes `import spidev` and `import RPi.GPIO` find the bench."""
    return Path(__file__).with_name("pi")


def install(pi: FakePi) -> None:
    """Let this process's `spidev` and `RPi.GPIO` be the fakes, speaking to `pi`."""
    global _installed
    uninstall()
    _installed = pi
    sys.path.insert(0, str(pi_modules_path()))


def uninstall() -> None:
    """Undo `install`; the next import of the modules starts afresh."""
    global _installed
    _installed = None
    while str(pi_modules_path()) in sys.path:
        sys.path.remove(str(pi_modules_path()))
    for name in _MODULES:
        sys.modules.pop(name, None)


def current() -> FakePi:
    """The Pi of this process: the installed one, else the one behind the bench's socket.

    RuntimeError when there is neither, as off a Pi; OSError when the bench is gone.
    """
    if _installed is not None:
        return _installed
    path = os.environ.get(SOCKET_VARIABLE)
    if not path:
        raise RuntimeError(f"no bench: nothing installed and {SOCKET_VARIABLE} is not set")
    from hil.fake_pi_link import connected  # the link builds on this module

    return connected(path)
