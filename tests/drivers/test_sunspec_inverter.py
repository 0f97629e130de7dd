"""The PV inverter: power from every SunSpec variant, limits with their dead-man timers."""

import pytest

from control.records import InverterMeasurement, Quantity, Setpoint
from drivers.device import DeviceError
from drivers.sunspec_inverter import SunspecInverter

AC = {"W": 3210, "W_SF": 0, "WH": 1500, "WH_SF": 1, "St": 4, "TmpCab": 415, "Tmp_SF": -1}
AC_FLOAT = {"W": 3210.0, "WH": 15000.0, "St": 5, "TmpCab": 41.5}
AC_701 = {
    "W": 321,
    "W_SF": 1,
    "InvSt": 3,
    "TotWhInj": 15_000,
    "TotWh_SF": 0,
    "TmpCab": 415,
    "Tmp_SF": -1,
}
CONTROLS = {"WMaxLimPct": 100, "WMaxLimPct_RvrtTms": 0, "WMaxLim_Ena": 0, "WMaxLimPct_SF": 0}
CONTROLS_704 = {
    "WMaxLimPctEna": 0,
    "WMaxLimPct": 1000,
    "WMaxLimPctRvrt": 1000,
    "WMaxLimPctEnaRvrt": 0,
    "WMaxLimPctRvrtTms": 0,
    "WMaxLimPctRvrtRem": 0,
    "WMaxLimPct_SF": -1,
}
SETTINGS = {"WMax": 5000, "WMax_SF": 0}


def limit(kw, lease_s=60.0):
    return Setpoint("roof", Quantity.LIMIT_KW, kw, lease_s)


def inverter(**options):
    return SunspecInverter(name="roof", unit=1, **{"rated_kw": 5.0, **options})


@pytest.fixture
def connected(attach, sunspec_device):
    def start(models):
        device = sunspec_device(models)
        registers, driver = attach({1: device}), inverter()
        driver.connect(registers, 0.0)
        return device, registers, driver

    return start


@pytest.mark.parametrize("model", [101, 102, 103, 111, 112, 113, 701])
def test_power_energy_and_state_of_every_variant(connected, model):
    values = AC_701 if model == 701 else AC_FLOAT if model > 110 else AC
    _, registers, driver = connected({model: values})
    assert driver.read(registers, 0.0) == InverterMeasurement(
        power_kw=pytest.approx(3.21),
        limit_kw=None,
        energy_kwh=pytest.approx(15.0),
        state="throttled" if 110 < model < 120 else "running",
        temperature_degc=pytest.approx(41.5),
    )


@pytest.mark.parametrize("watts", [11_000, -1_100, None])
def test_power_that_cannot_be_is_unknown(connected, watts):
    _, registers, driver = connected({103: {**AC, "W": watts}})
    assert driver.read(registers, 0.0).power_kw is None


def test_a_device_without_an_inverter_model_is_refused(connected):
    with pytest.raises(DeviceError, match="no SunSpec inverter model"):
        connected({203: {}})


def test_without_controls_it_is_read_only(connected):
    device, registers, driver = connected({103: AC})
    with pytest.raises(DeviceError, match="no SunSpec model to limit"):
        driver.write(registers, limit(2.0), 0.0)
    driver.release(registers, 0.0)
    assert device.writes == []


def test_123_is_written_with_its_timer_in_one_request(connected):
    device, registers, driver = connected({103: AC, 121: SETTINGS, 123: CONTROLS})
    assert driver.write(registers, limit(2.0, 45.2), 0.0) == 2.0
    assert device.writes == [(device.address(123, "WMaxLimPct"), [40, 0, 46, 0, 1])]
    assert driver.read(registers, 0.0).limit_kw == 2.0
    driver.release(registers, 0.0)
    assert device.get(123, "WMaxLim_Ena") == 0


def test_limits_are_rounded_down_and_short_leases_up(connected):
    device, registers, driver = connected({103: AC, 121: SETTINGS, 123: CONTROLS})
    assert driver.write(registers, limit(2.04, 3.0), 0.0) == 2.04
    assert device.get(123, "WMaxLimPct") == 40
    assert device.get(123, "WMaxLimPct_RvrtTms") == 10
    device.set(123, "WMaxLimPct_SF", -2)
    assert driver.write(registers, limit(2.04), 0.0) == 2.04  # reads back, finds another scale
    assert device.get(123, "WMaxLimPct") == 4080


@pytest.mark.parametrize(("kw", "percent"), [(9.0, 100), (5.0, 100), (0.0, 0), (-1.0, 0)])
def test_limits_beyond_the_rating_are_the_rating(connected, kw, percent):
    device, registers, driver = connected({103: AC, 121: SETTINGS, 123: CONTROLS})
    assert driver.write(registers, limit(kw), 0.0) == kw
    assert device.get(123, "WMaxLimPct") == percent


@pytest.mark.parametrize(
    ("models", "percent"),
    [
        ({121: {"WMax": 4000, "WMax_SF": 0}, 120: {"WRtg": 5000, "WRtg_SF": 0}}, 50),
        ({120: {"WRtg": 40, "WRtg_SF": 2}}, 50),
        ({}, 40),
        ({121: {"WMax": 4000, "WMax_SF": 8}}, 40),
    ],
)
def test_percentages_are_of_what_the_device_calls_its_maximum(connected, models, percent):
    device, registers, driver = connected({103: AC, **models, 123: CONTROLS})
    driver.write(registers, limit(2.0), 0.0)
    assert device.get(123, "WMaxLimPct") == percent


def test_a_device_that_keeps_another_limit_is_reported(connected):
    device, registers, driver = connected({103: AC, 121: SETTINGS, 123: CONTROLS})
    device.after_write = lambda unit, *_: unit.set(123, "WMaxLimPct", 60)
    assert driver.write(registers, limit(2.0), 0.0) == 3.0


def test_a_revert_timer_that_is_not_taken_is_an_error(connected):
    device, registers, driver = connected({103: AC, 121: SETTINGS, 123: CONTROLS})
    device.after_write = lambda unit, *_: unit.set(123, "WMaxLimPct_RvrtTms", 0)
    with pytest.raises(DeviceError, match="revert timer not armed"):
        driver.write(registers, limit(2.0), 0.0)


def test_an_inverter_without_a_revert_timer_is_believed(connected):
    device, registers, driver = connected({103: AC, 121: SETTINGS, 123: CONTROLS})
    device.after_write = lambda unit, *_: unit.set(123, "WMaxLimPct_RvrtTms", 0xFFFF)
    assert driver.write(registers, limit(2.0), 0.0) == 2.0


def counts_down(unit, address, values):
    """704: enabling the limit starts the count-down from all 32 bits of the timer."""
    if address == unit.address(704, "WMaxLimPctEna"):
        unit.set(704, "WMaxLimPctRvrtRem", unit.get(704, "WMaxLimPctRvrtTms"))


def test_704_falls_back_to_nothing_and_proves_its_timer(connected):
    device, registers, driver = connected(
        {701: AC_701, 702: {"WMax": 50, "W_SF": 2}, 704: CONTROLS_704}
    )
    device.after_write = counts_down
    assert driver.write(registers, limit(1.2345, 120.0), 0.0) == 1.2345
    assert [address for address, _ in device.writes] == [
        device.address(704, "WMaxLimPctRvrt"),
        device.address(704, "WMaxLimPctEna"),
    ]
    assert device.get(704, "WMaxLimPctRvrtTms") == 120
    assert device.get(704, "WMaxLimPctRvrt") == 0
    assert device.get(704, "WMaxLimPctEnaRvrt") == 1
    assert device.get(704, "WMaxLimPct") == 246
    assert driver.read(registers, 0.0).limit_kw == pytest.approx(1.23)


@pytest.mark.parametrize("remaining_s", [0, 120 << 16])
def test_704_with_a_timer_that_runs_wrong_is_an_error(connected, remaining_s):
    device, registers, driver = connected({701: AC_701, 704: CONTROLS_704})
    device.after_write = lambda unit, *_: unit.set(704, "WMaxLimPctRvrtRem", remaining_s)
    with pytest.raises(DeviceError, match="revert timer not armed: WMaxLimPctRvrtRem"):
        driver.write(registers, limit(2.0, 120.0), 0.0)


def test_704_release_takes_the_limit_off(connected):
    device, registers, driver = connected({701: AC_701, 704: CONTROLS_704})
    device.after_write = counts_down
    driver.write(registers, limit(2.0), 0.0)
    driver.release(registers, 0.0)
    assert device.get(704, "WMaxLimPctEna") == 0
    assert device.get(704, "WMaxLimPctEnaRvrt") == device.get(704, "WMaxLimPctRvrtTms") == 0


@pytest.mark.parametrize(("model", "controls"), [(123, CONTROLS), (704, CONTROLS_704)])
def test_a_limit_that_is_not_ours_stays(connected, model, controls):
    name = "WMaxLimPctEna" if model == 704 else "WMaxLim_Ena"
    device, registers, driver = connected({103: AC, model: {**controls, name: 1}})
    driver.release(registers, 0.0)
    assert device.writes == []


def test_the_fallback_that_a_former_run_left_is_lifted(connected):
    fallback = {"WMaxLimPctEna": 1, "WMaxLimPct": 0, "WMaxLimPctRvrt": 0, "WMaxLimPctEnaRvrt": 1}
    device, registers, driver = connected({701: AC_701, 704: {**CONTROLS_704, **fallback}})
    assert driver.read(registers, 0.0).limit_kw == 0.0
    driver.release(registers, 0.0)
    assert device.get(704, "WMaxLimPctEna") == 0


def test_a_reading_is_one_request_most_of_the_time(connected):
    device, registers, driver = connected({103: AC, 123: CONTROLS})
    device.reads.clear()
    for _ in range(10):
        driver.read(registers, 0.0)
    assert len(device.reads) == 11  # connecting has read the limit already
