"""What Home Assistant is told is true: topics that are published, and topics that are taken."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage

from firmware.config import Site
from firmware.loop import Telemetry
from firmware.mqtt.discovery import EXPIRES_S, discovery
from firmware.mqtt.feed import HEARTBEAT_S, Feed
from firmware.mqtt.inbound import Inbound
from firmware.mqtt.topics import Topics
from tests.firmware.mqtt.conftest import Links

TOPICS = Topics("clinic-01")
SAFETY = ("battery_soc", "grid_power", "battery_power", "grid", "alarm", "mode")
VALUES = {"select": "manual", "button": "PRESS", "number": "-500"}


@pytest.fixture
def commanded(site: Site) -> Site:
    """The example, with Home Assistant allowed to command."""
    source = {"name": "homeassistant", "role": "operator"}
    commands = type(site.commands).model_validate({"source": (source,)})
    return site.model_copy(update={"commands": commands})


@pytest.fixture
def told(commanded: Site) -> dict[str, Any]:
    return discovery(commanded, TOPICS, "1.0", commands=True, energy=True)


def test_every_state_topic_is_published(
    told: dict[str, Any],
    commanded: Site,
    links: Links,
    run_cycles: Callable[[int], list[Telemetry]],
) -> None:
    (cycle,) = run_cycles(1)
    feed = Feed(commanded, TOPICS)
    published = {item.topic for item in feed.changed(0.0, cycle, links.document(cycle), {})}
    wanted = {each["stat_t"] for each in told["cmps"].values() if "stat_t" in each}
    assert wanted <= published
    assert told["avty_t"] == TOPICS.of_site("availability")


def test_every_command_topic_is_taken(told: dict[str, Any], commanded: Site) -> None:
    given: list[bytes] = []

    def submit(raw: bytes, _retained: bool, _tell: Any) -> None:
        given.append(raw)

    inbound = Inbound(commanded, TOPICS, submit, print, print, lambda: 1.8e9)
    controls = [each for each in told["cmps"].values() if "cmd_t" in each]
    assert len(controls) == 3
    for control in controls:
        message = MQTTMessage(topic=control["cmd_t"].encode())
        message.payload = VALUES[control["p"]].encode()
        inbound.take(message)
    assert len(given) == len(controls)
    assert not inbound.dropped


def test_what_matters_for_safety_expires(told: dict[str, Any]) -> None:
    assert EXPIRES_S > 2 * HEARTBEAT_S
    for name in SAFETY:
        assert told["cmps"][name]["exp_aft"] == EXPIRES_S


def test_identities_are_unique_and_stay(told: dict[str, Any]) -> None:
    identities = [each["uniq_id"] for each in told["cmps"].values()]
    assert len(set(identities)) == len(identities)
    assert "nanogrid_clinic-01_battery_soc" in identities
    assert len(json.dumps(told)) < 64 * 1024


def test_nothing_that_is_not_there(commanded: Site) -> None:
    bare = commanded.model_copy(
        update={"grid": None, "battery": (), "generator": (), "irradiance": None}
    )
    told = discovery(bare, TOPICS, "1.0", commands=True, energy=False)
    assert not [
        name for name in told["cmps"] if name.startswith(("battery", "grid", "gen", "energy"))
    ]
