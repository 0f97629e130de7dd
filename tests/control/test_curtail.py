"""How much PV the site can take: beside the grid, the generator, on the battery, and half blind."""

from dataclasses import replace
from typing import Any

import pytest

from control.arbiter import arbitrate
from control.curtail import DISTRUST_S, ahead_kw, pv_limits
from control.records import Level, Proposal, Quantity
from control.safety import guard
from control.site import PvParameters, WindParameters
from control.state import Estimate, GeneratorState, Mode, Obedience, State

NOW = 1000.0
SUNNY = Estimate(
    pv_kw=5.0,
    wind_kw=0.0,
    battery_kw=-1.0,
    generator_kw=0.0,
    grid_kw=-3.0,
    load_kw=1.0,
    soc_frac=0.5,
    charge_limit_kw=4.0,
    discharge_limit_kw=4.0,
    grid_present=True,
    generator_phase="stopped",
)


def limit(build: Any, plant: Estimate, battery_kw: float = -1.0, **more: Any) -> Any:
    site = {name[5:]: more.pop(name) for name in list(more) if name.startswith("site_")}
    state = State(t_s=NOW - 1.0, estimate=plant, **more)
    limits_kw, reason = pv_limits(build.site(**site), state, battery_kw, NOW)
    return limits_kw[0] if len(limits_kw) == 1 else limits_kw, reason


# --- beside the grid -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plant", "battery_kw", "limit_kw"),
    [
        ({}, -1.0, 4.91),  # load 1 + charging 1 + export 3 less 3 %
        ({"battery_kw": 0.0}, 0.0, 3.91),  # full
        ({}, 2.0, 1.91),  # what the battery sells, PV cannot
        ({}, -4.0, 6.0),
        ({"load_kw": 9.0}, 0.0, 6.0),
        ({"wind_kw": 1.0}, -1.0, 3.91),
        ({"generator_kw": 2.0, "generator_phase": "running"}, -1.0, 2.91),
        ({"wind_kw": 9.0}, 0.0, 0.0),
    ],
)
def test_the_export_limit(
    build: Any, plant: dict[str, Any], battery_kw: float, limit_kw: float
) -> None:
    made = limit(build, replace(SUNNY, **plant), battery_kw)
    assert made == (pytest.approx(limit_kw), "export limit 3 kW")


def test_zero_export(build: Any) -> None:
    zero = build.grid(export_max_kw=0.0)
    assert limit(build, SUNNY, site_grid=zero)[0] == pytest.approx(2.0)
    unknown = replace(SUNNY, load_kw=None, grid_kw=None)
    assert limit(build, unknown, site_grid=zero)[0] == 0.0


def test_a_site_without_a_battery(build: Any) -> None:
    assert limit(build, SUNNY, 0.0, site_battery=None)[0] == pytest.approx(3.91)


@pytest.mark.parametrize(
    ("measured_kw", "deviates_since_s", "limit_kw"),
    [
        (0.5, None, 4.91),
        (0.5, NOW - DISTRUST_S + 0.1, 4.91),
        (0.5, NOW - DISTRUST_S, 3.41),  # it does not charge as told: no room from that
        (-3.0, NOW - DISTRUST_S, 4.91),  # it charges more: that may end any time
        (None, NOW - DISTRUST_S, 4.91),
    ],
)
def test_a_battery_that_does_not_obey_is_not_counted_on(
    build: Any, measured_kw: float | None, deviates_since_s: float | None, limit_kw: float
) -> None:
    item = Obedience("battery", Quantity.POWER_KW, "settling", 0.0, deviates_since_s)
    roof = Obedience("roof", Quantity.LIMIT_KW, "settling", 0.0, 0.0)
    plant = replace(SUNNY, battery_kw=measured_kw)
    assert limit(build, plant, obedience=(roof, item))[0] == pytest.approx(limit_kw)


def test_disobedience_of_others_does_not_matter(build: Any) -> None:
    items = (
        Obedience("roof", Quantity.LIMIT_KW, "disobeyed", 0.0, 0.0),
        Obedience("battery", Quantity.LIMIT_KW, "disobeyed", 0.0, 0.0),
    )
    plant = replace(SUNNY, battery_kw=0.5)
    assert limit(build, plant, obedience=items)[0] == pytest.approx(4.91)


def test_with_the_load_unknown_the_meter_still_tells_the_room(build: Any) -> None:
    unknown = replace(SUNNY, load_kw=None, battery_kw=None)
    made = limit(build, unknown, 0.0)
    assert made == (pytest.approx(4.91), "export limit 3 kW, the load is unknown")
    assert limit(build, replace(unknown, grid_kw=-4.0), 0.0)[0] == pytest.approx(3.91)


@pytest.mark.parametrize(
    ("battery_kw", "generator_kw", "limit_kw"),
    [(0.0, 0.0, 2.91), (-2.0, 0.0, 2.91), (1.0, 0.0, 1.91), (0.0, 0.5, 2.41), (0.0, None, 2.91)],
)
def test_without_the_meter_nobody_is_assumed_to_use_anything(
    build: Any, battery_kw: float, generator_kw: float | None, limit_kw: float
) -> None:
    blind = replace(SUNNY, load_kw=None, grid_kw=None, generator_kw=generator_kw)
    assert limit(build, blind, battery_kw)[0] == pytest.approx(limit_kw)
    windy = limit(build, blind, battery_kw, site_wind=(WindParameters("mast", 1.0),))
    assert windy[0] == pytest.approx(limit_kw - 1.0)


# --- several inverters ---------------------------------------------------------------------

TWO = (PvParameters("roof", 6.0), PvParameters("barn", 2.0))


def test_several_share_by_their_ratings(build: Any) -> None:
    made, _ = limit(build, SUNNY, site_pv=TWO)
    assert made == pytest.approx((4.91 * 6 / 8, 4.91 * 2 / 8))


def test_silent_ones_leave_less_room_and_take_no_share(build: Any) -> None:
    """The barn is silent and gives what it likes; the rest of the room is the roof's alone."""
    half = replace(SUNNY, pv_kw=4.0, pv_answering_kw=3.0, missing=("barn",))
    made, _ = limit(build, half, site_pv=TWO)
    assert made[0] == pytest.approx(4.91 - 1.0)
    unknown = replace(half, pv_kw=None, load_kw=None, measured_net_kw=-4.0)
    assert limit(build, unknown, site_pv=TWO)[0][0] == pytest.approx(3.0 - 4.0 + 1.0 + 2.91)
    blind = replace(half, load_kw=None, grid_kw=None)
    assert limit(build, blind, 0.0, site_pv=TWO)[0][0] == pytest.approx(2.91 - 2.0)


def test_when_all_are_silent_each_is_still_told_a_limit(build: Any) -> None:
    silent = replace(SUNNY, pv_answering_kw=0.0, missing=("roof", "barn"))
    made, _ = limit(build, silent, site_pv=TWO)
    assert made == pytest.approx((0.0, 0.0))


def test_without_pv_there_is_nothing_to_limit(build: Any) -> None:
    assert limit(build, SUNNY, site_pv=()) == ((), "")


# --- beside the generator ------------------------------------------------------------------

CARRIED = replace(
    SUNNY, grid_present=False, grid_kw=0.0, generator_phase="running", pv_kw=2.0, load_kw=4.0,
    battery_kw=-1.0, generator_kw=3.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("plant", "limit_kw"),
    [
        ({}, 6.0),  # load 4, the set at least 1.75, the battery may take 4
        ({"charge_limit_kw": 0.0}, 2.25),
        ({"charge_limit_kw": 1.0}, 3.25),
        ({"charge_limit_kw": None}, 2.25),
        ({"soc_frac": None}, 2.25),
        ({"soc_frac": 0.95}, 2.25),
        ({"soc_frac": 0.97}, 2.25),
        ({"soc_frac": 0.945}, 3.65),
        ({"load_kw": 1.0, "charge_limit_kw": 0.0}, 0.0),
    ],
)
def test_the_set_keeps_its_minimum_load(build: Any, plant: dict[str, Any], limit_kw: float) -> None:
    made = limit(build, replace(CARRIED, **plant))
    assert made == (pytest.approx(limit_kw), "generator's minimum load")


def test_without_a_battery_the_set_keeps_its_minimum_load_too(build: Any) -> None:
    assert limit(build, CARRIED, site_battery=None)[0] == pytest.approx(2.25)


def test_with_the_load_unknown_the_sets_own_power_tells_the_room(build: Any) -> None:
    assert limit(build, replace(CARRIED, load_kw=None))[0] == pytest.approx(2.0 + 3.0 - 1.75)


def test_nothing_may_push_power_into_a_set_that_cannot_be_seen(build: Any) -> None:
    blind = replace(CARRIED, load_kw=None, generator_kw=None)
    reason = "the generator cannot be seen: nothing may push power into it"
    assert limit(build, blind) == (0.0, reason)
    unseen = replace(blind, generator_phase="unknown")
    assert limit(build, unseen, generator=GeneratorState(run=True)) == (0.0, reason)
    assert limit(build, unseen)[0] == 6.0


# --- island on the battery -----------------------------------------------------------------

ALONE = replace(CARRIED, generator_phase="stopped", generator_kw=0.0, load_kw=1.5, battery_kw=-0.5)


@pytest.mark.parametrize(
    ("plant", "limit_kw"),
    [({}, 5.5), ({"soc_frac": 0.95}, 1.5), ({"charge_limit_kw": 0.5}, 2.0), ({"load_kw": 3}, 6.0)],
)
def test_the_battery_can_charge_no_faster(
    build: Any, plant: dict[str, Any], limit_kw: float
) -> None:
    made = limit(build, replace(ALONE, **plant))
    assert made == (pytest.approx(limit_kw), "island: the battery can charge no faster")


@pytest.mark.parametrize(("last_kw", "limit_kw"), [(None, 6.0), (2.0, 2.0), (0.0, 0.0)])
def test_an_island_whose_load_is_unknown_keeps_its_limit(
    build: Any, last_kw: float | None, limit_kw: float
) -> None:
    made = limit(build, replace(ALONE, load_kw=None), pv_limit_kw=last_kw)
    assert made == (limit_kw, "island: the load is unknown, the limit stays")


def test_where_nothing_forms_an_island_there_is_no_limit(build: Any) -> None:
    assert limit(build, ALONE, site_battery=None) == (6.0, "rating")
    assert limit(build, replace(ALONE, grid_present=True), site_grid=None)[0] == 5.5
    assert limit(build, CARRIED, site_generator=None)[0] == 6.0


# --- how it moves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_kw", "step_s", "limit_kw", "reason"),
    [
        (1.0, 1.0, 1.3, "limit rises slowly"),
        (1.0, 5.0, 2.5, "limit rises slowly"),
        (4.9, 1.0, 4.91, "export limit 3 kW"),
        (6.0, 1.0, 4.91, "export limit 3 kW"),  # down at once
        (1.0, 0.0, 1.0, "limit rises slowly"),
        (1.0, -9.0, 1.0, "limit rises slowly"),
        (0.0, 1.0, 0.3, "limit rises slowly"),
        (None, 1.0, 4.91, "export limit 3 kW"),
    ],
)
def test_it_falls_at_once_and_rises_slowly(
    build: Any, last_kw: float | None, step_s: float, limit_kw: float, reason: str
) -> None:
    state = State(t_s=NOW - step_s, estimate=SUNNY, pv_limit_kw=last_kw)
    made = pv_limits(build.site(), state, -1.0, NOW)
    assert made == ((pytest.approx(limit_kw),), reason)


def test_in_the_first_cycle_it_is_free(build: Any) -> None:
    state = State(t_s=None, estimate=SUNNY, pv_limit_kw=1.0)
    assert pv_limits(build.site(), state, -1.0, NOW)[0][0] == pytest.approx(4.91)


# --- the battery makes way -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("throttled", "limit_kw", "t_s", "expected_kw"),
    [
        (True, 2.0, NOW - 1.0, 0.3),  # 5 % of 6 kW a second
        (True, 5.9, NOW - 1.0, 0.1),
        (False, 2.0, NOW - 1.0, 0.0),  # the sun sets the power
        (True, None, NOW - 1.0, 0.0),
        (True, 2.0, None, 0.0),
    ],
)
def test_the_battery_makes_way_for_pv_that_is_held_back(
    build: Any, throttled: bool, limit_kw: float | None, t_s: float | None, expected_kw: float
) -> None:
    plant = replace(SUNNY, pv_throttled=throttled)
    state = State(t_s=t_s, estimate=plant, pv_limit_kw=limit_kw)
    assert ahead_kw(build.site(), state, NOW) == pytest.approx(expected_kw)


def test_at_zero_export_pv_takes_over_what_the_battery_gave(build: Any) -> None:
    """Held back at 1 kW while the battery covers 2 kW of the load: no resting place."""
    site = build.site(grid=build.grid(export_max_kw=0.0))
    pv_kw, limit_kw, battery_kw = 1.0, 1.0, 2.0
    for cycle in range(40):
        now_s = NOW + cycle
        plant = replace(
            SUNNY, pv_kw=pv_kw, load_kw=3.0, battery_kw=battery_kw, grid_kw=0.0, pv_throttled=True
        )
        state = State(
            mode=Mode.AUTO,
            t_s=now_s - 1.0,
            estimate=plant,
            battery_kw=battery_kw,
            pv_limit_kw=limit_kw,
        )
        wish = Proposal(Level.PLAN, "battery", Quantity.POWER_KW, "cover", value=3.0 - pv_kw)
        made, _ = guard(site, state, arbitrate([wish], now_s), now_s)
        battery_kw = made["battery", Quantity.POWER_KW].value
        limit_kw = made["roof", Quantity.LIMIT_KW].value
        pv_kw = min(limit_kw, 2.8)  # the sun gives no more
        if pv_kw == 2.8:
            return
    pytest.fail(f"PV stays at {pv_kw:.2f} kW while the battery gives {battery_kw:.2f} kW")
