"""A battery inverter with its battery in SunSpec models: 103, 124, 802, or 701, 704, 713, 802."""

from collections.abc import Mapping, Sequence
from typing import Any

from hil.devices.device import W_PER_KW, DeadMan, SimulatedDevice
from hil.devices.plant_view import own_battery, self_consumption_kw
from hil.devices.registers import Unit
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
from hil.devices.sunspec_controls import DerControls, check_range
from hil.plant import BatteryState, Controls, PlantState

SCALES_124 = {
    "WChaMax_SF": 0,
    "WChaDisChaGra_SF": 0,
    "MinRsvPct_SF": -2,
    "ChaState_SF": -2,
    "StorAval_SF": 0,
    "InBatV_SF": -2,
    "InOutWRte_SF": -2,
}
SCALES_713 = {"WH_SF": 1, "Pct_SF": -1}
SCALES_802 = {
    "AHRtg_SF": 0,
    "WHRtg_SF": 1,
    "WChaDisChaMax_SF": 0,
    "SoC_SF": -1,
    "SoH_SF": -1,
    "DoD_SF": -1,
    "V_SF": -1,
    "A_SF": -1,
    "AMax_SF": -1,
    "W_SF": 0,
}
RATES_124 = (
    "124.StorCtl_Mod",
    "124.OutWRte",
    "124.InWRte",
    "124.InOutWRte_WinTms",
    "124.InOutWRte_RvrtTms",
    "124.InOutWRte_RmpTms",
)
CHARGE_BIT, DISCHARGE_BIT = 1, 2
OFF, EMPTY, DISCHARGING, CHARGING, FULL, HOLDING = 1, 2, 3, 4, 5, 6
CONNECT, DISCONNECT = 1, 2
DISCONNECTED, CONNECTED, STANDBY = 1, 3, 4
ST_103 = {"off": 1, "standby": 8, "running": 4}
ST_701 = {"off": 0, "standby": 7, "running": 3}


class _Storage(SimulatedDevice):
    """What both families share: ratings and the battery model 802."""

    refresh_s = 0.5
    _unit: Unit

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        self.charge_max_kw = float(entry["charge_max_kw"])
        self.discharge_max_kw = float(entry["discharge_max_kw"])
        self.capacity_kwh = float(entry["capacity_kwh"])
        self.inverter_kw = float(
            entry.get("inverter_rated_kw") or max(self.charge_max_kw, self.discharge_max_kw)
        )

    def _put_battery_ratings(self) -> None:
        for name, value in (
            ("802.WHRtg", self.capacity_kwh * W_PER_KW),
            ("802.WChaRteMax", self.charge_max_kw * W_PER_KW),
            ("802.WDisChaRteMax", self.discharge_max_kw * W_PER_KW),
            ("802.SoCMax", 100),
            ("802.SoCMin", 0),
            ("802.SoH", 100),
            ("802.LocRemCtl", 0),
            ("802.CtrlHb", 0),
            ("802.AlmRst", 0),
            ("802.Typ", 4),
            ("802.State", CONNECTED),
            ("802.Evt1", 0),
            ("802.Evt2", 0),
            ("802.EvtVnd1", 0),
            ("802.EvtVnd2", 0),
            ("802.SetOp", CONNECT),
            ("802.SetInvState", 3),
        ):
            self._unit.put(name, value)

    def _publish_802(self, battery: BatteryState) -> None:
        put = self._unit.put
        volts = battery.voltage_v
        put("802.AHRtg", self.capacity_kwh * W_PER_KW / volts if volts > 1 else None)
        put("802.SoC", 100 * battery.soc_frac)
        put("802.DoD", 100 * (1 - battery.soc_frac))
        put("802.ChaSt", charge_status(battery))
        put("802.Hb", int(self.now_s) & 0x7FFF)
        put("802.State", DISCONNECTED if battery.state == "off" else CONNECTED)
        put("802.V", volts)
        put("802.A", battery.current_a)
        put("802.W", battery.dc_kw * W_PER_KW)
        put("802.AChaMax", battery.charge_limit_kw * W_PER_KW / volts if volts > 1 else 0)
        put("802.ADisChaMax", battery.discharge_limit_kw * W_PER_KW / volts if volts > 1 else 0)

    @property
    def _disconnected(self) -> bool:
        return self._unit.number("802.SetOp") == DISCONNECT


class SunSpecStorage(_Storage):
    """Models 1, 103, 120, 124 and 802: limits on self-consumption that lapse.

    With bit 0 of StorCtl_Mod the battery charges at most InWRte percent of WChaMax, with bit 1 it
    discharges at most OutWRte percent of the nameplate's MaxDisChaRte. A negative limit forces the
    other direction, and OutWRte wins where both contradict each other. When the timer lapses the
    inverter goes back to self-consumption.
    """

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        scales = {1: {}, 103: SCALES_103, 120: SCALES_120, 124: SCALES_124, 802: SCALES_802}
        self._unit = self._serve(int(entry["unit"]), sunspec_unit(BASE, scales))
        put_common(self._unit, BASE, "nanogrid bench", "Storage 124", "1.0", f"ESS-{self.name}")
        self._timer = DeadMan()
        self._put_battery_ratings()
        for name, value in (
            ("120.DERTyp", 82),
            ("120.WRtg", self.inverter_kw * W_PER_KW),
            ("120.VARtg", self.inverter_kw * W_PER_KW),
            ("120.WHRtg", self.capacity_kwh * W_PER_KW),
            ("120.MaxChaRte", self.charge_max_kw * W_PER_KW),
            ("120.MaxDisChaRte", self.discharge_max_kw * W_PER_KW),
            ("124.WChaMax", self.charge_max_kw * W_PER_KW),
            ("124.WChaGra", 100),
            ("124.WDisChaGra", 100),
            ("124.StorCtl_Mod", 0),
            ("124.MinRsvPct", 5),
            ("124.OutWRte", 100),
            ("124.InWRte", 100),
            ("124.InOutWRte_WinTms", 0),
            ("124.InOutWRte_RvrtTms", 0),
            ("124.InOutWRte_RmpTms", 0),
            ("124.ChaGriSet", 1),
        ):
            self._unit.put(name, value)
        self._unit.validate = self._validate
        self._unit.written = self._written

    def _validate(self, address: int, words: Sequence[int]) -> None:
        for name, low, high in (
            ("StorCtl_Mod", 0, CHARGE_BIT | DISCHARGE_BIT),
            ("OutWRte", -100, 100),
            ("InWRte", -100, 100),
            ("MinRsvPct", 0, 100),
            ("ChaGriSet", 0, 1),
        ):
            check_range(self._unit, f"124.{name}", address, words, low, high)

    def _written(self, address: int, count: int) -> None:
        if self._unit.touches(address, count, *RATES_124):
            self._timer.arm(self.now_s, self._unit.number("124.InOutWRte_RvrtTms"))

    def _tick(self) -> None:
        if self._timer.lapsed(self.now_s):
            self._unit.put("124.StorCtl_Mod", 0)
            self._unit.put("124.OutWRte", 100)
            self._unit.put("124.InWRte", 100)

    def _publish(self, state: PlantState) -> None:
        battery = own_battery(state, self.name)
        publish_103(self._unit, state, battery.power_kw, battery.discharged_kwh)
        put = self._unit.put
        put("103.DCW", battery.dc_kw * W_PER_KW)
        put("103.DCV", battery.voltage_v)
        put("103.DCA", abs(battery.current_a))
        put("103.TmpCab", battery.temperature_degc)
        put("103.St", ST_103[battery.state])
        put("124.ChaState", 100 * battery.soc_frac)
        put("124.InBatV", battery.voltage_v)
        put("124.ChaSt", charge_status(battery))
        self._publish_802(battery)

    def _commands(self) -> Controls:
        unit = self._unit
        active = int(unit.number("124.StorCtl_Mod"))
        if not active or self.state is None:
            return Controls(battery_off=self._disconnected)
        low_kw, high_kw = -self.charge_max_kw, self.discharge_max_kw
        if active & CHARGE_BIT:
            low_kw = -unit.number("124.InWRte") / 100 * self.charge_max_kw
        if active & DISCHARGE_BIT:
            high_kw = unit.number("124.OutWRte") / 100 * self.discharge_max_kw
        wanted_kw = max(self_consumption_kw(self.state, self.name), low_kw)
        return Controls(battery_kw=min(wanted_kw, high_kw), battery_off=self._disconnected)


class SunSpecDerStorage(_Storage):
    """Models 1, 701, 702, 704, 713 and 802: a power setpoint that lapses to WSetRvrt."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        scales = {
            1: {},
            701: SCALES_701,
            702: SCALES_702,
            704: SCALES_704,
            713: SCALES_713,
            802: SCALES_802,
        }
        self._unit = self._serve(int(entry["unit"]), sunspec_unit(DER_BASE, scales))
        put_common(self._unit, DER_BASE, "nanogrid bench", "Storage 704", "1.0", f"ESS-{self.name}")
        self._put_battery_ratings()
        for suffix in ("Rtg", ""):
            for name, value_kw in (
                ("WMax", self.inverter_kw),
                ("VAMax", self.inverter_kw),
                ("WChaRteMax", self.charge_max_kw),
                ("WDisChaRteMax", self.discharge_max_kw),
            ):
                self._unit.put(f"702.{name}{suffix}", value_kw * W_PER_KW)
        self._unit.put("713.WHRtg", self.capacity_kwh * W_PER_KW)
        self._unit.put("713.SoH", 100)
        self._unit.put("713.Sta", 0)
        self._control = DerControls(self._unit, self.inverter_kw * W_PER_KW)
        self._unit.validate = self._control.validate
        self._unit.written = self._written

    def _written(self, address: int, count: int) -> None:
        self._control.written(address, count, self.now_s)

    def _tick(self) -> None:
        self._control.tick(self.now_s)

    def _publish(self, state: PlantState) -> None:
        battery = own_battery(state, self.name)
        publish_701(self._unit, state, battery.power_kw)
        put = self._unit.put
        put("701.TotWhInj", battery.discharged_kwh * W_PER_KW)
        put("701.TotWhAbs", battery.charged_kwh * W_PER_KW)
        put("701.TmpCab", battery.temperature_degc)
        put("701.St", battery.state == "running")
        put("701.InvSt", ST_701[battery.state])
        put("701.ConnSt", battery.state != "off")
        put("701.DERMode", 2 if battery.grid_forming else 1)
        put("701.ThrotPct", 0)
        put("701.ThrotSrc", 0)
        put("713.WHAvail", battery.stored_kwh * W_PER_KW)
        put("713.SoC", 100 * battery.soc_frac)
        self._publish_802(battery)

    def _commands(self) -> Controls:
        setpoint_w, share = self._control.setpoint_w, self._control.limit_frac
        if setpoint_w is None:
            return Controls(battery_off=self._disconnected)
        kw = setpoint_w / W_PER_KW
        if share is not None:
            kw = min(kw, share * self.inverter_kw)
        kw = min(max(kw, -self.charge_max_kw), self.discharge_max_kw)
        return Controls(battery_kw=kw, battery_off=self._disconnected)


def charge_status(battery: BatteryState) -> int:
    """The charge status that models 124 and 802 share."""
    if battery.state == "off":
        return OFF
    if abs(battery.power_kw) > 0.01:
        return DISCHARGING if battery.power_kw > 0 else CHARGING
    if battery.discharge_limit_kw <= 0:
        return EMPTY
    return FULL if battery.charge_limit_kw <= 0 else HOLDING
