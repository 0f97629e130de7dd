"""The status document and the sentences made of it, from real decisions."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from control.records import (
    Ack,
    Advice,
    Forecast,
    InverterMeasurement,
    Level,
    Observed,
    Orders,
    Plan,
    PricePeriod,
    Proposal,
    Quality,
    Quantity,
    Sample,
    Series,
)
from control.site import SiteParameters
from control.sky import BandKw, PvAhead, Sky
from control.state import GeneratorState, Mode, Obedience
from drivers.device import Identity
from drivers.station import DeviceImage
from firmware.loop import Telemetry
from firmware.status import NO_MACHINE, Machine, Moment, status, utc_text
from firmware.status_view import view
from firmware.why import Change, in_words, sentences, visible

Run = Callable[[int], list[Telemetry]]


def moment(telemetry: Telemetry) -> Moment:
    decision = telemetry.decision
    return Moment(
        telemetry.sample,
        telemetry.applied,
        telemetry.advice,
        decision.state,
        decision.command,
        telemetry.orders,
    )


@pytest.fixture
def last(run_cycles: Run) -> Moment:
    return moment(run_cycles(30)[-1])


@pytest.fixture
def document(parameters: SiteParameters) -> Callable[..., dict[str, Any]]:
    def make(moment: Moment, machine: Machine = NO_MACHINE) -> dict[str, Any]:
        return status("clinic", "1.2.3", parameters, moment, machine)

    return make


Document = Callable[..., dict[str, Any]]


def numbers(value: object) -> list[float]:
    if isinstance(value, Mapping):
        return [number for item in value.values() for number in numbers(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [value] if isinstance(value, float) else []


def test_the_document_says_what_the_cycle_knew(last: Moment, document: Document) -> None:
    found = document(last)
    plant = last.state.estimate
    assert (found["site"], found["version"]) == ("clinic", "1.2.3")
    assert found["cycle"] == last.sample.cycle
    assert found["mode"]["name"] == last.state.mode.value
    assert found["mode"]["for_s"] == last.sample.t_s - last.state.mode_since_s
    assert found["power_kw"]["pv"] == plant.pv_kw
    assert found["power_kw"]["load"] == plant.load_kw
    assert found["battery"]["soc_frac"] == plant.soc_frac
    assert found["devices"][0]["name"] == "roof"
    assert found["devices"][0]["measured"]["power_kw"] == last.sample.pv[0].value.power_kw
    assert found["advice_missing"] == last.advice.detail
    for setpoint, shown in zip(last.command.setpoints, found["setpoints"], strict=True):
        why = next(
            w
            for w in last.command.why
            if (w.device, w.quantity) == (setpoint.device, setpoint.quantity)
        )
        assert shown["commanded"] == setpoint.value
        assert (shown["source"], shown["reason"]) == (why.source, why.reason)
        assert (shown["clips"], shown["otherwise"]) == (list(why.clips), list(why.losers))
        assert shown["acknowledged"]["error"] == ""
        assert shown["obeyed"]["status"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_only_the_service_knows(last: Moment, document: Document) -> None:
    images = {"roof": DeviceImage("roof", identity=Identity("A", "B"), errors=3, error="no answer")}
    found = document(last, Machine(images, {"cycles": 5}, ("no GPIO here",)))
    roof = found["devices"][0]
    assert (roof["online"], roof["failed_exchanges"], roof["error"]) == (False, 3, "no answer")
    assert roof["identity"]["maker"] == "A"
    assert "no GPIO here" in found["alarms"]
    assert found["loop"] == {"cycles": 5}


def shown(document: Mapping[str, Any]) -> str:
    out = StringIO()
    Console(file=out, width=400).print(view({"age_s": 0.0, **document}))
    return out.getvalue()


def test_who_forecasts_why_and_how_well(last: Moment, document: Document) -> None:
    t_s, both = last.sample.t_s, (1.0, 2.0)
    why = "same-clock mean of 28.0 days: the network errs 1.13 times the baseline"
    standing = "challenger load 1a2b3c4d: RMSE 0.950 of the champion's in 3.0 days"
    skill, coverage = (0.2, None, -0.05, 0.3), (0.8, 0.79, None, 0.81)
    load = Series(both, both, both, why, skill, coverage, standing)
    pv = Series(both, both, both, "pv 9f8e7d6c, adjusted on site")
    found = document(replace(last, advice=Advice(Forecast(t_s, t_s, 900.0, pv, load))))
    assert found["forecast"]["load_coverage"] == [0.8, 0.79, None, 0.81]
    text = shown(found)
    assert "PV forecast: pv 9f8e7d6c, adjusted on site\n" in text.replace(" \n", "\n")
    assert (
        f"load forecast: {why}, RMSE 20/?/-5/30 % lower than persistence's,"
        f" 80/79/?/81 % of outcomes inside p10..p90, in shadow {standing}"
    ) in text


def test_the_nowcast_or_why_there_is_none(last: Moment, document: Document) -> None:
    def of(ahead: PvAhead | None, sun: Observed[float] | None) -> dict[str, Any]:
        state = replace(last.state, sky=Sky(ahead=ahead))
        sample = replace(last.sample, irradiance_w_m2=sun)
        return document(replace(last, sample=sample, state=state))

    band = BandKw((1.0,) * 15, (2.0,) * 15, (3.0,) * 15)
    good = Observed(500.0, 0.0, Quality.GOOD, "")
    found = of(PvAhead(last.sample.t_s - 20.0, band, band, learnt=True), good)
    assert found["nowcast"]["p10_kw"] == [1.0] * 15
    assert "PV nowcast: 2.00 kW in 1 min (1.00 to 3.00), 2.00 kW in 5 min" in shown(found)
    outlived = of(PvAhead(last.sample.t_s - 200.0, band, band, learnt=True), good)
    assert outlived["nowcast"]["missing"].startswith("too little light")
    assert "PV nowcast: none, no irradiance sensor" in shown(of(None, None))
    broken = of(None, Observed(None, 99.0, Quality.BAD, "open circuit"))
    assert broken["nowcast"]["missing"] == "irradiance sensor: open circuit"


def test_a_plan_and_its_current_slot(last: Moment, document: Document) -> None:
    t_s = last.sample.t_s
    both = (1.0, 2.0)
    plan = Plan(
        issued_t_s=t_s - 100,
        start_t_s=t_s - 1000,
        step_s=900.0,
        expires_t_s=t_s + 50,
        battery_kw=both,
        generator_on=(False, True),
        generator_kw=both,
        grid_kw=both,
        curtailed_kw=both,
        soc_frac=(0.4, 0.5),
        cover_deficit=(True, True),
        store_surplus=(True, True),
        cost=math.inf,
        solver="swarm",
    )
    series = Series(both, both, both, "GRU", (0.2, None))
    forecast = Forecast(t_s - 100, t_s - 1000, 900.0, series, series)
    found = document(replace(last, advice=Advice(forecast, plan)))
    assert found["plan"]["slot"]["battery_kw"] == 2.0
    assert found["plan"]["slot"]["generator_on"] is True
    assert found["plan"]["slot"]["ends_in_s"] == 800.0
    assert (found["plan"]["expires_in_s"], found["plan"]["expired"]) == (50.0, False)
    assert found["plan"]["cost"] is None
    assert (found["forecast"]["age_s"], found["forecast"]["pv_source"]) == (100.0, "GRU")
    assert found["forecast"]["load_skill"] == [0.2, None]
    late = document(replace(last, advice=Advice(forecast, replace(plan, expires_t_s=t_s))))
    assert late["plan"]["expired"] is True
    early = document(replace(last, advice=Advice(forecast, replace(plan, start_t_s=t_s + 1))))
    assert early["plan"]["slot"] is None


def test_generator_timers(last: Moment, parameters: SiteParameters, document: Document) -> None:
    t_s, generator = last.sample.t_s, parameters.generator
    assert generator is not None
    running = replace(last.state, generator=GeneratorState(run=True, since_s=t_s - 60))
    found = document(replace(last, state=running))["generator"]
    assert found["min_run_left_s"] == generator.min_run_s - 60
    assert found["max_run_left_s"] == generator.max_run_s - 60
    assert found["min_rest_left_s"] is None
    resting = replace(last.state, generator=GeneratorState(since_s=t_s - 60))
    found = document(replace(last, state=resting))["generator"]
    assert found["min_rest_left_s"] == generator.min_rest_s - 60
    assert found["min_run_left_s"] is None
    unseen = replace(last.state, generator=GeneratorState())
    assert document(replace(last, state=unseen))["generator"]["for_s"] is None


def test_alarms(last: Moment, document: Document) -> None:
    state = replace(
        last.state,
        mode=Mode.SAFE,
        mode_reason="emergency stop",
        emergency_latched=True,
        generator=GeneratorState(locked="3 failed starts"),
        obedience=(Obedience("roof", Quantity.LIMIT_KW, "disobeyed", 0.0),),
    )
    found = document(replace(last, state=state))["alarms"]
    assert found == [
        "mode safe: emergency stop",
        "emergency stop was pressed and is not acknowledged",
        "generator locked: 3 failed starts",
        "roof does not follow its power limit",
    ]


def test_orders(last: Moment, document: Document) -> None:
    t_s = last.sample.t_s
    due = Proposal(
        Level.SUPERVISOR, "battery", Quantity.POWER_KW, "ordered", -2.0, expires_t_s=t_s + 60.0
    )
    orders = Orders(
        proposals=(due, replace(due, expires_t_s=t_s)),
        export_max_kw=0.0,
        prices=(PricePeriod(1_760_000_000.0, 1_760_003_600.0, 0.5, 0.1),),
        active=("battery -2.00 kW by supervisor-1 until 14:00",),
    )
    found = document(replace(last, orders=orders))
    shown = found["orders"]
    assert [order["expires_in_s"] for order in shown["setpoints"]] == [60.0]
    assert shown["setpoints"][0]["level"] == "supervisor"
    assert (shown["export_max_kw"], shown["import_max_kw"]) == (0.0, None)
    assert shown["prices"][0]["until"] == "2025-10-09T09:53:20.000Z"
    assert f"Ordered: {orders.active[0]}." in list(sentences(found))
    console = Console(width=200, file=StringIO(), record=True)
    console.print(view({**found, "age_s": 0.0}))
    assert f"ordered: {orders.active[0]}" in console.export_text()


@given(
    odd=st.sampled_from([math.nan, math.inf, -math.inf]),
    when=st.floats(allow_nan=True, allow_infinity=True),
)
def test_never_a_number_that_json_does_not_have(
    odd: float,
    when: float,
    run_cycles: Run,
    parameters: SiteParameters,
) -> None:
    last = moment(run_cycles(3)[-1])
    pv = (Observed(InverterMeasurement(odd, odd), odd, Quality.STALE, "odd"),)
    sample: Sample = replace(last.sample, pv=pv, t_s=odd, utc_s=when, price_buy_per_kwh=odd)
    applied = tuple(replace(ack, acknowledged=odd, t_s=odd) for ack in last.applied)
    setpoints = tuple(replace(s, value=odd) for s in last.command.setpoints)
    command = replace(last.command, setpoints=setpoints)
    proposal = Proposal(Level.PLAN, "roof", Quantity.LIMIT_KW, "odd", odd, odd, odd, math.inf)
    price = PricePeriod(odd, when, odd, odd)
    orders = Orders(False, False, False, (proposal,), odd, odd, odd, prices=(price,))
    made = Moment(sample, applied, Advice(), last.state, command, orders)
    found = status("x", "0", parameters, made)
    assert all(map(math.isfinite, numbers(found)))
    json.dumps(found, allow_nan=False)
    assert "\n".join(sentences(found))
    assert view({**found, "age_s": 0.0})


def test_sentences_say_everything(last: Moment, document: Document) -> None:
    found = document(last)
    battery = next(s for s in found["setpoints"] if s["quantity"] == "power_kw")
    battery |= {
        "commanded": -1.5,
        "source": "plan",
        "reason": "plan: store the surplus",
        "wanted": -2.0,
        "clips": ["ramp", "the battery's own limit"],
        "otherwise": ["rules -0.50: self-consumption"],
        "acknowledged": {"commanded": -1.5, "value": -1.4, "age_s": 0.5, "error": ""},
        "obeyed": {"status": "obeyed", "for_s": 30.0},
    }
    text = "\n".join(sentences({**found, "setpoints": [battery]}))
    assert f"{battery['device']}: charge 1.50 kW" in text
    assert "Decided by: plan: store the surplus." in text
    assert "charge 2.00 kW; changed by: ramp, then the battery's own limit." in text
    assert "Otherwise: rules -0.50: self-consumption." in text
    assert "Acknowledged: charge 1.40 kW, 0.5 s ago; obeyed for 30 s." in text
    battery["acknowledged"] = {"commanded": 1.0, "value": None, "age_s": None, "error": "timeout"}
    assert "Not acknowledged: timeout;" in "\n".join(sentences({**found, "setpoints": [battery]}))
    assert "left to themselves" in "\n".join(sentences({**found, "setpoints": []}))


def test_a_first_cycle_without_setpoints_is_shown_too(run_cycles: Run, document: Document) -> None:
    first = moment(run_cycles(1)[0])
    bare = replace(first, command=replace(first.command, setpoints=(), why=()), applied=())
    found = document(bare)
    assert found["setpoints"] == []
    assert view({**found, "age_s": 0.0})


@pytest.mark.parametrize(
    ("quantity", "value", "words"),
    [
        ("run", 1.0, "run"),
        ("run", 0.0, "stop"),
        ("limit_kw", 2.0, "at most 2.00 kW"),
        ("limit_kw", -0.0, "at most 0.00 kW"),
        ("power_kw", 2.0, "discharge 2.00 kW"),
        ("power_kw", -2.0, "charge 2.00 kW"),
        ("power_kw", -0.001, "idle"),
        ("power_kw", None, "no setpoint"),
    ],
)
def test_setpoints_in_words(quantity: str, value: float | None, words: str) -> None:
    assert in_words(quantity, value) == words


def test_lines_that_would_say_the_same_again_are_left_out() -> None:
    def changed(before: float | None, after: float | None, **more: Any) -> Change:
        reason, clips = more.get("reason", "no limit needed"), more.get("clips", ())
        return Change(
            1,
            None,
            more.get("device", "roof"),
            Quantity.LIMIT_KW,
            before,
            after,
            "rules",
            reason,
            clips,
        )

    shown = [
        changed(None, 2.791),
        changed(2.792, 2.796),
        changed(2.796, 2.797, reason="plan"),
        changed(2.797, 2.798, reason="plan", clips=("rating",)),
        changed(2.798, None),
        changed(None, 2.798),
    ]
    hidden = changed(2.791, 2.792), changed(None, 2.791, device="barn")
    assert list(visible([shown[0], hidden[1], hidden[0], *shown[1:]])) == [
        shown[0],
        hidden[1],
        *shown[1:],
    ]


def test_times() -> None:
    assert utc_text(1_760_000_000.25) == "2025-10-09T08:53:20.250Z"
    assert utc_text(math.nan) is None
    assert utc_text(1e300) is None


def test_an_acknowledgement_of_nothing_yet(last: Moment, document: Document) -> None:
    acks = tuple(
        Ack(s.device, s.quantity, s.value, None, -math.inf, "not written yet")
        for s in last.command.setpoints
    )
    for shown in document(replace(last, applied=acks))["setpoints"]:
        assert shown["acknowledged"]["age_s"] is None
        assert shown["acknowledged"]["error"] == "not written yet"


def test_a_store_that_fails_is_an_alarm(
    parameters: SiteParameters, run_cycles: Callable[[int], list[Telemetry]]
) -> None:
    last = run_cycles(3)[-1]
    moment = Moment(
        last.sample, last.applied, last.advice, last.decision.state, last.decision.command
    )
    full = status("site", "1", parameters, moment, Machine({}, {}, store_problem="disk is full"))
    assert full["store"] == {"problem": "disk is full"}
    assert full["alarms"] == ["store: disk is full"]
    well = status("site", "1", parameters, moment, Machine({}, {}, store_problem=""))
    assert (well["store"], well["alarms"]) == ({"problem": None}, [])
    assert status("site", "1", parameters, moment)["store"] is None
