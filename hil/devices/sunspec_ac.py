"""What simulated SunSpec inverters share: addresses, scale factors, AC values of 103 and 701."""

from hil.devices.device import W_PER_KW
from hil.devices.registers import Unit
from hil.plant import PlantState

BASE = 40000
DER_BASE = 50000  # the last of the standard's three bases, so that a client has to look for it

SCALES_103 = {
    "A_SF": -2,
    "V_SF": -1,
    "W_SF": 0,
    "Hz_SF": -2,
    "VA_SF": 0,
    "VAr_SF": 0,
    "PF_SF": -2,
    "WH_SF": 0,
    "DCV_SF": -1,
    "DCW_SF": 0,
    "DCA_SF": -2,
    "Tmp_SF": -1,
}
SCALES_120 = {
    "WRtg_SF": 0,
    "VARtg_SF": 0,
    "VArRtg_SF": 0,
    "ARtg_SF": -1,
    "PFRtg_SF": -2,
    "WHRtg_SF": 0,
    "MaxChaRte_SF": 0,
    "MaxDisChaRte_SF": 0,
}
SCALES_701 = {
    "A_SF": -2,
    "V_SF": -1,
    "Hz_SF": -3,
    "W_SF": 0,
    "PF_SF": -3,
    "VA_SF": 0,
    "Var_SF": 0,
    "TotWh_SF": 0,
    "Tmp_SF": -1,
}
SCALES_702 = {"W_SF": 0, "VA_SF": 0, "V_SF": -1, "A_SF": -1}
SCALES_704 = {"WMaxLimPct_SF": -1, "WSet_SF": 0, "WSetPct_SF": -1, "PF_SF": -3}

_LINE_TO_LINE = 3**0.5


def publish_103(unit: Unit, state: PlantState, power_kw: float, energy_kwh: float) -> None:
    """AC quantities of model 103, the power equally on three phases."""
    volts, power_w = state.bus_voltage_v, power_kw * W_PER_KW
    put = unit.put
    amps = [power_w / 3 / v if v > 1 else 0.0 for v in volts]
    put("103.A", abs(sum(amps)))
    for phase, following, v, a in zip("ABC", "BCA", volts, amps, strict=True):
        put(f"103.Aph{phase}", abs(a))
        put(f"103.PhVph{phase}", v)
        put(f"103.PPVph{phase}{following}", v * _LINE_TO_LINE)
    put("103.W", power_w)
    put("103.VA", abs(power_w))
    put("103.VAr", 0)
    put("103.PF", 100 if power_w else 0)
    put("103.Hz", state.bus_frequency_hz)
    put("103.WH", energy_kwh * W_PER_KW)
    put("103.Evt1", 0)
    put("103.Evt2", 0)


def publish_701(unit: Unit, state: PlantState, power_kw: float) -> None:
    """AC quantities of model 701, the power equally on three phases."""
    volts, power_w = state.bus_voltage_v, power_kw * W_PER_KW
    put = unit.put
    mean_v = sum(volts) / 3
    put("701.ACType", 2)
    put("701.Alrm", 0)
    put("701.W", power_w)
    put("701.VA", abs(power_w))
    put("701.Var", 0)
    put("701.PF", 1 if power_w else 0)
    put("701.A", power_w / mean_v if mean_v > 1 else 0)
    put("701.LNV", mean_v)
    put("701.LLV", mean_v * _LINE_TO_LINE)
    put("701.Hz", state.bus_frequency_hz)
    for phase, v in enumerate(volts, start=1):
        put(f"701.WL{phase}", power_w / 3)
        put(f"701.VL{phase}", v)
        put(f"701.AL{phase}", power_w / 3 / v if v > 1 else 0)
    put("701.DERMode", 1)
