"""SunSpec: our point tables against the Alliance's definitions, the model chain, the points."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.device import BusError, DeviceError
from drivers.line import Line, TcpLink, UnitRegisters
from drivers.registers import text
from drivers.sunspec import Snapshot, SunspecUnit, _read_model, discover
from drivers.sunspec_models import MODELS

NAMEPLATE = {"DERTyp": 4, "WRtg": 5000, "WRtg_SF": 0}
INVERTER = {"W": 4321, "W_SF": -1, "WH": 12345, "WH_SF": 2, "St": 4}


@pytest.mark.parametrize("model_id", sorted(MODELS))
def test_every_point_is_where_the_alliance_has_it(model_id, definition):
    theirs = definition(model_id)
    for point in MODELS[model_id].points:
        assert theirs[point.name] == (point.offset, point.type, point.size, point.sf)


@pytest.mark.parametrize("base", [40000, 0, 50000])
def test_the_chain_is_found_at_every_base(attach, sunspec_device, base):
    device = sunspec_device({120: NAMEPLATE, 103: INVERTER}, base)
    chain = discover(attach({1: device}))
    assert chain.complete
    assert [(each.id, each.address) for each in chain.models] == [
        (1, base + 2),
        (120, device.at[120]),
        (103, device.at[103]),
    ]


def test_a_device_without_a_chain_is_none(attach, unit):
    with pytest.raises(DeviceError, match="no SunSpec device"):
        discover(attach({1: unit(dict.fromkeys(range(100), 0))}))


def test_a_chain_that_breaks_off_keeps_what_it_had(attach, sunspec_device):
    device = sunspec_device({103: INVERTER}, end=False)
    chain = discover(attach({1: device}))
    assert not chain.complete
    assert [each.id for each in chain.models] == [1, 103]


def test_a_chain_that_never_ends_is_cut(attach, unit):
    device = unit({40000: 0x5375, 40001: 0x6E53})
    for address in range(40002, 41000, 3):
        device.put(address, [77, 1, 0])
    assert len(discover(attach({1: device})).models) == 100


@pytest.mark.parametrize("header", [[103, 0], [103, 0xFFF0], [0, 0]])
def test_a_corrupt_header_ends_the_chain(attach, sunspec_device, header):
    device = sunspec_device({}, end=False)
    device.put(40002 + 68, header)
    assert not discover(attach({1: device})).complete


def test_a_silent_device_is_a_bus_error_not_an_absent_chain(peer):
    port = peer(lambda connection, _: connection.recv(100) and connection.recv(100))
    with pytest.raises(BusError):
        discover(UnitRegisters(Line(TcpLink("127.0.0.1", port, 0.05)), 1))


def test_identity_and_values_come_from_the_device(attach, sunspec_device):
    registers = attach({1: sunspec_device({103: INVERTER})})
    sunspec = SunspecUnit()
    identity = sunspec.connect(registers)
    assert (identity.maker, identity.model) == ("Maker", "Model")
    assert (identity.serial, identity.version) == ("1234", "1.0")
    snapshot = sunspec.read(registers, 103)
    assert snapshot.value("W") == pytest.approx(432.1)
    assert snapshot.value("WH") == 1_234_500
    assert snapshot.value("TmpCab") is None
    assert snapshot.raw("St") == 4


def test_a_second_connect_asks_only_whether_it_is_still_there(attach, sunspec_device):
    device = sunspec_device({120: NAMEPLATE, 103: INVERTER})
    registers, sunspec = attach({1: device}), SunspecUnit()
    sunspec.connect(registers)
    device.reads.clear()
    sunspec.connect(registers)
    assert len(device.reads) == 1


def test_another_device_in_its_place_is_walked_anew(attach, sunspec_device):
    device = sunspec_device({103: INVERTER})
    registers, sunspec = attach({1: device}), SunspecUnit()
    sunspec.connect(registers)
    other = sunspec_device({120: NAMEPLATE, 103: {**INVERTER, "W": 1}})
    other.set(1, "DA", 7)
    other.put(other.address(1, "SN"), [0x3939])
    device.holding = other.holding
    sunspec.connect(registers)
    assert sunspec.read(registers, 103).value("W") == pytest.approx(0.1)


def test_a_model_that_moved_is_noticed(attach, sunspec_device):
    device = sunspec_device({103: INVERTER})
    registers, sunspec = attach({1: device}), SunspecUnit()
    sunspec.connect(registers)
    device.put(device.at[103], [104])
    with pytest.raises(DeviceError, match="no longer at"):
        sunspec.read(registers, 103)


@pytest.mark.parametrize(
    ("length", "known"), [(50, True), (60, True), (36, False), (14, False), (13, False)]
)
def test_models_longer_and_shorter_than_known(attach, sunspec_device, length, known):
    device = sunspec_device({103: {**INVERTER, "L": length}, 120: NAMEPLATE})
    registers, sunspec = attach({1: device}), SunspecUnit()
    sunspec.connect(registers)
    snapshot = sunspec.read(registers, 103)
    assert snapshot.value("W") == (pytest.approx(432.1) if length >= 14 else None)
    assert (snapshot.raw("St") == 4) is known
    assert sunspec.read(registers, 120).value("WRtg") == 5000


@pytest.mark.parametrize("sf", [-0x8000, 11, -11, 1000])
def test_an_invalid_scale_factor_makes_the_point_unknown(attach, sunspec_device, sf):
    registers = attach({1: sunspec_device({103: {**INVERTER, "W_SF": sf}})})
    sunspec = SunspecUnit()
    sunspec.connect(registers)
    snapshot = sunspec.read(registers, 103)
    assert snapshot.value("W") is None
    assert snapshot.value("WH") == 1_234_500


def test_scale_factors_belong_to_their_reading(attach, sunspec_device):
    device = sunspec_device({103: INVERTER})
    registers, sunspec = attach({1: device}), SunspecUnit()
    sunspec.connect(registers)
    for sf, watts in ((0, 4321), (1, 43210), (-1, 432.1)):
        device.set(103, "W_SF", sf)
        assert sunspec.read(registers, 103).value("W") == pytest.approx(watts)


@pytest.mark.parametrize("name", ["W", "WH", "St", "TmpCab"])
def test_not_implemented_is_none(attach, sunspec_device, name):
    registers = attach({1: sunspec_device({103: {**INVERTER, name: None}})})
    sunspec = SunspecUnit()
    sunspec.connect(registers)
    assert sunspec.read(registers, 103).value(name) is None


@pytest.mark.parametrize("watts", [math.nan, math.inf, -math.inf])
def test_non_finite_floats_are_unknown(attach, sunspec_device, watts):
    registers = attach({1: sunspec_device({113: {"W": watts, "WH": 7.5}})})
    sunspec = SunspecUnit()
    sunspec.connect(registers)
    snapshot = sunspec.read(registers, 113)
    assert snapshot.value("W") is None
    assert snapshot.value("WH") == 7.5


def test_a_write_beyond_the_model_is_refused(attach, sunspec_device):
    device = sunspec_device({123: {"L": 6}})
    registers, sunspec = attach({1: device}), SunspecUnit()
    sunspec.connect(registers)
    with pytest.raises(DeviceError, match="too short"):
        sunspec.write(registers, 123, "WMaxLimPct", [0, 0, 0, 0, 0])
    assert device.writes == []


@given(st.integers(-10, 10), st.integers(-0x7FFF, 0x7FFF))
def test_points_survive_a_round_trip(sf, raw):
    model = MODELS[124]
    words = [0] * model.reach
    words[25] = sf & 0xFFFF
    value = raw * 10.0**sf
    encoded = Snapshot(model, words).encode("OutWRte", value)
    words[12] = encoded[0]
    assert Snapshot(model, words).value("OutWRte") == pytest.approx(value)


@given(st.lists(st.integers(0, 0xFFFF), max_size=70), st.sampled_from(sorted(MODELS)))
def test_no_register_contents_break_the_decoder(words, model_id):
    snapshot = Snapshot(MODELS[model_id], words)
    for point in MODELS[model_id].points:
        if point.type == "string":
            assert snapshot.text(point.name).isprintable()
        else:
            value = snapshot.value(point.name)
            assert value is None or math.isfinite(value)


@pytest.mark.parametrize("value", [-40000.0, 40000.0, -32768.0])
def test_what_a_point_cannot_hold_is_refused(value):
    with pytest.raises(DeviceError, match="OutWRte cannot be"):
        Snapshot(MODELS[124], [0] * 30).encode("OutWRte", value)


def test_what_we_know_of_every_model_is_read_in_one_request():
    assert all(model.reach <= 125 for model in MODELS.values())


def test_a_model_beyond_one_request_is_read_in_two(attach, sunspec_device):
    device = sunspec_device({701: {"W": 5, "MnAlrmInfo": "all is well"}})
    registers = attach({1: device})
    found = discover(registers).find(701)
    device.reads.clear()
    words = _read_model(registers, found, found.length + 2)
    assert [count for _, count in device.reads] == [125, 30]
    assert text(words[123:155]) == "all is well"
