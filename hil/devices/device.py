"""What all simulated devices have in common: registers, a lock, faults, and time from outside."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, ClassVar

from hil.devices.registers import Unit
from hil.plant import Controls, PlantState
from hil.wire_faults import Fault

W_PER_KW = 1000.0


class DeadMan:
    """A device's own timer: what was commanded lapses unless it is commanded again."""

    def __init__(self) -> None:
        self._until_s: float | None = None

    def arm(self, now_s: float, period_s: float) -> None:
        """Start afresh; a period of 0 means that the command never lapses."""
        self._until_s = now_s + period_s if period_s > 0 else None

    def remaining_s(self, now_s: float) -> float:
        """Seconds left, 0 when not running."""
        return 0.0 if self._until_s is None else max(self._until_s - now_s, 0.0)

    def lapsed(self, now_s: float) -> bool:
        """True once, when the time is up."""
        if self._until_s is None or now_s < self._until_s:
            return False
        self._until_s = None
        return True


class SimulatedDevice(ABC):
    """One device of the bench: registers towards the bus, measurements and commands to the plant.

    It reads no clock: `update` and `controls` bring the time, and a request that arrives in
    between counts as arriving at the last time seen.
    """

    refresh_s: ClassVar[float] = 1.0  # how often the device renews its measurements

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.name = str(entry["name"])
        self.bus = str(entry["bus"])
        self.units: dict[int, Unit] = {}
        self.faults: set[Fault] = set()
        self.lock = threading.RLock()  # held by the bus around a request
        self.now_s = 0.0
        self.state: PlantState | None = None  # the plant now, as the power stage feels it
        self._shown: PlantState | None = None  # the plant as the registers show it
        self._shown_s = float("-inf")
        self._stale = False
        self._obeyed = Controls()

    def update(self, state: PlantState, now_s: float) -> None:
        """Take over the plant's state; the registers follow at the device's own pace."""
        with self.lock:
            self.now_s = now_s
            self.state = state
            self._tick()
            due = now_s - self._shown_s >= self.refresh_s - 1e-6
            if due and Fault.FROZEN not in self.faults:
                self._shown, self._shown_s, self._stale = state, now_s, True

    def controls(self, now_s: float) -> Controls:
        """What the device commands the plant at `now_s`; only its own part is set."""
        with self.lock:
            self.now_s = now_s
            self._tick()
            if Fault.NOT_OBEYED not in self.faults:
                self._obeyed = self._commands()
            return self._obeyed

    def _serve(self, number: int, unit: Unit) -> Unit:
        """Put a unit on the bus; its registers are brought up to date when somebody looks."""
        unit.refresh = self._bring_up_to_date
        self.units[number] = unit
        return unit

    def _bring_up_to_date(self) -> None:
        if self._stale and self._shown is not None:
            self._stale = False
            self._publish(self._shown)

    @abstractmethod
    def _publish(self, state: PlantState) -> None:
        """Write measurements into the registers."""

    @abstractmethod
    def _commands(self) -> Controls:
        """What the registers, timers and contacts command now."""

    def _tick(self) -> None:  # noqa: B027 - a device without timers has nothing to do
        """Let timers run down."""


def combined(parts: Iterable[Controls], units: Mapping[str, Controls] | None = None) -> Controls:
    """What all devices together command: each part counts where it differs from the default.

    `units`: the parts of batteries and generators by name, where there are several of a kind.
    """
    together: dict[str, Any] = {"pv_limit_kw": {}, "inverters_off": frozenset()}
    for part in parts:
        together["pv_limit_kw"] |= part.pv_limit_kw
        together["inverters_off"] |= part.inverters_off
        for name in _SINGLE:
            value = getattr(part, name)
            if value != getattr(_UNTOUCHED, name):
                together[name] = value
    return Controls(**together, units=units or {})


_UNTOUCHED = Controls()
_MANY = ("pv_limit_kw", "inverters_off", "units")
_SINGLE = tuple(f.name for f in fields(Controls) if f.name not in _MANY)
