"""Records through JSON text and back, exactly."""

import json
import math
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.records import (
    Ack,
    Advice,
    BatteryMeasurement,
    Command,
    Event,
    Forecast,
    InverterMeasurement,
    Level,
    Observed,
    Orders,
    Plan,
    Proposal,
    Quality,
    Quantity,
    Sample,
    Series,
    Severity,
)
from control.site import SiteParameters
from control.state import State
from firmware.codec import decode, encode

RECORDS: list[type[Any]] = [
    Ack,
    Advice,
    Command,
    Event,
    Forecast,
    Orders,
    Plan,
    Proposal,
    Sample,
    Series,
    SiteParameters,
    State,
]


st.register_type_strategy(
    Observed,
    lambda kind: st.builds(
        Observed,
        st.none() | st.from_type(get_args(kind)[0]),
        st.floats(),
        st.sampled_from(Quality),
        st.text(max_size=20),
    ),
)


def through_text(value: Any) -> Any:
    return decode(type(value), json.loads(json.dumps(encode(value))))


@given(st.sampled_from(RECORDS).flatmap(st.from_type))
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_record_comes_back_equal(record: Any) -> None:
    assert repr(through_text(record)) == repr(record)  # tells -0.0 from 0.0, takes nan for nan


@pytest.mark.parametrize("value", [0.1 + 0.2, -0.0, 5e-324, math.inf, -math.inf, 1e22])
def test_a_float_comes_back_to_the_bit(value: float) -> None:
    again = through_text(Series((value,), (), (), ""))
    assert again.p10_kw[0].hex() == value.hex()


def test_nan_stays_nan() -> None:
    assert math.isnan(through_text(Series((math.nan,), (), (), "")).p10_kw[0])


def test_a_generic_record_knows_what_it_observes() -> None:
    seen = Observed(InverterMeasurement(1.5, state="running"), 0.2, Quality.GOOD, "")
    plain = json.loads(json.dumps(encode(seen)))
    assert decode(Observed[InverterMeasurement], plain) == seen
    with pytest.raises(ValueError, match="not a"):
        decode(Observed[BatteryMeasurement], plain)


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (Event, ["loud", "mode", "text"]),  # no such severity
        (Event, ["info", "mode"]),  # a field is missing
        (Event, ["info", "mode", "text", 1]),  # one too many
        (Event, {"severity": "info"}),
        (Event, None),
        (Event, ["info", 7, "text"]),
        (Series, [["1.0"], [], [], ""]),
        (Series, [[True], [], [], ""]),
        (Series, [[None], [], [], ""]),
        (Series, [5, [], [], ""]),
        (Series, [[10**400], [], [], ""]),  # arithmetic with it would raise
        (Orders, [1, False, False, []]),
        (Proposal, [99, "roof", "limit_kw", "", None, None, None, 1.0]),  # no such level
        (Ack, ["roof", "volume", 1.0, None, 0.0, ""]),
    ],
)
def test_what_is_not_the_record_is_refused(kind: type[Any], plain: Any) -> None:
    with pytest.raises(ValueError, match=f"not a {kind.__name__}"):
        decode(kind, plain)


def test_enumerations_go_by_value() -> None:
    assert encode(Level.PLAN) == 1
    assert encode((Severity.ALARM, Quantity.RUN)) == ["alarm", "run"]
    assert type(encode(Level.PLAN)) is int


def test_a_record_of_an_older_version_gets_the_defaults() -> None:
    assert decode(Orders, [True, False, False, []]) == Orders(stop=True)
    known = encode(Orders(stop=True, active=("stop",)))
    with pytest.raises(ValueError, match="not a Orders"):
        decode(Orders, [*known, 1])
