"""The bench of streets: the money adds up, nobody loses by trading, nothing beats foresight."""

from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from rich.progress import Progress

from bench.community import main, play, share_of_gain
from bench.community_bound import rule_bills
from bench.community_sets import Community

DAY = 24
DAYS = 12


def street(*, island: bool = False) -> Community:
    """Three houses, hour by hour: one without a battery, one without sun; a dear evening."""
    chance = np.random.default_rng(1)
    hour = np.arange(DAYS * DAY) % DAY
    sun = np.maximum(0.0, np.sin((hour - 6.0) / 12.0 * np.pi))[:, None]
    bright = np.repeat(chance.uniform(0.3, 1.0, DAYS), DAY)[:, None]
    load_kw = chance.uniform(0.2, 1.0, (len(hour), 3)) + ((hour >= 17) & (hour < 22))[:, None]
    evening = np.where((hour >= 16) & (hour < 21), 0.50, 0.21)
    return Community(
        name="three",
        step_h=1.0,
        load_kw=load_kw,
        pv_kw=sun * bright * np.array([5.0, 5.0, 0.0]),
        retail_per_kwh=np.full(len(hour), 0.36) if island else evening,
        feed_in_per_kwh=0.0 if island else 0.05,
        weeks=((9 * DAY, 11 * DAY),),
        batteries=(True, False, True),
        genset_kw=12.5 if island else 0.0,
    )


@pytest.mark.parametrize("island", [False, True])
def test_bills_add_up_and_no_house_loses_by_its_trades(*, island: bool) -> None:
    with Progress(disable=True) as progress:
        (week,) = play(street(island=island), None, 3, progress)
    assert week.traded_kwh > 1.0
    assert week.budget_error < 1e-9
    assert float(week.bills.sum()) == pytest.approx(week.cost, abs=1e-9)
    assert (week.bills <= week.untraded + 1e-9).all()
    assert week.bound <= week.cost + 1e-9
    assert 0.3 < share_of_gain([week]) <= 1.0


def test_without_trading_a_bill_does_not_depend_on_the_neighbours() -> None:
    one = street()
    pv_kw = one.pv_kw.copy()
    pv_kw[:, 0] *= 2.0
    other = replace(one, pv_kw=pv_kw)
    first, last = one.weeks[0]
    bills, changed = (rule_bills(each, first, last, traded=False) for each in (one, other))
    assert bills[1:] == pytest.approx(changed[1:])
    assert bills[0] != pytest.approx(changed[0])
    fewer, more = (rule_bills(each, first, last, traded=True) for each in (one, other))
    assert more[2] < fewer[2] < bills[2]  # the house without sun buys from its neighbours


def test_a_case_that_is_not_there_is_told() -> None:
    result = CliRunner().invoke(main, ["fontana5:nothing"])
    assert result.exit_code == 2
    assert "no such case" in result.output
