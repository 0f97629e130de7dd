"""SunSpec models as they lie in registers: the points in order, after the id and length registers.

Written from the SunSpec Alliance's model definitions. A point is `name:type[:scale factor]`, a
trailing `*` makes it writable. Types: s (enumerations and bitfields of 16 bits count as u16, of 32
bits as u32), sf a scale factor, sN a string of N registers, pad one register.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

MODELS: Mapping[int, str] = {
    # common
    1: "Mn:s16 Md:s16 Opt:s8 Vr:s8 SN:s16 DA:u16* Pad:pad",
    # inverter, three phases, integers and scale factors
    103: """
        A:u16:A_SF AphA:u16:A_SF AphB:u16:A_SF AphC:u16:A_SF A_SF:sf
        PPVphAB:u16:V_SF PPVphBC:u16:V_SF PPVphCA:u16:V_SF
        PhVphA:u16:V_SF PhVphB:u16:V_SF PhVphC:u16:V_SF V_SF:sf
        W:i16:W_SF W_SF:sf Hz:u16:Hz_SF Hz_SF:sf VA:i16:VA_SF VA_SF:sf VAr:i16:VAr_SF VAr_SF:sf
        PF:i16:PF_SF PF_SF:sf WH:acc32:WH_SF WH_SF:sf
        DCA:u16:DCA_SF DCA_SF:sf DCV:u16:DCV_SF DCV_SF:sf DCW:i16:DCW_SF DCW_SF:sf
        TmpCab:i16:Tmp_SF TmpSnk:i16:Tmp_SF TmpTrns:i16:Tmp_SF TmpOt:i16:Tmp_SF Tmp_SF:sf
        St:u16 StVnd:u16 Evt1:u32 Evt2:u32 EvtVnd1:u32 EvtVnd2:u32 EvtVnd3:u32 EvtVnd4:u32""",
    # nameplate ratings
    120: """
        DERTyp:u16 WRtg:u16:WRtg_SF WRtg_SF:sf VARtg:u16:VARtg_SF VARtg_SF:sf
        VArRtgQ1:i16:VArRtg_SF VArRtgQ2:i16:VArRtg_SF VArRtgQ3:i16:VArRtg_SF VArRtgQ4:i16:VArRtg_SF
        VArRtg_SF:sf ARtg:u16:ARtg_SF ARtg_SF:sf
        PFRtgQ1:i16:PFRtg_SF PFRtgQ2:i16:PFRtg_SF PFRtgQ3:i16:PFRtg_SF PFRtgQ4:i16:PFRtg_SF
        PFRtg_SF:sf WHRtg:u16:WHRtg_SF WHRtg_SF:sf AhrRtg:u16:AhrRtg_SF AhrRtg_SF:sf
        MaxChaRte:u16:MaxChaRte_SF MaxChaRte_SF:sf
        MaxDisChaRte:u16:MaxDisChaRte_SF MaxDisChaRte_SF:sf Pad:pad""",
    # basic settings
    121: """
        WMax:u16:WMax_SF VRef:u16:VRef_SF VRefOfs:i16:VRefOfs_SF
        VMax:u16:VMinMax_SF VMin:u16:VMinMax_SF VAMax:u16:VAMax_SF
        VArMaxQ1:i16:VArMax_SF VArMaxQ2:i16:VArMax_SF VArMaxQ3:i16:VArMax_SF VArMaxQ4:i16:VArMax_SF
        WGra:u16:WGra_SF PFMinQ1:i16:PFMin_SF PFMinQ2:i16:PFMin_SF PFMinQ3:i16:PFMin_SF
        PFMinQ4:i16:PFMin_SF VArAct:u16 ClcTotVA:u16 MaxRmpRte:u16:MaxRmpRte_SF
        ECPNomHz:u16:ECPNomHz_SF ConnPh:u16 WMax_SF:sf VRef_SF:sf VRefOfs_SF:sf VMinMax_SF:sf
        VAMax_SF:sf VArMax_SF:sf WGra_SF:sf PFMin_SF:sf MaxRmpRte_SF:sf ECPNomHz_SF:sf""",
    # immediate controls
    123: """
        Conn_WinTms:u16* Conn_RvrtTms:u16* Conn:u16* WMaxLimPct:u16:WMaxLimPct_SF*
        WMaxLimPct_WinTms:u16* WMaxLimPct_RvrtTms:u16* WMaxLimPct_RmpTms:u16* WMaxLim_Ena:u16*
        OutPFSet:i16:OutPFSet_SF* OutPFSet_WinTms:u16* OutPFSet_RvrtTms:u16* OutPFSet_RmpTms:u16*
        OutPFSet_Ena:u16* VArWMaxPct:i16:VArPct_SF* VArMaxPct:i16:VArPct_SF*
        VArAvalPct:i16:VArPct_SF* VArPct_WinTms:u16* VArPct_RvrtTms:u16* VArPct_RmpTms:u16*
        VArPct_Mod:u16* VArPct_Ena:u16* WMaxLimPct_SF:sf OutPFSet_SF:sf VArPct_SF:sf""",
    # basic storage controls
    124: """
        WChaMax:u16:WChaMax_SF* WChaGra:u16:WChaDisChaGra_SF WDisChaGra:u16:WChaDisChaGra_SF
        StorCtl_Mod:u16* VAChaMax:u16:VAChaMax_SF MinRsvPct:u16:MinRsvPct_SF*
        ChaState:u16:ChaState_SF StorAval:u16:StorAval_SF InBatV:u16:InBatV_SF ChaSt:u16
        OutWRte:i16:InOutWRte_SF* InWRte:i16:InOutWRte_SF* InOutWRte_WinTms:u16*
        InOutWRte_RvrtTms:u16* InOutWRte_RmpTms:u16* ChaGriSet:u16* WChaMax_SF:sf
        WChaDisChaGra_SF:sf VAChaMax_SF:sf MinRsvPct_SF:sf ChaState_SF:sf StorAval_SF:sf
        InBatV_SF:sf InOutWRte_SF:sf""",
    # meter, three phases and neutral
    203: """
        A:i16:A_SF AphA:i16:A_SF AphB:i16:A_SF AphC:i16:A_SF A_SF:sf
        PhV:i16:V_SF PhVphA:i16:V_SF PhVphB:i16:V_SF PhVphC:i16:V_SF
        PPV:i16:V_SF PhVphAB:i16:V_SF PhVphBC:i16:V_SF PhVphCA:i16:V_SF V_SF:sf Hz:i16:Hz_SF
        Hz_SF:sf W:i16:W_SF WphA:i16:W_SF WphB:i16:W_SF WphC:i16:W_SF W_SF:sf
        VA:i16:VA_SF VAphA:i16:VA_SF VAphB:i16:VA_SF VAphC:i16:VA_SF VA_SF:sf
        VAR:i16:VAR_SF VARphA:i16:VAR_SF VARphB:i16:VAR_SF VARphC:i16:VAR_SF VAR_SF:sf
        PF:i16:PF_SF PFphA:i16:PF_SF PFphB:i16:PF_SF PFphC:i16:PF_SF PF_SF:sf
        TotWhExp:acc32:TotWh_SF TotWhExpPhA:acc32:TotWh_SF TotWhExpPhB:acc32:TotWh_SF
        TotWhExpPhC:acc32:TotWh_SF TotWhImp:acc32:TotWh_SF TotWhImpPhA:acc32:TotWh_SF
        TotWhImpPhB:acc32:TotWh_SF TotWhImpPhC:acc32:TotWh_SF TotWh_SF:sf
        TotVAhExp:acc32:TotVAh_SF TotVAhExpPhA:acc32:TotVAh_SF TotVAhExpPhB:acc32:TotVAh_SF
        TotVAhExpPhC:acc32:TotVAh_SF TotVAhImp:acc32:TotVAh_SF TotVAhImpPhA:acc32:TotVAh_SF
        TotVAhImpPhB:acc32:TotVAh_SF TotVAhImpPhC:acc32:TotVAh_SF TotVAh_SF:sf
        TotVArhImpQ1:acc32:TotVArh_SF TotVArhImpQ1PhA:acc32:TotVArh_SF
        TotVArhImpQ1PhB:acc32:TotVArh_SF TotVArhImpQ1PhC:acc32:TotVArh_SF
        TotVArhImpQ2:acc32:TotVArh_SF TotVArhImpQ2PhA:acc32:TotVArh_SF
        TotVArhImpQ2PhB:acc32:TotVArh_SF TotVArhImpQ2PhC:acc32:TotVArh_SF
        TotVArhExpQ3:acc32:TotVArh_SF TotVArhExpQ3PhA:acc32:TotVArh_SF
        TotVArhExpQ3PhB:acc32:TotVArh_SF TotVArhExpQ3PhC:acc32:TotVArh_SF
        TotVArhExpQ4:acc32:TotVArh_SF TotVArhExpQ4PhA:acc32:TotVArh_SF
        TotVArhExpQ4PhB:acc32:TotVArh_SF TotVArhExpQ4PhC:acc32:TotVArh_SF TotVArh_SF:sf Evt:u32""",
    # DER measurements (IEEE 1547)
    701: """
        ACType:u16 St:u16 InvSt:u16 ConnSt:u16 Alrm:u32 DERMode:u32
        W:i16:W_SF VA:i16:VA_SF Var:i16:Var_SF PF:i16:PF_SF A:i16:A_SF LLV:u16:V_SF LNV:u16:V_SF
        Hz:u32:Hz_SF TotWhInj:u64:TotWh_SF TotWhAbs:u64:TotWh_SF TotVarhInj:u64:TotVarh_SF
        TotVarhAbs:u64:TotVarh_SF TmpAmb:i16:Tmp_SF TmpCab:i16:Tmp_SF TmpSnk:i16:Tmp_SF
        TmpTrns:i16:Tmp_SF TmpSw:i16:Tmp_SF TmpOt:i16:Tmp_SF
        WL1:i16:W_SF VAL1:i16:VA_SF VarL1:i16:Var_SF PFL1:i16:PF_SF AL1:i16:A_SF
        VL1L2:u16:V_SF VL1:u16:V_SF TotWhInjL1:u64:TotWh_SF TotWhAbsL1:u64:TotWh_SF
        TotVarhInjL1:u64:TotVarh_SF TotVarhAbsL1:u64:TotVarh_SF
        WL2:i16:W_SF VAL2:i16:VA_SF VarL2:i16:Var_SF PFL2:i16:PF_SF AL2:i16:A_SF
        VL2L3:u16:V_SF VL2:u16:V_SF TotWhInjL2:u64:TotWh_SF TotWhAbsL2:u64:TotWh_SF
        TotVarhInjL2:u64:TotVarh_SF TotVarhAbsL2:u64:TotVarh_SF
        WL3:i16:W_SF VAL3:i16:VA_SF VarL3:i16:Var_SF PFL3:i16:PF_SF AL3:i16:A_SF
        VL3L1:u16:V_SF VL3:u16:V_SF TotWhInjL3:u64:TotWh_SF TotWhAbsL3:u64:TotWh_SF
        TotVarhInjL3:u64:TotVarh_SF TotVarhAbsL3:u64:TotVarh_SF ThrotPct:u16 ThrotSrc:u32
        A_SF:sf V_SF:sf Hz_SF:sf W_SF:sf PF_SF:sf VA_SF:sf Var_SF:sf TotWh_SF:sf TotVarh_SF:sf
        Tmp_SF:sf MnAlrmInfo:s32""",
    # DER capacity
    702: """
        WMaxRtg:u16:W_SF WOvrExtRtg:u16:W_SF WOvrExtRtgPF:u16:PF_SF WUndExtRtg:u16:W_SF
        WUndExtRtgPF:u16:PF_SF VAMaxRtg:u16:VA_SF VarMaxInjRtg:u16:Var_SF VarMaxAbsRtg:u16:Var_SF
        WChaRteMaxRtg:u16:W_SF WDisChaRteMaxRtg:u16:W_SF VAChaRteMaxRtg:u16:VA_SF
        VADisChaRteMaxRtg:u16:VA_SF VNomRtg:u16:V_SF VMaxRtg:u16:V_SF VMinRtg:u16:V_SF
        AMaxRtg:u16:A_SF PFOvrExtRtg:u16:PF_SF PFUndExtRtg:u16:PF_SF ReactSusceptRtg:u16:S_SF
        NorOpCatRtg:u16 AbnOpCatRtg:u16 CtrlModes:u32 IntIslandCatRtg:u16
        WMax:u16:W_SF WMaxOvrExt:u16:W_SF WOvrExtPF:u16:PF_SF WMaxUndExt:u16:W_SF
        WUndExtPF:u16:PF_SF VAMax:u16:VA_SF VarMaxInj:u16:Var_SF VarMaxAbs:u16:Var_SF
        WChaRteMax:u16:W_SF WDisChaRteMax:u16:W_SF VAChaRteMax:u16:VA_SF VADisChaRteMax:u16:VA_SF
        VNom:u16:V_SF VMax:u16:V_SF VMin:u16:V_SF AMax:u16:A_SF PFOvrExt:u16:PF_SF
        PFUndExt:u16:PF_SF IntIslandCat:u16 W_SF:sf PF_SF:sf VA_SF:sf Var_SF:sf V_SF:sf A_SF:sf
        S_SF:sf""",
    # DER AC controls
    704: """
        PFWInjEna:u16* PFWInjEnaRvrt:u16* PFWInjRvrtTms:u32* PFWInjRvrtRem:u32
        PFWAbsEna:u16* PFWAbsEnaRvrt:u16* PFWAbsRvrtTms:u32* PFWAbsRvrtRem:u32
        WMaxLimPctEna:u16* WMaxLimPct:u16:WMaxLimPct_SF* WMaxLimPctRvrt:u16:WMaxLimPct_SF*
        WMaxLimPctEnaRvrt:u16* WMaxLimPctRvrtTms:u32* WMaxLimPctRvrtRem:u32
        WSetEna:u16* WSetMod:u16* WSet:i32:WSet_SF* WSetRvrt:i32:WSet_SF* WSetPct:i16:WSetPct_SF*
        WSetPctRvrt:i16:WSetPct_SF* WSetEnaRvrt:u16* WSetRvrtTms:u32* WSetRvrtRem:u32
        VarSetEna:u16* VarSetMod:u16* VarSetPri:u16* VarSet:i32:VarSet_SF* VarSetRvrt:i32:VarSet_SF*
        VarSetPct:i16:VarSetPct_SF* VarSetPctRvrt:i16:VarSetPct_SF* VarSetEnaRvrt:u16*
        VarSetRvrtTms:u32* VarSetRvrtRem:u32 WRmp:u16* WRmpRef:u16* VarRmp:u16* AntiIslEna:u16*
        PF_SF:sf WMaxLimPct_SF:sf WSet_SF:sf WSetPct_SF:sf VarSet_SF:sf VarSetPct_SF:sf
        PFWInj.PF:u16:PF_SF* PFWInj.Ext:u16* PFWInjRvrt.PF:u16:PF_SF* PFWInjRvrt.Ext:u16*
        PFWAbs.PF:u16:PF_SF* PFWAbs.Ext:u16* PFWAbsRvrt.PF:u16:PF_SF* PFWAbsRvrt.Ext:u16*""",
    # DER storage capacity
    713: """
        WHRtg:u16:WH_SF WHAvail:u16:WH_SF SoC:u16:Pct_SF SoH:u16:Pct_SF Sta:u16 WH_SF:sf
        Pct_SF:sf""",
    # battery
    802: """
        AHRtg:u16:AHRtg_SF WHRtg:u16:WHRtg_SF WChaRteMax:u16:WChaDisChaMax_SF
        WDisChaRteMax:u16:WChaDisChaMax_SF DisChaRte:u16:DisChaRte_SF SoCMax:u16:SoC_SF
        SoCMin:u16:SoC_SF SocRsvMax:u16:SoC_SF* SoCRsvMin:u16:SoC_SF* SoC:u16:SoC_SF DoD:u16:DoD_SF
        SoH:u16:SoH_SF NCyc:u32 ChaSt:u16 LocRemCtl:u16 Hb:u16 CtrlHb:u16* AlmRst:u16* Typ:u16
        State:u16 StateVnd:u16 WarrDt:u32 Evt1:u32 Evt2:u32 EvtVnd1:u32 EvtVnd2:u32
        V:u16:V_SF VMax:u16:V_SF VMin:u16:V_SF CellVMax:u16:CellV_SF CellVMaxStr:u16 CellVMaxMod:u16
        CellVMin:u16:CellV_SF CellVMinStr:u16 CellVMinMod:u16 CellVAvg:u16:CellV_SF
        A:i16:A_SF AChaMax:u16:AMax_SF ADisChaMax:u16:AMax_SF W:i16:W_SF ReqInvState:u16
        ReqW:i16:W_SF SetOp:u16* SetInvState:u16* AHRtg_SF:sf WHRtg_SF:sf WChaDisChaMax_SF:sf
        DisChaRte_SF:sf SoC_SF:sf DoD_SF:sf SoH_SF:sf V_SF:sf CellV_SF:sf A_SF:sf AMax_SF:sf
        W_SF:sf""",
}


@dataclass(frozen=True, slots=True)
class ModelPoint:
    """A point of a model; `offset` counts registers from the model's id register."""

    name: str
    offset: int
    words: int
    type: str
    scale_factor: str
    writable: bool


_WORDS = {"u16": 1, "i16": 1, "sf": 1, "pad": 1, "u32": 2, "i32": 2, "acc32": 2, "u64": 4}


def points(model: int) -> Iterator[ModelPoint]:
    """The points of a model in order."""
    offset = 2
    for text in MODELS[model].split():
        name, kind, *factor = text.rstrip("*").split(":")
        words = _WORDS.get(kind) or int(kind[1:])
        scale_factor = factor[0] if factor else ""
        yield ModelPoint(name, offset, words, kind, scale_factor, text.endswith("*"))
        offset += words


def length(model: int) -> int:
    """The number of registers after the length register."""
    last = list(points(model))[-1]
    return last.offset + last.words - 2
