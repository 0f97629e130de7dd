"""A PV or wind inverter with SunSpec models 103, 120, 121, 123, or with 701, 702, 704."""

from collections.abc import Mapping
from typing import Any

from hil.devices.device import W_PER_KW, SimulatedDevice
from hil.devices.plant_view import own_inverter
from hil.devices.sunspec_ac import (
    BASE,
    DER_BASE,
    SCALES_103,
    SCALES_120,
    SCALES_701,
    SCALES_702,
    SCALES_704,
    publish_103,
    publish_701,
)
from hil.devices.sunspec_chain import put_common, sunspec_unit
from hil.devices.sunspec_controls import DerControls, ImmediateControls
from hil.plant import Controls, InverterState, PlantState

ST_103 = {"off": 1, "sleeping": 2, "starting": 3, "running": 4, "throttled": 5}
ST_701 = {"off": 0, "sleeping": 1, "starting": 2, "running": 3, "throttled": 4}
_DC_BUS_V = 600.0


class SunSpecInverter(SimulatedDevice):
    """Models 1, 103, 120, 121 and 123: a limit that lapses back to full power."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        rated_w = float(entry["rated_kw"]) * W_PER_KW
        self.rated_kw = float(entry["rated_kw"])
        self._unit = self._serve(
            int(entry["unit"]),
            sunspec_unit(
                BASE,
                {
                    1: {},
                    103: SCALES_103,
                    120: SCALES_120,
                    121: {"WMax_SF": 0, "VRef_SF": -1, "VRefOfs_SF": -1, "ECPNomHz_SF": -2},
                    123: {"WMaxLimPct_SF": -2, "OutPFSet_SF": -2, "VArPct_SF": -1},
                },
            ),
        )
        put_common(self._unit, BASE, "nanogrid bench", "PV 103", "1.0", f"PV-{self.name}")
        for name, value in (
            ("120.DERTyp", 4),
            ("120.WRtg", rated_w),
            ("120.VARtg", rated_w),
            ("120.ARtg", rated_w / 3 / 230),
            ("121.WMax", rated_w),
            ("121.VRef", 230),
            ("121.VRefOfs", 0),
            ("121.ECPNomHz", 50),
        ):
            self._unit.put(name, value)
        self._control = ImmediateControls(self._unit)
        self._unit.validate = self._control.validate
        self._unit.written = self._written

    def _written(self, address: int, count: int) -> None:
        self._control.written(address, count, self.now_s)

    def _tick(self) -> None:
        self._control.tick(self.now_s)

    def _publish(self, state: PlantState) -> None:
        inverter = own_inverter(state, self.name)
        publish_103(self._unit, state, inverter.power_kw, inverter.energy_kwh)
        self._unit.put("103.DCW", inverter.dc_kw * W_PER_KW)
        self._unit.put("103.DCV", _DC_BUS_V if inverter.available_kw > 0 else 0)
        self._unit.put("103.DCA", inverter.dc_kw * W_PER_KW / _DC_BUS_V)
        self._unit.put("103.TmpCab", inverter.temperature_degc)
        self._unit.put("103.St", ST_103[inverter.state])

    def _commands(self) -> Controls:
        share = self._control.limit_frac
        return Controls(
            pv_limit_kw={self.name: None if share is None else share * self.rated_kw},
            inverters_off=frozenset() if self._control.connected else frozenset({self.name}),
        )


class SunSpecDerInverter(SimulatedDevice):
    """Models 1, 701, 702 and 704: a limit that lapses to a value of the controller's choice."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        self.rated_kw = float(entry["rated_kw"])
        rated_w = self.rated_kw * W_PER_KW
        self._unit = self._serve(
            int(entry["unit"]),
            sunspec_unit(DER_BASE, {1: {}, 701: SCALES_701, 702: SCALES_702, 704: SCALES_704}),
        )
        put_common(self._unit, DER_BASE, "nanogrid bench", "PV 704", "1.0", f"PV-{self.name}")
        for name in ("702.WMaxRtg", "702.VAMaxRtg", "702.WMax", "702.VAMax"):
            self._unit.put(name, rated_w)
        for name in ("702.VNomRtg", "702.VNom"):
            self._unit.put(name, 230)
        self._control = DerControls(self._unit, rated_w)
        self._unit.validate = self._control.validate
        self._unit.written = self._written

    def _written(self, address: int, count: int) -> None:
        self._control.written(address, count, self.now_s)

    def _tick(self) -> None:
        self._control.tick(self.now_s)

    def _publish(self, state: PlantState) -> None:
        inverter = own_inverter(state, self.name)
        publish_701(self._unit, state, inverter.power_kw)
        put = self._unit.put
        put("701.TotWhInj", inverter.energy_kwh * W_PER_KW)
        put("701.TotWhAbs", 0)
        put("701.TmpCab", inverter.temperature_degc)
        put("701.St", inverter.state in ("starting", "running", "throttled"))
        put("701.InvSt", ST_701[inverter.state])
        put("701.ConnSt", inverter.state != "off")
        put("701.ThrotPct", throttling_pct(inverter))
        put("701.ThrotSrc", inverter.state == "throttled")

    def _commands(self) -> Controls:
        share, setpoint_w = self._control.limit_frac, self._control.setpoint_w
        limits = [share * self.rated_kw] if share is not None else []
        limits += [max(setpoint_w, 0.0) / W_PER_KW] if setpoint_w is not None else []
        return Controls(pv_limit_kw={self.name: min(limits, default=None)})


def throttling_pct(inverter: InverterState) -> float:
    """How much of what it could deliver is held back, in percent."""
    if inverter.available_kw <= 0:
        return 0.0
    return 100.0 * max(1.0 - inverter.power_kw / inverter.available_kw, 0.0)
