"""Frequency and voltage of the simulated plant, as far as a controller sees them."""

from math import sin

from hil.plant_bus import Flows
from hil.plant_generator import machine
from hil.plant_parameters import GridTruth
from hil.plant_records import Electrics

DARK: Electrics = (0.0, 0.0)


def at_meter(grid: GridTruth, t_s: float, grid_kw: float) -> Electrics:
    """A stiff frequency that wanders a little; export raises the voltage, import lowers it."""
    amperes = 1000.0 * grid_kw / (3.0 * grid.nominal_v)
    return grid.nominal_hz + 0.02 * sin(t_s / 97.0), grid.nominal_v - grid.source_ohm * amperes


def on_battery(
    nominal: Electrics,
    load_frac: float,
    empty: bool,
    willing_kw: float,
    load_kw: float,
    flows: Flows,
) -> Electrics:
    """The inverter's droop; it raises the frequency to throttle PV, and sags when overloaded."""
    if flows.throttled_kw > 0.0:
        raised = flows.throttled_kw / max(willing_kw, flows.throttled_kw)
        return nominal[0] * (1.004 + 0.036 * raised), nominal[1]
    healthy = nominal[0] * (1.0 - 0.002 * load_frac), nominal[1] * (1.0 - 0.01 * load_frac)
    # on an empty battery the inverter sheds load before it starts: no overload to be seen
    return healthy if empty else _sagging(healthy, load_kw, flows)


def on_generator(
    nominal: Electrics, load_frac: float, willing_kw: float, load_kw: float, flows: Flows
) -> Electrics:
    """The governor's droop; a surplus speeds the engine up, an overload slows it down."""
    if flows.throttled_kw > 0.0 or flows.generator_kw < 0.0:
        surplus_kw = flows.throttled_kw - flows.generator_kw
        raised = min(1.0, surplus_kw / max(willing_kw, surplus_kw))
        return nominal[0] * (1.004 + 0.036 * raised), nominal[1]
    return _sagging(machine(nominal, load_frac), load_kw, flows)


def _sagging(healthy: Electrics, load_kw: float, flows: Flows) -> Electrics:
    if flows.unserved_kw <= 0.0:
        return healthy
    short = min(1.0, flows.unserved_kw / load_kw)
    return healthy[0] * (0.98 - 0.06 * short), healthy[1] * (0.92 - 0.12 * short)
