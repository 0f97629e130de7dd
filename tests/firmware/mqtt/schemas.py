"""The published schemas, and messages checked against them by the `jsonschema` package."""

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.protocols import Validator

from firmware.orders.envelope import ADAPTER

FOLDER = Path(__file__).parents[3] / "docs" / "schemas"
TOPICS = (  # below ng/1/SITE/; a device's state names its kind
    (r"state", "state"),
    (r"mode", "mode"),
    (r"schedule", "schedule"),
    (r"event", "event"),
    (r"ack/[^/]+", "acknowledgement"),
    (r"([^/]+/)?availability", "availability"),
    (r"[^/]+/meta", "meta"),
    (r"[^/]+/state", "device-{kind}"),
)


def load(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return schema


def closed(schema: Any) -> Any:
    """A schema that takes no field it does not name: what we publish is all described."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict):
        made.setdefault("additionalProperties", False)
    return made


def validator(name: str) -> Validator:
    return Draft202012Validator(closed(load(name)))


def check(topic: str, payload: str) -> str:
    """Validate one message of a site; returns the name of its schema."""
    path = topic.split("/", 3)[3]
    (name,) = [name for pattern, name in TOPICS if re.fullmatch(pattern, path)]
    value: Any = payload if name == "availability" else json.loads(payload)
    if "{kind}" in name:
        name = name.format(kind=value["kind"])
    validator(name).validate(value)
    return name


def command_schema() -> dict[str, Any]:
    """The schema of `cmd`, as the program itself checks it."""
    made = ADAPTER.json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:nanogrid:mqtt:1:command",
        "title": "ng/1/S/cmd",
        "description": "A command. QoS 1, never retained; unknown fields are refused. Powers in W,"
        " times in seconds since 1970 UTC.",
        **made,
    }


if __name__ == "__main__":
    print(json.dumps(command_schema(), indent=1, ensure_ascii=False))
