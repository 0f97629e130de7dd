"""The trading protocol in bad weather: a trade ends at both parties or at neither, sold once."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.protocol_street import Street, Verdict, Weather, judge

ROUGH = Weather(crash_frac=0.02, partition_frac=0.3)


def run(members: int, weather: Weather, seed: int, epochs: int) -> Verdict:
    street = Street(members, weather, seed)
    street.run(epochs)
    return judge(street)


def assert_safe(verdict: Verdict) -> None:
    assert verdict.split_brain == 0
    assert verdict.double_sold == 0
    assert verdict.two_roots == 0
    assert verdict.in_doubt == 0


def test_in_fair_weather_every_trade_is_made() -> None:
    verdict = run(8, Weather(), seed=1, epochs=20)
    assert_safe(verdict)
    assert verdict.committed == verdict.possible > 50
    assert verdict.committed_wh == verdict.possible_wh
    assert verdict.evidence == 0


@pytest.mark.parametrize(("loss_frac", "least_frac"), [(0.3, 0.8), (0.6, 0.4), (0.9, 0.0)])
def test_lost_messages_lose_trades_but_never_half_of_one(
    loss_frac: float, least_frac: float
) -> None:
    verdict = run(6, Weather(loss_frac=loss_frac), seed=2, epochs=25)
    assert_safe(verdict)
    assert verdict.committed >= least_frac * verdict.possible


@settings(max_examples=40, deadline=None)
@given(
    members=st.integers(2, 7),
    seed=st.integers(0, 2**32),
    loss_frac=st.floats(0, 0.9),
    crash_frac=st.sampled_from((0.0, 0.01, 0.1)),
    skew_s=st.sampled_from((0.0, 5.0, 40.0)),
)
def test_whatever_the_weather(
    members: int, seed: int, loss_frac: float, crash_frac: float, skew_s: float
) -> None:
    weather = replace(ROUGH, loss_frac=loss_frac, crash_frac=crash_frac, skew_s=skew_s)
    assert_safe(run(members, weather, seed, epochs=8))


def test_a_crash_at_every_point_between_saving_and_sending() -> None:
    """One slot of three houses, once for each point; loss makes them repeat themselves."""
    calm = Weather(loss_frac=0.2, down_s=20.0)
    whole = Street(3, calm, seed=5)
    whole.run(1)
    assert judge(whole).committed >= 1
    for point in range(1, whole.points + 1):
        street = Street(3, calm, seed=5, dies_at=lambda p, at=point: p == at)  # type: ignore[misc]
        street.run(1)
        assert_safe(judge(street))


def test_two_crashes_in_one_slot() -> None:
    calm = Weather(down_s=15.0)
    for first in range(4, 40, 3):
        street = Street(
            3,
            calm,
            seed=6,
            dies_at=lambda p, at=first: p in (at, at + 5),  # type: ignore[misc]
        )
        street.run(1)
        assert_safe(judge(street))
