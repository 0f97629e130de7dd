"""Meters at the grid connection: SunSpec and Eastron SDM630; the catalogue of all drivers."""

import struct
import tomllib
from pathlib import Path

import pytest

from control.records import GridMeasurement
from drivers.catalogue import CATALOGUE, Role
from drivers.device import DeviceError
from drivers.eastron_sdm630 import EastronSdm630
from drivers.sunspec_meter import SunspecMeter

INTEGERS = {
    "W": -1234,
    "W_SF": 0,
    "PhV": 2305,
    "V_SF": -1,
    "Hz": 5001,
    "Hz_SF": -2,
    "TotWhExp": 4000,
    "TotWhImp": 70_000,
    "TotWh_SF": 1,
}
FLOATS = {"W": -1234.0, "PhV": 230.5, "Hz": 50.01, "TotWhExp": 40_000.0, "TotWhImp": 700_000.0}


@pytest.mark.parametrize("model", [201, 202, 203, 204, 211, 212, 213, 214])
def test_sunspec_meters_of_every_kind(attach, sunspec_device, model):
    device = sunspec_device({model: FLOATS if model > 210 else INTEGERS})
    registers, meter = attach({1: device}), SunspecMeter(name="grid", unit=1)
    meter.connect(registers, 0.0)
    device.reads.clear()
    assert meter.read(registers, 1.0) == GridMeasurement(
        pytest.approx(-1.234),
        pytest.approx(230.5),
        pytest.approx(50.01),
        pytest.approx(700.0),
        pytest.approx(40.0),
    )
    assert len(device.reads) == 1


def test_a_fresh_energy_counter_is_unknown_not_zero(attach, sunspec_device):
    registers = attach({1: sunspec_device({203: {**INTEGERS, "TotWhExp": 0}})})
    meter = SunspecMeter(name="grid", unit=1)
    meter.connect(registers, 0.0)
    assert meter.read(registers, 1.0).export_kwh is None


def test_a_sunspec_device_without_a_meter_is_refused(attach, sunspec_device):
    with pytest.raises(DeviceError, match="no SunSpec meter model"):
        SunspecMeter(name="grid", unit=1).connect(attach({1: sunspec_device({103: {}})}), 0.0)


def sdm630(unit, **changes):
    values = {0x00: 230.0, 0x02: 231.0, 0x04: 232.0, 0x34: 2500.5, 0x46: 49.98}
    values |= {0x48: 1234.5, 0x4A: 67.8}
    values |= {int(address[1:], 16): value for address, value in changes.items()}
    device = unit({}, dict.fromkeys(range(0x50), 0))
    for address, value in values.items():
        device.inputs.update(zip((address, address + 1), floats(value), strict=True))
    return device


def floats(value):
    return struct.unpack(">2H", struct.pack(">f", value))


def connected(attach, device):
    registers, meter = attach({1: device}), EastronSdm630(name="grid", unit=1)
    meter.connect(registers, 0.0)
    return registers, meter


def test_sdm630(attach, unit):
    registers, meter = connected(attach, sdm630(unit))
    measured = meter.read(registers, 1.0)
    assert measured.power_kw == pytest.approx(2.5005)
    assert measured.voltage_v == pytest.approx(231.0)
    assert measured.frequency_hz == pytest.approx(49.98)
    assert (measured.import_kwh, measured.export_kwh) == (1234.5, pytest.approx(67.8))


def test_sdm630_on_one_phase_and_on_a_dead_line(attach, unit):
    registers, meter = connected(attach, sdm630(unit, x02=0.0, x04=0.0))
    assert meter.read(registers, 1.0).voltage_v == pytest.approx(230.0)
    registers, meter = connected(attach, sdm630(unit, x00=0.0, x02=0.0, x04=0.0, x46=0.0))
    measured = meter.read(registers, 1.0)
    assert (measured.voltage_v, measured.frequency_hz) == (0.0, 0.0)


@pytest.mark.parametrize("watts", [float("nan"), float("inf"), 1e30])
def test_sdm630_power_that_cannot_be_is_unknown(attach, unit, watts):
    device = sdm630(unit)
    registers, meter = connected(attach, device)
    device.inputs.update(zip((0x34, 0x35), floats(watts), strict=True))
    assert meter.read(registers, 1.0).power_kw is None


def test_what_is_no_sdm630_is_refused(attach, unit):
    with pytest.raises(DeviceError, match="does not look like an SDM630"):
        connected(attach, sdm630(unit, x46=5e6))


def test_sdm630_is_one_request_most_of_the_time(attach, unit):
    device = sdm630(unit)
    registers, meter = connected(attach, device)
    device.reads.clear()
    for _ in range(10):
        meter.read(registers, 1.0)
    assert len(device.reads) == 12


@pytest.mark.parametrize("meter", [EastronSdm630, SunspecMeter])
def test_meters_take_no_setpoints(meter):
    device = meter(name="grid", unit=1)
    assert device.quantities == frozenset()
    with pytest.raises(DeviceError):
        device.write(None, None, 0.0)


OPTIONS = {
    "rated_kw": 5.0,
    "charge_max_kw": 4.0,
    "discharge_max_kw": 4.0,
    "battery_unit": 225,
    "start": "relay",
}


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_driver_is_made_from_its_keywords(name):
    entry = CATALOGUE[name]
    options = {key: OPTIONS[key] for key in entry.required}
    assert entry.make(name="x", unit=3, **options).unit == 3
    options |= {key: OPTIONS[key] for key in entry.optional}
    assert entry.make(name="x", unit=3, **options).name == "x"


def test_the_example_site_names_drivers_that_there_are():
    example = Path(__file__).parents[2] / "examples" / "site.toml"
    site = tomllib.loads(example.read_text())
    roles = {
        "pv": Role.INVERTER,
        "battery": Role.BATTERY,
        "generator": Role.GENERATOR,
    }
    for table, role in roles.items():
        assert all(CATALOGUE[each["driver"]].role is role for each in site[table])
    assert CATALOGUE[site["grid"]["driver"]].role is Role.GRID
