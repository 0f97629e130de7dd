"""The controller's own pins through the `RPi.GPIO` API, BCM numbers.

Levels: outputs are low (off) before they become outputs, and low again before `close` lets go of
them. A killed process leaves that to the machine: rpi-lgpio's lines go back to the kernel, those of
RPi.GPIO keep their last level. Neither is a safety function; the heartbeat is: an external
retriggerable monostable drops the run contact's supply when the edges stop, whatever the levels.
Relays are driven active high, with a pull-down at their inputs for the time before start.
"""

import contextlib
import importlib
import sys
from typing import Any

from control.records import Observed, Quality
from drivers.device import DeviceError

READS = 5  # odd; of one input in a row: one disturbed read does not stop the plant


class PinError(DeviceError):
    """The pins cannot be had: not a Pi, no permission, held by another process, or lost."""


class PiPins:
    """Emergency stop, generator run relay, heartbeat, status LED; each may be left out (None)."""

    def __init__(
        self,
        emergency_stop_pin: int | None = None,
        generator_relay_pin: int | None = None,
        heartbeat_pin: int | None = None,
        led_pin: int | None = None,
    ) -> None:
        """Touches nothing before `open`."""
        self._stop_pin = emergency_stop_pin
        self._relay_pin = generator_relay_pin
        self._heartbeat_pin = heartbeat_pin
        self._led_pin = led_pin
        self._gpio: Any = None
        self._relay_on = False
        self._heartbeat_on = False

    @property
    def is_open(self) -> bool:
        """Whether the pins are ours."""
        return self._gpio is not None

    @property
    def generator_relay(self) -> bool | None:
        """The run relay's commanded state, None without one (or while the pins are not ours)."""
        return self._relay_on if self.is_open and self._relay_pin is not None else None

    def open(self) -> None:
        """Take the pins, every output off; PinError when they cannot be had. Idempotent."""
        if self.is_open:
            return
        try:
            gpio = importlib.import_module("RPi.GPIO")
            gpio.setwarnings(False)  # of channels that a killed predecessor left behind
            gpio.setmode(gpio.BCM)
            self._gpio = gpio
            for pin in self._outputs():
                gpio.setup(pin, gpio.OUT, initial=gpio.LOW)
            if self._stop_pin is not None:
                gpio.setup(self._stop_pin, gpio.IN, pull_up_down=gpio.PUD_UP)
        except _hardware_errors() as error:
            self._let_go()
            raise PinError(f"GPIO: {error or type(error).__name__}") from error

    def read_emergency_stop(self) -> Observed[bool] | None:
        """True: pressed, or its wire broken (normally closed to ground). None when not wired."""
        if self._stop_pin is None:
            return None
        if not self.is_open:
            return Observed(None, detail="GPIO: not open")
        try:
            highs = sum(self._gpio.input(self._stop_pin) for _ in range(READS))
        except _hardware_errors() as error:
            self._let_go()
            return Observed(None, detail=f"GPIO: {error}")
        return Observed(2 * highs > READS, 0.0, Quality.GOOD, "")

    def set_generator_relay(self, on: bool) -> None:
        """Close (True) or open the generator's run contact."""
        self._output(self._relay_pin, on)
        self._relay_on = on

    def beat(self) -> None:
        """Toggle the heartbeat: once per completed cycle, and nowhere else."""
        self._output(self._heartbeat_pin, not self._heartbeat_on)
        self._heartbeat_on = not self._heartbeat_on

    def set_led(self, on: bool) -> None:
        """Light the status LED."""
        self._output(self._led_pin, on)

    def close(self) -> None:
        """Every output off, then all pins back to high impedance. Idempotent, never raises."""
        if self.is_open:
            for pin in self._outputs():
                with contextlib.suppress(*_hardware_errors()):
                    self._gpio.output(pin, self._gpio.LOW)
            self._let_go()

    def _outputs(self) -> list[int]:
        pins = (self._relay_pin, self._heartbeat_pin, self._led_pin)
        return [pin for pin in pins if pin is not None]

    def _output(self, pin: int | None, on: bool) -> None:
        if pin is None:
            return
        if not self.is_open:
            raise PinError("GPIO: not open")
        try:
            self._gpio.output(pin, self._gpio.HIGH if on else self._gpio.LOW)
        except _hardware_errors() as error:
            self._let_go()
            raise PinError(f"GPIO: {error or type(error).__name__}") from error

    def _let_go(self) -> None:
        gpio, self._gpio = self._gpio, None
        self._relay_on = self._heartbeat_on = False
        if gpio is not None:
            inputs = [] if self._stop_pin is None else [self._stop_pin]
            with contextlib.suppress(*_hardware_errors()):
                gpio.cleanup([*self._outputs(), *inputs])


def _hardware_errors() -> tuple[type[BaseException], ...]:
    """What the modules raise; rpi-lgpio passes on `lgpio.error`, an Exception of its own."""
    known: tuple[type[BaseException], ...] = (ImportError, RuntimeError, OSError, ValueError)
    lgpio_error = getattr(sys.modules.get("lgpio"), "error", None)
    return (*known, lgpio_error) if isinstance(lgpio_error, type) else known
