"""The SunSpec devices against pysunspec2: its definitions, and its client."""

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from hil.buses import Buses
from hil.devices.sunspec_models import MODELS, length, points
from hil.plant import PlantState

client = pytest.importorskip("sunspec2.modbus.client")

TYPES = {"enum16": "u16", "bitfield16": "u16", "uint16": "u16", "int16": "i16", "sunssf": "sf"}
TYPES |= {"uint32": "u32", "bitfield32": "u32", "int32": "i32", "uint64": "u64", "pad": "pad"}


def definition(model: int) -> list[dict[str, Any]]:
    """The points of a model in order, as the SunSpec Alliance publishes them."""
    path = resources.files("sunspec2") / "models" / "json" / f"model_{model}.json"
    group = json.loads(path.read_text())["group"]
    found = list(group["points"][2:])
    for inner in group.get("groups", []):
        found += [{**p, "name": f"{inner['name']}.{p['name']}"} for p in inner["points"]]
    return found


@pytest.mark.parametrize("model", sorted(MODELS))
def test_models_are_laid_out_as_published(model: int) -> None:
    published = definition(model)
    ours = list(points(model))
    assert [p.name for p in ours] == [p["name"] for p in published]
    for point, other in zip(ours, published, strict=True):
        kind = other["type"]
        if kind == "string":
            assert point.type == f"s{other['size']}"
        else:
            assert point.type == TYPES.get(kind, kind), point.name
        assert point.words == other["size"]
        assert point.scale_factor == other.get("sf", ""), point.name
        assert other.get("access") == "RW" or not point.writable, point.name
    assert length(model) == sum(p["size"] for p in published)


def endpoint(running: Buses, bus: str) -> int:
    """The port of a bus."""
    return int(next(b["port"] for b in running.site()["bus"] if b["name"] == bus))


def scanned(port: int, unit: int) -> Any:
    """A device as pysunspec2 finds it."""
    device = client.SunSpecModbusClientDeviceTCP(
        slave_id=unit, ipaddr="127.0.0.1", ipport=port, timeout=2
    )
    device.scan()
    return device


@pytest.fixture
def roof(buses: Buses) -> Iterator[Any]:
    device = scanned(endpoint(buses, "lan"), 1)
    yield device
    device.close()


@pytest.fixture
def barn(buses: Buses) -> Iterator[Any]:
    device = scanned(endpoint(buses, "lan"), 2)
    yield device
    device.close()


def value(device: Any, model: int, name: str) -> float:
    """A point's scaled value, freshly read."""
    group = device.models[model][0]
    group.read()
    return float(group.points[name].cvalue)


def put(device: Any, model: int, **values: float) -> None:
    """Write scaled values, all of the model in one go."""
    group = device.models[model][0]
    for name, wanted in values.items():
        group.points[name].cvalue = wanted
    group.write()


def test_client_walks_and_reads_the_inverter(roof: Any) -> None:
    ids = [m for m in roof.models if isinstance(m, int)]
    assert ids == [1, 103, 120, 121, 123]
    assert roof.models[1][0].SN.value == "PV-roof"
    assert value(roof, 103, "W") == 3217
    assert value(roof, 103, "WH") == 1234500
    assert value(roof, 103, "Hz") == pytest.approx(50.02)
    assert value(roof, 103, "PhVphB") == pytest.approx(229.1)
    assert value(roof, 103, "TmpCab") == pytest.approx(41.3)
    assert value(roof, 103, "St") == 4
    assert value(roof, 120, "WRtg") == value(roof, 121, "WMax") == 5000


def test_client_walks_and_reads_the_der_inverter(barn: Any) -> None:
    assert [m for m in barn.models if isinstance(m, int)] == [1, 701, 702, 704]
    assert value(barn, 701, "W") == 2000
    assert value(barn, 701, "Hz") == pytest.approx(50.02)
    assert value(barn, 701, "TotWhInj") == 1234500
    assert value(barn, 701, "InvSt") == 4
    assert value(barn, 701, "ThrotPct") == 50
    assert value(barn, 702, "WMax") == 8000


def test_client_walks_and_reads_storage_and_meter(storage: Buses) -> None:
    port = endpoint(storage, "lan")
    old, new, meter = (scanned(port, unit) for unit in (1, 2, 3))
    assert [m for m in old.models if isinstance(m, int)] == [1, 103, 120, 124, 802]
    assert [m for m in new.models if isinstance(m, int)] == [1, 701, 702, 704, 713, 802]
    assert value(old, 103, "W") == value(new, 701, "W") == -1500
    assert value(old, 124, "ChaState") == pytest.approx(62.7)
    assert value(new, 713, "SoC") == pytest.approx(62.7)
    for device in (old, new):
        assert value(device, 802, "V") == pytest.approx(52.4)
        assert value(device, 802, "A") == pytest.approx(-27.5)
        assert value(device, 802, "AChaMax") == pytest.approx(3500 / 52.4, abs=0.05)
        assert value(device, 802, "W") == -1440
        assert value(device, 802, "ChaSt") == 4
    assert value(meter, 203, "W") == -1117
    assert value(meter, 203, "TotWhImp") == 321500
    assert value(meter, 203, "TotWhExp") == 45250
    for device in (old, new, meter):
        device.close()


def test_123_limit_lapses_to_full_power(buses: Buses, roof: Any, state: PlantState) -> None:
    put(roof, 123, WMaxLimPct=40, WMaxLimPct_RvrtTms=60, WMaxLim_Ena=1)
    assert buses.controls(100.0).pv_limit_kw["roof"] == pytest.approx(2.0)
    buses.update(state, 159.0)
    assert buses.controls(159.0).pv_limit_kw["roof"] == pytest.approx(2.0)
    assert buses.controls(160.0).pv_limit_kw["roof"] is None
    assert value(roof, 123, "WMaxLim_Ena") == 0
    assert value(roof, 123, "WMaxLimPct") == 100


def test_writing_again_renews_the_123_timer(buses: Buses, roof: Any, state: PlantState) -> None:
    put(roof, 123, WMaxLimPct=40, WMaxLimPct_RvrtTms=60, WMaxLim_Ena=1)
    buses.update(state, 150.0)
    put(roof, 123, WMaxLimPct=40)
    assert buses.controls(209.0).pv_limit_kw["roof"] == pytest.approx(2.0)
    assert buses.controls(210.0).pv_limit_kw["roof"] is None


def test_123_without_timer_never_lapses(buses: Buses, roof: Any) -> None:
    put(roof, 123, WMaxLimPct=0, WMaxLim_Ena=1)
    assert buses.controls(1e6).pv_limit_kw["roof"] == 0


def test_123_disconnects(buses: Buses, roof: Any) -> None:
    put(roof, 123, Conn=0, Conn_RvrtTms=30)
    assert buses.controls(110.0).inverters_off == {"roof"}
    assert buses.controls(130.0).inverters_off == frozenset()


def test_704_limit_lapses_to_its_reversion_value(
    buses: Buses, barn: Any, state: PlantState
) -> None:
    put(
        barn,
        704,
        WMaxLimPctEna=1,
        WMaxLimPct=50,
        WMaxLimPctRvrt=0,
        WMaxLimPctEnaRvrt=1,
        WMaxLimPctRvrtTms=60,
    )
    assert buses.controls(100.0).pv_limit_kw["barn"] == pytest.approx(4.0)
    buses.update(state, 115.0)
    assert value(barn, 704, "WMaxLimPctRvrtRem") == 45
    assert buses.controls(160.0).pv_limit_kw["barn"] == 0
    assert value(barn, 704, "WMaxLimPct") == 0
    assert value(barn, 704, "WMaxLimPctRvrtRem") == 0


def test_704_timer_takes_its_high_word_literally(buses: Buses, barn: Any) -> None:
    raw = barn.models[704][0]
    address = raw.model_addr + 18  # the high word of WMaxLimPctRvrtTms
    barn.write(address, (120).to_bytes(2, "big"))
    assert value(barn, 704, "WMaxLimPctRvrtRem") == 120 << 16


def test_704_storage_setpoint_lapses(storage: Buses, state: PlantState) -> None:
    device = scanned(endpoint(storage, "lan"), 2)
    put(device, 704, WSetEna=1, WSetMod=1, WSet=-2500, WSetRvrt=0, WSetEnaRvrt=1, WSetRvrtTms=30)
    assert storage.controls(100.0).battery_kw == pytest.approx(-2.5)
    storage.update(state, 120.0)
    assert value(device, 704, "WSetRvrtRem") == 10
    assert storage.controls(130.0).battery_kw == 0
    put(device, 704, WSetEna=0)
    assert storage.controls(131.0).battery_kw is None
    device.close()


@pytest.mark.parametrize(
    ("mode", "out_pct", "in_pct", "expected_kw"),
    [
        (0, 0, 0, None),
        (3, 50, -50, 2.0),  # both limits the same: a setpoint
        (3, -25, 25, -1.0),
        (2, -50, 100, -2.0),  # forced charging, as some vendors document it
        (2, 0, 100, -2.0),  # no discharge: the surplus still charges
        (1, 100, 0, 0.0),  # no charge, although there is a surplus
        (1, 100, 100, -2.0),
    ],
)
def test_124_limits_bound_self_consumption(
    storage: Buses,
    exporting: PlantState,
    mode: int,
    out_pct: float,
    in_pct: float,
    expected_kw: float | None,
) -> None:
    device = scanned(endpoint(storage, "lan"), 1)
    storage.update(exporting, 100.0)
    put(device, 124, InOutWRte_RvrtTms=60, OutWRte=out_pct, InWRte=in_pct, StorCtl_Mod=mode)
    assert storage.controls(159.0).battery_kw == (
        None if expected_kw is None else pytest.approx(expected_kw)
    )
    assert storage.controls(160.0).battery_kw is None
    assert value(device, 124, "StorCtl_Mod") == 0
    device.close()


def test_802_contactor_and_heartbeat(storage: Buses, state: PlantState) -> None:
    device = scanned(endpoint(storage, "lan"), 1)
    before = value(device, 802, "Hb")
    storage.update(state, 107.0)
    assert value(device, 802, "Hb") == before + 7
    put(device, 802, SetOp=2)
    assert storage.controls(107.0).battery_off
    device.close()


def test_registers_follow_at_the_devices_own_pace(
    buses: Buses, roof: Any, state: PlantState
) -> None:
    moved = replace(state, pv=tuple(replace(i, power_kw=1.0) for i in state.pv))
    buses.update(moved, 100.5)
    assert value(roof, 103, "W") == 3217
    buses.update(moved, 101.0)
    assert value(roof, 103, "W") == 1000
