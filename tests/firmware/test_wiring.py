"""The site file and the catalogue of drivers agree; drivers come out of the one with the other."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from drivers.catalogue import CATALOGUE, Role
from drivers.line import RtuLink, TcpLink
from firmware.config import load_site, site_from_dict
from firmware.config_errors import drivers
from firmware.wiring import build_buses, build_link, build_pins, build_sensor

EXAMPLE = Path(__file__).parents[2] / "examples" / "site.toml"
ROLES = {
    "pv": Role.INVERTER,
    "wind": Role.INVERTER,
    "battery": Role.BATTERY,
    "generator": Role.GENERATOR,
    "grid": Role.GRID,
}


def test_every_driver_can_be_configured_in_its_role() -> None:
    for table, names in drivers().items():
        fit = {name for name, entry in CATALOGUE.items() if entry.role is ROLES[table]}
        assert set(names) == fit


def test_the_example_becomes_buses_with_their_devices() -> None:
    buses = build_buses(load_site(EXAMPLE))
    assert {bus.name: list(bus.image()) for bus in buses} == {
        "lan-pv": ["roof"],
        "lan-gx": ["battery"],
        "rs485": ["genset", "grid"],
    }


@pytest.mark.parametrize(
    "battery",
    [{"driver": "victron-gx"}, {"driver": "sunspec-storage"}],
    ids=lambda battery: str(battery["driver"]),
)
def test_an_island_without_pins_and_sensor(battery: dict[str, Any]) -> None:
    content = tomllib.loads(EXAMPLE.read_text())
    entry = {key: value for key, value in content["battery"][0].items() if key != "battery_unit"}
    site = site_from_dict(
        {"site": content["site"], "bus": content["bus"], "battery": [entry | battery]}
    )
    assert [list(bus.image()) for bus in build_buses(site)] == [[], ["battery"], []]
    assert build_sensor(site) is None
    assert build_pins(site) is None


def test_links() -> None:
    site = load_site(EXAMPLE)
    assert [build_link(bus) for bus in site.bus] == [
        TcpLink("192.168.1.20", 502, 0.2),
        TcpLink("192.168.1.30", 502, 0.2),
        RtuLink("/dev/ttyUSB0", 19200, "N", 1, 0.2),
    ]


def test_a_reference_channel_belongs_to_the_sensor() -> None:
    content = tomllib.loads(EXAMPLE.read_text())
    content["irradiance"] |= {"reference_channel": 7, "reference_channel_v": 1.65}
    assert build_sensor(site_from_dict(content)) is not None
    assert build_pins(site_from_dict(content)) is not None
