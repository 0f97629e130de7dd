"""What comes from the broker: commands, and the simple topics that Home Assistant writes to."""

import json
import math
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import MQTTMessage

from firmware.config import Site
from firmware.mqtt.topics import ONLINE, Topics

SOURCE = "homeassistant"  # of the simple topics, in [[commands.source]]
COMMAND_BYTES = 64 * 1024
VALUE_BYTES = 32
CORRELATION_BYTES = 256
EXPIRES_S = 30
SETPOINT_S = 900  # a setpoint by a simple topic holds so long
MODES = ("auto", "manual", "stopped")

Acknowledgement = dict[str, Any]
Tell = Callable[[Acknowledgement], None]
Submit = Callable[[bytes, bool, Tell], None]  # a command, whether it was retained, who hears of it
Reply = Callable[[str, Acknowledgement, bytes | None], None]  # on a requester's own topic
Order = tuple[str, dict[str, Any]]  # operation and arguments


class Inbound:
    """Takes messages in the link's thread; whatever they are, it raises nothing."""

    def __init__(
        self,
        site: Site,
        topics: Topics,
        submit: Submit,
        tell: Tell,
        reply: Reply,
        utc: Callable[[], float],
    ) -> None:
        """`tell` and `reply` are called from other threads."""
        self._topics = topics
        self._submit = submit
        self._tell = tell
        self._reply = reply
        self._utc = utc
        self._batteries = [battery.name for battery in site.battery]
        self._hears_births = site.mqtt.discovery
        self._seq = 0
        self.takes_simple = any(  # what comes on the simple topics cannot be signed
            source.name == SOURCE and not source.public_key for source in site.commands.source
        )
        self.announce = False  # Home Assistant has started and wants to know
        self.dropped: Counter[str] = Counter()  # reason -> how often

    @property
    def subscriptions(self) -> list[str]:
        """The topics to ask for."""
        simple = [self._topics.of_site("set/+")] if self.takes_simple else []
        if self.takes_simple:
            simple += [self._topics.of_device(name, "set/+") for name in self._batteries]
        births = [self._topics.home_assistant] if self._hears_births else []
        return [self._topics.of_site("cmd"), *births, *simple]

    def take(self, message: MQTTMessage) -> None:
        """Take one message."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.dropped["topic"] += 1
            return
        if topic == self._topics.of_site("cmd"):
            self._command(message)
        elif topic == self._topics.home_assistant:
            self.announce |= message.payload == ONLINE.encode()
        elif self.takes_simple and topic.startswith(self._topics.base + "/"):
            self._simple(topic.removeprefix(self._topics.base + "/"), message)
        else:
            self.dropped["topic"] += 1

    def _command(self, message: MQTTMessage) -> None:
        if len(message.payload) > COMMAND_BYTES:
            self.dropped["too long"] += 1
            return
        self._submit(bytes(message.payload), bool(message.retain), self._teller(message))

    def _teller(self, message: MQTTMessage) -> Tell:
        """Who hears of the command: its own topic, and the one that the requester names."""
        wanted = getattr(message.properties, "ResponseTopic", None)
        correlation = getattr(message.properties, "CorrelationData", None)
        if not isinstance(wanted, str):
            return self._tell
        if not self._topics.may_answer_to(wanted):
            self.dropped["response topic"] += 1
            return self._tell
        if correlation is not None and len(correlation) > CORRELATION_BYTES:
            self.dropped["correlation data"] += 1
            correlation = None
        topic: str = wanted

        def tell(acknowledgement: Acknowledgement) -> None:
            self._tell(acknowledgement)
            self._reply(topic, acknowledgement, correlation)

        return tell

    def _simple(self, path: str, message: MQTTMessage) -> None:
        """A value on a simple topic, as a command of the source `homeassistant`."""
        if message.retain:
            self.dropped["retained"] += 1
            return
        order = self._order(path, bytes(message.payload))
        if order is None:
            self.dropped["value"] += 1
            return
        operation, arguments = order
        utc_s = self._utc()
        self._seq = max(self._seq + 1, int(1000 * utc_s))
        envelope = {
            "v": 1,
            "id": str(uuid.uuid4()),
            "iat": int(utc_s),
            "exp": int(utc_s) + EXPIRES_S,
            "src": SOURCE,
            "seq": self._seq,
            "op": operation,
            "args": arguments,
        }
        self._submit(json.dumps(envelope).encode(), False, self._tell)

    def _order(self, path: str, payload: bytes) -> Order | None:
        """What a value on a simple topic means; None for nothing that we take."""
        try:
            text = payload[: VALUE_BYTES + 1].decode().strip()
        except UnicodeDecodeError:
            return None
        if len(payload) > VALUE_BYTES:
            return None
        if path == "set/mode" and text in MODES:
            return "mode.set", {"mode": text}
        if path == "set/replan" and text == "PRESS":
            return "plan.replan", {}
        for name in self._batteries:
            power_w = _whole(text) if path == f"{name}/set/p_w" else None
            if power_w is not None:
                whose = {"device": name} if len(self._batteries) > 1 else {}
                return "battery.setpoint", {"p_w": power_w, "ttl_s": SETPOINT_S, **whose}
        return None


def _whole(text: str) -> int | None:
    """A number as people and programs write it, to whole watts."""
    try:
        number = float(text)
    except ValueError:
        return None
    return round(number) if math.isfinite(number) else None
