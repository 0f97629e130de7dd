"""The simulated plant: PV, wind, battery, generator, load and grid on one AC bus."""

from hil.plant_records import (
    BatteryState,
    Controls,
    Energy,
    GeneratorState,
    InverterState,
    PlantState,
    Weather,
)

__all__ = [
    "BatteryState",
    "Controls",
    "Energy",
    "GeneratorState",
    "InverterState",
    "PlantState",
    "Weather",
]
