from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from control.surplus import (
    HIGH,
    INPUTS,
    LOW,
    MEDIUM,
    OPTIONS,
    Parts,
    SurplusSettings,
    engine,
    explain,
    rules,
    split,
    split_many,
)

NEUTRAL = (0.10, 23.0, 12.0, 0.5, 0.5)
PRICES = np.linspace(0.07, 0.13, 61)
INTERESTS = np.linspace(0, 1, 101)
HOTTER, COLDER = np.linspace(23, 50, 109), np.linspace(23, -40, 127)
RIPPLE = 0.08  # max aggregation dips where two triangles cross; see docs/fuzzy.md
SMALL_RIPPLE = 0.02

prices = st.floats(0.07, 0.13)
temperatures = st.floats(-40, 50)
hours = st.floats(0, 24)
fractions = st.floats(0, 1)
situations = st.tuples(prices, temperatures, hours, fractions, fractions)


def raw_along(situation, name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Raw outputs while one input sweeps and the others stay."""
    inputs = np.tile(np.array(situation), (len(values), 1))
    inputs[:, INPUTS.index(name)] = values
    return dict(zip(OPTIONS, split_many(inputs)[0].T, strict=True))


def largest_fall(values: np.ndarray) -> float:
    return float((np.maximum.accumulate(values) - values).max())


# --- what the paper says -------------------------------------------------------------------


def test_the_printed_rule():
    printed = {
        "price": HIGH,
        "temperature": "hot",
        "hour": "noon",
        "interest": HIGH,
        "capacity": LOW,
    }
    assert {"store": LOW, "export": LOW, "p2p": HIGH} in [
        rule.then for rule in rules() if rule.when == printed
    ]
    raw = split(0.13, 34, 12, 1.0, 0.0).raw
    assert raw.p2p > 0.95
    assert raw.export < 0.05
    assert raw.store < 0.05


def test_p2p_is_a_half_at_the_neutral_point():
    for hour in range(25):
        for price in (0.07, 0.10):  # the corner where figure 7 starts, and the middle
            assert split(price, 23, hour, 0.5, 0.5).raw.p2p == pytest.approx(0.5, abs=1e-9)


@given(prices)
def test_p2p_rises_with_temperature_towards_either_extreme(price):
    for direction in (HOTTER, COLDER):
        p2p = raw_along((price, *NEUTRAL[1:]), "temperature", direction)["p2p"]
        assert largest_fall(p2p) < 1e-9
        assert p2p[-1] > 0.95


@given(temperatures)
def test_p2p_rises_with_price(temperature):
    p2p = raw_along((0, temperature, *NEUTRAL[2:]), "price", PRICES)["p2p"]
    assert largest_fall(p2p) < 1e-9
    assert p2p[-1] > 0.95


def test_export_is_a_half_at_the_neutral_point():
    for hour in range(25):
        for temperature in (5.0, 23.0):
            assert split(0.07, temperature, hour, 0, 0.5).raw.export == pytest.approx(0.5)
            assert split(0.10, temperature, hour, 0.5, 0.5).raw.export == pytest.approx(0.5)


def test_export_falls_to_nothing_at_full_interest_and_the_highest_price():
    assert split(0.13, 5, 12, 1.0, 0.5).raw.export < 0.01


@given(fractions)
def test_export_falls_with_price(interest):
    export = raw_along((0, 5.0, 12.0, interest, 0.5), "price", PRICES)["export"]
    assert largest_fall(-export) < 1e-9
    assert export[-1] < 0.05


@given(prices)
def test_export_falls_with_interest(price):
    export = raw_along((price, 5.0, 12.0, 0, 0.5), "interest", INTERESTS)["export"]
    assert largest_fall(-export) < RIPPLE
    assert export[-1] < 0.05
    assert export[-1] <= export[50] <= export[0]


@given(situations)
def test_ripples_stay_small_everywhere(situation):
    for name, values in (("price", PRICES), ("temperature", HOTTER), ("temperature", COLDER)):
        assert largest_fall(raw_along(situation, name, values)["p2p"]) < SMALL_RIPPLE
    assert largest_fall(-raw_along(situation, "price", PRICES)["export"]) < SMALL_RIPPLE
    assert largest_fall(raw_along(situation, "interest", INTERESTS)["p2p"]) < RIPPLE
    assert largest_fall(-raw_along(situation, "interest", INTERESTS)["export"]) < RIPPLE


@given(situations)
def test_more_room_never_stores_less(situation):
    assert largest_fall(raw_along(situation, "capacity", INTERESTS)["store"]) < 1e-9


def test_nobody_asks_and_the_battery_is_full_so_it_is_exported():
    shares = split(0.07, 23, 12, 0.05, 0.05).shares
    assert shares.export > 0.8
    assert split(0.07, 23, 12, 0.0, 0.0).raw.export > 0.95


def test_all_three_options_are_used_in_parallel():
    assert min(astuple(split(*NEUTRAL).shares)) > 0.3


def test_the_rule_base_evaluates_in_two_kilobytes():
    assert engine().rule_bytes < 2048


# --- the rule base -------------------------------------------------------------------------


def test_there_is_one_rule_for_each_of_540_combinations():
    made = [tuple(rule.when[name] for name in INPUTS) for rule in rules()]
    assert len(made) == len(set(made)) == 540
    assert all(set(rule.then) == set(OPTIONS) for rule in rules())


def test_a_full_battery_stores_nothing_and_absent_buyers_buy_nothing():
    for rule in rules():
        if rule.when["capacity"] == LOW:
            assert rule.then["store"] == LOW
        if rule.when["interest"] == LOW:
            assert rule.then["p2p"] == LOW


def test_every_situation_has_some_use_for_the_surplus():
    for rule in rules():
        assert set(rule.then.values()) != {LOW}


def test_rules_never_step_the_wrong_way():
    order = {LOW: 0, MEDIUM: 1, HIGH: 2}
    level = {tuple(r.when[n] for n in INPUTS): r.then for r in rules()}
    for case, then in level.items():
        for column in (INPUTS.index("price"), INPUTS.index("interest")):
            if case[column] == HIGH:
                continue
            stepped = list(case)
            stepped[column] = MEDIUM if case[column] == LOW else HIGH
            after = level[tuple(stepped)]
            assert order[after["p2p"]] >= order[then["p2p"]]
            assert order[after["export"]] <= order[then["export"]]


# --- numbers in, numbers out ---------------------------------------------------------------


@given(situations)
@example((0.07, -40.0, 0.0, 0.0, 0.0))
@example((0.13, 50.0, 24.0, 1.0, 1.0))
def test_outputs_are_fractions_and_shares_add_up_to_one(situation):
    result = split(*situation)
    assert all(0 <= part <= 1 for part in (*astuple(result.raw), *astuple(result.shares)))
    assert sum(astuple(result.shares)) == pytest.approx(1, abs=1e-12)


@given(st.floats(0, 12), prices, temperatures, fractions, fractions)
def test_midnight_wraps_round(offset, price, temperature, interest, capacity):
    at = [split(price, temperature, hour, interest, capacity).raw for hour in (0.0, 24.0)]
    assert at[0] == at[1]
    # Morning and evening mean the same to the rules, so the day is even around midnight.
    after, before = (
        split(price, temperature, hour, interest, capacity).raw for hour in (offset, 24 - offset)
    )
    assert astuple(after) == pytest.approx(astuple(before), abs=1e-9)


@given(st.lists(situations, min_size=1, max_size=5))
def test_many_equal_one_by_one(rows):
    raw, shares = split_many(rows)
    for row, one_raw, one_shares in zip(rows, raw, shares, strict=True):
        result = split(*row)
        assert astuple(result.raw) == pytest.approx(one_raw, abs=1e-12)
        assert astuple(result.shares) == pytest.approx(one_shares, abs=1e-9)


def test_inputs_beyond_the_universe_count_as_its_end():
    assert split(9.0, 99, 24, 1, 1) == split(0.13, 50, 24, 1, 1)
    assert split(-1.0, -99, 0, -1, 2) == split(0.07, -40, 0, 0, 1)


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_inputs_are_refused(position, bad):
    row = list(NEUTRAL)
    row[position] = bad
    with pytest.raises(ValueError, match="finite"):
        split(*row)


@given(st.tuples(fractions, fractions, fractions), st.sets(st.sampled_from(OPTIONS), min_size=1))
@example((0.0, 0.0, 0.0), set(OPTIONS))
@example((1.0, 0.0, 1.0), {"export"})
def test_shares_among_some_options_add_up_to_one(raw, options):
    shares = Parts(*raw).shared_among(*options)
    assert sum(astuple(shares)) == pytest.approx(1, abs=1e-12)
    assert all(getattr(shares, name) == 0 for name in set(OPTIONS) - options)


def test_shares_are_equal_where_no_option_is_preferred():
    assert Parts(0, 0, 0).shared_among("store", "p2p") == Parts(0.5, 0, 0.5)


@pytest.mark.parametrize("options", [(), ("sell",), ("store", "curtail")])
def test_unknown_options_are_refused(options):
    with pytest.raises(ValueError, match="allowed"):
        Parts(1, 1, 1).shared_among(*options)


def test_explanation_names_the_strongest_rules():
    text = explain(0.13, 34, 12, 1.0, 0.0)
    assert text == (
        "1.00: price high, temperature hot, hour noon, interest high, capacity low"
        " -> store low, export low, p2p high",
    )
    strengths = [float(line[:4]) for line in explain(0.085, 16, 9, 0.3, 0.35, strongest=7)]
    assert len(strengths) == 7
    assert strengths == sorted(strengths, reverse=True)


# --- settings ------------------------------------------------------------------------------


@given(situations)
def test_a_site_maps_its_own_tariff(situation):
    price, *rest = situation
    settings = SurplusSettings(price_low_per_kwh=0.20, price_high_per_kwh=0.50)
    ours = split(0.20 + (price - 0.07) / 0.06 * 0.30, *rest, settings=settings).raw
    assert astuple(ours) == pytest.approx(astuple(split(*situation).raw), abs=1e-6)


def test_a_site_moves_a_membership_function():
    cold = ((-40.0, -40.0, -30.0, -25.0), (-30.0, -25.0, 15.0, 20.0))
    settings = replace(
        SurplusSettings(), temperature_degc=cold + SurplusSettings().temperature_degc[2:]
    )
    assert split(0.10, -18, 12, 0.5, 0.5).raw.p2p > 0.9
    assert split(0.10, -18, 12, 0.5, 0.5, settings).raw.p2p == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"price_low_per_kwh": 0.13}, "price: universe"),
        ({"price_high_per_kwh": float("nan")}, "price"),
        ({"hour": ((0.0, 1.0, 2.0),)}, "hour: 1 terms given, 4 needed"),
        ({"p2p": ((0.0, 0.2), (0.5, 0.0), (1.0, 0.2))}, "p2p: medium"),
        ({"export": ((0.0, 0.5), (0.0, 0.5), (0.0, 0.5))}, "export: low .*3 numbers"),
        ({"store": ((5.0, 6.0, 7.0, 8.0),) * 3}, "store: a term lies outside"),
        ({"interest_frac": ((0.0, 0.0, 0.2), (0.4, 0.5, 1.0), (0.5, 1.0, 1.0))}, "interest: no"),
        ({"capacity_frac": ((0.0, 0.0, 0.5, 0.4),) * 3}, "capacity_frac: low .*ascending"),
    ],
)
def test_unusable_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        split(0.1, 20.0, 12.0, 0.5, 0.5, replace(SurplusSettings(), **change))


def test_a_weight_makes_a_use_count_less():
    plain = split(0.13, 34.0, 12.0, 1.0, 0.5)
    settings = SurplusSettings(p2p_weight=0.5, export_weight=0.0)
    weighted = split(0.13, 34.0, 12.0, 1.0, 0.5, settings)
    assert weighted.raw.p2p == pytest.approx(0.5 * plain.raw.p2p)
    assert weighted.raw.export == weighted.shares.export == 0.0
    assert weighted.shares.store > plain.shares.store
