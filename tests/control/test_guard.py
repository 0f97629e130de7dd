"""Whatever is wanted of whatever plant: what the guard lets through is inside its limits."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control.arbiter import Verdict
from control.records import Quantity
from control.safety import guard
from control.state import Estimate, GeneratorState, Mode, State

NOW = 1000.0
BATTERY = ("battery", Quantity.POWER_KW)
GENSET = ("genset", Quantity.RUN)
ROOF = ("roof", Quantity.LIMIT_KW)


def wanted(value: float) -> Verdict:
    return Verdict(value, value, "plan", "wanted", (), ())


kw = st.floats(-20.0, 20.0)
maybe_kw = st.none() | kw
plants = st.builds(
    Estimate,
    pv_kw=st.none() | st.floats(0.0, 8.0),
    wind_kw=st.none() | st.floats(0.0, 8.0),
    battery_kw=maybe_kw,
    generator_kw=maybe_kw,
    grid_kw=maybe_kw,
    load_kw=st.none() | st.floats(0.0, 20.0),
    measured_net_kw=maybe_kw,
    soc_frac=st.none() | st.floats(0.0, 1.0),
    charge_limit_kw=st.none() | st.floats(0.0, 4.0),
    discharge_limit_kw=st.none() | st.floats(0.0, 4.0),
    grid_present=st.booleans(),
    generator_phase=st.sampled_from(["stopped", "warming", "running", "cooling", "unknown"]),
    generator_available=st.booleans(),
    emergency_stop=st.booleans(),
    missing=st.sampled_from([(), ("roof",), ("battery", "grid"), ("genset",)]),
)
states = st.builds(
    State,
    t_s=st.none() | st.floats(NOW - 100.0, NOW + 1.0),
    mode=st.sampled_from(Mode),
    estimate=plants,
    generator=st.builds(GeneratorState, st.booleans(), st.floats(NOW - 1e4, NOW)),
    battery_kw=st.none() | st.floats(-4.0, 4.0),
    pv_limit_kw=st.none() | st.floats(0.0, 6.0),
    emergency_latched=st.booleans(),
)


@given(states, kw, st.floats(0.0, 10.0), st.booleans())
def test_whatever_is_wanted_the_limits_hold(
    build: Any, state: State, wish_kw: float, limit_kw: float, from_grid: bool
) -> None:
    site = build.site(battery=build.battery(charge_from_grid=from_grid))
    wishes = {BATTERY: wanted(wish_kw), ROOF: wanted(limit_kw), GENSET: wanted(1.0)}
    verdicts, _ = guard(site, state, wishes, NOW)
    plant, power_kw = state.estimate, verdicts[BATTERY].value
    assert -4.0 <= power_kw <= 4.0
    assert 0.0 <= verdicts[ROOF].value <= min(6.0, limit_kw)
    if plant.soc_frac is not None:
        assert plant.soc_frac > 0.15 or power_kw <= 0.0
        assert plant.soc_frac < 0.95 or power_kw >= 0.0
    for limit, reached in (
        (plant.charge_limit_kw, -power_kw),
        (plant.discharge_limit_kw, power_kw),
    ):
        assert reached <= (max(0.0, 4.0) if limit is None else limit)
        if limit is None or plant.soc_frac is None:  # not beyond where it was
            assert reached <= max(0.0, abs(state.battery_kw or 0.0))
    if plant.emergency_stop or state.emergency_latched:
        assert {verdict.value for verdict in verdicts.values()} == {0.0}
    for target, wish in wishes.items():
        assert verdicts[target].value == wish.value or verdicts[target].clips
