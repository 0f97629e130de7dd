"""The face of `RPi.GPIO` on the bench's FakePi: the part that drivers use, and its complaints.

As in the original the numbering mode and the directions belong to the module; which process holds
a line is the kernel's business and sits in FakePi.
"""

import os
import warnings
from collections.abc import Iterable

from hil.fake_pi import current

VERSION = "0.7.2"
BOARD, BCM = 10, 11
OUT, IN = 0, 1
LOW, HIGH = 0, 1
PUD_OFF, PUD_DOWN, PUD_UP = 20, 21, 22

# fmt: off
_BCM_OF_BOARD = (  # header pins 1 to 40; -1: supply, ground or the EEPROM's
    -1, -1, 2, -1, 3, -1, 4, 14, -1, 15, 17, 18, 27, -1, 22, 23, -1, 24, 10, -1,
    9, 25, 11, 8, -1, 7, -1, -1, 5, -1, 6, 12, 13, -1, 19, 16, 26, 20, -1, 21,
)
# fmt: on
_OWNER = os.getpid()

_mode: int | None = None
_directions: dict[int, int] = {}  # by BCM number
_warn = True


def setmode(mode: int) -> None:
    """Choose the numbering, once until `cleanup`."""
    global _mode
    if mode not in (BOARD, BCM):
        raise ValueError("An invalid mode was passed to setmode()")
    if _mode not in (None, mode):
        raise ValueError("A different mode has already been set!")
    _mode = mode


def getmode() -> int | None:
    """The numbering in use, None before `setmode`."""
    return _mode


def setwarnings(flag: bool) -> None:
    """Whether to warn of channels in use."""
    global _warn
    _warn = bool(flag)


def setup(
    channel: int | Iterable[int],
    direction: int,
    pull_up_down: int = PUD_OFF,
    initial: int | None = None,
) -> None:
    """Make channels inputs with a pull, or outputs that start at `initial`."""
    if direction not in (IN, OUT):
        raise ValueError("An invalid direction was passed to setup()")
    if direction == OUT and pull_up_down != PUD_OFF:
        raise ValueError("pull_up_down parameter is not valid for outputs")
    if direction == IN and initial is not None:
        raise ValueError("initial parameter is not valid for inputs")
    if pull_up_down not in (PUD_OFF, PUD_DOWN, PUD_UP):
        raise ValueError("Invalid value for pull_up_down")
    for pin in _pins(channel):
        if pin in _directions and _warn:
            warnings.warn("This channel is already in use, continuing anyway.", stacklevel=2)
        level = bool(initial) if direction == OUT else pull_up_down == PUD_UP
        current().claim(_OWNER, pin, direction == OUT, int(level))
        _directions[pin] = direction


def input(channel: int) -> int:
    """The level of a channel that has been set up."""
    (pin,) = _pins(channel)
    if pin not in _directions:
        raise RuntimeError("You must setup() the GPIO channel first")
    return current().level(pin)


def output(channel: int | Iterable[int], value: int) -> None:
    """Set outputs."""
    for pin in _pins(channel):
        if _directions.get(pin) != OUT:
            raise RuntimeError("The GPIO channel has not been set up as an OUTPUT")
        current().drive(_OWNER, pin, int(bool(value)))


def cleanup(channel: int | Iterable[int] | None = None) -> None:
    """Make channels high-impedance inputs; without any left the numbering is open again."""
    global _mode
    if not _directions and _warn:
        warnings.warn("No channels have been set up yet - nothing to clean up!", stacklevel=2)
    pins = list(_directions) if channel is None else _pins(channel)
    current().release(_OWNER, pins)
    for pin in pins:
        _directions.pop(pin, None)
    if channel is None:
        _mode = None


def _pins(channel: int | Iterable[int]) -> list[int]:
    if _mode is None:
        raise RuntimeError(
            "Please set pin numbering mode using GPIO.setmode(GPIO.BOARD) or GPIO.setmode(GPIO.BCM)"
        )
    pins = []
    for number in [channel] if isinstance(channel, int) else channel:
        pin = number
        if _mode == BOARD:
            pin = _BCM_OF_BOARD[number - 1] if 1 <= number <= 40 else -1
        if not 0 <= pin <= 27:
            raise ValueError("The channel sent is invalid on a Raspberry Pi")
        pins.append(pin)
    return pins
