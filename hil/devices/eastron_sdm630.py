"""An Eastron SDM630 at the grid connection: input registers, floats of two words, import > 0."""

from collections.abc import Mapping
from typing import Any

from hil.devices.device import W_PER_KW, SimulatedDevice
from hil.devices.registers import READ_HOLDING, READ_INPUT, Point, Unit
from hil.plant import Controls, PlantState
from hil.wire_faults import Fault

MAX_READ = 80  # 40 parameters
LAST_ADDRESS = 0x17D


def _phases(name: str, first: int) -> dict[str, Point]:
    return {f"{name}_l{i + 1}": Point(first + 2 * i, "f32") for i in range(3)}


INPUTS = {
    **_phases("v", 0x00),
    **_phases("a", 0x06),
    **_phases("w", 0x0C),
    **_phases("va", 0x12),
    **_phases("var", 0x18),
    **_phases("pf", 0x1E),
    **_phases("angle", 0x24),
    "v_mean": Point(0x2A, "f32"),
    "a_mean": Point(0x2E, "f32"),
    "a_sum": Point(0x30, "f32"),
    "w_total": Point(0x34, "f32"),
    "va_total": Point(0x38, "f32"),
    "var_total": Point(0x3C, "f32"),
    "pf_total": Point(0x3E, "f32"),
    "angle_total": Point(0x42, "f32"),
    "hz": Point(0x46, "f32"),
    "import_kwh": Point(0x48, "f32"),
    "export_kwh": Point(0x4A, "f32"),
    "import_kvarh": Point(0x4C, "f32"),
    "export_kvarh": Point(0x4E, "f32"),
    "total_kwh": Point(0x156, "f32"),
    "total_kvarh": Point(0x158, "f32"),
}
HOLDING = {
    "baud_code": Point(0x1C, "f32", measured=False),
    "node": Point(0x14, "f32", measured=False),
    "serial": Point(0xFC00, "u32", measured=False),
}


class _TwoTables(Unit):
    """The meter keeps measurements in input registers and its set-up in holding registers."""

    settings: Unit

    def read(self, function: int, address: int, count: int, faults: set[Fault]) -> list[int]:
        """Function code 3 reads the set-up, 4 the measurements."""
        if function == READ_HOLDING:
            return self.settings.read(function, address, count, faults)
        return super().read(function, address, count, faults)


class EastronSdm630(SimulatedDevice):
    """Measures only; addresses between its parameters read as 0."""

    refresh_s = 0.2

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        number = int(entry["unit"])
        unit = _TwoTables(
            points=INPUTS,
            functions=frozenset({READ_INPUT}),
            max_read=MAX_READ,
            words=dict.fromkeys(range(LAST_ADDRESS + 1), 0),
        )
        unit.settings = Unit(points=HOLDING, functions=frozenset({READ_HOLDING}))
        for name, value in (("baud_code", 3), ("node", number), ("serial", 21000001)):
            unit.settings.put(name, value)
        self._unit = self._serve(number, unit)

    def _publish(self, state: PlantState) -> None:
        put = self._unit.put
        watts = state.grid_kw * W_PER_KW
        volts = state.grid_voltage_v
        sign = (watts > 0) - (watts < 0)
        amps = [abs(watts) / 3 / v if v > 1 else 0.0 for v in volts]
        for phase, v, a in zip((1, 2, 3), volts, amps, strict=True):
            put(f"v_l{phase}", v)
            put(f"a_l{phase}", a)
            put(f"w_l{phase}", watts / 3)
            put(f"va_l{phase}", abs(watts) / 3)
            put(f"var_l{phase}", 0)
            put(f"pf_l{phase}", sign or 1)
            put(f"angle_l{phase}", 0)
        put("v_mean", sum(volts) / 3)
        put("a_mean", sum(amps) / 3)
        put("a_sum", sum(amps))
        put("w_total", watts)
        put("va_total", abs(watts))
        put("var_total", 0)
        put("pf_total", sign or 1)
        put("angle_total", 0)
        put("hz", state.grid_frequency_hz)
        put("import_kwh", state.energy.grid_import_kwh)
        put("export_kwh", state.energy.grid_export_kwh)
        put("import_kvarh", 0)
        put("export_kvarh", 0)
        put("total_kwh", state.energy.grid_import_kwh + state.energy.grid_export_kwh)
        put("total_kvarh", 0)

    def _commands(self) -> Controls:
        return Controls()
