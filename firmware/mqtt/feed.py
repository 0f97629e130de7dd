"""What is published of the site now: what has changed, and everything once a minute."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from firmware.config import Site
from firmware.loop import Telemetry
from firmware.mqtt import messages
from firmware.mqtt.topics import OFFLINE, ONLINE, Topics

HEARTBEAT_S = 60.0
ONCE = float("inf")  # retained, and repeated only when it changes


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish."""

    topic: str
    payload: str
    qos: int
    retain: bool = True


class Feed:
    """Remembers what the broker has been told, and says what it has to be told now."""

    def __init__(self, site: Site, topics: Topics) -> None:
        """Start with a broker that knows nothing."""
        self._site = site
        self._topics = topics
        self._kinds = messages.kinds(site)
        self.forget()

    def forget(self) -> None:
        """The broker may have lost everything: tell it anew."""
        self._told: dict[str, tuple[Any, float]] = {}
        self._looked_s = float("-inf")
        self._mode: Any = None

    def is_due(self, now_s: float, telemetry: Telemetry) -> bool:
        """Whether to look: at the state's pace, and at once when the mode changes."""
        return now_s - self._looked_s >= self._site.mqtt.state_s or _mode(telemetry) != self._mode

    def changed(
        self,
        now_s: float,
        telemetry: Telemetry,
        status: Mapping[str, Any],
        energy_kwh: Mapping[str, float],
    ) -> Iterator[Publication]:
        """Yield what is new at this moment of the process's monotonic clock."""
        self._looked_s, self._mode = now_s, _mode(telemetry)
        of_site = self._topics.of_site
        documents: list[tuple[str, int, Callable[[], messages.Document]]] = [
            (of_site("mode"), 1, lambda: messages.mode(telemetry, status)),
            (of_site("state"), 0, lambda: messages.site_state(telemetry, status, energy_kwh)),
            (of_site("schedule"), 1, lambda: messages.schedule(telemetry, status)),
        ]
        for topic, qos, make in documents:
            yield from self._if_new(topic, make(), qos, HEARTBEAT_S, now_s)
        for device in status["devices"]:
            yield from self._device(device, telemetry, now_s)

    def _device(
        self, device: Mapping[str, Any], telemetry: Telemetry, now_s: float
    ) -> Iterator[Publication]:
        name = device["name"]
        topic = self._topics.of_device(name, "availability")
        online = ONLINE if device.get("online") else OFFLINE
        if self._is_new(topic, online, ONCE, now_s):
            yield Publication(topic, online, 1)
        meta = messages.device_meta(self._site, name, device.get("identity"))
        yield from self._if_new(self._topics.of_device(name, "meta"), meta, 1, ONCE, now_s)
        state = messages.device_state(telemetry, device, self._kinds[name])
        topic = self._topics.of_device(name, "state")
        yield from self._if_new(topic, state, 0, HEARTBEAT_S, now_s)

    def _if_new(
        self, topic: str, document: messages.Document, qos: int, every_s: float, now_s: float
    ) -> Iterator[Publication]:
        if self._is_new(topic, messages.essence(document), every_s, now_s):
            yield Publication(topic, json.dumps(document, allow_nan=False), qos)

    def _is_new(self, topic: str, essence: Any, every_s: float, now_s: float) -> bool:
        known, told_s = self._told.get(topic, (None, float("-inf")))
        if essence == known and now_s - told_s < every_s:
            return False
        self._told[topic] = essence, now_s
        return True


def _mode(telemetry: Telemetry) -> Any:
    state = telemetry.decision.state
    return state.mode, state.mode_reason, telemetry.orders.active
