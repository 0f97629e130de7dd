"""What the market is told of the house."""

from dataclasses import replace
from typing import Any

import pytest

from control.records import Advice, Forecast, Orders, Plan, Series
from control.state import State
from control.trades import Quantiles
from firmware.codec import decode, encode
from firmware.config import Site
from firmware.loop import Telemetry
from firmware.position import Glance, Positions, glance, store_facts

STEPS, STEP_S = 96, 900.0
NOON_UTC_S = 1_760_011_200.0
NOW_S = 7000.0
SEEN = Glance(
    utc_s=NOON_UTC_S + 950.0,  # in the second step
    t_s=NOW_S,
    clock_problem="",
    trading=True,
    grid_present=True,
    soc_frac=0.5,
    wind_kw=0.3,
    price_buy_per_kwh=0.3,
    temperature_degc=None,
    hour_local=14.0,
    interest_frac=0.5,
    import_kwh=12.5,
    export_kwh=3.0,
    import_max_kw=None,
    export_max_kw=None,
    reserve_soc_frac=None,
    prices=(),
)


def rising(start: float) -> tuple[float, ...]:
    return tuple(start + n for n in range(STEPS))


def advice(**changes: Any) -> Advice:
    """Made at noon, a step ago."""
    issued_s = NOW_S - 950.0
    series = Series(rising(0.0), rising(1.0), rising(2.0), "test")
    forecast = Forecast(issued_s, issued_s, STEP_S, series, series)
    flags, zeros = (False,) * STEPS, (0.0,) * STEPS
    plan = Plan(issued_s, issued_s, STEP_S, issued_s + 3600.0, rising(0.5), flags, zeros,
                rising(-1.0), zeros, zeros, flags, flags, 0.0, "test",
                stored_value_per_kwh=rising(0.1))  # fmt: skip
    return Advice(forecast, replace(plan, **changes))


def test_series_begin_with_the_running_step(site: Site) -> None:
    made = Positions(site).of(SEEN, advice())
    assert (made.from_utc_s, made.step_s) == (NOON_UTC_S + 900.0, STEP_S)
    assert made.load_kw.p50_kw[0] == 2.0
    assert made.generation_kw.p10_kw[0] == 1.3  # with the wind there is now
    assert (made.grid_kw[0], made.battery_kw[0], made.stored_value_per_kwh) == (0.0, 1.5, 1.1)
    assert len(made.buy_per_kwh) == len(made.sell_per_kwh) == STEPS
    assert made.import_kwh == 12.5


def test_before_a_forecast_has_shown_what_it_can_the_last_minutes_count(site: Site) -> None:
    positions = Positions(site)
    for second in range(0, 600, 20):
        now = {"t_s": NOW_S + second, "utc_s": SEEN.utc_s + second}
        made = positions.of(replace(SEEN, **now, load_kw=40.0, pv_kw=None), advice())
    assert made.load_kw.p50_kw[0] == pytest.approx(40.0)
    assert made.generation_kw.p50_kw[0] < 10.0  # nothing is known of the sun
    assert made.load_kw.p50_kw[60] == pytest.approx(62.0, abs=0.01)  # far ahead it stands alone
    told = advice()
    assert told.forecast is not None
    scored = replace(told.forecast, load=replace(told.forecast.load, skill=(0.3, None, None, None)))
    made = positions.of(replace(SEEN, load_kw=40.0), replace(told, forecast=scored))
    assert made.load_kw.p50_kw[0] == 2.0


def test_what_has_expired_is_left_out(site: Site) -> None:
    late = replace(SEEN, t_s=NOW_S + 4000.0, utc_s=SEEN.utc_s + 4000.0)
    made = Positions(site).of(late, advice())
    assert (made.grid_kw, made.battery_kw, made.stored_value_per_kwh) == ((), (), None)
    assert made.load_kw == made.generation_kw == Quantiles()
    assert Positions(site).of(SEEN, Advice()).load_kw == Quantiles()
    assert Positions(site).of(SEEN, advice(stored_value_per_kwh=())).stored_value_per_kwh is None


def test_orders_tighten_what_the_market_may_use(site: Site) -> None:
    assert site.grid is not None
    free = Positions(site).of(SEEN, Advice())
    assert free.soc_min_frac == pytest.approx(site.battery[0].reserve_soc_frac)
    assert (free.import_max_kw, free.export_max_kw) == (
        site.grid.import_max_kw,
        site.grid.export_max_kw,
    )
    ordered = replace(SEEN, import_max_kw=1.0, export_max_kw=0.0, reserve_soc_frac=0.6)
    tight = Positions(site).of(ordered, Advice())
    assert (tight.import_max_kw, tight.export_max_kw) == (1.0, 0.0)
    assert tight.soc_min_frac == pytest.approx(0.6)
    dark = Positions(site).of(replace(SEEN, grid_present=False), Advice())
    assert (dark.import_max_kw, dark.export_max_kw) == (0.0, 0.0)


def test_peers_have_a_share_while_they_ask(site: Site) -> None:
    positions = Positions(site)
    assert positions.of(replace(SEEN, interest_frac=0.0), Advice()).p2p_share_frac == 0.0
    share = positions.of(SEEN, Advice()).p2p_share_frac
    assert share is not None
    assert 0.0 < share <= 1.0
    assert positions.of(replace(SEEN, soc_frac=None), Advice()).p2p_share_frac is None


def test_a_glance_is_what_the_cycle_saw(run_cycles: Any) -> None:
    told: Telemetry = run_cycles(5)[-1]
    orders = Orders(export_max_kw=1.0)
    state: State = told.decision.state
    made = glance(told.sample, state, orders, trading=False, clock_problem="not set")
    assert (made.utc_s, made.t_s, made.trading) == (told.sample.utc_s, told.sample.t_s, False)
    assert (made.soc_frac, made.export_max_kw, made.import_kwh) == (0.5, 1.0, None)
    assert decode(Glance, encode(made)) == made


@pytest.mark.parametrize("batteries", [0, 1])
def test_the_store_at_its_terminals(site: Site, batteries: int) -> None:
    facts = store_facts(site.model_copy(update={"battery": site.battery[:batteries]}))
    if not batteries:
        assert facts.capacity_kwh == 0.0
        return
    battery = site.battery[0]
    assert facts.capacity_kwh == battery.capacity_kwh
    assert 0.8 < facts.charge_efficiency_frac < battery.charge_efficiency_frac
    assert battery.om_linear_per_kwh < facts.wear_per_kwh < 0.1


def test_the_market_knows_that_the_grid_may_not_charge(site: Site) -> None:
    assert store_facts(site).charge_from_grid
    barred = site.battery[0].model_copy(update={"charge_from_grid": False})
    several = site.model_copy(update={"battery": [site.battery[0], barred]})
    assert not store_facts(several).charge_from_grid
