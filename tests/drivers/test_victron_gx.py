"""The battery behind a Victron GX: signs, phases, the 60 s dead-man, the BMS's limits."""

import pytest

from control.records import Quantity, Setpoint
from drivers.device import DeviceError
from drivers.victron_gx import VictronGx

VEBUS, BMS = 227, 225


def power(kw, lease_s=60.0):
    return Setpoint("battery", Quantity.POWER_KW, kw, lease_s)


class Rig:
    def __init__(self, attach, unit, *, phases=1, wide=True, bms=True):
        self.system = unit({840: 512, 841: 39, 842: 1900, 843: 64, 844: 1, 2902: 1})
        self.system.put(800, [0x6162, 0x6364, 0x6566, 0, 0, 0])
        self.vebus = unit(dict.fromkeys(range(3, 42), 0) | {28: phases, 31: 252, 12: 200})
        if wide:
            self.vebus.put(96, [0] * 6)
        self.bms = unit({305: 560, 306: 440, 307: 500, 308: 800})
        units = {100: self.system, VEBUS: self.vebus, BMS: self.bms}
        self.registers = attach(units, VEBUS)
        self.driver = VictronGx(
            name="battery",
            unit=VEBUS,
            charge_max_kw=4.0,
            discharge_max_kw=4.0,
            battery_unit=BMS if bms else None,
        )
        self.identity = self.driver.connect(self.registers, 0.0)

    def read(self, now_s):
        return self.driver.read(self.registers, now_s)

    def write(self, kw, now_s, lease_s=60.0):
        return self.driver.write(self.registers, power(kw, lease_s), now_s)

    def setpoints(self):
        return [values for address, values in self.vebus.writes]


@pytest.fixture
def rig(attach, unit):
    return lambda **options: Rig(attach, unit, **options)


def test_charging_is_negative_here_and_positive_there(rig):
    measured = rig().read(1.0)
    assert measured.power_kw == -2.0
    assert measured.soc_frac == 0.64
    assert measured.voltage_v == pytest.approx(51.2)
    assert measured.charge_limit_kw == pytest.approx(50.0 * 51.2 / 1000)
    assert measured.discharge_limit_kw == pytest.approx(80.0 * 51.2 / 1000)
    assert measured.state == "running"
    assert measured.setpoint_kw is None


@pytest.mark.parametrize(
    ("phases", "into_w", "out_w", "kw"),
    [
        (1, [-300, 0, 0], [0, 0, 0], 0.3),
        (3, [100, 200, -50], [50, 0, 0], -0.2),
        (1, [0], [120], 0.12),
    ],
)
def test_power_is_what_the_multi_adds_on_its_ac_side(rig, phases, into_w, out_w, kw):
    gx = rig(phases=phases)
    gx.vebus.put(12, [watts // 10 & 0xFFFF for watts in into_w])
    gx.vebus.put(23, [watts // 10 & 0xFFFF for watts in out_w])
    assert gx.read(1.0).power_kw == pytest.approx(kw)


@pytest.mark.parametrize("raw", [0x7FFF, 30000])
def test_power_that_cannot_be_is_unknown(rig, raw):
    gx = rig()
    gx.vebus.put(12, [raw])
    assert gx.read(1.0).power_kw is None


@pytest.mark.parametrize(
    ("raw", "state"), [(0, "off"), (2, "fault"), (8, "standby"), (3, "running"), (252, "running")]
)
def test_states_of_the_multi(rig, raw, state):
    gx = rig()
    gx.vebus.put(31, [raw])
    assert gx.read(1.0).state == state


def test_it_takes_external_control_with_the_first_setpoint_only(rig):
    gx = rig()
    gx.read(1.0)
    assert gx.system.writes == gx.vebus.writes == []
    gx.write(1.0, 2.0)
    assert gx.system.holding[2902] == 3


def test_it_names_itself(rig):
    gx = rig()
    assert (gx.identity.maker, gx.identity.serial) == ("Victron Energy", "abcdef")


@pytest.mark.parametrize(
    ("phases", "wide", "expected"),
    [
        (1, True, [[0xFFFF, 0x10000 - 3000]]),
        (3, True, [[0xFFFF, 0x10000 - 1000] * 3]),
        (1, False, [[0x10000 - 3000]]),
        (3, False, [[0x10000 - 1000], [0x10000 - 1000] * 2]),
    ],
)
def test_discharging_feeds_out_on_every_phase(rig, phases, wide, expected):
    gx = rig(phases=phases, wide=wide)
    assert gx.write(3.0, 1.0) == 3.0
    assert gx.setpoints() == expected
    assert gx.read(2.0).setpoint_kw == 3.0


def test_charging_takes_power_in(rig):
    gx = rig()
    assert gx.write(-1.5, 1.0) == -1.5
    assert gx.setpoints() == [[0, 1500]]


def test_the_setpoint_is_refreshed_within_the_dead_man_until_the_lease_ends(rig):
    gx = rig()
    gx.write(1.0, 0.0, lease_s=300.0)
    for now_s in range(1, 400):
        measured = gx.read(float(now_s))
    assert len(gx.setpoints()) == 15  # every 20 s of 300 s
    assert measured.setpoint_kw is None  # the Multi has dropped it by now


def test_a_setpoint_that_another_master_overwrites_is_told(rig):
    gx = rig()
    gx.vebus.after_write = lambda unit, *_: unit.put(96, [0, 250])
    assert gx.write(1.0, 0.0) == -0.25
    gx.vebus.after_write = lambda *_: None
    gx.read(20.0)
    assert gx.setpoints()[-1] == [0xFFFF, 0x10000 - 1000]  # what was wanted, not what was held


def test_a_quarrel_over_external_control_does_not_wear_the_flash(rig):
    gx = rig()
    refusals = []
    for now_s in range(0, 600, 10):
        gx.system.put(2902, [2])
        try:
            gx.write(1.0, float(now_s))
        except DeviceError as error:
            refusals.append(str(error))
    assert gx.system.writes == [(2902, [3]), (2902, [3])]
    assert len(refusals) > 20
    assert set(refusals) == {"another master keeps the GX out of external control (Hub4Mode)"}


def test_more_than_a_register_holds_is_refused(rig):
    with pytest.raises(DeviceError, match="does not fit"):
        rig(wide=False).write(-40.0, 0.0)


def test_a_battery_of_no_volts_is_unknown(rig):
    gx = rig()
    gx.system.put(840, [0, 0, 0, 0, 0])
    measured = gx.read(1.0)
    assert (measured.soc_frac, measured.voltage_v) == (None, None)
    assert measured.charge_limit_kw is None


@pytest.mark.parametrize("silence", ["refused", "unpublished"])
def test_a_silent_bms_is_trusted_for_ten_seconds(rig, silence):
    gx = rig()
    assert gx.read(1.0).charge_limit_kw == pytest.approx(2.56)
    if silence == "refused":
        gx.bms.holding.clear()
    else:
        gx.bms.put(305, [0, 0, 0, 0])
    assert gx.read(11.0).charge_limit_kw == pytest.approx(2.56)
    with pytest.raises(DeviceError, match="no limits from the BMS"):
        gx.read(11.1)


def test_connecting_again_does_not_make_old_limits_new(rig):
    gx = rig()
    gx.read(1.0)
    gx.bms.holding.clear()
    with pytest.raises(DeviceError, match="no limits from the BMS"):
        gx.read(11.1)
    with pytest.raises(DeviceError, match="no limits from the BMS at unit 225"):
        gx.driver.connect(gx.registers, 12.0)
    gx.bms.put(305, [560, 440, 100, 0])
    gx.driver.connect(gx.registers, 13.0)
    measured = gx.read(13.0)
    assert measured.charge_limit_kw == pytest.approx(10.0 * 51.2 / 1000)
    assert measured.discharge_limit_kw == 0.0


def test_a_bms_unit_that_is_not_there_is_found_out_at_once(rig):
    gx = rig(bms=False)
    gx.driver = VictronGx(
        name="b", unit=VEBUS, charge_max_kw=4.0, discharge_max_kw=4.0, battery_unit=226
    )
    with pytest.raises(DeviceError, match="no limits from the BMS at unit 226"):
        gx.driver.connect(gx.registers, 0.0)


def test_a_bms_that_falls_silent_ends_what_we_command(rig):
    gx = rig()
    gx.write(2.0, 0.0)
    gx.read(1.0)
    gx.bms.holding.clear()
    with pytest.raises(DeviceError):
        gx.read(11.1)
    assert gx.setpoints()[-1] == [0, 0]


def test_a_quarrel_over_external_control_does_not_stop_the_reading(rig):
    gx = rig()
    gx.write(1.0, 0.0, lease_s=300.0)
    for now_s in range(20, 120, 20):
        gx.system.put(2902, [1])  # somebody else wants it
        measured = gx.read(float(now_s))
        assert measured.soc_frac == 0.64
    assert measured.setpoint_kw is None
    assert gx.system.writes == [(2902, [3])]


def test_more_than_32_kw_goes_into_32_bits(rig):
    gx = rig(phases=3)
    gx.driver = VictronGx(
        name="b", unit=VEBUS, charge_max_kw=150.0, discharge_max_kw=150.0, battery_unit=BMS
    )
    gx.driver.connect(gx.registers, 0.0)
    assert gx.write(-120.0, 0.0) == -120.0
    assert gx.setpoints() == [[0, 40_000] * 3]
    gx.vebus.put(12, [4000] * 3)
    assert gx.read(1.0).power_kw == -120.0


def test_no_charge_current_is_a_limit_of_nothing(rig):
    gx = rig()
    gx.bms.put(307, [0])
    assert gx.read(1.0).charge_limit_kw == 0.0


def test_without_a_bms_there_are_no_limits_to_tell(rig):
    measured = rig(bms=False).read(1.0)
    assert (measured.charge_limit_kw, measured.discharge_limit_kw) == (None, None)


@pytest.mark.parametrize(("mode", "after"), [(1, 1), (2, 2), (3, 1)])
def test_release_zeroes_the_setpoint_and_returns_control(rig, mode, after):
    gx = rig()
    gx.system.put(2902, [mode])
    for now_s in (0.0, 10.0):
        gx.write(2.0, now_s)
        assert gx.system.holding[2902] == 3
        gx.driver.release(gx.registers, now_s + 1)
        assert gx.vebus.holding[97] == 0
        assert gx.system.holding[2902] == after
        assert gx.read(now_s + 2).setpoint_kw is None


def test_releasing_what_was_never_taken_writes_nothing(rig):
    gx = rig()
    gx.driver.release(gx.registers, 1.0)
    assert gx.system.writes == gx.vebus.writes == []


def test_one_unit_alone_is_not_enough():
    class Alone:
        def read(self, address, count, table=None):
            return [0] * count

        def write(self, address, values):
            pass

    driver = VictronGx(name="b", unit=1, charge_max_kw=1.0, discharge_max_kw=1.0)
    with pytest.raises(DeviceError, match="through a bus"):
        driver.connect(Alone(), 0.0)
