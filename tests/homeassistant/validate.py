"""Have Home Assistant's own MQTT integration judge what it is sent; run by `make`.

Version 2024.3.3 knows no device discovery (that came with 2024.11). So each component is taken out
of the payload as newer versions do it: abbreviations written out, `device`, `origin` and the shared
options of the whole added. Then that version's own discovery schema of the component's platform
has to take it and may leave out none of its keys, and its own templates have to find a value in a
message as the product publishes it.
"""

import asyncio
import json
import sys
from importlib import import_module
from typing import Any

import voluptuous as vol
from homeassistant.components.mqtt.abbreviations import (
    ABBREVIATIONS,
    DEVICE_ABBREVIATIONS,
    ORIGIN_ABBREVIATIONS,
)
from homeassistant.components.mqtt.mixins import MQTT_ORIGIN_INFO_SCHEMA
from homeassistant.const import __version__
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import TemplateError
from homeassistant.helpers.template import Template

NEW = {"cmps": "components", "p": "platform"}  # abbreviations that 2024.3 did not have
SHARED = {  # with device discovery, given once for all components
    "availability",
    "availability_mode",
    "availability_template",
    "availability_topic",
    "command_topic",
    "payload_available",
    "payload_not_available",
    "state_topic",
    "qos",
    "encoding",
}
WRONG = (vol.Invalid, TemplateError, AssertionError, LookupError, TypeError, ValueError)
NEWER_KEYS = {("sensor", "options")}  # taken since 2024.11; older versions leave it out
LONGEST_STATE = 255


def written_out(part: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A mapping with its abbreviated keys written out."""
    return {names.get(key, NEW.get(key, key)): value for key, value in part.items()}


def components(payload: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Component -> its platform, and its configuration as the platform is given it."""
    whole = written_out(payload, ABBREVIATIONS | {"dev": "device", "o": "origin"})
    unknown = set(whole) - SHARED - {"device", "origin", "components"}
    assert not unknown, f"not for the whole device: {unknown}"
    shared = {key: value for key, value in whole.items() if key in SHARED}
    shared["device"] = written_out(whole["device"], DEVICE_ABBREVIATIONS)
    shared["origin"] = written_out(whole["origin"], ORIGIN_ABBREVIATIONS)
    MQTT_ORIGIN_INFO_SCHEMA(shared["origin"])
    assert shared["origin"]["name"]
    found = {}
    for name, component in whole["components"].items():
        config = written_out(component, ABBREVIATIONS)
        platform = config.pop("platform")
        assert config["unique_id"], name
        found[name] = platform, shared | config
    return found


def judge(platform: str, config: dict[str, Any]) -> dict[str, Any]:
    """What the platform's discovery schema makes of the configuration. Raises vol.Invalid."""
    module = import_module(f"homeassistant.components.mqtt.{platform}")
    accepted: dict[str, Any] = module.DISCOVERY_SCHEMA(config)
    left_out = {key for key in config if key not in accepted and (platform, key) not in NEWER_KEYS}
    assert not left_out, f"left out: {left_out}"
    return accepted


def state(accepted: dict[str, Any], messages: dict[str, str], hass: HomeAssistant) -> Any:
    """What the component shows after the message on its topic."""
    message = messages[accepted["state_topic"]]
    template = accepted.get("value_template")
    if template is None:
        return message
    text = Template(template.template, hass)
    return text.async_render_with_possible_json_value(message, "error", parse_result=False)


def check_state(platform: str, accepted: dict[str, Any], shown: Any) -> None:
    """Whether Home Assistant could use what the component shows."""
    assert shown != "error", "its template fails"
    assert len(str(shown)) <= LONGEST_STATE
    if platform == "binary_sensor":
        choices = accepted["payload_on"], accepted["payload_off"]
        assert shown in choices, f"{shown!r} is neither of {choices}"
    elif platform == "select":
        assert shown in accepted["options"], f"{shown!r} is no option"
    elif "unit_of_measurement" in accepted and shown != "None":
        float(shown)


async def main(path: str) -> None:
    """Judge every component of every case in the file."""
    with open(path, encoding="utf-8") as file:
        cases = json.load(file)
    hass = HomeAssistant("/tmp")
    seen, counted, empty = set(), 0, []
    for case_name, case in cases.items():
        for name, (platform, config) in components(case["payload"]).items():
            try:
                accepted = judge(platform, config)
                assert accepted["availability_topic"] in case["messages"]
                if "state_topic" in accepted:
                    shown = state(accepted, case["messages"], hass)
                    check_state(platform, accepted, shown)
                    empty += [f"{case_name}.{name}"] if shown == "None" else []
            except WRONG as error:
                sys.exit(f"{case_name}: {name} ({platform}): {type(error).__name__}: {error}")
            identity = (case_name, accepted["unique_id"])
            assert identity not in seen, f"twice: {identity}"
            seen.add(identity)
            counted += 1
    await hass.async_stop(force=True)
    print(f"Home Assistant {__version__} accepts {counted} components of {len(cases)} sites;")
    print(f"  without a value in these messages: {', '.join(empty) or 'none'}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
