"""Faults between the drivers and the bench's simulated devices: told, survived, kept apart."""

import pytest

from control.records import Quantity
from hil.wire_faults import Fault


@pytest.mark.parametrize(
    "fault",
    [
        Fault.HANG,
        Fault.GARBAGE,
        Fault.TRUNCATED,
        Fault.DRIP,
        Fault.LATE,
        Fault.WRONG_TRANSACTION,
        Fault.WRONG_UNIT,
        Fault.BUSY,
        Fault.ILLEGAL_ADDRESS,
        Fault.RESET,
    ],
)
def test_a_faulty_device_is_offline_and_its_neighbours_go_on(rig, fault):
    bench = rig()
    bench.exchange()
    bench.devices.set_fault(fault, "roof")
    for _ in range(2):
        bench.after(1)
        bench.exchange()
    images = bench.images()
    assert not images["roof"].online
    assert images["roof"].error
    assert images["roof"].read_at_s == 100.0
    assert all(images[name].read_at_s == bench.now_s for name in ("barn", "battery", "grid"))
    bench.devices.set_fault(fault, "roof", active=False)
    bench.after(30)
    bench.exchange()
    assert bench.images()["roof"].online


@pytest.mark.parametrize("fault", [Fault.BAD_CRC, Fault.LATE, Fault.WRONG_UNIT])
def test_the_same_on_a_serial_line(rig, fault):
    bench = rig(grid="sdm630")
    bench.exchange()
    bench.devices.set_fault(fault, "genset")
    bench.after(1)
    bench.exchange()
    assert not bench.images()["genset"].online
    assert bench.images()["grid"].read_at_s == bench.now_s
    assert bench.measured("grid").power_kw == pytest.approx(-1.117, abs=0.001)
    bench.devices.set_fault(fault, "genset", active=False)
    bench.after(30)
    bench.exchange()
    assert bench.images()["genset"].online
    assert bench.measured("genset").power_kw == pytest.approx(2.4, abs=0.001)


@pytest.mark.parametrize("fault", [Fault.SCALE_FLIP, Fault.NOT_IMPLEMENTED])
def test_values_that_make_no_sense_are_unknown_or_out_of_the_question(rig, fault):
    bench = rig()
    bench.exchange()
    bench.devices.set_fault(fault, "roof")
    bench.after(1)
    bench.exchange()
    power_kw = bench.measured("roof").power_kw
    assert power_kw is None or (fault is Fault.SCALE_FLIP and power_kw <= 10.0)
    assert power_kw != 0.0


def test_ignored_writes_are_told(rig):
    bench = rig()
    bench.exchange()
    bench.devices.set_fault(Fault.WRITES_IGNORED, "roof")
    bench.submit("roof", Quantity.LIMIT_KW, 1.0)
    bench.exchange()
    (ack,) = bench.images()["roof"].acks
    assert ack.acknowledged != 1.0
    assert ack.error
