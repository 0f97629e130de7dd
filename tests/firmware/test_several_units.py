"""A site with two batteries and two generators: what it shows, keeps and takes orders for."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from control.cycle import decide
from control.records import (
    Ack,
    Advice,
    BatteryMeasurement,
    GeneratorMeasurement,
    Level,
    Observed,
    Quality,
    Quantity,
    Sample,
)
from control.state import GeneratorState, State
from firmware.config import Site, site_from_dict
from firmware.loop import Telemetry
from firmware.mqtt import messages
from firmware.mqtt.discovery import discovery
from firmware.mqtt.topics import Topics
from firmware.orders.checks import Circumstances, refusal
from firmware.orders.envelope import ADAPTER
from firmware.orders.progress import outcome
from firmware.orders.standing import Order, orders_for
from firmware.parameters import site_parameters
from firmware.status import Moment, status
from firmware.status_view import view
from firmware.store_records import checkpoint_from_text, checkpoint_of, checkpoint_to_text
from firmware.store_restore import restored
from firmware.unit_energy import UnitEnergy
from firmware.web.page import _about
from firmware.why import sentences

ROOT = Path(__file__).parents[2]
EXAMPLE = tomllib.loads((ROOT / "examples" / "site.toml").read_text())
T_S, UTC_S = 5000.0, 1_760_000_000.0


@pytest.fixture(scope="module")
def site() -> Site:
    battery = EXAMPLE["battery"][0] | {"name": "shed", "unit": 228, "battery_unit": 226}
    generator = EXAMPLE["generator"][0] | {"name": "spare", "unit": 12, "start": "gencomm"}
    several = {
        "battery": [EXAMPLE["battery"][0], battery | {"capacity_kwh": 6.0}],
        "generator": [EXAMPLE["generator"][0], generator | {"fuel_price_per_l": 1.0}],
    }
    return site_from_dict(EXAMPLE | several)


def good(value: Any) -> Observed[Any]:
    return Observed(value, 0.1, Quality.GOOD, "")


def cycle(make_sample: Any, n: int, powers_kw: tuple[float, float] = (0.0, 0.0)) -> Sample:
    made: Sample = make_sample(n, load_kw=1.5, pv_kw=0.5)
    return replace(
        made,
        batteries=(
            good(BatteryMeasurement(powers_kw[0], 0.5, 4.0, 4.0)),
            good(BatteryMeasurement(powers_kw[1], 0.8, 3.0, 3.0)),
        ),
        generators=(good(GeneratorMeasurement(0.0, "stopped", "auto")),) * 2,
        grid=good(replace(made.grid.good, power_kw=1.0 - sum(powers_kw))),
    )


def live(site: Site, make_sample: Any, standing: tuple[Order, ...] = ()) -> Telemetry:
    """A dozen cycles of batteries that obey at once."""
    parameters = site_parameters(site)
    state, applied, powers_kw = State(), (), (0.0, 0.0)
    orders = orders_for(standing, parameters)
    for n in range(12):
        before, sample = state, cycle(make_sample, n, powers_kw)
        given = applied
        made = decide(parameters, state, sample, given, Advice(), orders)
        state = made.state
        told = {s.device: s.value for s in made.command.setpoints}
        applied = tuple(
            Ack(s.device, s.quantity, s.value, s.value, sample.t_s) for s in made.command.setpoints
        )
        powers_kw = (told.get("battery", 0.0), told.get("shed", 0.0))
    return Telemetry(before, sample, given, Advice(), orders, made)


def document(site: Site, telemetry: Telemetry) -> dict[str, Any]:
    made = telemetry.decision
    moment = Moment(telemetry.sample, telemetry.applied, telemetry.advice, made.state, made.command)
    return status("home", "1", site_parameters(site), moment)


def command(op: str, **args: Any) -> Any:
    head = {"v": 1, "id": "01234567-89ab-4def-8123-456789abcdef", "iat": 1, "exp": 2}
    content = head | {"src": "x", "seq": 1, "op": op, "args": args}
    return ADAPTER.validate_json(json.dumps(content))


def order(op: str, **args: Any) -> Order:
    args = {"device": None, "ttl_s": 60} | args
    return Order("id", op, "x", Level.LOCAL_OPERATOR, True, args, UTC_S, T_S, T_S + 1e6)


def test_every_unit_is_shown(site: Site, make_sample: Any) -> None:
    shown = document(site, live(site, make_sample))
    assert [each["name"] for each in shown["batteries"]] == ["battery", "shed"]
    assert [each["name"] for each in shown["generators"]] == ["genset", "spare"]
    assert [each["soc_frac"] for each in shown["batteries"]] == [0.5, 0.8]
    assert shown["battery"]["soc_frac"] == pytest.approx((12 * 0.5 + 6 * 0.8) / 18)
    told = [s["device"] for s in shown["setpoints"]]
    assert told == ["genset", "spare", "battery", "shed", "roof"]
    devices = [each["name"] for each in shown["devices"]]
    assert devices == ["roof", "battery", "shed", "genset", "spare", "grid"]
    why = "\n".join(sentences(shown))
    assert "changed by: its share by charge" in why
    rendered = view(shown | {"age_s": 0.1})
    texts = [str(part) for part in rendered.renderables]
    assert any(text.startswith("batteries: battery ") and "shed" in text for text in texts)
    assert any("genset: stopped" in text and "spare: stopped" in text for text in texts)
    assert json.loads("{" + _about(site) + "}")["limits"]["soc_min_frac"] == pytest.approx(0.15)


def test_a_locked_set_is_an_alarm_of_its_own(site: Site, make_sample: Any) -> None:
    telemetry = live(site, make_sample)
    locked = (GeneratorState(), GeneratorState(locked="3 failed starts"))
    state = replace(telemetry.decision.state, generators=locked)
    decision = replace(telemetry.decision, state=state)
    shown = document(site, replace(telemetry, decision=decision))
    assert "spare locked: 3 failed starts" in shown["alarms"]


def test_what_is_published_fits_its_schema(site: Site, make_sample: Any) -> None:
    telemetry = live(site, make_sample)
    energy = {"imported": 1.0, "shed.charged": 0.25, "spare.generator": 3.0}
    made = messages.site_state(telemetry, document(site, telemetry), energy)
    schema = json.loads((ROOT / "docs" / "schemas" / "state.json").read_text())
    plain = json.loads(json.dumps(made))
    made_of_loop = plain | {
        "loop": {"cycles": 1, "missed": 0, "lateness_p99_s": 0.0, "lateness_max_s": 0.0}
    }
    Draft202012Validator(schema).validate(
        {k: v for k, v in made_of_loop.items() if k not in ("energy_wh",)} | {"energy_wh": None}
    )
    assert set(plain["batteries"]) == {"battery", "shed"}
    assert plain["generators"]["spare"]["phase"] == "stopped"
    assert plain["energy_wh"]["shed.charged"] == 250


def test_home_assistant_finds_each_unit(site: Site) -> None:
    found = discovery(site, Topics("home"), "1", commands=True, energy=True)["cmps"]
    for key in ("unit_battery_power", "unit_shed_soc", "unit_spare_phase", "energy_shed_charged"):
        assert key in found
    assert {"battery_setpoint", "shed_setpoint", "battery_power", "battery_soc"} <= set(found)
    unique = [component["uniq_id"] for component in found.values()]
    assert len(unique) == len(set(unique))


# --- what is kept --------------------------------------------------------------------------


def test_each_set_s_timers_outlive_the_process(site: Site, make_sample: Any) -> None:
    parameters = site_parameters(site)
    telemetry = live(site, make_sample)
    sets = (
        GeneratorState(run=False, since_s=T_S - 100.0, attempts=2),
        GeneratorState(run=True, since_s=T_S - 300.0, carried=True),
    )
    state = replace(telemetry.decision.state, generators=sets, generator=sets[1])
    names = [each.name for each in parameters.generators]
    kept = checkpoint_of(state, telemetry.sample, "boot", "all generators", names)
    again = checkpoint_from_text(checkpoint_to_text(kept))
    now_s = telemetry.sample.t_s + 5.0
    back = restored(again, parameters.generator, now_s, UTC_S + 20.0, "boot", parameters.generators)
    assert [each.run for each in back.generators] == [False, True]
    assert [each.attempts for each in back.generators] == [2, 0]
    assert back.generators[0].since_s == pytest.approx(T_S - 100.0)
    assert back.generators[1].since_s == pytest.approx(T_S - 300.0)
    assert back.generator.run
    alone = restored(again, parameters.generators[1], now_s, UTC_S + 20.0, "boot")
    assert alone.generator.run  # the other was taken out of the site file
    one = checkpoint_of(replace(state, generator=sets[0]), telemetry.sample, "boot", "genset")
    more = restored(one, parameters.generator, now_s, UTC_S + 20.0, "boot", parameters.generators)
    assert [each.attempts for each in more.generators] == [2, 0]  # a second one was added


def test_energy_is_counted_for_each(site: Site, make_sample: Any) -> None:
    parameters, meter = site_parameters(site), None
    meter = UnitEnergy(parameters)
    state = live(site, make_sample).decision.state
    assert meter.add(10.0, state) == {}
    found = meter.add(11.0, state)
    kw = {
        each.name: known
        for each, known in zip(parameters.batteries, state.estimate.batteries, strict=True)
    }
    assert found["shed.discharged"] == pytest.approx((kw["shed"].kw or 0.0) / 3600.0)
    assert set(found) == {"battery.discharged", "shed.discharged"}
    assert meter.add(99.0, state) == {}  # a gap


# --- orders --------------------------------------------------------------------------------


def told(site: Site, telemetry: Telemetry | None, op: str, **args: Any) -> str:
    state = telemetry.decision.state if telemetry else None
    met = Circumstances(site_parameters(site), (), 0, state, T_S + 20.0, UTC_S, "")
    return refusal(command(op, **args), order(op, **args), met)


def test_an_order_names_its_device_or_is_for_all(site: Site, make_sample: Any) -> None:
    telemetry = live(site, make_sample)
    assert told(site, telemetry, "battery.setpoint", p_w=2000, ttl_s=60, device="shed") == ""
    assert told(site, telemetry, "battery.setpoint", p_w=6000, ttl_s=60) == ""
    assert told(site, telemetry, "battery.setpoint", p_w=2000, ttl_s=60, device="attic") == (
        "args.device: no attic; allowed: battery, shed"
    )
    said = told(site, telemetry, "battery.setpoint", p_w=3500, ttl_s=60, device="shed")
    assert said.endswith("allowed: -3000 to 3000 W")
    assert told(site, telemetry, "generator.start", ttl_s=60, device="shed") == (
        "args.device: no shed; allowed: genset, spare"
    )
    resting = (GeneratorState(since_s=T_S), GeneratorState(since_s=T_S - 1e4))
    state = replace(telemetry.decision.state, generators=resting)
    later = replace(telemetry, decision=replace(telemetry.decision, state=state))
    assert told(site, later, "generator.start", ttl_s=60) == ""  # the spare can
    said = told(site, later, "generator.start", ttl_s=60, device="genset")
    assert said.startswith("minimum rest:")
    state = replace(state, generators=(resting[0], replace(resting[1], locked="broken")))
    none = replace(telemetry, decision=replace(telemetry.decision, state=state))
    said = told(site, none, "generator.start", ttl_s=60)
    assert said.startswith("genset: minimum rest")
    assert "spare: locked: broken" in said


def test_orders_reach_whom_they_are_for_and_are_done(site: Site, make_sample: Any) -> None:
    parameters = site_parameters(site)
    one = order("battery.setpoint", p_w=-500, device="shed")
    made = live(site, make_sample, (one,))
    values = {s.device: s.value for s in made.decision.command.setpoints}
    assert values["shed"] == -0.5
    assert values["battery"] > 0.5
    assert outcome(one, made, parameters, T_S).done
    every = order("battery.setpoint", p_w=1800)
    made = live(site, make_sample, (every,))
    values = {s.device: s.value for s in made.decision.command.setpoints}
    assert values["battery"] + values["shed"] == pytest.approx(1.8)
    found = outcome(every, made, parameters, T_S)
    assert (found.done, found.why) == (True, "1800 W")
    start = order("generator.start", device="genset")
    (proposal,) = orders_for((start,), parameters).proposals
    assert (proposal.device, proposal.quantity) == ("genset", Quantity.RUN)
    (proposal,) = orders_for((order("generator.start"),), parameters).proposals
    assert proposal.device == "all generators"
    assert (
        orders_for((order("battery.setpoint", p_w=1, device="gone"),), parameters).proposals == ()
    )
