"""Victron, Deep Sea and Eastron maps, read with mbpoll; what writes do, in virtual time."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from pymodbus.client import ModbusTcpClient

from hil.buses import Buses
from hil.devices.deepsea_gencomm import DeepSeaGenComm
from hil.devices.registers import IllegalRequestError
from hil.plant import PlantState

Poll = Callable[..., list[float]]
VEBUS, BATTERY, SYSTEM = 227, 225, 100
FIRST_KEY = 35700


def gx(buses: Buses) -> ModbusTcpClient:
    """A client of the GX device."""
    port = next(b["port"] for b in buses.site()["bus"] if b["name"] == "gx")
    client = ModbusTcpClient("127.0.0.1", port=port, timeout=2, retries=0)
    assert client.connect()
    return client


def set_register(client: ModbusTcpClient, unit: int, address: int, *words: int) -> None:
    answer = client.write_registers(address, list(words), device_id=unit)
    assert not answer.isError()


# --- independent reading ------------------------------------------------------------------


def test_mbpoll_reads_the_gx(mbpoll: Poll) -> None:
    assert mbpoll("gx", SYSTEM, 840, count=5) == [524, 275, 1440, 63, 1]
    assert mbpoll("gx", SYSTEM, 811) == [5217]
    assert mbpoll("gx", SYSTEM, 820) == [0x10000 - 1117]
    assert mbpoll("gx", VEBUS, 26) == [5240]
    assert mbpoll("gx", BATTERY, 266) == [627]
    assert mbpoll("gx", BATTERY, 307, count=2) == [668, 763]


def test_mbpoll_reads_the_generator_controller(mbpoll: Poll) -> None:
    assert mbpoll("serial", 10, 772) == [1]
    assert mbpoll("serial", 10, 1025) == [82]
    assert mbpoll("serial", 10, 1027) == [80]
    assert mbpoll("serial", 10, 1030, count=2) == [1497, 499]
    assert mbpoll("serial", 10, 1032, "4:int") == [2312]
    assert mbpoll("serial", 10, 1052, "4:int", 3) == [800, 800, 800]
    assert mbpoll("serial", 10, 1408) == [3]
    assert mbpoll("serial", 10, 1536, "4:int") == [2400]
    assert mbpoll("serial", 10, 1558) == [400]
    assert mbpoll("serial", 10, 1798, "4:int", 2) == [45000, 555]
    assert mbpoll("serial", 10, 1808, "4:int") == [7]


def test_mbpoll_reads_the_meter(mbpoll: Poll) -> None:
    assert mbpoll("serial", 1, 0x00, "3:float", 3) == pytest.approx([230.4, 229.1, 231], abs=0.01)
    assert mbpoll("serial", 1, 0x34, "3:float") == [-1117]
    assert mbpoll("serial", 1, 0x46, "3:float", 3) == pytest.approx([50.02, 321.5, 45.25], abs=0.01)


# --- Victron: what writes do --------------------------------------------------------------


def test_gx_setpoint_lapses_after_a_minute(buses: Buses, state: PlantState) -> None:
    client = gx(buses)
    set_register(client, SYSTEM, 2902, 3)
    assert buses.controls(100.0).battery_kw == 0, "external control without a setpoint: idle"
    set_register(client, VEBUS, 37, 2000)
    assert buses.controls(159.0).battery_kw == pytest.approx(-2.0)
    buses.update(state, 160.0)
    assert buses.controls(160.0).battery_kw == 0
    assert client.read_holding_registers(31, device_id=VEBUS).registers == [8]
    set_register(client, VEBUS, 96, 0xFFFF, 0x10000 - 1500)
    assert buses.controls(161.0).battery_kw == pytest.approx(1.5)
    assert client.read_holding_registers(37, device_id=VEBUS).registers == [0x10000 - 1500]
    client.close()


def test_gx_switches_come_before_the_setpoint(buses: Buses) -> None:
    client = gx(buses)
    set_register(client, SYSTEM, 2902, 3)
    set_register(client, VEBUS, 37, 2000)
    set_register(client, VEBUS, 38, 1)
    assert buses.controls(100.0).battery_kw == 0
    set_register(client, VEBUS, 38, 0)
    set_register(client, SYSTEM, 2705, 10)
    assert buses.controls(100.0).battery_kw == pytest.approx(-0.524)
    set_register(client, VEBUS, 33, 4)
    assert buses.controls(100.0).battery_off
    client.close()


def test_gx_keeps_the_grid_at_its_setpoint(buses: Buses) -> None:
    client = gx(buses)
    assert buses.controls(100.0).battery_kw is None, "plain self-consumption"
    set_register(client, SYSTEM, 2716, 0, 500)
    # it charges 1.5 kW and 1.117 kW go out: for 0.5 kW in it has to charge 1.617 kW more
    assert buses.controls(100.0).battery_kw == pytest.approx(-1.5 - 1.117 - 0.5)
    client.close()


def test_gx_has_one_phase_and_no_other_units(buses: Buses) -> None:
    client = gx(buses)
    assert client.read_holding_registers(28, device_id=VEBUS).registers == [1]
    assert client.write_register(40, 100, device_id=VEBUS).exception_code == 2
    assert client.read_holding_registers(40, count=2, device_id=VEBUS).registers == [0x7FFF] * 2
    assert client.read_holding_registers(840, device_id=99).exception_code == 0x0B
    client.close()


# --- Deep Sea: what writes do -------------------------------------------------------------


def genset(buses: Buses) -> DeepSeaGenComm:
    device = buses.devices["genset"]
    assert isinstance(device, DeepSeaGenComm)
    return device


def press(buses: Buses, key: int) -> None:
    """Write a system control key with its complement, as function 16 would."""
    code = FIRST_KEY + key
    genset(buses).units[10].write(16, 4104, [code, 0xFFFF - code], set())


def test_genset_pages_and_their_gaps(buses: Buses) -> None:
    unit = genset(buses).units[10]
    assert unit.read(3, 1100, 2, set()) == [0xFFFF, 0xFFFF]
    for function, address in ((3, 512), (4, 1024)):
        with pytest.raises(IllegalRequestError):
            unit.read(function, address, 1, set())


def test_genset_has_the_alarm_page_of_its_generation_only(buses: Buses) -> None:
    unit = genset(buses).units[10]
    assert unit.read(3, 768, 2, set()) == [1, 32840]
    assert unit.read(3, 39424, 1, set()) == [80]
    assert unit.read(3, 2048, 2, set()) == [0xFFFF, 0xFFFF]


def test_genset_advertises_its_functions(buses: Buses) -> None:
    words = genset(buses).units[10].read(3, 4096, 8, set())
    assert words == [0xFF00, 0, 0xE000, 0, 0, 0, 0, 0]


def test_genset_runs_on_its_contact_only_in_auto(buses: Buses) -> None:
    device = genset(buses)
    assert not buses.controls(100.0).generator_run
    device.remote_start = True
    assert buses.controls(101.0).generator_run
    press(buses, 0)
    assert not buses.controls(102.0).generator_run
    press(buses, 1)
    assert buses.controls(103.0).generator_run
    device.remote_start = False
    assert not buses.controls(104.0).generator_run


def test_genset_telemetry_start_is_latched_for_ever(buses: Buses) -> None:
    press(buses, 32)
    assert buses.controls(1e7).generator_run
    press(buses, 33)
    assert not buses.controls(1e7).generator_run


def test_genset_manual_start_needs_manual_mode(buses: Buses) -> None:
    press(buses, 5)
    assert not buses.controls(100.0).generator_run
    press(buses, 2)
    press(buses, 5)
    assert buses.controls(100.0).generator_run


@pytest.mark.parametrize(
    ("alarm", "flags", "register", "word"),
    [
        ("emergency stop", 0x1000, 1, 0x3111),
        ("failed to start", 0x1000, 4, 0x1311),
        ("reverse power", 0x0800, 14, 0x1141),
    ],
)
def test_genset_shows_alarms_and_resets_once(
    buses: Buses, state: PlantState, alarm: str, flags: int, register: int, word: int
) -> None:
    assert state.generator is not None
    buses.update(replace(state, generator=replace(state.generator, alarm=alarm)), 101.0)
    unit = genset(buses).units[10]
    assert unit.read(3, 774, 1, set()) == [flags]
    assert unit.read(3, 39424 + register, 1, set()) == [word]
    press(buses, 34)
    assert buses.controls(101.0).generator_reset
    assert not buses.controls(102.0).generator_reset
