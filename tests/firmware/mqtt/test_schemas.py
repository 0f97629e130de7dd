"""What is published fits the published schemas, judged by somebody else's validator."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from jsonschema import Draft202012Validator, ValidationError

from control.records import Advice, Observed, Plan
from tests.firmware.mqtt.conftest import Broker, Links, Listener, wait_for
from tests.firmware.mqtt.schemas import FOLDER, check, command_schema, load, validator

SITE = "ng/1/clinic-01"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_one_and_says_which(name: str) -> None:
    schema = load(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:nanogrid:mqtt:1:{name}"
    assert schema["description"]


def test_the_schema_of_commands_is_what_the_program_checks() -> None:
    """Made anew by `python -m tests.firmware.mqtt.schemas > docs/schemas/command.json`."""
    assert load("command") == command_schema()


def test_powers_and_energies_have_units_in_their_descriptions() -> None:
    for name in NAMES:
        text = json.dumps(load(name))
        for field, unit in (('_w": {', "W"), ('_wh": {', "Wh")):
            for part in text.split(field)[1:]:
                assert unit in part[:400], (name, part[:100])


def test_all_that_is_received_is_valid(
    broker: Broker, listen: Callable[..., Listener], links: Links
) -> None:
    """Everything known, everything unknown, with and without a plan."""
    broker.start()
    listener = listen(broker)
    link = links.make(broker)
    plan = Plan(0.0, 0.0, 900.0, 9e9, (1.5, float("nan")), (True, False), (2.0, 0.0), (0.1, 0.2),
                (0.0, 0.0), (0.5, 0.4), (True, True), (True, True), 1.25, "swarm")  # fmt: skip
    whole = links.cycles[-1]
    unknown = replace(
        whole.sample,
        pv=(Observed(None),),
        batteries=(Observed(None),),
        generators=(Observed(None),),
        grid=Observed(None),
        irradiance_w_m2=Observed(None),
    )
    blind = replace(whole, sample=unknown, advice=Advice(plan=plan))
    for cycles in ([whole], [blind], [whole]):
        links.cycles = cycles
        before = len(listener.payloads(f"{SITE}/battery/state"))
        links.cycle(link, events=1)
        wait_for(lambda: len(listener.payloads(f"{SITE}/battery/state")) > before)  # noqa: B023
    broker.send(f"{SITE}/cmd", "{}")
    wait_for(lambda: listener.payloads(f"{SITE}/ack/c1") or link.status.ignored)
    found = {
        check(message["topic"], message["payload"])
        for message in listener.received
        if "/cmd" not in message["topic"] and "/ack/" not in message["topic"]
    }
    assert found >= {"state", "mode", "schedule", "event", "availability", "meta", "device-pv"}
    plans = [message["plan"] for message in listener.payloads(f"{SITE}/schedule")]
    assert any(plan and plan["battery_w"] == [1500, None] for plan in plans)


def test_what_is_wrong_is_found() -> None:
    """The validator is not asleep."""
    with pytest.raises(ValidationError):
        check(f"{SITE}/availability", "maybe")
    with pytest.raises(ValidationError):
        validator("event").validate({"v": 1, "id": "x"})
