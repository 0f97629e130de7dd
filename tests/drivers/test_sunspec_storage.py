"""The battery inverter over SunSpec: 124's pinned window, 704's setpoint, live limits."""

import pytest

from control.records import Quantity, Setpoint
from drivers.device import DeviceError
from drivers.sunspec_storage import SunspecStorage

AC = {"W": -1500, "W_SF": 0, "St": 4}
STORAGE = {
    "WChaMax": 4000,
    "WChaMax_SF": 0,
    "StorCtl_Mod": 0,
    "ChaState": 555,
    "ChaState_SF": -1,
    "InBatV": 512,
    "InBatV_SF": -1,
    "ChaSt": 4,
    "OutWRte": 10000,
    "InWRte": 10000,
    "InOutWRte_WinTms": 0,
    "InOutWRte_RvrtTms": 3600,
    "ChaGriSet": 1,
    "InOutWRte_SF": -2,
}
NAMEPLATE = {
    "MaxChaRte": 4000,
    "MaxChaRte_SF": 0,
    "MaxDisChaRte": 50,
    "MaxDisChaRte_SF": 2,
}
BATTERY = {
    "SoC": 601,
    "SoC_SF": -1,
    "State": 3,
    "LocRemCtl": 0,
    "V": 500,
    "V_SF": -1,
    "AChaMax": 40,
    "ADisChaMax": 60,
    "AMax_SF": 0,
}
AC_701 = {"W": 2000, "W_SF": 0, "InvSt": 3}
DER_STORAGE = {"SoC": 45, "Pct_SF": 0, "Sta": 0}
DER_CONTROLS = {
    "WSetEna": 0,
    "WSetMod": 0,
    "WSet": 0,
    "WSetRvrt": 777,
    "WSetEnaRvrt": 0,
    "WSetRvrtTms": 0,
    "WSetRvrtRem": 0,
    "WSet_SF": 0,
}


def power(kw, lease_s=60.0):
    return Setpoint("battery", Quantity.POWER_KW, kw, lease_s)


@pytest.fixture
def connected(attach, sunspec_device):
    def start(models):
        device = sunspec_device(models)
        driver = SunspecStorage(name="battery", unit=1, charge_max_kw=3.0, discharge_max_kw=3.0)
        registers = attach({1: device})
        driver.connect(registers, 0.0)
        device.writes.clear()
        return device, registers, driver

    return start


def test_reads_what_124_alone_tells(connected):
    _, registers, driver = connected({103: AC, 124: STORAGE})
    measured = driver.read(registers, 1.0)
    assert measured.power_kw == -1.5
    assert measured.soc_frac == pytest.approx(0.555)
    assert (measured.charge_limit_kw, measured.discharge_limit_kw) == (4.0, 4.0)
    assert measured.setpoint_kw is None
    assert measured.voltage_v == pytest.approx(51.2)
    assert measured.state == "running"


def test_live_limits_are_the_bms_current_times_its_voltage(connected):
    device, registers, driver = connected({103: AC, 120: NAMEPLATE, 124: STORAGE, 802: BATTERY})
    measured = driver.read(registers, 1.0)
    assert (measured.charge_limit_kw, measured.discharge_limit_kw) == (2.0, 3.0)
    assert measured.soc_frac == pytest.approx(0.601)
    device.set(802, "AChaMax", 0)
    assert driver.read(registers, 2.0).charge_limit_kw == 0.0
    device.set(802, "State", 99)
    assert driver.read(registers, 3.0).state == "fault"


def test_current_limits_that_are_not_there_leave_the_power_ratings(connected):
    battery = {**BATTERY, "AChaMax": None, "ADisChaMax": None}
    battery |= {"WChaRteMax": 21, "WDisChaRteMax": 22, "WChaDisChaMax_SF": 2}
    _, registers, driver = connected({103: AC, 124: STORAGE, 802: battery})
    measured = driver.read(registers, 1.0)
    assert (measured.charge_limit_kw, measured.discharge_limit_kw) == (2.1, 2.2)


def test_without_any_limit_of_the_device_the_ratings_count(connected):
    _, registers, driver = connected({103: AC, 124: {**STORAGE, "WChaMax": None}})
    measured = driver.read(registers, 1.0)
    assert (measured.charge_limit_kw, measured.discharge_limit_kw) == (3.0, 3.0)


@pytest.mark.parametrize(
    ("kw", "out_rate", "in_rate"),
    [(2.5, 5000, -6250), (-1.0, -2000, 2500), (0.0, 0, 0), (4.0, 8000, -10000)],
)
def test_the_window_is_pinned_timer_first_mode_last(connected, kw, out_rate, in_rate):
    device, registers, driver = connected({103: AC, 120: NAMEPLATE, 124: STORAGE})
    assert driver.write(registers, power(kw), 1.0) == kw
    assert [address - device.at[124] for address, _ in device.writes] == [15, 12, 5]
    assert device.get(124, "InOutWRte_RvrtTms") == 60
    assert (device.get(124, "OutWRte"), device.get(124, "InWRte")) == (out_rate, in_rate)
    assert device.get(124, "StorCtl_Mod") == 3
    assert driver.read(registers, 1.0).setpoint_kw == pytest.approx(kw)


def test_while_pinned_a_new_setpoint_is_one_write_and_its_read_back_serves_the_reading(connected):
    device, registers, driver = connected({103: AC, 120: NAMEPLATE, 124: STORAGE})
    driver.write(registers, power(1.0), 1.0)
    device.writes.clear()
    device.reads.clear()
    assert driver.write(registers, power(-1.0, 30.0), 2.0) == -1.0
    driver.read(registers, 2.0)
    assert device.writes == [(device.address(124, "OutWRte"), [0x10000 - 2000, 2500, 0, 30])]
    assert len(device.reads) == 2


def test_more_than_the_device_can_is_acknowledged_as_what_it_can(connected):
    _, registers, driver = connected({103: AC, 120: NAMEPLATE, 124: STORAGE})
    assert driver.write(registers, power(-6.0), 1.0) == -4.0
    assert driver.write(registers, power(6.0), 2.0) == 5.0


def test_a_scale_that_changed_is_noticed_when_reading_back(connected):
    device, registers, driver = connected({103: AC, 120: NAMEPLATE, 124: STORAGE})
    device.set(124, "InOutWRte_SF", 0)
    assert driver.write(registers, power(2.5), 1.0) == 2.5
    assert (device.get(124, "OutWRte"), device.get(124, "InWRte")) == (50, -62)


def test_a_storage_that_takes_no_setpoint_is_an_error(connected):
    device, registers, driver = connected({103: AC, 124: STORAGE})
    device.after_write = lambda unit, *_: unit.set(124, "StorCtl_Mod", 0)
    with pytest.raises(DeviceError, match="its own mode"):
        driver.write(registers, power(1.0), 1.0)


def test_release_returns_it_to_itself(connected, attach):
    device, registers, driver = connected({103: AC, 124: {**STORAGE, "ChaGriSet": 0}})
    driver.write(registers, power(1.0), 1.0)
    assert device.get(124, "ChaGriSet") == 0
    driver.write(registers, power(-1.0), 1.0)
    assert device.get(124, "ChaGriSet") == 1
    driver.release(registers, 2.0)
    assert device.get(124, "StorCtl_Mod") == 0
    assert device.get(124, "OutWRte") == device.get(124, "InWRte") == 10000
    assert device.get(124, "ChaGriSet") == 0


def test_the_heartbeat_beats_once_a_second_and_never_says_unknown(connected):
    device, registers, driver = connected({103: AC, 124: STORAGE, 802: {**BATTERY, "CtrlHb": 7}})
    driver.read(registers, 0.0)
    assert device.writes == []  # no heartbeat before the first setpoint
    driver.write(registers, power(1.0, 600.0), 0.0)
    beats = []
    for now_s in (0.0, 0.5, 1.0, 1.9, 2.0):
        driver.read(registers, now_s)
        beats.append(device.get(802, "CtrlHb"))
    assert beats == [8, 8, 9, 9, 10]
    device.set(802, "CtrlHb", 0xFFFE)
    driver.read(registers, 3.0)
    assert device.get(802, "CtrlHb") == 0
    device.set(802, "LocRemCtl", 1)
    driver.read(registers, 4.0)
    assert device.get(802, "CtrlHb") == 0


def counts_down(unit, address, values):
    if address == unit.address(704, "WSetEna"):
        unit.set(704, "WSetRvrtRem", unit.get(704, "WSetRvrtTms"))


@pytest.mark.parametrize("kw", [2.5, -1.25, 0.0])
def test_704_is_set_in_watts_with_a_fallback_of_nothing(connected, kw):
    device, registers, driver = connected({701: AC_701, 704: DER_CONTROLS, 713: DER_STORAGE})
    device.after_write = counts_down
    assert driver.write(registers, power(kw, 90.0), 1.0) == kw
    assert [address - device.at[704] for address, _ in device.writes] == [26, 30, 22]
    assert device.get(704, "WSet") == 1000 * kw
    assert device.get(704, "WSetMod") == 1
    assert (device.get(704, "WSetRvrt"), device.get(704, "WSetEnaRvrt")) == (0, 1)
    assert device.get(704, "WSetRvrtTms") == 90
    measured = driver.read(registers, 1.0)
    assert (measured.power_kw, measured.soc_frac, measured.setpoint_kw) == (2.0, 0.45, kw)
    driver.release(registers, 2.0)
    assert device.get(704, "WSetEna") == 0


def test_704_with_a_timer_that_does_not_run_is_an_error(connected):
    _, registers, driver = connected({701: AC_701, 704: DER_CONTROLS, 713: DER_STORAGE})
    with pytest.raises(DeviceError, match="revert timer not armed: WSetRvrtRem"):
        driver.write(registers, power(1.0), 1.0)


@pytest.mark.parametrize(
    ("values", "writes"),
    [({"WSetEna": 1, "WSetRvrt": 777}, 0), ({"WSetEna": 1, "WSetRvrt": 0, "WSetEnaRvrt": 1}, 2)],
)
def test_only_what_we_or_a_former_run_set_is_released(connected, values, writes):
    der = {701: AC_701, 704: {**DER_CONTROLS, **values}, 713: DER_STORAGE}
    device, registers, driver = connected(der)
    driver.release(registers, 1.0)
    driver.release(registers, 2.0)
    assert len(device.writes) == writes


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({103: AC}, "no SunSpec storage model"),
        ({701: AC_701, 713: DER_STORAGE}, "no SunSpec storage model"),
        ({124: STORAGE}, "no SunSpec inverter model"),
    ],
)
def test_a_device_that_is_no_battery_is_refused(connected, models, message):
    with pytest.raises(DeviceError, match=message):
        connected(models)
