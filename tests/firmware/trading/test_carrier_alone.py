"""What the carrier does between its threads, and when a connection breaks: without a broker."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from paho.mqtt.client import MQTTMessage

from firmware.config_operation import Mqtt
from firmware.mqtt.session import LinkError
from firmware.trading.carrier import Carrier
from firmware.trading.member import Outgoing

ANN, BOB = "a" * 16, "b" * 16
MEMBERSHIP = "ng/1/_market/street/membership"


def message(topic: str, payload: bytes) -> MQTTMessage:
    """As paho hands it over."""
    made = MQTTMessage(topic=topic.encode())
    made.payload = payload
    return made


def interrupted(step: int, action: Callable[[], Any], between: Callable[[], None]) -> int:
    """Do `between` before this step of the interpreter in `action`; how many steps it took."""
    steps = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal steps
        if frame.f_code is not Carrier.document.__code__:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            steps += 1
            if steps == step:
                between()
        return trace

    others = sys.gettrace()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(others)
    return steps


@pytest.mark.parametrize("waiting", [b"", b"version 1"])
def test_no_document_is_lost_that_comes_while_one_is_taken(waiting: bytes) -> None:
    """Another thread brings it between any two steps of the interpreter."""

    def taken_with_one_at(step: int) -> tuple[int, list[bytes]]:
        carrier = Carrier(Mqtt(host="127.0.0.1"), "street", ANN, 900.0)
        taken: list[bytes] = []
        if waiting:
            carrier._take(message(MEMBERSHIP, waiting))
        steps = interrupted(
            step,
            lambda: taken.append(carrier.document()),
            lambda: carrier._take(message(MEMBERSHIP, b"version 2")),
        )
        return steps, [*taken, carrier.document()]

    steps, _ = taken_with_one_at(0)
    assert steps > 3
    for step in range(1, steps + 1):
        assert b"version 2" in taken_with_one_at(step)[1], f"lost at step {step} of {steps}"


class Breaking:
    """A session whose connection breaks with the third message."""

    def __init__(self) -> None:
        self.under_way = 0

    def publish(self, *_: Any, **__: Any) -> None:
        if self.under_way == 2:
            raise LinkError("connection lost")
        self.under_way += 1


def test_what_was_not_sent_when_the_connection_broke_still_waits() -> None:
    carrier = Carrier(Mqtt(host="127.0.0.1"), "street", ANN, 900.0)
    carrier.hear_orders(False)
    for number in range(10):
        carrier.send(Outgoing("vote", BOB, b"%d" % number))
    with pytest.raises(LinkError):
        carrier._work(Breaking())  # type: ignore[arg-type]
    assert carrier.status.waiting == 7
