"""A Deep Sea generator controller, spoken to in GenComm: register = 256 * page + offset.

After Deep Sea's GenComm standard: sentinels, control keys with their complement in one request,
alarms as four nibbles per register.
"""

from typing import Literal

from control.records import GeneratorMeasurement, Quantity, Setpoint
from drivers.device import DeviceError, Identity, Registers
from drivers.gencomm_alarms import PAGES, alarm_texts
from drivers.modbus_device import ModbusDevice, kilo, within
from drivers.registers import Kind, Register, RegisterMap, unsigned

_DEEP_SEA = 1
_TELEMETRY_START, _TELEMETRY_CANCEL = 35732, 35733
_FIRST_KEY = 35700
_SUPPORT = (4096, 8)  # one bit per control key
_KEY = 4104
# How long a start or stop may take to show before it counts as not obeyed; a set that is told to
# stop runs on until its return timer has expired.
_HOLD_S = {True: 30.0, False: 300.0}

_NO_VALUE = frozenset(range(0xFFF8, 0x10000))
_NO_SIGNED_VALUE_32 = frozenset(range(0x7FFF_FFF8, 0x8000_0000))
_MODE = Register("mode", 772, Kind.U16, sentinels=_NO_VALUE)
_PHASE = Register("phase", 1408, Kind.U16, sentinels=_NO_VALUE)
_POWER = Register("power_w", 1536, Kind.I32, sentinels=_NO_SIGNED_VALUE_32)
_STATE = RegisterMap(_PHASE)
_OUTPUT = RegisterMap(_POWER)
_MODES = RegisterMap(_MODE, Register("flags", 774, Kind.U16, sentinels=_NO_VALUE), gap=1)
_ENGINE = RegisterMap(
    Register("fuel_percent", 1027, Kind.U16, sentinels=_NO_VALUE, low=0, high=130),
    Register("speed_rpm", 1030, Kind.U16, sentinels=_NO_VALUE, low=0, high=6000),
    Register("frequency_hz", 1031, Kind.U16, 0.1, sentinels=_NO_VALUE, low=0, high=100),
    gap=4,
)
_MODE_NAMES = {0: "stop", 1: "auto", 2: "manual", 3: "test", 4: "auto", 6: "test", 7: "stop"}
_PHASES = {
    0: "stopped",
    1: "starting",
    2: "warming",
    3: "running",
    4: "cooling",
    5: "stopped",
    6: "cooling",
}
_BLOCKING = ("shutdown", "trip")
_BLOCKING_FLAGS = 0x3840  # unit failure, shutdown, electrical trip, controlled shutdown
_RUNNING_RPM = 100


class DeepseaGencomm(ModbusDevice[GeneratorMeasurement]):
    """`start`: "relay" when a hard-wired contact starts the set: this driver then never does;
    "gencomm" starts and stops it by telemetry keys, which only work in auto mode.

    A telemetry start is latched in the controller, so in the "gencomm" case `read` cancels it when
    the lease has run out; when the wire or this box is dead nothing does, which is what the relay
    is for. `rated_kw`: against which readings are judged.
    """

    def __init__(
        self, *, name: str, unit: int, rated_kw: float, start: Literal["relay", "gencomm"]
    ) -> None:
        super().__init__(name=name, unit=unit)
        self.quantities = frozenset({Quantity.RUN} if start == "gencomm" else ())
        self._rated_kw = rated_kw
        self._keys: frozenset[int] = frozenset()
        self._model = 0
        self._alarms_at = (0, 0)  # their first register, how many
        self._phase = "unknown"
        self._mode = "unknown"
        self._tripped = False
        self._engine: dict[str, float | None] = {}
        self._alarms: tuple[str, ...] = ()
        self._turn = 0
        self._running_until_s: float | None = None  # the end of our own start's lease
        self._wanted: bool | None = None
        self._wanted_s = 0.0  # since when

    def connect(self, registers: Registers, now_s: float) -> Identity:
        """Make sure that it is a Deep Sea controller and ask what it can do."""
        maker, model, *serial = registers.read(768, 4)
        if maker != _DEEP_SEA:
            raise DeviceError(f"not a Deep Sea controller: maker code {maker}")
        if Quantity.RUN in self.quantities:
            self._keys = _supported_keys(registers.read(*_SUPPORT))
        self._model = model
        self._alarms_at = _find_alarms(registers)
        for part in (self._read_mode, self._read_engine, self._read_alarms):
            part(registers)
        return Identity("Deep Sea Electronics", f"model {model}", str(unsigned(serial)))

    def read(self, registers: Registers, now_s: float) -> GeneratorMeasurement:
        """Power and engine state every time; mode, engine values and alarms in turn."""
        part = (self._read_mode, self._read_engine, self._read_alarms)[self._turn % 3]
        self._turn += 1
        part(registers)
        self._read_phase(registers)
        if self._running_until_s is not None and now_s >= self._running_until_s:
            self._cancel(registers)
        watts = _OUTPUT.read(registers)["power_w"]
        fuel_percent = self._engine.get("fuel_percent")
        tripped = self._tripped or any(alarm.startswith(_BLOCKING) for alarm in self._alarms)
        return GeneratorMeasurement(
            power_kw=within(kilo(watts), -0.5 * self._rated_kw, 3 * self._rated_kw),
            phase=self._phase,
            mode=self._mode,
            available=self._mode == "auto" and not tripped,
            fuel_frac=None if fuel_percent is None else min(1.0, fuel_percent / 100),
            frequency_hz=self._engine.get("frequency_hz"),
            alarms=self._alarms,
        )

    def write(self, registers: Registers, setpoint: Setpoint, now_s: float) -> float:
        """Start (1) or stop (0) by telemetry; some models accept the key and do nothing, so what
        comes back after half a minute is what the engine does.
        """
        run = setpoint.value >= 0.5
        self._read_mode(registers)
        if self._mode != "auto":
            raise DeviceError(f"the controller is in mode {self._mode}: it starts only in auto")
        latched = self._running_until_s is not None
        if run != latched or self._engine_runs() != run:
            self._send(registers, _TELEMETRY_START if run else _TELEMETRY_CANCEL)
        if run != self._wanted:
            self._wanted, self._wanted_s = run, now_s
        self._running_until_s = now_s + setpoint.lease_s if run else None
        self._read_phase(registers)
        obeyed = self._engine_runs() == run or now_s - self._wanted_s < _HOLD_S[run]
        return setpoint.value if obeyed else 1.0 - float(run)

    def release(self, registers: Registers, now_s: float) -> None:
        """Cancel our own start; the controller cools the engine down and stops it."""
        if self._running_until_s is not None:
            self._cancel(registers)

    def _cancel(self, registers: Registers) -> None:
        self._send(registers, _TELEMETRY_CANCEL)
        self._running_until_s = self._wanted = None

    def _engine_runs(self) -> bool:
        return self._phase in ("starting", "warming", "running")

    def _send(self, registers: Registers, key: int) -> None:
        if key not in self._keys:
            raise DeviceError(f"the controller does not offer control key {key}")
        registers.write(_KEY, [key, 0xFFFF - key])

    def _read_phase(self, registers: Registers) -> None:
        raw = _STATE.read(registers)["phase"]
        if raw is not None and raw != 15:
            self._phase = _PHASES.get(int(raw), "unknown")
            return
        speed_rpm = self._engine.get("speed_rpm")  # not every model tells its engine's state
        if speed_rpm is None:
            self._phase = "unknown"
        else:
            self._phase = "running" if speed_rpm > _RUNNING_RPM else "stopped"

    def _read_mode(self, registers: Registers) -> None:
        values = _MODES.read(registers)
        raw = values["mode"]
        self._mode = "unknown" if raw is None else _MODE_NAMES.get(int(raw), "unknown")
        self._tripped = bool(int(values["flags"] or 0) & _BLOCKING_FLAGS)

    def _read_engine(self, registers: Registers) -> None:
        self._engine = _ENGINE.read(registers)

    def _read_alarms(self, registers: Registers) -> None:
        address, count = self._alarms_at
        if count:
            self._alarms = alarm_texts(self._model, registers.read(address, count))


def _supported_keys(bitmap: list[int]) -> frozenset[int]:
    """Key 35700 + k is bit 15 - k % 16 of register k // 16."""
    codes = range(16 * len(bitmap))
    return frozenset(_FIRST_KEY + k for k in codes if bitmap[k // 16] >> (15 - k % 16) & 1)


def _find_alarms(registers: Registers) -> tuple[int, int]:
    """The first register of the named alarms and their number; (0, 0) on models without any."""
    for page in PAGES:
        try:
            count = registers.read(page, 1)[0]
        except DeviceError:
            continue
        if count and count not in _NO_VALUE:
            return page + 1, min(-(-count // 4), 64)
    return 0, 0
