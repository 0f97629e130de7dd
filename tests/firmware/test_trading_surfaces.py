"""Where trade with neighbours shows: status, terminal, MQTT, Home Assistant, Prometheus."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from control.delivery import Delivery
from control.site import SiteParameters
from control.trades import Market, Trade
from firmware.config import Site
from firmware.loop import Telemetry, Timing
from firmware.metrics import Figures, Meter, MetricsAnswer
from firmware.mqtt import messages
from firmware.mqtt.discovery import discovery
from firmware.mqtt.topics import Topics
from firmware.neighbours import NOBODY, Neighbours, Said
from firmware.status import NO_MACHINE, Moment, status
from firmware.status_view import view
from tests.firmware.mqtt.schemas import validator

Run = Callable[[int], list[Telemetry]]
Document = Callable[..., dict[str, Any]]


@pytest.fixture
def cycle(run_cycles: Run) -> Telemetry:
    return run_cycles(5)[-1]


@pytest.fixture
def neighbours(cycle: Telemetry) -> Neighbours:
    """200 Wh sold in the quarter of an hour that began a minute ago."""
    now_s, utc_s = cycle.sample.t_s, cycle.sample.utc_s
    sold = Trade(1, utc_s - 60.0, utc_s + 840.0, -200, 0.12345678)
    market = Market(
        0.0, (sold,), 0.5, utc_s - 60.0, 900.0, (0.15, 0.2), role=1, detail="sells more"
    )
    said = Said(market, "street", "ann", "abcd", True)
    delivery = Delivery(now_s - 60.0, now_s + 840.0, -0.8, 0.12345678)
    return Neighbours(said, (delivery,), sold, bought_wh=100, sold_wh=200)


@pytest.fixture
def document(parameters: SiteParameters, cycle: Telemetry) -> Document:
    def made(neighbours: Neighbours) -> dict[str, Any]:
        decision = cycle.decision
        moment = Moment(
            cycle.sample,
            cycle.applied,
            cycle.advice,
            decision.state,
            decision.command,
            neighbours=neighbours,
        )
        return status("site", "1", parameters, moment, NO_MACHINE) | {"age_s": 0.0}

    return made


def shown(found: dict[str, Any]) -> str:
    text = io.StringIO()
    Console(file=text, width=400).print(view(found))
    return next((t.rstrip() for t in text.getvalue().splitlines() if t.startswith("trade ")), "")


def test_status_says_what_the_market_does(document: Document, neighbours: Neighbours) -> None:
    trading = document(neighbours)["trading"]
    assert trading["now"] == {"bought_kw": -0.8, "price_per_kwh": 0.12345678, "left_s": 840.0}
    assert (trading["bought_kwh"], trading["sold_kwh"]) == (0.1, 0.2)
    assert trading["trades"][0]["bought_kwh"] == -0.2
    assert (trading["role"], trading["agreed_price_per_kwh"]) == ("sells", 0.15)
    assert (trading["last_price_per_kwh"], trading["problem"]) == (0.12345678, None)
    assert shown(document(neighbours)) == (
        "trade in street as ann; sells 0.80 kW at 0.123 for 14 min; sells more;"
        " neighbours expect 0.150 per kWh; last price 0.123"
    )


def test_status_says_why_there_is_no_trade(document: Document) -> None:
    broken = Neighbours(Said(Market(0.0, problem="ledger.db: disk full")))
    assert shown(document(broken)) == "trade in no community; ledger.db: disk full"


def test_a_site_that_does_not_trade_says_nothing(document: Document) -> None:
    found = document(NOBODY)
    assert found["trading"] is None
    assert shown(found) == ""


def test_mqtt_has_it_in_whole_watts(
    document: Document, cycle: Telemetry, neighbours: Neighbours
) -> None:
    for told in (neighbours, Neighbours(Said(Market(0.0, problem="broken"))), NOBODY):
        state = messages.site_state(cycle, document(told), {})
        validator("state").validate(state)
        if told is neighbours:
            trading = state["trading"]
            assert (trading["p_w"], trading["sold_wh"], trading["doing"]) == (
                -800,
                200,
                "sells more",
            )
            assert trading["trades"][0]["wh"] == -200
            assert trading["last_price_per_kwh"] == 0.12346


def test_home_assistant_is_told_of_it_where_there_is_trade(site: Site) -> None:
    def told(enabled: bool) -> dict[str, Any]:
        trading = site.trading.model_copy(update={"enabled": enabled})
        changed = site.model_copy(update={"trading": trading})
        made = discovery(changed, Topics("clinic-01"), "1", commands=False, energy=False)
        components: dict[str, Any] = made["cmps"]
        return components

    with_trade = told(enabled=True)
    assert set(with_trade) - set(told(enabled=False)) == {
        "trading",
        "trading_power",
        "trading_price",
    }
    assert with_trade["trading_power"]["val_tpl"] == "{{ value_json.trading.p_w }}"
    assert with_trade["trading_price"]["unit_of_meas"] == "EUR/kWh"
    assert with_trade["trading"]["val_tpl"] == (
        "{{ (value_json.trading.problem or value_json.trading.doing or '') | truncate(250, True) }}"
    )


def test_prometheus_counts_it(document: Document, cycle: Telemetry, neighbours: Neighbours) -> None:
    meter = Meter(1.0)
    meter.publish(replace(cycle, neighbours=neighbours))
    figures = Figures(meter, lambda seen: document(seen.neighbours), Timing(), lambda: 0.0)
    response = MetricsAnswer(figures)("/metrics")
    assert response is not None
    samples = {
        (sample.name, sample.labels.get("direction", "")): sample.value
        for family in text_string_to_metric_families(response.body.decode())
        for sample in family.samples
    }
    assert samples["nanogrid_trading_in_market", ""] == 1.0
    assert samples["nanogrid_traded_watts", ""] == -800.0
    assert samples["nanogrid_traded_price_per_kilowatt_hour", ""] == 0.12345678
    assert samples["nanogrid_traded_joules_total", "sold"] == 720_000.0
    assert samples["nanogrid_traded_joules_total", "bought"] == 360_000.0
