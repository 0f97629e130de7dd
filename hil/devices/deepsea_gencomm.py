"""A Deep Sea 7310 MkII generator controller that speaks GenComm: register = 256 x page + offset."""

from collections.abc import Mapping, Sequence
from typing import Any

from hil.devices.device import W_PER_KW, SimulatedDevice
from hil.devices.plant_view import own_generator
from hil.devices.registers import (
    READ_HOLDING,
    WRITE_MANY,
    IllegalRequestError,
    Point,
    Unit,
)
from hil.plant import Controls, GeneratorState, PlantState

UNIMPLEMENTED = 0xFFFF
NEGATIVE_ACKNOWLEDGE = 7
STOP, AUTO, MANUAL, TEST_ON_LOAD, AUTO_MANUAL_RESTORE, USER, TEST_OFF_LOAD = range(7)

FIRST_KEY = 35700
KEY_STOP, KEY_AUTO, KEY_MANUAL, KEY_TEST, KEY_AUTO_RESTORE, KEY_START, KEY_MUTE, KEY_RESET = range(
    8
)
KEY_TELEMETRY_START, KEY_TELEMETRY_CANCEL, KEY_RESET_ALL = 32, 33, 34
SUPPORTED = (*range(8), KEY_TELEMETRY_START, KEY_TELEMETRY_CANCEL, KEY_RESET_ALL)
MODE_KEYS = {
    KEY_STOP: STOP,
    KEY_AUTO: AUTO,
    KEY_MANUAL: MANUAL,
    KEY_TEST: TEST_ON_LOAD,
    KEY_AUTO_RESTORE: AUTO_MANUAL_RESTORE,
}
ENGINE_STATES = {"stopped": 0, "starting": 1, "warming": 2, "running": 3, "cooling": 4}
CRANKING_RPM = 100

NOT_ACTIVE, SHUTDOWN, ELECTRICAL_TRIP = 1, 3, 4
SHUTDOWN_FLAG, ELECTRICAL_TRIP_FLAG = 1 << 12, 1 << 11
# Where the plant's alarms are among the named alarms of the 72xx/73xx/61xx/74xx MkII family
# (register of page 154, place from the left), and their severity.
ALARMS = {
    "emergency stop": ((1, 0), SHUTDOWN),
    "failed to start": ((4, 1), SHUTDOWN),
    "reverse power": ((14, 2), ELECTRICAL_TRIP),
    "tripped": ((6, 0), ELECTRICAL_TRIP),  # generator high current
    "out of fuel": ((6, 2), SHUTDOWN),  # low fuel level
}
NAMED_ALARMS = 80  # twenty registers of four
MODEL = 32840


def _page(page: int, offset: int) -> int:
    return 256 * page + offset


POINTS = {
    "manufacturer": Point(_page(3, 0), "u16", measured=False),
    "model": Point(_page(3, 1), "u16", measured=False),
    "serial": Point(_page(3, 2), "u32", measured=False),
    "mode": Point(_page(3, 4), "u16", measured=False),
    "flags": Point(_page(3, 6), "u16", measured=False),
    "oil_kpa": Point(_page(4, 0), "u16"),
    "coolant_degc": Point(_page(4, 1), "i16", 1, bytes.fromhex("7fff")),
    "fuel_pct": Point(_page(4, 3), "u16"),
    "charger_v": Point(_page(4, 4), "u16", 10),
    "starter_battery_v": Point(_page(4, 5), "u16", 10),
    "rpm": Point(_page(4, 6), "u16"),
    "hz": Point(_page(4, 7), "u16", 10),
    "l1_v": Point(_page(4, 8), "u32", 10),
    "l2_v": Point(_page(4, 10), "u32", 10),
    "l3_v": Point(_page(4, 12), "u32", 10),
    "l1_a": Point(_page(4, 20), "u32", 10),
    "l2_a": Point(_page(4, 22), "u32", 10),
    "l3_a": Point(_page(4, 24), "u32", 10),
    "l1_w": Point(_page(4, 28), "i32", 1, bytes.fromhex("7fffffff")),
    "l2_w": Point(_page(4, 30), "i32", 1, bytes.fromhex("7fffffff")),
    "l3_w": Point(_page(4, 32), "i32", 1, bytes.fromhex("7fffffff")),
    "mains_hz": Point(_page(4, 35), "u16", 10),
    "engine_state": Point(_page(5, 128), "u16", measured=False),
    "total_w": Point(_page(6, 0), "i32", 1, bytes.fromhex("7fffffff")),
    "load_pct": Point(_page(6, 22), "i16", 10, bytes.fromhex("7fff")),
    "run_s": Point(_page(7, 6), "u32"),
    "energy_kwh": Point(_page(7, 8), "u32", 10),
    "starts": Point(_page(7, 16), "u32"),
}
PAGES = (3, 4, 5, 6, 7, 8, 16, 154)
SUPPORTED_AT, KEY_AT = _page(16, 0), _page(16, 8)
ALARM_PAGE = 154  # page 8, the old alarm system, stays unimplemented


class DeepSeaGenComm(SimulatedDevice):
    """Runs in auto on a wired remote start or a latched telemetry start; nothing makes it lapse."""

    refresh_s = 0.5

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        self.rated_kw = float(entry["rated_kw"])
        self.remote_start = False  # the wired contact, which the bench sets
        self._telemetry_start = False
        self._manual_start = False
        self._reset = False
        blank = {_page(page, offset): UNIMPLEMENTED for page in PAGES for offset in range(256)}
        self._unit = self._serve(
            int(entry["unit"]),
            Unit(points=POINTS, words=blank, functions=frozenset({READ_HOLDING, WRITE_MANY})),
        )
        self._unit.writable = {KEY_AT, KEY_AT + 1}
        self._unit.validate = self._validate
        self._unit.written = self._written
        self._put_identity()
        self.select(AUTO)

    def select(self, mode: int) -> None:
        """Choose a control mode, as the buttons on the panel do."""
        with self.lock:
            self._unit.put("mode", mode)
            self._manual_start = False
            if mode not in (AUTO, AUTO_MANUAL_RESTORE):
                self._telemetry_start = False

    @property
    def mode(self) -> int:
        """The control mode."""
        return int(self._unit.number("mode"))

    def _put_identity(self) -> None:
        unit = self._unit
        for name, value in (("manufacturer", 1), ("model", MODEL), ("serial", 730000001)):
            unit.put(name, value)
        unit.put("flags", 0)
        for register in range(8):
            codes = (code - 16 * register for code in SUPPORTED if code // 16 == register)
            unit.words[SUPPORTED_AT + register] = sum(1 << 15 - bit for bit in codes)
        unit.words[_page(ALARM_PAGE, 0)] = NAMED_ALARMS
        self._put_alarm("")

    def _validate(self, address: int, words: Sequence[int]) -> None:
        """A key and its complement, in one request, or nothing."""
        keyed = address == KEY_AT and len(words) == 2 and words[0] ^ 0xFFFF == words[1]
        if not keyed or words[0] - FIRST_KEY not in SUPPORTED:
            raise IllegalRequestError(NEGATIVE_ACKNOWLEDGE)

    def _written(self, address: int, count: int) -> None:
        key = self._unit.words[KEY_AT] - FIRST_KEY
        self._unit.words.update({KEY_AT: UNIMPLEMENTED, KEY_AT + 1: UNIMPLEMENTED})  # write only
        if key in MODE_KEYS:
            self.select(MODE_KEYS[key])
        elif key == KEY_START:
            self._manual_start = self.mode in (MANUAL, TEST_ON_LOAD, TEST_OFF_LOAD)
        elif key == KEY_TELEMETRY_START:
            self._telemetry_start = self.mode in (AUTO, AUTO_MANUAL_RESTORE)
        elif key == KEY_TELEMETRY_CANCEL:
            self._telemetry_start = False
        elif key in (KEY_RESET, KEY_RESET_ALL):
            self._reset = True

    def _publish(self, state: PlantState) -> None:
        generator = own_generator(state, self.name)
        self._publish_instruments(state, generator)
        put = self._unit.put
        put("engine_state", ENGINE_STATES[generator.phase])
        put("run_s", generator.run_h * 3600)
        put("energy_kwh", generator.energy_kwh)
        put("starts", generator.starts)
        self._put_alarm(generator.alarm)

    def _publish_instruments(self, state: PlantState, generator: GeneratorState) -> None:
        put = self._unit.put
        turning = generator.rpm > CRANKING_RPM
        watts = generator.power_kw * W_PER_KW
        put("oil_kpa", 380 if turning else 0)
        put("coolant_degc", generator.coolant_degc)
        put("fuel_pct", 100 * generator.fuel_frac)
        put("charger_v", 14.1 if turning else 0)
        put("starter_battery_v", 13.8 if turning else 12.6)
        put("rpm", generator.rpm)
        put("hz", generator.frequency_hz)
        for phase in (1, 2, 3):
            put(f"l{phase}_v", generator.voltage_v)
            put(f"l{phase}_w", watts / 3)
            amps = abs(watts) / 3 / generator.voltage_v if generator.voltage_v > 1 else 0
            put(f"l{phase}_a", amps)
        put("total_w", watts)
        put("load_pct", 100 * generator.power_kw / self.rated_kw)
        put("mains_hz", state.grid_frequency_hz if state.grid_present else 0)

    def _put_alarm(self, alarm: str) -> None:
        place, severity = ALARMS.get(alarm, ((0, 0), NOT_ACTIVE))
        flags = {SHUTDOWN: SHUTDOWN_FLAG, ELECTRICAL_TRIP: ELECTRICAL_TRIP_FLAG}
        self._unit.put("flags", flags.get(severity, 0))
        for register in range(1, NAMED_ALARMS // 4 + 1):
            word = 0
            for nibble in range(4):
                word = word << 4 | (severity if (register, nibble) == place else NOT_ACTIVE)
            self._unit.words[_page(ALARM_PAGE, register)] = word

    def _commands(self) -> Controls:
        mode, reset = self.mode, self._reset
        self._reset = False
        if mode in (AUTO, AUTO_MANUAL_RESTORE):
            run = self.remote_start or self._telemetry_start
        elif mode in (TEST_ON_LOAD, TEST_OFF_LOAD):
            run = True
        else:
            run = mode == MANUAL and self._manual_start
        return Controls(generator_run=run, generator_reset=reset)
