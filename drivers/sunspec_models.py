"""SunSpec information models as data: the points that the roles need, and nothing more.

Offsets count from the model's ID register (ID 0, length 1). After the SunSpec Alliance's model
definitions; tests compare every line with the Alliance's own files.
"""

from dataclasses import dataclass, field

_SIZES = {
    "int16": 1,
    "uint16": 1,
    "enum16": 1,
    "bitfield16": 1,
    "sunssf": 1,
    "int32": 2,
    "uint32": 2,
    "bitfield32": 2,
    "acc32": 2,
    "float32": 2,
    "uint64": 4,
    "string": 0,
}


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a model; `sf` names the point that holds its scale factor."""

    name: str
    offset: int
    type: str
    sf: str = ""
    length: int = 0  # in registers, strings only

    @property
    def size(self) -> int:
        """How many registers it takes."""
        return self.length or _SIZES[self.type]


@dataclass(frozen=True, slots=True)
class Model:
    """A model's points by name."""

    id: int
    points: tuple[Point, ...]
    by_name: dict[str, Point] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {point.name: point for point in self.points})

    @property
    def reach(self) -> int:
        """How many registers from the ID on hold all its points."""
        return max(point.offset + point.size for point in self.points)


def _model(id_: int, *points: tuple[str, int, str] | tuple[str, int, str, str]) -> Model:
    return Model(id_, tuple(Point(*point) for point in points))


_INVERTER = (
    ("W", 14, "int16", "W_SF"),
    ("W_SF", 15, "sunssf"),
    ("WH", 24, "acc32", "WH_SF"),
    ("WH_SF", 26, "sunssf"),
    ("TmpCab", 33, "int16", "Tmp_SF"),
    ("Tmp_SF", 37, "sunssf"),
    ("St", 38, "enum16"),
)
_INVERTER_FLOAT = (
    ("W", 22, "float32"),
    ("WH", 32, "float32"),
    ("TmpCab", 40, "float32"),
    ("St", 48, "enum16"),
)
_METER = (
    ("PhV", 7, "int16", "V_SF"),
    ("V_SF", 15, "sunssf"),
    ("Hz", 16, "int16", "Hz_SF"),
    ("Hz_SF", 17, "sunssf"),
    ("W", 18, "int16", "W_SF"),
    ("W_SF", 22, "sunssf"),
    ("TotWhExp", 38, "acc32", "TotWh_SF"),
    ("TotWhImp", 46, "acc32", "TotWh_SF"),
    ("TotWh_SF", 54, "sunssf"),
)
_METER_FLOAT = (
    ("PhV", 10, "float32"),
    ("Hz", 26, "float32"),
    ("W", 28, "float32"),
    ("TotWhExp", 60, "float32"),
    ("TotWhImp", 68, "float32"),
)

COMMON = Model(
    1,
    (
        Point("Mn", 2, "string", length=16),
        Point("Md", 18, "string", length=16),
        Point("Vr", 42, "string", length=8),
        Point("SN", 50, "string", length=16),
    ),
)
_NAMEPLATE = _model(
    120,
    ("WRtg", 3, "uint16", "WRtg_SF"),
    ("WRtg_SF", 4, "sunssf"),
    ("MaxChaRte", 23, "uint16", "MaxChaRte_SF"),
    ("MaxChaRte_SF", 24, "sunssf"),
    ("MaxDisChaRte", 25, "uint16", "MaxDisChaRte_SF"),
    ("MaxDisChaRte_SF", 26, "sunssf"),
)
_SETTINGS = _model(121, ("WMax", 2, "uint16", "WMax_SF"), ("WMax_SF", 22, "sunssf"))
_CONTROLS = _model(
    123,
    ("WMaxLimPct", 5, "uint16", "WMaxLimPct_SF"),
    ("WMaxLimPct_WinTms", 6, "uint16"),
    ("WMaxLimPct_RvrtTms", 7, "uint16"),
    ("WMaxLimPct_RmpTms", 8, "uint16"),
    ("WMaxLim_Ena", 9, "enum16"),
    ("WMaxLimPct_SF", 23, "sunssf"),
)
_STORAGE = _model(
    124,
    ("WChaMax", 2, "uint16", "WChaMax_SF"),
    ("StorCtl_Mod", 5, "bitfield16"),
    ("ChaState", 8, "uint16", "ChaState_SF"),
    ("InBatV", 10, "uint16", "InBatV_SF"),
    ("ChaSt", 11, "enum16"),
    ("OutWRte", 12, "int16", "InOutWRte_SF"),
    ("InWRte", 13, "int16", "InOutWRte_SF"),
    ("InOutWRte_WinTms", 14, "uint16"),
    ("InOutWRte_RvrtTms", 15, "uint16"),
    ("ChaGriSet", 17, "enum16"),
    ("WChaMax_SF", 18, "sunssf"),
    ("ChaState_SF", 22, "sunssf"),
    ("InBatV_SF", 24, "sunssf"),
    ("InOutWRte_SF", 25, "sunssf"),
)
_DER_AC = _model(
    701,
    ("InvSt", 4, "enum16"),
    ("W", 10, "int16", "W_SF"),
    ("TotWhInj", 19, "uint64", "TotWh_SF"),
    ("TmpCab", 36, "int16", "Tmp_SF"),
    ("W_SF", 116, "sunssf"),
    ("TotWh_SF", 120, "sunssf"),
    ("Tmp_SF", 122, "sunssf"),
)
_DER_CAPACITY = _model(
    702,
    ("WMaxRtg", 2, "uint16", "W_SF"),
    ("WMax", 26, "uint16", "W_SF"),
    ("WChaRteMax", 34, "uint16", "W_SF"),
    ("WDisChaRteMax", 35, "uint16", "W_SF"),
    ("W_SF", 45, "sunssf"),
)
_DER_CONTROLS = _model(
    704,
    ("WMaxLimPctEna", 14, "enum16"),
    ("WMaxLimPct", 15, "uint16", "WMaxLimPct_SF"),
    ("WMaxLimPctRvrt", 16, "uint16", "WMaxLimPct_SF"),
    ("WMaxLimPctEnaRvrt", 17, "enum16"),
    ("WMaxLimPctRvrtTms", 18, "uint32"),
    ("WMaxLimPctRvrtRem", 20, "uint32"),
    ("WSetEna", 22, "enum16"),
    ("WSetMod", 23, "enum16"),
    ("WSet", 24, "int32", "WSet_SF"),
    ("WSetRvrt", 26, "int32", "WSet_SF"),
    ("WSetEnaRvrt", 30, "enum16"),
    ("WSetRvrtTms", 31, "uint32"),
    ("WSetRvrtRem", 33, "uint32"),
    ("WMaxLimPct_SF", 54, "sunssf"),
    ("WSet_SF", 55, "sunssf"),
)
_DER_STORAGE = _model(
    713, ("SoC", 4, "uint16", "Pct_SF"), ("Sta", 6, "enum16"), ("Pct_SF", 8, "sunssf")
)
_BATTERY = _model(
    802,
    ("WChaRteMax", 4, "uint16", "WChaDisChaMax_SF"),
    ("WDisChaRteMax", 5, "uint16", "WChaDisChaMax_SF"),
    ("SoC", 11, "uint16", "SoC_SF"),
    ("LocRemCtl", 17, "enum16"),
    ("CtrlHb", 19, "uint16"),
    ("State", 22, "enum16"),
    ("V", 34, "uint16", "V_SF"),
    ("AChaMax", 45, "uint16", "AMax_SF"),
    ("ADisChaMax", 46, "uint16", "AMax_SF"),
    ("WChaDisChaMax_SF", 54, "sunssf"),
    ("SoC_SF", 56, "sunssf"),
    ("V_SF", 59, "sunssf"),
    ("AMax_SF", 62, "sunssf"),
)

MODELS = {
    model.id: model
    for model in (
        COMMON,
        *(_model(id_, *_INVERTER) for id_ in (101, 102, 103)),
        *(_model(id_, *_INVERTER_FLOAT) for id_ in (111, 112, 113)),
        _NAMEPLATE,
        _SETTINGS,
        _CONTROLS,
        _STORAGE,
        *(_model(id_, *_METER) for id_ in (201, 202, 203, 204)),
        *(_model(id_, *_METER_FLOAT) for id_ in (211, 212, 213, 214)),
        _DER_AC,
        _DER_CAPACITY,
        _DER_CONTROLS,
        _DER_STORAGE,
        _BATTERY,
    )
}
