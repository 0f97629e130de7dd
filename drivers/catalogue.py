"""The Modbus drivers by the name they have in a site file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from drivers.deepsea_gencomm import DeepseaGencomm
from drivers.eastron_sdm630 import EastronSdm630
from drivers.modbus_device import ModbusDevice
from drivers.sunspec_inverter import SunspecInverter
from drivers.sunspec_meter import SunspecMeter
from drivers.sunspec_storage import SunspecStorage
from drivers.victron_gx import VictronGx


class Role(StrEnum):
    """What a device is to the site."""

    INVERTER = "inverter"
    BATTERY = "battery"
    GENERATOR = "generator"
    GRID = "grid"


@dataclass(frozen=True, slots=True)
class Entry:
    """A driver: its role, how to make one, and the keywords that takes besides name and unit."""

    role: Role
    make: Callable[..., ModbusDevice[Any]]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


_POWERS = ("charge_max_kw", "discharge_max_kw")

CATALOGUE: Mapping[str, Entry] = MappingProxyType(
    {
        "sunspec-inverter": Entry(Role.INVERTER, SunspecInverter, ("rated_kw",)),
        "sunspec-storage": Entry(Role.BATTERY, SunspecStorage, _POWERS),
        "victron-gx": Entry(Role.BATTERY, VictronGx, _POWERS, ("battery_unit",)),
        "deepsea-gencomm": Entry(Role.GENERATOR, DeepseaGencomm, ("rated_kw", "start")),
        "eastron-sdm630": Entry(Role.GRID, EastronSdm630),
        "sunspec-meter": Entry(Role.GRID, SunspecMeter),
    }
)
