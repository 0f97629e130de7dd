"""Whatever comes in: nothing is raised, and answers go nowhere that they could do harm."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.client import MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from firmware.config import Site
from firmware.mqtt.inbound import COMMAND_BYTES, SETPOINT_S, Inbound
from firmware.mqtt.topics import Topics, is_level

TOPICS = Topics("clinic-01")
LEVELS = st.sampled_from(
    [
        "ng",
        "1",
        "clinic-01",
        "other",
        "cmd",
        "set",
        "ack",
        "_desk",
        "battery",
        "p_w",
        "mode",
        "",
        "+",
    ]
)
PATHS = st.lists(LEVELS, max_size=7).map("/".join)


def allowed(site: Site) -> Site:
    source = {"name": "homeassistant", "role": "operator"}
    commands = type(site.commands).model_validate({"source": (source,)})
    return site.model_copy(update={"commands": commands})


@given(
    topic=st.binary(max_size=60) | PATHS.map(str.encode),
    payload=st.binary(max_size=100) | st.floats().map(lambda number: str(number).encode()),
    retain=st.booleans(),
    response=st.none() | st.text(max_size=40) | PATHS,
    correlation=st.none() | st.binary(max_size=300),
)
def test_anything_at_all(
    site: Site,
    topic: bytes,
    payload: bytes,
    retain: bool,
    response: str | None,
    correlation: bytes | None,
) -> None:
    told: list[Any] = []
    replies: list[tuple[str, Any, bytes | None]] = []

    def submit(raw: bytes, retained: bool, tell: Any) -> None:
        assert len(raw) <= COMMAND_BYTES
        assert not (retained and topic != TOPICS.of_site("cmd").encode())
        if topic != TOPICS.of_site("cmd").encode():
            order = json.loads(raw)
            if order["op"] == "battery.setpoint":
                assert isinstance(order["args"]["p_w"], int)
                assert order["args"]["ttl_s"] == SETPOINT_S
        tell({"id": "x"})

    inbound = Inbound(
        allowed(site),
        TOPICS,
        submit,
        told.append,
        lambda *reply: replies.append(reply),
        lambda: 1.8e9,
    )
    message = MQTTMessage(topic=topic)
    message.payload, message.retain = payload, retain
    message.properties = Properties(PacketTypes.PUBLISH)
    if response is not None:
        message.properties.ResponseTopic = response
    if correlation is not None:
        message.properties.CorrelationData = correlation
    inbound.take(message)
    assert len(replies) <= len(told) <= 1
    for where, _, _ in replies:
        assert TOPICS.may_answer_to(where)


@given(PATHS | st.text(max_size=300))
@example("ng/1/clinic-01/ack/x")
@example("ng/1/_desk/answers")
def test_answers_do_no_harm(topic: str) -> None:
    if not TOPICS.may_answer_to(topic):
        return
    levels = topic.split("/")
    assert levels[:2] == ["ng", "1"]
    assert not {"cmd", "set", ""} & set(levels)
    assert not set("+#\x00") & set(topic)
    assert len(topic) <= 256
    if levels[2] == "clinic-01":
        assert levels[3] == "ack"


def test_what_may_be_answered_to() -> None:
    for fine in ("ng/1/_desk/answers", "ng/1/clinic-01/ack/mine", "ng/1/other/answers/7"):
        assert TOPICS.may_answer_to(fine), fine
    for harmful in (
        "ng/1/clinic-01/state",
        "ng/1/other/cmd",
        "ng/1/other/battery/set/p_w",
        "x",
        "",
    ):
        assert not TOPICS.may_answer_to(harmful), harmful
    assert is_level("0b9c-1")
    assert not any(is_level(text) for text in ("", "a/b", "+", "#", "x" * 65, "a\nb"))
