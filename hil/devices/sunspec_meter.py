"""A three-phase meter at the grid connection with SunSpec models 1 and 203; import > 0."""

from collections.abc import Mapping
from typing import Any

from hil.devices.device import W_PER_KW, SimulatedDevice
from hil.devices.sunspec_chain import put_common, sunspec_unit
from hil.plant import Controls, PlantState

BASE = 40000
SCALES = {
    "A_SF": -2,
    "V_SF": -1,
    "Hz_SF": -2,
    "W_SF": 0,
    "VA_SF": 0,
    "VAR_SF": 0,
    "PF_SF": -2,
    "TotWh_SF": 0,
}


class SunSpecMeter(SimulatedDevice):
    """Measures only."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        self._unit = self._serve(int(entry["unit"]), sunspec_unit(BASE, {1: {}, 203: SCALES}))
        put_common(self._unit, BASE, "nanogrid bench", "Meter 203", "1.0", f"M-{self.name}")

    def _publish(self, state: PlantState) -> None:
        put = self._unit.put
        watts = state.grid_kw * W_PER_KW
        volts = state.grid_voltage_v
        amps = [watts / 3 / v if v > 1 else 0.0 for v in volts]
        put("203.A", sum(amps))
        put("203.PhV", sum(volts) / 3)
        put("203.PPV", sum(volts) / 3 * 3**0.5)
        put("203.W", watts)
        put("203.VA", abs(watts))
        put("203.VAR", 0)
        put("203.PF", 100)
        for phase, following, v, a in zip("ABC", "BCA", volts, amps, strict=True):
            put(f"203.Aph{phase}", a)
            put(f"203.PhVph{phase}", v)
            put(f"203.PhVph{phase}{following}", v * 3**0.5)
            put(f"203.Wph{phase}", watts / 3)
            put(f"203.VAph{phase}", abs(watts) / 3)
            put(f"203.VARph{phase}", 0)
            put(f"203.PFph{phase}", 100)
        put("203.Hz", state.grid_frequency_hz)
        put("203.TotWhExp", state.energy.grid_export_kwh * W_PER_KW)
        put("203.TotWhImp", state.energy.grid_import_kwh * W_PER_KW)
        put("203.Evt", 0)

    def _commands(self) -> Controls:
        return Controls()
