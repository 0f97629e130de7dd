"""Single readings: refuse what cannot be, let the last good value stand in for a missing one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from control.records import Observed
from control.state import Held

T = TypeVar("T")


def at(observed: Sequence[Observed[T]], index: int) -> Observed[T]:
    """Return one device's observation; one that the sample leaves out was never read."""
    return observed[index] if index < len(observed) else Observed()


def plausible(value: float | None, low: float, high: float) -> float | None:
    """Return `value` if it can be true, else None: fresh nonsense is no better than silence."""
    if value is None or not low <= value <= high:  # false for NaN too
        return None
    return value


@dataclass(frozen=True, slots=True)
class Reading:
    """A power as it may be used now; `age_s` is None unless it was measured just now."""

    kw: float | None
    fresh: bool
    age_s: float | None = None


@dataclass
class Holder:
    """Lets the last good value of each quantity stand in for `hold_s`; keys with a dot are ours."""

    now_s: float
    hold_s: float
    old: dict[str, Held]
    new: dict[str, Held] = field(default_factory=dict)

    def value(self, key: str, value: float | None) -> float | None:
        """Return `value`, or what stands in for it."""
        if value is not None:
            self.new[key] = Held(value, self.now_s)
            return value
        held = self.old.get(key)
        if held is None or self.now_s - held.t_s > self.hold_s:
            return None
        self.new[key] = held
        return held.value

    def reading(self, key: str, value: float | None, age_s: float) -> Reading:
        """The same for a measured power, with its age."""
        known = self.value(key, value)
        if value is None:
            return Reading(known, fresh=False)
        return Reading(known, fresh=True, age_s=age_s if math.isfinite(age_s) else self.hold_s)

    def smoothed(self, key: str, value: float | None, weight: float) -> float | None:
        """The same, moving only by `weight` of the way from the last value."""
        before = self.value(key, None)
        if value is not None and before is not None:
            value = before + weight * (value - before)
        return self.value(key, value)

    def limit(self, key: str, live: float | None, nameplate: float, most_s: float) -> float | None:
        """A limit that a device may or may not tell (None); returns None for an unknown one.

        A device that never told one leaves the nameplate; one that did and stopped is not trusted
        with the nameplate: its last word holds for `most_s` and then nothing is known.
        """
        told = self.old.get(key)
        if live is not None and math.isfinite(live):
            told = Held(min(max(live, 0.0), nameplate), self.now_s)
        elif told is None:
            return nameplate if live is None else None
        self.new[key] = told
        return told.value if self.now_s - told.t_s <= most_s else None
