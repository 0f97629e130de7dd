"""Quantiles of durations against sorting them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.histogram import BUCKETS_PER_DECADE, Histogram

durations = st.lists(st.floats(2e-6, 99.0), min_size=1, max_size=200)


@given(durations, st.sampled_from([0.5, 0.9, 0.99, 0.999, 1.0]))
def test_a_quantile_is_at_most_one_bucket_too_high(values: list[float], fraction: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    ordered = sorted(values)
    exact = next(v for n, v in enumerate(ordered, 1) if n >= fraction * len(values) - 1e-9)
    found = histogram.quantile_s(fraction)
    bucket = 10 ** (1 / BUCKETS_PER_DECADE)
    assert exact / (1 + 1e-9) <= found <= exact * bucket * (1 + 1e-9)


def test_the_largest_value_is_exact() -> None:
    histogram = Histogram()
    for value in (0.001, 0.0123, 0.002):
        histogram.add(value)
    assert histogram.summary()["max_s"] == 0.0123
    assert histogram.quantile_s(1.0) == 0.0123


def test_nothing_early_or_endless_breaks_it() -> None:
    histogram = Histogram()
    assert histogram.summary() == dict.fromkeys(("count", "p50_s", "p99_s", "p999_s", "max_s"), 0)
    for value in (-1.0, 0.0, 1e-9, 1e6):
        histogram.add(value)
    assert histogram.summary()["count"] == 4
    assert histogram.quantile_s(0.5) <= 1e-6
    assert histogram.max_s == 1e6


@pytest.mark.parametrize("value", [1e-3, 0.1, 7.0])
def test_equal_values_are_their_own_quantiles(value: float) -> None:
    histogram = Histogram()
    for _ in range(1000):
        histogram.add(value)
    assert histogram.quantile_s(0.5) == histogram.quantile_s(0.999) == value
