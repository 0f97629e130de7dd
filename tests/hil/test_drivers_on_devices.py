"""The drivers on the bench's simulated devices, which were written from other sources.

What the plant has must come out of the driver, what the driver sets must reach the plant, and
when the driver falls silent the devices' own timers must bring them home.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from control.records import Quantity, Setpoint
from drivers.bus import Bus
from drivers.catalogue import CATALOGUE
from drivers.line import RtuLink, TcpLink
from hil.buses import Buses
from hil.plant import (
    BatteryState,
    Controls,
    Energy,
    GeneratorState,
    InverterState,
    PlantState,
    Weather,
)
from hil.wire_faults import Fault

TIMEOUT_S = 0.3  # less than the bench's late answers take; three of them outlast those
STATE = PlantState(
    t_s=100.0,
    weather=Weather(ghi_w_m2=600.0, plane_w_m2=700.0, ambient_degc=18.0),
    pv=tuple(
        InverterState(name, 3.21, 4.0, 5.0, 3.3, 1234.5, 41.3, "running")
        for name in ("roof", "barn")
    ),
    wind=(),
    battery=BatteryState(
        power_kw=-1.5,
        dc_kw=-1.44,
        soc_frac=0.62,
        stored_kwh=7.44,
        voltage_v=52.4,
        current_a=-27.48,
        charge_limit_kw=3.5,
        discharge_limit_kw=4.0,
        setpoint_kw=None,
        grid_forming=False,
        loss_kw=0.06,
        temperature_degc=21.4,
        charged_kwh=31.0,
        discharged_kwh=27.5,
        state="running",
    ),
    generator=GeneratorState(
        power_kw=2.4,
        phase="running",
        on_bus=True,
        available_kw=5.8,
        rpm=1497.0,
        frequency_hz=49.9,
        voltage_v=231.2,
        coolant_degc=82.0,
        fuel_l=48.0,
        fuel_frac=0.8,
        fuel_l_per_h=1.1,
        starts=7,
        run_h=12.5,
        energy_kwh=55.5,
        locked_out=False,
        alarm="",
    ),
    mode="grid",
    load_kw=5.0,
    served_kw=5.0,
    unserved_kw=0.0,
    curtailed_kw=0.0,
    dumped_kw=0.0,
    grid_kw=-1.117,
    grid_present=True,
    grid_connected=True,
    grid_frequency_hz=50.02,
    grid_voltage_v=(230.0, 229.0, 231.0),
    bus_frequency_hz=50.02,
    bus_voltage_v=(230.0, 229.0, 231.0),
    energy=Energy(grid_import_kwh=321.5, grid_export_kwh=45.25),
)
BATTERY = {
    "name": "battery",
    "capacity_kwh": 12.0,
    "charge_max_kw": 4.0,
    "discharge_max_kw": 4.0,
    "bus": "lan",
}
PV = {"driver": "sunspec-inverter", "rated_kw": 5.0, "bus": "lan"}
STORAGE = {**BATTERY, "driver": "sunspec-storage", "unit": 3}
VICTRON = {**BATTERY, "driver": "victron-gx", "unit": 227, "battery_unit": 225}
GENSET = {
    "name": "genset",
    "driver": "deepsea-gencomm",
    "bus": "rs485",
    "unit": 10,
    "start": "gencomm",
    "rated_kw": 6.0,
}
SERIAL_METER = {"name": "grid", "driver": "eastron-sdm630", "bus": "rs485", "unit": 1}
LAN_METER = {"name": "grid", "driver": "sunspec-meter", "bus": "lan", "unit": 7}


def site(battery: dict[str, Any], grid: dict[str, Any]) -> dict[str, Any]:
    return {
        "bus": [
            {"name": "lan", "kind": "tcp", "host": "192.0.2.1"},
            {"name": "rs485", "kind": "rtu", "port": "/dev/ttyUSB0"},
        ],
        "pv": [{**PV, "name": "roof", "unit": 1}, {**PV, "name": "barn", "unit": 2}],
        "battery": [battery],
        "generator": [GENSET],
        "grid": grid,
    }


class Rig:
    """Simulated devices with our buses on them, on one clock."""

    def __init__(self, battery: dict[str, Any], grid: dict[str, Any], der: frozenset[str]) -> None:
        self.now_s = 100.0
        self.state = STATE
        self.devices = Buses(site(battery, grid), der)
        self.devices.update(self.state, self.now_s)
        found = self.devices.site()
        entries = [*found["pv"], *found["battery"], *found["generator"], found["grid"]]
        self.buses = [self._bus(bus, entries) for bus in found["bus"]]

    def _bus(self, wire: dict[str, Any], entries: list[dict[str, Any]]) -> Bus:
        drivers = []
        for entry in entries:
            if entry["bus"] == wire["name"]:
                made = CATALOGUE[entry["driver"]]
                keys = ("name", "unit", *made.required, *made.optional)
                drivers.append(made.make(**{key: entry[key] for key in keys if key in entry}))
        link: TcpLink | RtuLink = RtuLink(str(wire["port"]), timeout_s=TIMEOUT_S)
        if wire["kind"] == "tcp":
            link = TcpLink(wire["host"], wire["port"], TIMEOUT_S)
        return Bus(wire["name"], link, drivers, clock=lambda: self.now_s)

    def exchange(self) -> None:
        for bus in self.buses:
            bus.exchange()

    def images(self) -> dict[str, Any]:
        return {name: image for bus in self.buses for name, image in bus.image().items()}

    def measured(self, name: str) -> Any:
        return self.images()[name].measurement

    def submit(self, device: str, quantity: Quantity, value: float, lease_s: float = 60.0) -> None:
        bus = next(bus for bus in self.buses if device in bus.image())
        bus.submit(Setpoint(device, quantity, value, lease_s))

    def after(self, seconds: float) -> Controls:
        """Let time pass without a word from us."""
        self.now_s += seconds
        self.devices.update(self.state, self.now_s)
        return self.devices.controls(self.now_s)

    def close(self) -> None:
        for bus in self.buses:
            bus.stop()
        self.devices.close()


@pytest.fixture
def rig() -> Iterator[Callable[..., Rig]]:
    rigs: list[Rig] = []

    def start(
        battery: dict[str, Any] = STORAGE,
        grid: dict[str, Any] = LAN_METER,
        der: frozenset[str] = frozenset({"barn"}),
    ) -> Rig:
        rigs.append(Rig(battery, grid, der))
        return rigs[-1]

    yield start
    for each in rigs:
        each.close()


BATTERIES = [
    (STORAGE, frozenset({"barn"})),
    (STORAGE, frozenset({"barn", "battery"})),
    (VICTRON, frozenset({"barn"})),
]
IDS = ["124", "704", "victron"]


@pytest.mark.parametrize(("battery", "der"), BATTERIES, ids=IDS)
@pytest.mark.parametrize("grid", [LAN_METER, SERIAL_METER], ids=["sunspec", "sdm630"])
def test_what_the_plant_has_comes_out_of_the_drivers(rig, battery, der, grid):
    bench = rig(battery, grid, der)
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


@pytest.mark.parametrize(("battery", "der"), BATTERIES, ids=IDS)
@pytest.mark.parametrize("kw", [2.5, -1.5, 0.0, 4.0, -4.0])
def test_a_battery_setpoint_reaches_the_plant_and_lapses(rig, battery, der, kw):
    bench = rig(battery, der=der)
    bench.submit("battery", Quantity.POWER_KW, kw)
    bench.exchange()
    (ack,) = bench.images()["battery"].acks
    assert (ack.acknowledged, ack.error) == (kw, "")
    assert bench.after(0).battery_kw == pytest.approx(kw, abs=0.005)
    assert bench.measured("battery").setpoint_kw == pytest.approx(kw, abs=0.005)
    assert bench.after(59).battery_kw == pytest.approx(kw, abs=0.005)
    reverted = bench.after(2).battery_kw
    if battery is STORAGE:
        # 704 falls back to nothing, 124 to its own self-consumption
        assert reverted == (0.0 if "battery" in der else None)
    else:
        assert reverted == 0.0  # passes through


@pytest.mark.parametrize(("battery", "der"), BATTERIES, ids=IDS)
def test_a_battery_setpoint_that_changes_and_is_renewed(rig, battery, der):
    bench = rig(battery, der=der)
    for step in range(40):
        kw = (-1) ** step * 0.1 * step
        bench.submit("battery", Quantity.POWER_KW, kw, 30.0)
        bench.exchange()
        assert bench.after(10).battery_kw == pytest.approx(kw, abs=0.005)
    assert bench.images()["battery"].acks[0].error == ""


def test_a_gx_without_a_bms_tells_no_limits(rig):
    bare = {key: value for key, value in VICTRON.items() if key != "battery_unit"}
    bench = rig(bare)
    bench.submit("battery", Quantity.POWER_KW, 2.0)
    bench.exchange()
    storage = bench.measured("battery")
    assert (storage.charge_limit_kw, storage.discharge_limit_kw) == (None, None)
    assert storage.soc_frac == pytest.approx(0.62)
    assert bench.after(1).battery_kw == pytest.approx(2.0)


def test_another_master_that_takes_the_gx_is_told(rig):
    bench = rig(VICTRON)
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
    stopped = replace(STATE.generator, phase="stopped", power_kw=0.0, rpm=0.0, on_bus=False)
    bench.state = replace(STATE, generator=stopped)
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
    tripped = replace(STATE.generator, alarm=alarm, locked_out=True)
    bench.state = replace(STATE, generator=tripped)
    bench.after(1)
    bench.exchange()
    genset = bench.measured("genset")
    assert genset.alarms == (told,)
    assert not genset.available


def test_stop_gives_everything_back(rig):
    bench = rig()
    bench.submit("roof", Quantity.LIMIT_KW, 1.0)
    bench.submit("barn", Quantity.LIMIT_KW, 1.0)
    bench.submit("battery", Quantity.POWER_KW, 1.0)
    bench.submit("genset", Quantity.RUN, 1.0)
    bench.exchange()
    for bus in bench.buses:
        bus.stop()
    controls = bench.after(0)
    assert controls.pv_limit_kw == {"roof": None, "barn": None}
    assert controls.battery_kw is None
    assert not controls.generator_run


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
    bench = rig(grid=SERIAL_METER)
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
