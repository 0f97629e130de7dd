"""Which simulated device answers for which driver of a site, and what stands on which bus."""

from collections.abc import Iterator, Mapping
from typing import Any

from hil.devices.deepsea_gencomm import DeepSeaGenComm
from hil.devices.device import SimulatedDevice
from hil.devices.eastron_sdm630 import EastronSdm630
from hil.devices.sunspec_inverter import SunSpecDerInverter, SunSpecInverter
from hil.devices.sunspec_meter import SunSpecMeter
from hil.devices.sunspec_storage import SunSpecDerStorage, SunSpecStorage
from hil.devices.victron_gx import VictronGx

CATALOGUE: Mapping[str, type[SimulatedDevice]] = {
    "sunspec-inverter": SunSpecInverter,
    "sunspec-storage": SunSpecStorage,
    "victron-gx": VictronGx,
    "deepsea-gencomm": DeepSeaGenComm,
    "eastron-sdm630": EastronSdm630,
    "sunspec-meter": SunSpecMeter,
}
# Newer devices behind the same driver: a bench asks for them by the device's name.
DER_CATALOGUE: Mapping[str, type[SimulatedDevice]] = {
    "sunspec-inverter": SunSpecDerInverter,
    "sunspec-storage": SunSpecDerStorage,
}
ROLES = ("pv", "wind", "battery", "generator", "grid")


def build(
    site: Mapping[str, Any], der: frozenset[str] = frozenset()
) -> dict[str, list[SimulatedDevice]]:
    """The simulated devices of a site (the content of its site.toml), grouped per bus.

    Devices named in `der` have the IEEE 1547 model family (701, 704) instead of 103, 123 or 124.
    """
    buses: dict[str, list[SimulatedDevice]] = {str(bus["name"]): [] for bus in site["bus"]}
    for entry in _entries(site):
        table = DER_CATALOGUE if entry["name"] in der else CATALOGUE
        buses[str(entry["bus"])].append(table[str(entry["driver"])](entry))
    return buses


def _entries(site: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for role in ROLES:
        entries = site.get(role, [])
        yield from [entries] if isinstance(entries, Mapping) else entries
