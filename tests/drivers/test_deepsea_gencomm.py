"""The Deep Sea generator controller: state, alarms, telemetry start with its latch."""

import pytest

from control.records import Quantity, Setpoint
from drivers.deepsea_gencomm import DeepseaGencomm
from drivers.device import DeviceError

START, CANCEL = [35732, 29803], [35733, 29802]


def run(value, lease_s=60.0):
    return Setpoint("genset", Quantity.RUN, value, lease_s)


class Controller:
    """A stopped set in auto mode that knows telemetry start and cancel."""

    def __init__(self, attach, unit, start="gencomm", alarm_count=36, model=32840):
        self.unit = unit({768: 1, 769: model, 770: 1, 771: 2, 1408: 0, 1536: 0, 1537: 0})
        self.unit.put(772, [1, 0xFFFF, 0])
        self.unit.put(1024, [400, 80, 0xFFFF, 55, 135, 262, 0, 0])
        self.unit.put(4096, [0] * 8)
        self.support(35700, 35701, 35732, 35733)
        self.unit.put(4104, [0, 0])
        self.unit.put(39424, [alarm_count] + [0x1111] * 9)
        self.registers = attach({10: self.unit}, 10)
        self.driver = DeepseaGencomm(name="genset", unit=10, rated_kw=6.0, start=start)
        self.identity = self.driver.connect(self.registers, 0.0)

    def support(self, *keys):
        for key in keys:
            word, bit = divmod(key - 35700, 16)
            self.unit.holding[4096 + word] |= 1 << (15 - bit)

    def read(self, now_s=1.0, rounds=3):
        for _ in range(rounds):
            measured = self.driver.read(self.registers, now_s)
        return measured

    def write(self, value, now_s=1.0, lease_s=60.0):
        return self.driver.write(self.registers, run(value, lease_s), now_s)

    def keys(self):
        return [values for address, values in self.unit.writes if address == 4104]


@pytest.fixture
def controller(attach, unit):
    return lambda **options: Controller(attach, unit, **options)


def test_reads_state_power_and_fuel(controller):
    genset = controller()
    assert (genset.identity.maker, genset.identity.model) == ("Deep Sea Electronics", "model 32840")
    assert genset.identity.serial == "65538"
    genset.unit.put(1408, [3])
    genset.unit.put(1536, [0, 4321])
    genset.unit.put(1030, [1500, 501])
    measured = genset.read()
    assert measured.power_kw == pytest.approx(4.321)
    assert (measured.phase, measured.mode, measured.available) == ("running", "auto", True)
    assert measured.fuel_frac == 0.55
    assert measured.frequency_hz == pytest.approx(50.1)
    assert measured.alarms == ()


def test_reverse_power_is_negative(controller):
    genset = controller()
    genset.unit.put(1536, [0xFFFF, 0x10000 - 250])
    assert genset.read().power_kw == -0.25


@pytest.mark.parametrize("raw", [0x7FFF_FFFF, 0x7FFF_FFF8, 0x7FFF_FFFC, 40_000])
def test_power_that_is_none_is_unknown(controller, raw):
    genset = controller()
    genset.unit.put(1536, [raw >> 16, raw & 0xFFFF])
    assert genset.read().power_kw is None


@pytest.mark.parametrize("raw", [0xFFFF, 0xFFFC, 0xFFF8])
def test_sentinels_are_unknown(controller, raw):
    genset = controller()
    genset.unit.put(1027, [raw])
    genset.unit.put(1031, [raw])
    measured = genset.read()
    assert (measured.fuel_frac, measured.frequency_hz) == (None, None)


@pytest.mark.parametrize(
    ("raw", "phase"),
    [
        (0, "stopped"),
        (1, "starting"),
        (2, "warming"),
        (3, "running"),
        (4, "cooling"),
        (99, "unknown"),
    ],
)
def test_engine_phases(controller, raw, phase):
    genset = controller()
    genset.unit.put(1408, [raw])
    assert genset.read().phase == phase


@pytest.mark.parametrize(("rpm", "phase"), [(0, "stopped"), (1500, "running"), (0xFFFF, "unknown")])
def test_without_an_engine_state_the_speed_tells(controller, rpm, phase):
    genset = controller()
    genset.unit.put(1408, [0xFFFF])
    genset.unit.put(1030, [rpm])
    assert genset.read().phase == phase


def test_alarms_have_a_level_and_a_name_and_make_it_unavailable(controller):
    genset = controller()
    genset.unit.put(39425, [0x1311, 0x1111, 0x1112, 0x1111, 0x1111, 0xFF2F, 0x1111, 0x1111, 0x1114])
    measured = genset.read()
    assert measured.alarms == (
        "shutdown: low oil pressure",
        "warning: battery overvoltage",
        "warning: low fuel level",
        "trip: maintenance due",
    )
    assert not measured.available


@pytest.mark.parametrize(
    ("flags", "available"),
    [(0x1000, False), (0x0800, False), (0x2000, False), (0x0040, False), (0x0400, True)],
)
def test_the_status_flags_tell_of_trips_that_have_no_name(controller, flags, available):
    genset = controller()
    genset.unit.put(774, [flags])
    assert genset.read().available is available


@pytest.mark.parametrize("page", [39424, 2048])
def test_the_first_generation_has_its_alarms_in_another_order_and_maybe_on_another_page(
    controller, page
):
    genset = controller(model=7320)
    genset.unit.put(39424, [0xFFFF] * 10)
    genset.unit.put(page, [47, 0x1113, 0x1131, 0x1111, 0x1114, 0x1111, 0x1111, 0x1121, 0x1111])
    genset.unit.put(page + 9, [0x1111, 0x1112, 0x1111, 0xFFFF])
    genset.driver.connect(genset.registers, 0.0)
    assert genset.read().alarms == (
        "shutdown: high oil temperature",
        "shutdown: fail to start",
        "trip: reverse power",
        "warning: low fuel level",
        "warning: alarm 40",
    )


def test_a_controlled_shutdown_is_a_shutdown(controller):
    genset = controller()
    genset.unit.put(39425, [0x1151])
    measured = genset.read()
    assert measured.alarms == ("shutdown: high coolant temperature",)
    assert not measured.available


def test_warnings_alone_leave_it_available(controller):
    genset = controller()
    genset.unit.put(39425, [0x2111])
    assert genset.read().available


@pytest.mark.parametrize("mode", [0, 2, 3, 7, 0xFFFF])
def test_out_of_auto_it_is_not_available_and_not_startable(controller, mode):
    genset = controller()
    genset.unit.put(772, [mode])
    assert not genset.read().available
    with pytest.raises(DeviceError, match="only in auto"):
        genset.write(1.0)
    assert genset.keys() == []


def test_a_model_without_named_alarms_is_read_all_the_same(controller):
    genset = controller(alarm_count=0xFFFF)
    assert genset.read().alarms == ()
    genset.unit.holding.pop(39424)
    genset.driver.connect(genset.registers, 2.0)
    assert genset.read().alarms == ()


def test_start_and_cancel_are_a_key_with_its_complement(controller):
    genset = controller()
    genset.unit.after_write = lambda unit, *_: unit.put(1408, [1])
    assert genset.write(1.0, 1.0) == 1.0
    assert genset.keys() == [START]
    genset.unit.after_write = lambda unit, *_: unit.put(1408, [4])
    assert genset.write(0.0, 2.0) == 0.0
    assert genset.keys() == [START, CANCEL]


def test_renewing_a_run_that_runs_sends_nothing(controller):
    genset = controller()
    genset.unit.after_write = lambda unit, *_: unit.put(1408, [3])
    genset.write(1.0, 1.0)
    genset.write(1.0, 21.0)
    assert genset.keys() == [START]


def test_a_controller_that_accepts_the_key_and_does_nothing_is_found_out(controller):
    genset = controller()
    assert genset.write(1.0, 1.0) == 1.0  # it may still be starting
    assert genset.write(1.0, 20.0) == 1.0
    assert genset.write(1.0, 31.0) == 0.0


def test_a_stop_may_take_its_time(controller):
    genset = controller()
    genset.unit.after_write = lambda unit, *_: unit.put(1408, [3])
    genset.write(1.0, 1.0)
    assert genset.write(0.0, 100.0) == 0.0
    assert genset.write(0.0, 399.0) == 0.0
    assert genset.write(0.0, 400.0) == 1.0


def test_the_latched_start_is_cancelled_when_the_lease_runs_out(controller):
    genset = controller()
    genset.unit.after_write = lambda unit, *_: unit.put(1408, [3])
    genset.write(1.0, 1.0, lease_s=30.0)
    genset.read(30.9)
    assert genset.keys() == [START]
    genset.read(31.0)
    assert genset.keys() == [START, CANCEL]
    genset.read(60.0)
    assert genset.keys() == [START, CANCEL]


def test_release_cancels_our_own_start_only(controller):
    genset = controller()
    genset.driver.release(genset.registers, 1.0)
    assert genset.keys() == []
    genset.write(1.0, 1.0)
    genset.driver.release(genset.registers, 2.0)
    assert genset.keys() == [START, CANCEL]


def test_a_controller_that_does_not_offer_the_key_is_not_sent_it(controller):
    genset = controller()
    genset.unit.put(4096, [0xFFFF, 0xFFFF, 0, 0, 0, 0, 0, 0])
    genset.driver.connect(genset.registers, 0.0)
    with pytest.raises(DeviceError, match="does not offer control key 35732"):
        genset.write(1.0)
    assert genset.keys() == []


def test_with_a_relay_the_driver_takes_no_setpoint(controller):
    genset = controller(start="relay")
    assert genset.driver.quantities == frozenset()
    with pytest.raises(DeviceError):
        genset.write(1.0)
    genset.driver.release(genset.registers, 1.0)
    assert genset.unit.writes == []


def test_another_maker_is_refused(controller, attach, unit):
    other = unit({768: 9, 769: 1, 770: 0, 771: 0})
    driver = DeepseaGencomm(name="g", unit=1, rated_kw=1.0, start="relay")
    with pytest.raises(DeviceError, match="not a Deep Sea controller"):
        driver.connect(attach({1: other}), 0.0)


def test_a_reading_takes_three_requests(controller):
    genset = controller()
    genset.unit.reads.clear()
    genset.read(rounds=6)
    assert len(genset.unit.reads) == 18
