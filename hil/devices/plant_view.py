"""The part of the plant that one device sits on."""

from hil.plant import BatteryState, GeneratorState, InverterState, PlantState


def own_inverter(state: PlantState, name: str) -> InverterState:
    """The plant's inverter of this name."""
    return next(i for i in (*state.pv, *state.wind) if i.name == name)


def own_battery(state: PlantState, name: str) -> BatteryState:
    """The plant's battery, of several that of this name."""
    if state.batteries:
        return state.batteries[name]
    assert state.battery is not None, "a battery device needs a plant with a battery"
    return state.battery


def self_consumption_kw(state: PlantState, name: str, grid_target_kw: float = 0.0) -> float:
    """The battery power that would bring the grid connection to its target."""
    return own_battery(state, name).power_kw + state.grid_kw - grid_target_kw


def own_generator(state: PlantState, name: str) -> GeneratorState:
    """The plant's generator, of several that of this name."""
    if state.generators:
        return state.generators[name]
    assert state.generator is not None, "a generator controller needs a plant with a generator"
    return state.generator
