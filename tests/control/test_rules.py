"""The rules that hold without a plan."""

from typing import Any

import pytest

from control import rules


@pytest.mark.parametrize(
    ("net_kw", "soc_frac", "share", "result"),
    [
        (2.0, 0.5, 1.0, 2.0),
        (2.0, 0.26, 1.0, 2.0),
        (2.0, 0.25, 1.0, 0.0),  # the reserve is kept: the grid serves
        (-2.0, 0.1, 1.0, -2.0),
        (-2.0, 0.5, 0.4, -0.8),
        (0.0, 0.5, 1.0, 0.0),
    ],
)
def test_self_consumption(
    build: Any, net_kw: float, soc_frac: float, share: float, result: float
) -> None:
    made = rules.self_consumption_kw(net_kw, soc_frac, build.battery(), share)
    assert made == pytest.approx(result)


@pytest.mark.parametrize(
    ("net_kw", "min_load_frac", "result"), [(1.0, 0.3, -2.75), (5.0, 0.3, 1.25), (1.0, 0.8, -3.0)]
)
def test_beside_the_generator_it_carries_its_best_load(
    build: Any, net_kw: float, min_load_frac: float, result: float
) -> None:
    made = rules.charge_beside_generator_kw(net_kw, build.generator(min_load_frac=min_load_frac))
    assert made == pytest.approx(result)


@pytest.mark.parametrize(
    ("soc_frac", "running", "wanted"),
    [
        (0.22, False, True),
        (0.24, False, False),
        (0.24, True, True),
        (0.62, True, True),
        (0.64, True, False),
    ],
)
def test_the_generator_by_charge_with_hysteresis(
    build: Any, soc_frac: float, running: bool, wanted: bool
) -> None:
    assert rules.generator_wanted(soc_frac, build.battery(), running) is wanted


def test_a_narrow_window_keeps_its_hysteresis_the_right_way_round(build: Any) -> None:
    narrow = build.battery(soc_min_frac=0.4, soc_max_frac=0.45)
    assert rules.generator_wanted(0.47, narrow, running=True)
    assert not rules.generator_wanted(0.49, narrow, running=True)
