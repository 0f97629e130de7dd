"""Ordered limits: whatever is ordered, the site's own are never exceeded."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.records import Orders
from control.tighten import tightened

ANY = st.none() | st.floats() | st.floats(-20.0, 20.0)
NAN, INF = math.nan, math.inf


@given(ANY, ANY, ANY)
def test_nothing_is_ever_looser_than_the_site(
    build: Any, import_kw: float | None, export_kw: float | None, reserve: float | None
) -> None:
    site = build.site()
    orders = Orders(import_max_kw=import_kw, export_max_kw=export_kw, reserve_soc_frac=reserve)
    made = tightened(site, orders)
    assert 0.0 <= made.grid.import_max_kw <= site.grid.import_max_kw
    assert 0.0 <= made.grid.export_max_kw <= site.grid.export_max_kw
    kept = made.battery.reserve_soc_frac
    assert site.battery.reserve_soc_frac <= kept <= site.battery.soc_max_frac
    assert made.battery.soc_min_frac == site.battery.soc_min_frac


@pytest.mark.parametrize(
    ("ordered", "export_kw", "text"),
    [
        (None, 5.0, "export limit 5 kW"),
        (9.0, 5.0, "export limit 5 kW"),
        (NAN, 5.0, "export limit 5 kW"),
        (-INF, 5.0, "export limit 5 kW"),
        (2.0, 2.0, "export limit 2 kW, ordered"),
        (-1.0, 0.0, "export limit 0 kW, ordered"),
    ],
)
def test_an_export_limit(build: Any, ordered: float | None, export_kw: float, text: str) -> None:
    grid = tightened(build.site(grid=build.grid(export_max_kw=5.0)), Orders(export_max_kw=ordered))
    assert grid.grid is not None
    assert (grid.grid.export_max_kw, grid.grid.export_text) == (export_kw, text)


@pytest.mark.parametrize(
    ("ordered", "kept"), [(None, 0.25), (0.1, 0.25), (0.6, 0.6), (1.0, 0.95), (NAN, 0.25)]
)
def test_a_reserve(build: Any, ordered: float | None, kept: float) -> None:
    made = tightened(build.site(), Orders(reserve_soc_frac=ordered))
    assert made.battery is not None
    assert made.battery.reserve_soc_frac == kept


def test_a_site_without_grid_and_battery(build: Any) -> None:
    site = build.site(grid=None, battery=None)
    assert tightened(site, Orders(False, False, False, (), 1.0, 1.0, 0.5)) == site
