"""What the meter counted in each slot, from registers that are read now and then."""

from dataclasses import dataclass
from typing import Literal

from control.settlement import Metered
from control.trades import Position

Quality = Literal["ok", "est", "missing"]
NEAR_S = 5.0  # readings this near to each other tell the register between them ...
NEAR_FRAC = 0.02  # ... or this share of a slot
OFF_FRAC = 0.1  # a slot that a step of the clock made longer or shorter by more is not read
KEPT_BOUNDS = 200
MOST_WH = 10**9


@dataclass(frozen=True, slots=True)
class Registers:
    """The meter at one moment."""

    utc_s: float
    t_s: float  # monotonic
    import_kwh: float
    export_kwh: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One slot, as it is told to all. Registers at its end."""

    import_wh: int
    export_wh: int
    import_register_wh: int
    export_register_wh: int
    quality: Quality

    @property
    def metered(self) -> Metered | None:
        """For settlement."""
        if self.quality == "missing":
            return None
        return Metered(self.import_wh, self.export_wh)


MISSING = Reading(0, 0, 0, 0, "missing")


class SlotMeter:
    """Registers at the bounds of slots, by interpolation between the readings on either side."""

    def __init__(self, slot_s: float) -> None:
        self._slot_s = slot_s
        self._near_s = max(NEAR_S, NEAR_FRAC * slot_s)
        self._last: Registers | None = None
        self._bounds: dict[int, tuple[Registers, bool]] = {}  # and whether it is well known

    def note(self, position: Position) -> None:
        """Registers now; without them, or the time, what lies between stays unknown."""
        now = _registers(position)
        last, self._last = self._last, now
        if now is None:
            return
        # What lies ahead of now comes from a clock that was ahead, and is void.
        self._bounds = {
            number: known
            for number, known in self._bounds.items()
            if number * self._slot_s <= now.utc_s
        }
        if last is None or now.utc_s <= last.utc_s:
            return
        if now.import_kwh < last.import_kwh or now.export_kwh < last.export_kwh:
            return  # another meter
        first = int(last.utc_s // self._slot_s) + 1
        end = int(now.utc_s // self._slot_s)
        near = now.utc_s - last.utc_s <= self._near_s
        for number in range(max(first, end - KEPT_BOUNDS + 1), end + 1):
            at = _between(last, now, number * self._slot_s)
            self._bounds.setdefault(number, (at, near))
        for number in sorted(self._bounds)[:-KEPT_BOUNDS]:
            del self._bounds[number]

    def reading(self, epoch: int) -> Reading:
        """What one slot was, once it is over."""
        begin, end = self._bounds.get(epoch), self._bounds.get(epoch + 1)
        if begin is None or end is None:
            return MISSING
        (first, first_near), (last, last_near) = begin, end
        import_wh = _wh(last.import_kwh) - _wh(first.import_kwh)
        export_wh = _wh(last.export_kwh) - _wh(first.export_kwh)
        if not (0 <= import_wh <= MOST_WH and 0 <= export_wh <= MOST_WH):
            return MISSING
        off_s = abs(last.t_s - first.t_s - self._slot_s)
        if off_s > OFF_FRAC * self._slot_s:
            return MISSING
        well = first_near and last_near and off_s <= self._near_s
        quality: Quality = "ok" if well else "est"
        return Reading(import_wh, export_wh, _wh(last.import_kwh), _wh(last.export_kwh), quality)


def _registers(position: Position) -> Registers | None:
    imported, exported = position.import_kwh, position.export_kwh
    if imported is None or exported is None or position.clock_problem:  # in which slot is unknown
        return None
    if not (0.0 <= imported < 1e12 and 0.0 <= exported < 1e12):  # false for NaN too
        return None
    return Registers(position.utc_s, position.t_s, imported, exported)


def _between(before: Registers, after: Registers, utc_s: float) -> Registers:
    share = (utc_s - before.utc_s) / (after.utc_s - before.utc_s)
    return Registers(
        utc_s,
        before.t_s + share * (after.t_s - before.t_s),
        before.import_kwh + share * (after.import_kwh - before.import_kwh),
        before.export_kwh + share * (after.export_kwh - before.export_kwh),
    )


def _wh(kwh: float) -> int:
    return round(1000.0 * kwh)
