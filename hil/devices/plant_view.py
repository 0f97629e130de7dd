"""The part of the plant that one device sits on."""

from hil.plant import BatteryState, GeneratorState, InverterState, PlantState


def own_inverter(state: PlantState, name: str) -> InverterState:
    """The plant's inverter of this name."""
    return next(i for i in (*state.pv, *state.wind) if i.name == name)


def own_battery(state: PlantState) -> BatteryState:
    """The plant's battery."""
    assert state.battery is not None, "a battery device needs a plant with a battery"
    return state.battery


def self_consumption_kw(state: PlantState, grid_target_kw: float = 0.0) -> float:
    """The battery power that would bring the grid connection to its target."""
    return own_battery(state).power_kw + state.grid_kw - grid_target_kw


def own_generator(state: PlantState) -> GeneratorState:
    """The plant's generator."""
    assert state.generator is not None, "a generator controller needs a plant with a generator"
    return state.generator
