"""Samples and commands through real sockets to the bench's devices, and through its Pi."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from control.records import Command, PricePeriod, Quality, Quantity, Sample, Setpoint
from drivers.bus import Bus
from firmware.config import Site, site_from_dict
from firmware.ports import PINS_RETRY_S, Ports
from firmware.wiring import build_buses, build_pins, build_sensor
from hil import fake_pi
from hil.lockstep import VirtualClock
from hil.scenario import LoadedScenario
from hil.wire_faults import Fault
from hil.world import World
from tests.scenario_text import scenario_text

SITE = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "clinic.toml"
NOON_UTC_S = 1_778_670_000.0  # 2026-05-13 11:00 UTC, 13:00 in Madrid
RELAY_PIN, HEARTBEAT_PIN, LED_PIN, STOP_PIN = 27, 22, 23, 17
SCENARIO = scenario_text(SITE)
NOTHING = Command((), ())
CHARGE = Command(
    (
        Setpoint("roof", Quantity.LIMIT_KW, 1.0, 30.0),
        Setpoint("battery", Quantity.POWER_KW, -1.5, 30.0),
        Setpoint("genset", Quantity.RUN, 0.0, 30.0),
    ),
    (),
    generator_relay=False,
)


@dataclass
class Rig:
    """The world and the ports into it; time passes by `run`."""

    world: World
    ports: Ports
    site: Site

    def run(self, seconds: float, command: Command = NOTHING) -> Sample:
        sample = self.ports.sample(0)
        for _ in range(round(seconds)):
            self.ports.actuate(command)
            self.world.advance(self.world.elapsed_s + 1.0)
            sample = self.ports.sample(0)
        return sample


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    file = tmp_path / "noon.toml"
    file.write_text(SCENARIO)
    made = World(LoadedScenario(file), NOON_UTC_S)
    fake_pi.install(made.pi)
    yield made
    fake_pi.uninstall()
    made.close()


@pytest.fixture
def rig(world: World) -> Iterator[Rig]:
    site = site_from_dict(world.site())
    clock = VirtualClock(world)
    buses = build_buses(site, clock.monotonic)
    ports = Ports(site, buses, build_sensor(site), build_pins(site), clock, lockstep=True)
    ports.start()
    yield Rig(world, ports, site)
    ports.stop()


def test_one_sample_holds_everything(rig: Rig) -> None:
    sample = rig.run(2)
    state = rig.world.plant.state
    assert state.battery is not None
    assert sample.t_s == VirtualClock(rig.world).monotonic()
    assert sample.utc_s == NOON_UTC_S + 2.0
    assert sample.hour_local == pytest.approx(13.0, abs=0.01)
    assert (sample.price_buy_per_kwh, sample.price_sell_per_kwh) == (0.24, 0.05)
    assert 60.0 < sample.sun_elevation_deg < 75.0
    assert sample.irradiance_w_m2 is not None
    assert sample.irradiance_w_m2.good == pytest.approx(state.weather.ghi_w_m2, rel=0.02)
    assert sample.emergency_stop is not None
    assert sample.emergency_stop.good is False
    assert sample.grid is not None
    for observed in (*sample.pv, *sample.batteries, *sample.generators, sample.grid):
        assert observed.quality is Quality.GOOD
        assert 0.0 <= observed.age_s <= 1.0
    pv, battery = sample.pv[0].good, sample.batteries[0].good
    assert pv is not None
    assert battery is not None
    assert pv.power_kw == pytest.approx(state.pv[0].power_kw, abs=0.02)
    assert battery.soc_frac == pytest.approx(state.battery.soc_frac, abs=0.006)


def test_setpoints_are_acknowledged_in_the_cycle_that_gave_them_and_followed(rig: Rig) -> None:
    rig.run(2)
    applied = rig.ports.actuate(CHARGE)
    held = {ack.device: ack.acknowledged for ack in applied}
    assert held == pytest.approx({"roof": 1.0, "battery": -1.5, "genset": 0.0}, abs=0.01)
    assert not any(ack.error for ack in applied)
    sample = rig.run(20, CHARGE)
    pv, battery = sample.pv[0].good, sample.batteries[0].good
    assert pv is not None
    assert battery is not None
    assert pv.power_kw == pytest.approx(1.0, abs=0.1)
    assert battery.power_kw == pytest.approx(-1.5, abs=0.15)


def test_the_pins_follow_the_command(rig: Rig) -> None:
    pi = rig.world.pi
    rig.run(1)
    assert [pi.output(pin) for pin in (RELAY_PIN, HEARTBEAT_PIN, LED_PIN)] == [0, 0, 0]
    applied = rig.ports.actuate(replace(CHARGE, generator_relay=True, alarm=True))
    assert (pi.output(RELAY_PIN), pi.output(LED_PIN)) == (1, 1)
    assert next(ack for ack in applied if ack.device == "genset").acknowledged == 1.0
    levels = []
    for _ in range(4):
        rig.ports.heartbeat()
        levels.append(pi.output(HEARTBEAT_PIN))
    assert levels == [1, 0, 1, 0]
    pi.set_input(STOP_PIN, None)
    stop = rig.ports.sample(0).emergency_stop
    assert stop is not None
    assert stop.good is True


def follows(world: World) -> tuple[bool, bool]:
    """Whether PV and battery are at what `CHARGE` says, rather than at what they want."""
    controls = world.buses.controls(world.elapsed_s)
    return (
        controls.pv_limit_kw["roof"] == pytest.approx(1.0, abs=0.01),
        controls.battery_kw == pytest.approx(-1.5, abs=0.01),
    )


def test_release_gives_everything_back_until_the_next_setpoint(rig: Rig) -> None:
    rig.run(20, CHARGE)
    assert follows(rig.world) == (True, True)
    stop = Command((), (), generator_relay=False, release=True)
    assert rig.ports.actuate(stop) == ()
    sample = rig.run(3, stop)
    assert follows(rig.world) == (False, False)
    assert sample.batteries[0].quality is Quality.GOOD  # still read
    rig.run(3, CHARGE)
    assert follows(rig.world) == (True, True)


def test_a_silent_device_turns_stale_with_its_reason(rig: Rig) -> None:
    rig.run(2, CHARGE)
    rig.world.buses.set_fault(Fault.HANG, "roof")
    sample = rig.run(3, CHARGE)
    assert sample.pv[0].good is not None  # not yet
    sample = rig.run(rig.site.loop.stale_after_s, CHARGE)
    assert sample.pv[0].quality is Quality.STALE
    assert sample.pv[0].age_s > rig.site.loop.stale_after_s
    assert "no answer" in sample.pv[0].detail
    assert sample.batteries[0].quality is Quality.GOOD
    ack = next(ack for ack in rig.ports.actuate(CHARGE) if ack.device == "roof")
    assert ack.error
    rig.world.buses.set_fault(Fault.HANG, "roof", active=False)
    assert rig.run(40, CHARGE).pv[0].quality is Quality.GOOD


def test_a_wall_clock_that_steps_moves_prices_and_sun_and_nothing_else(rig: Rig) -> None:
    before = rig.run(2, CHARGE)
    rig.world.start_utc_s += 7 * 3600.0
    after = rig.ports.sample(0)
    assert after.t_s == before.t_s
    assert after.price_buy_per_kwh == 0.38
    assert after.hour_local == pytest.approx(20.0, abs=0.01)
    assert after.sun_elevation_deg < 20.0
    assert after.batteries[0].quality is Quality.GOOD
    rig.world.start_utc_s -= 14 * 3600.0
    assert rig.ports.sample(0).price_buy_per_kwh == 0.16


def test_an_ordered_price_comes_before_the_tariff(rig: Rig) -> None:
    before = rig.run(2, CHARGE)
    ordered = (PricePeriod(before.utc_s, before.utc_s + 0.5, 0.9, 0.2),)
    sample = rig.ports.sample(0, ordered)
    assert (sample.price_buy_per_kwh, sample.price_sell_per_kwh) == (0.9, 0.2)
    rig.world.start_utc_s += 0.5
    assert rig.ports.sample(0, ordered).price_buy_per_kwh == before.price_buy_per_kwh
    assert rig.ports.sample(0).price_buy_per_kwh == before.price_buy_per_kwh


def test_lost_pins_are_a_fault_and_are_taken_again(rig: Rig) -> None:
    rig.run(1, CHARGE)
    fake_pi.uninstall()
    sys.modules["RPi"] = sys.modules["RPi.GPIO"] = None  # type: ignore[assignment]
    try:
        pins = build_pins(rig.site)
        clock = VirtualClock(rig.world)
        ports = Ports(rig.site, (), None, pins, clock)
        ports.start()
        assert "GPIO" in ports.faults[0]
        ports.heartbeat()
        stop = ports._pins.read_emergency_stop() if ports._pins else None
        assert stop is not None
        assert stop.good is None
    finally:
        fake_pi.uninstall()
        for name in ("RPi", "RPi.GPIO"):
            sys.modules.pop(name, None)
    fake_pi.install(rig.world.pi)
    ports._open_pins(clock.monotonic())
    assert ports.faults  # not before some seconds have passed
    ports._open_pins(clock.monotonic() + PINS_RETRY_S)
    assert not ports.faults
    ports.stop()


# --- free-running, as in the service --------------------------------------------------------


class RealClock:
    monotonic = staticmethod(time.monotonic)
    utc = staticmethod(time.time)
    sleep = staticmethod(time.sleep)


def until(what: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20.0
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_nothing_is_there_at_the_start_and_it_comes_later(world: World) -> None:
    table = dict(world.site())
    table["loop"] = {"period_s": 0.05}
    absent = [
        {**bus, "port": "/dev/nanogrid-none" if bus["kind"] == "rtu" else number}
        for number, bus in enumerate(table["bus"], start=1)
    ]
    fake_pi.uninstall()
    site = site_from_dict({**table, "bus": absent})
    ports = Ports(site, build_buses(site), build_sensor(site), build_pins(site), RealClock())
    try:
        ports.start()
        until(lambda: all(image.errors for image in ports.images.values()))
        sample = ports.sample(0)
        applied = ports.actuate(CHARGE)
        ports.heartbeat()
    finally:
        ports.stop()
    assert sample.grid is not None
    for observed in (*sample.pv, *sample.batteries, *sample.generators, sample.grid):
        assert observed.quality is Quality.BAD
        assert "cannot" in observed.detail
    assert sample.irradiance_w_m2 is not None
    assert sample.irradiance_w_m2.good is None
    assert all(ack.acknowledged is None and ack.error for ack in applied)
    assert ports.faults


def test_buses_run_by_themselves_and_are_given_back_at_the_end(world: World) -> None:
    table = {**world.site(), "loop": {"period_s": 0.05}}
    site = site_from_dict(table)
    ports = Ports(site, build_buses(site), None, build_pins(site), RealClock())
    ports.start()
    try:
        until(lambda: ports.sample(0).batteries[0].good is not None)
        until(lambda: not any(ack.error for ack in ports.actuate(CHARGE)))
        assert follows(world) == (True, True)
        assert ports.actuate(replace(CHARGE, generator_relay=True))[-1].acknowledged == 1.0
    finally:
        ports.stop()
    assert follows(world) == (False, False)
    assert world.pi.output(RELAY_PIN) != 1
    assert not [t for t in threading.enumerate() if t.name.startswith("bus-lan")]


def test_a_bus_that_is_stuck_keeps_no_other_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware.ports.STOP_S", 0.3)
    site = site_from_dict(world.site())
    buses = build_buses(site)
    stopped, stuck = [], threading.Event()

    def stop(bus: Bus) -> None:
        if bus.name == "lan-pv":
            stuck.wait(20.0)  # such as a name server that does not answer
        stopped.append(bus.name)

    monkeypatch.setattr(Bus, "stop", stop)
    Ports(site, buses, None, None, RealClock()).stop()
    assert sorted(stopped) == ["lan-genset", "lan-gx", "rs485"]
    stuck.set()
