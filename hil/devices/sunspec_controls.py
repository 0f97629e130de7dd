"""Control models of simulated SunSpec devices: limits and setpoints that lapse."""

from collections.abc import Sequence

from hil.devices.device import DeadMan
from hil.devices.registers import ILLEGAL_VALUE, IllegalRequestError, Unit

LIMIT_123 = (
    "123.WMaxLimPct",
    "123.WMaxLimPct_WinTms",
    "123.WMaxLimPct_RvrtTms",
    "123.WMaxLimPct_RmpTms",
    "123.WMaxLim_Ena",
)
LIMIT_704 = (
    "704.WMaxLimPctEna",
    "704.WMaxLimPct",
    "704.WMaxLimPctRvrt",
    "704.WMaxLimPctEnaRvrt",
    "704.WMaxLimPctRvrtTms",
)
SET_704 = (
    "704.WSetEna",
    "704.WSetMod",
    "704.WSet",
    "704.WSetRvrt",
    "704.WSetPct",
    "704.WSetPctRvrt",
    "704.WSetEnaRvrt",
    "704.WSetRvrtTms",
)


def check_range(
    unit: Unit, name: str, address: int, words: Sequence[int], low: float, high: float
) -> None:
    """Refuse a write (exception 3) that puts a point out of its range."""
    value = unit.proposed(name, address, words)
    if value is not None and not low <= value <= high:
        raise IllegalRequestError(ILLEGAL_VALUE)


class ImmediateControls:
    """Model 123: connect, and a limit in percent that is dropped when its timer lapses.

    Window and ramp times are stored and have no effect: this inverter acts at once.
    """

    def __init__(self, unit: Unit) -> None:
        self._unit = unit
        self._limit_timer, self._connect_timer = DeadMan(), DeadMan()
        unit.put("123.Conn", 1)
        unit.put("123.WMaxLimPct", 100)
        for name in ("Conn_WinTms", "Conn_RvrtTms", *(n[4:] for n in LIMIT_123[1:])):
            unit.put(f"123.{name}", 0)
        for name in ("OutPFSet_Ena", "VArPct_Ena"):
            unit.put(f"123.{name}", 0)

    def validate(self, address: int, words: Sequence[int]) -> None:
        """Refuse what the model does not allow."""
        for name, high in (("Conn", 1), ("WMaxLimPct", 100), ("WMaxLim_Ena", 1)):
            check_range(self._unit, f"123.{name}", address, words, 0, high)

    def written(self, address: int, count: int, now_s: float) -> None:
        """Every write to a control starts its timer afresh."""
        unit = self._unit
        if unit.touches(address, count, *LIMIT_123):
            self._limit_timer.arm(now_s, unit.number("123.WMaxLimPct_RvrtTms"))
        if unit.touches(address, count, "123.Conn_WinTms", "123.Conn_RvrtTms", "123.Conn"):
            self._connect_timer.arm(now_s, unit.number("123.Conn_RvrtTms"))

    def tick(self, now_s: float) -> None:
        """Back to full power when the time is up."""
        if self._limit_timer.lapsed(now_s):
            self._unit.put("123.WMaxLim_Ena", 0)
            self._unit.put("123.WMaxLimPct", 100)
        if self._connect_timer.lapsed(now_s):
            self._unit.put("123.Conn", 1)

    @property
    def limit_frac(self) -> float | None:
        """The limit in force as a share of WMax, None without one."""
        if not self._unit.number("123.WMaxLim_Ena"):
            return None
        return self._unit.number("123.WMaxLimPct") / 100.0

    @property
    def connected(self) -> bool:
        """Whether the inverter may feed at all."""
        return bool(self._unit.number("123.Conn"))


class DerControls:
    """Model 704: a limit and an active power setpoint, each with a value to revert to.

    Timers are unsigned 32-bit seconds, high word first, and taken literally.
    """

    def __init__(self, unit: Unit, rated_w: float) -> None:
        self._unit = unit
        self._rated_w = rated_w
        self._limit_timer, self._set_timer = DeadMan(), DeadMan()
        for name in (*LIMIT_704, *SET_704, "704.WMaxLimPctRvrtRem", "704.WSetRvrtRem"):
            unit.put(name, 0)
        for name in ("704.WMaxLimPct", "704.WMaxLimPctRvrt"):
            unit.put(name, 100)
        for name in ("704.PFWInjEna", "704.PFWAbsEna", "704.VarSetEna", "704.AntiIslEna"):
            unit.put(name, 0)

    def validate(self, address: int, words: Sequence[int]) -> None:
        """Refuse what the model does not allow."""
        for name, high in (
            ("WMaxLimPctEna", 1),
            ("WMaxLimPct", 100),
            ("WMaxLimPctRvrt", 100),
            ("WMaxLimPctEnaRvrt", 1),
            ("WSetEna", 1),
            ("WSetMod", 1),
            ("WSetEnaRvrt", 1),
        ):
            check_range(self._unit, f"704.{name}", address, words, 0, high)

    def written(self, address: int, count: int, now_s: float) -> None:
        """Every write to a control starts its timer afresh."""
        unit = self._unit
        if unit.touches(address, count, *LIMIT_704):
            self._limit_timer.arm(now_s, unit.number("704.WMaxLimPctRvrtTms"))
        if unit.touches(address, count, *SET_704):
            self._set_timer.arm(now_s, unit.number("704.WSetRvrtTms"))
        self._show_remaining(now_s)

    def tick(self, now_s: float) -> None:
        """Take over the reversion values when the time is up."""
        if self._limit_timer.lapsed(now_s):
            self._revert("WMaxLimPct", "WMaxLimPctEna")
        if self._set_timer.lapsed(now_s):
            self._revert("WSet", "WSetPct", "WSetEna")
        self._show_remaining(now_s)

    @property
    def limit_frac(self) -> float | None:
        """The limit in force as a share of WMax, None without one."""
        if not self._unit.number("704.WMaxLimPctEna"):
            return None
        return self._unit.number("704.WMaxLimPct") / 100.0

    @property
    def setpoint_w(self) -> float | None:
        """The active power setpoint in force (> 0 injects), None without one."""
        unit = self._unit
        if not unit.number("704.WSetEna"):
            return None
        if unit.number("704.WSetMod") == 1:
            return unit.number("704.WSet")
        return unit.number("704.WSetPct") / 100.0 * self._rated_w

    def _revert(self, *names: str) -> None:
        for name in names:
            self._unit.put(f"704.{name}", self._unit.get(f"704.{name}Rvrt"))

    def _show_remaining(self, now_s: float) -> None:
        for name, timer in (("WMaxLimPct", self._limit_timer), ("WSet", self._set_timer)):
            self._unit.put(f"704.{name}RvrtRem", timer.remaining_s(now_s))
