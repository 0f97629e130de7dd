"""The drivers on the bench's simulated devices, which were written from other sources.

What the plant has must come out of the driver, what the driver sets must reach the plant, and
when the driver falls silent the devices' own timers must bring them home.
"""

from dataclasses import replace

import pytest

from control.records import Quantity

BATTERIES = ["124", "704", "victron"]


@pytest.mark.parametrize("battery", BATTERIES)
@pytest.mark.parametrize("grid", ["sunspec", "sdm630"])
def test_what_the_plant_has_comes_out_of_the_drivers(rig, battery, grid):
    bench = rig(battery, grid)
    bench.exchange()
    assert all(image.online for image in bench.images().values())
    for name in ("roof", "barn"):
        inverter = bench.measured(name)
        assert inverter.power_kw == pytest.approx(3.21, abs=0.01)
        assert inverter.energy_kwh == pytest.approx(1234.5, rel=1e-3)
        assert inverter.state == "running"
        assert inverter.temperature_degc == pytest.approx(41.3, abs=0.1)
        assert inverter.limit_kw is None
    storage = bench.measured("battery")
    assert storage.power_kw == pytest.approx(-1.5, abs=0.011)
    assert storage.soc_frac == pytest.approx(0.62, abs=1e-3)
    assert storage.charge_limit_kw == pytest.approx(3.5, abs=0.01)
    assert storage.discharge_limit_kw == pytest.approx(4.0, abs=0.01)
    assert storage.voltage_v == pytest.approx(52.4, abs=0.1)
    assert storage.state == "running"
    genset = bench.measured("genset")
    assert genset.power_kw == pytest.approx(2.4, abs=0.001)
    assert (genset.phase, genset.mode, genset.available) == ("running", "auto", True)
    assert genset.fuel_frac == pytest.approx(0.8)
    assert genset.frequency_hz == pytest.approx(49.9)
    meter = bench.measured("grid")
    assert meter.power_kw == pytest.approx(-1.117, abs=0.001)
    assert meter.voltage_v == pytest.approx(230.0, abs=0.1)
    assert meter.frequency_hz == pytest.approx(50.02, abs=0.01)
    assert meter.import_kwh == pytest.approx(321.5, abs=0.1)
    assert meter.export_kwh == pytest.approx(45.25, abs=0.1)


@pytest.mark.parametrize("battery", BATTERIES)
@pytest.mark.parametrize("kw", [2.5, -1.5, 0.0, 4.0, -4.0])
def test_a_battery_setpoint_reaches_the_plant_and_lapses(rig, battery, kw):
    bench = rig(battery)
    bench.submit("battery", Quantity.POWER_KW, kw)
    bench.exchange()
    (ack,) = bench.images()["battery"].acks
    assert (ack.acknowledged, ack.error) == (kw, "")
    assert bench.after(0).battery_kw == pytest.approx(kw, abs=0.005)
    assert bench.measured("battery").setpoint_kw == pytest.approx(kw, abs=0.005)
    assert bench.after(59).battery_kw == pytest.approx(kw, abs=0.005)
    reverted = bench.after(2).battery_kw
    # 124 falls back to its own self-consumption, 704 to nothing; the GX passes through
    assert reverted == (None if battery == "124" else 0.0)


@pytest.mark.parametrize("battery", BATTERIES)
def test_a_battery_setpoint_that_changes_and_is_renewed(rig, battery):
    bench = rig(battery)
    for step in range(40):
        kw = (-1) ** step * 0.1 * step
        bench.submit("battery", Quantity.POWER_KW, kw, 30.0)
        bench.exchange()
        assert bench.after(10).battery_kw == pytest.approx(kw, abs=0.005)
    assert bench.images()["battery"].acks[0].error == ""


def test_a_gx_without_a_bms_tells_no_limits(rig):
    bench = rig("victron without a BMS")
    bench.submit("battery", Quantity.POWER_KW, 2.0)
    bench.exchange()
    storage = bench.measured("battery")
    assert (storage.charge_limit_kw, storage.discharge_limit_kw) == (None, None)
    assert storage.soc_frac == pytest.approx(0.62)
    assert bench.after(1).battery_kw == pytest.approx(2.0)


def test_another_master_that_takes_the_gx_is_told(rig):
    bench = rig("victron")
    bench.submit("battery", Quantity.POWER_KW, 2.0)
    bench.exchange()
    gx = bench.devices.devices["battery"].units[100]
    errors = []
    for _ in range(8):
        gx.put("hub4_mode", 1)
        bench.after(10)
        bench.submit("battery", Quantity.POWER_KW, 2.0)
        bench.exchange()
        assert bench.measured("battery").soc_frac == pytest.approx(0.62)
        errors += [ack.error for ack in bench.images()["battery"].acks]
    assert "another master keeps the GX out of external control (Hub4Mode)" in errors
    assert bench.after(1).battery_kw is None  # the GX runs its own self-consumption


@pytest.mark.parametrize("name", ["roof", "barn"])
def test_a_limit_reaches_the_plant_and_lapses_as_the_model_says(rig, name):
    bench = rig()
    bench.submit(name, Quantity.LIMIT_KW, 2.0)
    bench.exchange()
    (ack,) = bench.images()[name].acks
    assert (ack.acknowledged, ack.error) == (2.0, "")
    assert bench.measured(name).limit_kw == pytest.approx(2.0, abs=0.01)
    assert bench.after(59).pv_limit_kw[name] == pytest.approx(2.0, abs=0.01)
    fallback = 0.0 if name == "barn" else None  # 704 falls back to nothing, 123 to no limit
    assert bench.after(2).pv_limit_kw[name] == fallback


def test_the_generator_starts_by_telemetry_and_stops_with_the_lease(rig):
    bench = rig()
    stopped = replace(bench.state.generator, phase="stopped", power_kw=0.0, rpm=0.0, on_bus=False)
    bench.state = replace(bench.state, generator=stopped)
    bench.after(1)
    bench.exchange()
    assert bench.measured("genset").phase == "stopped"
    bench.submit("genset", Quantity.RUN, 1.0, 20.0)
    bench.exchange()
    assert bench.after(1).generator_run
    bench.exchange()
    assert bench.after(20).generator_run  # nothing at the device makes it lapse ...
    bench.exchange()
    assert not bench.after(1).generator_run  # ... so the driver does


@pytest.mark.parametrize(
    ("alarm", "told"),
    [
        ("emergency stop", "shutdown: emergency stop"),
        ("failed to start", "shutdown: fail to start"),
        ("out of fuel", "shutdown: low fuel level"),
        ("tripped", "trip: generator overcurrent"),
        ("reverse power", "trip: reverse power"),
    ],
)
def test_an_alarm_makes_the_generator_unavailable(rig, alarm, told):
    bench = rig()
    tripped = replace(bench.state.generator, alarm=alarm, locked_out=True)
    bench.state = replace(bench.state, generator=tripped)
    bench.after(1)
    bench.exchange()
    genset = bench.measured("genset")
    assert genset.alarms == (told,)
    assert not genset.available


@pytest.mark.parametrize("battery", BATTERIES)
def test_stop_gives_everything_back(rig, battery):
    bench = rig(battery)
    bench.submit("roof", Quantity.LIMIT_KW, 1.0)
    bench.submit("barn", Quantity.LIMIT_KW, 1.0)
    bench.submit("battery", Quantity.POWER_KW, 1.0)
    bench.submit("genset", Quantity.RUN, 1.0)
    bench.exchange()
    for bus in bench.buses:
        bus.stop()
    for seconds in (0, 59, 2):  # at once, and no timer that ran on changes it
        controls = bench.after(seconds)
        assert controls.pv_limit_kw == {"roof": None, "barn": None}
        assert controls.battery_kw is None
        assert not controls.generator_run
