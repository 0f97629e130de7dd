"""The nowcast in the first slots of a plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.records import Series
from control.sky import BandKw, PvAhead
from firmware.codec import decode, encode
from firmware.pv_nowcast import SAID, with_nowcast

SERIES = Series((1.0,) * 4, (2.0,) * 4, (3.0,) * 4, "network", (0.1,))


def flat(t_s: float, low: float = 4.0, middle: float = 5.0, high: float = 6.0) -> PvAhead:
    band = BandKw((low,) * 15, (middle,) * 15, (high,) * 15)
    return PvAhead(t_s, band, band, learnt=True)


def test_the_rest_of_the_slot_is_the_nowcasts_and_the_next_one_in_part() -> None:
    made = with_nowcast(SERIES, flat(300.0), 310.0, 0.0, 900.0)
    assert made.p50_kw == pytest.approx((5.0, (5.0 + 2 * 2.0) / 3, 2.0, 2.0))
    assert made.p10_kw == pytest.approx((4.0, (4.0 + 2 * 1.0) / 3, 1.0, 1.0))
    assert made.p90_kw == pytest.approx((6.0, (6.0 + 2 * 3.0) / 3, 3.0, 3.0))
    assert made.source == "network" + SAID
    assert made.skill == SERIES.skill


def test_short_and_long_slots() -> None:
    short = with_nowcast(SERIES, flat(0.0), 0.0, 0.0, 300.0)
    assert short.p50_kw == pytest.approx((5.0, 5.0, 5.0, 2.0))
    long = with_nowcast(SERIES, flat(0.0), 0.0, 0.0, 3600.0)
    assert long.p50_kw == pytest.approx(((5.0 + 3 * 2.0) / 4, 2.0, 2.0, 2.0))


def test_the_trend_within_the_quarter_of_an_hour_counts() -> None:
    rising = tuple(float(minute) for minute in range(1, 16))
    means = tuple((minute + 1) / 2 for minute in range(1, 16))
    ahead = PvAhead(600.0, BandKw(*[rising] * 3), BandKw(*[means] * 3), learnt=False)
    made = with_nowcast(SERIES, ahead, 600.0, 0.0, 900.0)
    assert made.p50_kw[0] == pytest.approx(3.0)  # minutes 1 to 5
    assert made.p50_kw[1] == pytest.approx((10 * 10.5 + 5 * 2.0) / 15)  # 6 to 15


def test_one_that_is_missing_or_outlived_changes_nothing() -> None:
    assert with_nowcast(SERIES, None, 0.0, 0.0, 900.0) is SERIES
    assert with_nowcast(SERIES, flat(0.0), 500.0, 0.0, 900.0) is SERIES


@given(
    quantiles=st.lists(st.floats(0.0, 6.0), min_size=3, max_size=3).map(sorted),
    now_s=st.floats(0.0, 900.0),
    age_s=st.floats(0.0, 150.0),
    slot_s=st.sampled_from([300.0, 600.0, 900.0, 1800.0]),
)
def test_never_negative_and_in_order(
    quantiles: list[float], now_s: float, age_s: float, slot_s: float
) -> None:
    ahead = flat(now_s - age_s, *quantiles)
    made = with_nowcast(SERIES, ahead, now_s, now_s // slot_s * slot_s, slot_s)
    for low, middle, high in zip(made.p10_kw, made.p50_kw, made.p90_kw, strict=True):
        assert 0.0 <= low <= middle <= high <= 6.0 + 1e-9


def test_it_reaches_the_other_process_as_it_is() -> None:
    assert decode(PvAhead, encode(flat(300.0))) == flat(300.0)
