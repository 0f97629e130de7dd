"""An island's battery near its limit starts the generator, but not for a moment."""

from dataclasses import replace
from typing import Any

import pytest

from control.state import Estimate, GeneratorState, State
from control.strain import ability_kw, is_strained, strained_since

NOW = 1000.0


def state(load_kw: float | None, before_s: float | None = None, **more: Any) -> State:
    plant = Estimate(pv_kw=1.0, wind_kw=0.0, load_kw=load_kw, grid_present=False)
    generator = GeneratorState(strained_since_s=before_s)
    return State(estimate=replace(plant, **more), generator=generator)


@pytest.mark.parametrize(
    ("load_kw", "before_s", "since_s"),
    [
        (4.55, None, None),  # 3.55 kW of the battery's 4: below nine tenths
        (4.65, None, NOW),
        (4.65, 900.0, 900.0),
        (3.45, 900.0, 900.0),  # 2.45 kW: above six tenths
        (3.35, 900.0, None),
        (None, 900.0, None),
    ],
)
def test_strain_has_hysteresis(
    build: Any, load_kw: float | None, before_s: float | None, since_s: float | None
) -> None:
    site = build.site(grid=None)
    assert site.battery.discharge_max_kw == 4.0
    assert strained_since(site, state(load_kw, before_s), NOW) == since_s


def test_the_live_limit_counts(build: Any) -> None:
    site = build.site(grid=None)
    weak = state(2.95, discharge_limit_kw=2.0)
    assert ability_kw(site.battery, weak.estimate) == 2.0
    assert strained_since(site, weak, NOW) == NOW
    assert strained_since(build.site(battery=None), weak, NOW) is None


def test_beside_a_grid_there_is_no_strain(build: Any) -> None:
    assert strained_since(build.site(), state(9.0, 900.0, grid_present=True), NOW) is None


@pytest.mark.parametrize(("since_s", "strained"), [(None, False), (941.0, False), (940.0, True)])
def test_a_moment_is_not_enough(since_s: float | None, strained: bool) -> None:
    assert is_strained(state(9.0, since_s), NOW) is strained
