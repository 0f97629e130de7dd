"""Who wins: levels, bounds, expiry, and what is refused."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.arbiter import LARGEST, Verdict, arbitrate, clamp
from control.records import Level, Proposal, Quantity

TARGET = ("battery", Quantity.POWER_KW)
NOW = 100.0


def wish(level: Level, value: float | None = None, **more: float) -> Proposal:
    return Proposal(level, *TARGET, f"{level.title}'s reason", value, **more)


def verdict(*proposals: Proposal) -> Verdict:
    return arbitrate(proposals, NOW)[TARGET]


def test_the_order_of_the_levels_is_that_of_the_design() -> None:
    names = "safety, grid operator, local operator, supervisor, committed trades, plan, rules"
    assert ", ".join(level.title for level in sorted(Level, reverse=True)) == names


@pytest.mark.parametrize("pair", list(itertools.combinations(Level, 2)))
@pytest.mark.parametrize("swap", [False, True])
def test_the_higher_level_wins_in_whatever_order_they_come(
    pair: tuple[Level, Level], swap: bool
) -> None:
    low, high = pair
    proposals = [wish(low, 1.0), wish(high, 2.0)]
    made = verdict(*(reversed(proposals) if swap else proposals))
    assert (made.value, made.source, made.reason) == (2.0, high.title, f"{high.title}'s reason")
    assert made.losers == (f"{low.title} 1.00: {low.title}'s reason",)


@pytest.mark.parametrize("nothing", [-0.0, -0.001])
def test_no_text_has_a_negative_zero(nothing: float) -> None:
    made = verdict(wish(Level.RULES, nothing), wish(Level.PLAN, 1.0))
    assert made.losers == ("rules 0.00: rules's reason",)


@pytest.mark.parametrize("bounding", list(Level))
@pytest.mark.parametrize("winning", list(Level))
def test_only_bounds_of_the_same_or_a_higher_level_clip(bounding: Level, winning: Level) -> None:
    made = verdict(wish(winning, 3.0), wish(bounding, upper=1.0))
    clipped = bounding >= winning
    assert made.value == (1.0 if clipped else 3.0)
    assert made.wanted == 3.0
    assert made.clips == ((f"{bounding.title}: {bounding.title}'s reason",) if clipped else ())


def test_the_higher_bound_has_the_last_word() -> None:
    made = verdict(
        wish(Level.RULES, 0.0),
        wish(Level.GRID_OPERATOR, lower=-1.0, upper=-0.5),
        wish(Level.SUPERVISOR, lower=2.0),
    )
    assert made.value == -0.5
    assert [clip.split(":")[0] for clip in made.clips] == ["supervisor", "grid operator"]


def test_a_proposal_may_carry_value_and_bounds() -> None:
    assert verdict(wish(Level.PLAN, 3.0, upper=2.0)).value == 2.0
    assert verdict(wish(Level.PLAN, 3.0, lower=4.0, upper=5.0)).value == 4.0


def test_bounds_alone_decide_nothing() -> None:
    assert arbitrate([wish(Level.SAFETY, upper=1.0)], NOW) == {}
    assert arbitrate([], NOW) == {}


def test_targets_do_not_mix() -> None:
    other = Proposal(Level.SAFETY, "roof", Quantity.LIMIT_KW, "x", 0.0)
    made = arbitrate([wish(Level.RULES, 1.0), other], NOW)
    assert made[TARGET].value == 1.0
    assert made["roof", Quantity.LIMIT_KW].value == 0.0


@pytest.mark.parametrize(
    ("expires_t_s", "counts"),
    [(NOW + 1e-6, True), (math.inf, True), (NOW, False), (NOW - 1, False), (math.nan, False)],
)
def test_what_has_expired_does_not_count(expires_t_s: float, counts: bool) -> None:
    late = wish(Level.LOCAL_OPERATOR, 4.0, expires_t_s=expires_t_s)
    assert verdict(wish(Level.RULES, 1.0), late).value == (4.0 if counts else 1.0)


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf, LARGEST * 1.01, -1e300])
@pytest.mark.parametrize("place", ["value", "lower", "upper"])
def test_nonsense_is_refused_whole_and_named(nonsense: float, place: str) -> None:
    numbers = {"value": 2.0} | {place: nonsense}
    made = verdict(wish(Level.RULES, 1.0), wish(Level.SUPERVISOR, **numbers))
    assert made.value == 1.0
    assert made.clips == ("supervisor refused: supervisor's reason is not a number",)


def test_the_largest_value_still_counts() -> None:
    assert verdict(wish(Level.RULES, LARGEST)).value == LARGEST
    assert verdict(wish(Level.RULES, -LARGEST)).value == -LARGEST


def test_nothing_but_nonsense_is_nothing() -> None:
    assert arbitrate([wish(Level.PLAN, math.nan)], NOW) == {}


def test_a_clip_keeps_what_was_wanted_and_all_that_moved_it() -> None:
    made = Verdict(3.0, 3.0, "plan", "why", (), ("rules",)).clipped(2.0, "a").clipped(1.0, "b")
    assert made == Verdict(1.0, 3.0, "plan", "why", ("a", "b"), ("rules",))


@pytest.mark.parametrize(
    ("value", "lower", "upper", "result"),
    [
        (1.0, None, None, 1.0),
        (1.0, 2.0, None, 2.0),
        (1.0, None, 0.5, 0.5),
        (1.0, 0.5, 2.0, 1.0),
        (1.0, 1.0, 1.0, 1.0),
        (5.0, 3.0, -2.0, -2.0),  # contradiction: the one nearer to zero
        (-5.0, 1.0, -2.0, 1.0),
        (0.0, 3.0, 2.0, 2.0),
    ],
)
def test_clamp(value: float, lower: float | None, upper: float | None, result: float) -> None:
    assert clamp(value, lower, upper) == result


numbers = st.none() | st.floats(-10, 10) | st.sampled_from([math.nan, math.inf, -1e9])


@given(
    st.lists(
        st.builds(
            Proposal,
            st.sampled_from(Level),
            st.just("battery"),
            st.just(Quantity.POWER_KW),
            st.just("x"),
            numbers,
            numbers,
            numbers,
            st.sampled_from([0.0, 200.0, math.inf, math.nan]),
        ),
        max_size=8,
    )
)
def test_every_verdict_is_finite_inside_the_top_bounds_and_repeatable(
    proposals: list[Proposal],
) -> None:
    made = arbitrate(proposals, NOW)
    assert made == arbitrate(proposals, NOW)
    for result in made.values():
        assert math.isfinite(result.value)
        live = [p for p in proposals if p.expires_t_s > NOW]
        sane = [
            p
            for p in live
            if all(n is None or abs(n) <= LARGEST for n in (p.value, p.lower, p.upper))
        ]
        top = max(p.level for p in sane if p.value is not None)
        assert result.source == top.title
        above = [p for p in sane if p.level > top and (p.lower, p.upper) != (None, None)]
        if above:
            last = max(above, key=lambda p: p.level)
            same = [p for p in above if p.level == last.level]
            if len(same) == 1 and (last.lower is None or last.upper is None):
                assert clamp(result.value, last.lower, last.upper) == result.value
