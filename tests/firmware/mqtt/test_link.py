"""The link and a real broker: absent, restarted, hung, refusing; commands and discovery."""

import io
import itertools
import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from firmware.mqtt import backoff
from firmware.mqtt import link as link_module
from firmware.status_view import view
from tests.firmware.mqtt.conftest import Broker, Links, Listener, Proxy, ThreadDisk, wait_for

SITE = "ng/1/clinic-01"

Listen = Callable[..., Listener]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again soon: nobody wants to wait for a minute."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.1)
    monkeypatch.setattr(backoff, "LAST_S", 0.4)


def numbers(listener: Listener) -> list[int]:
    return [int(event["text"]) for event in listener.payloads(f"{SITE}/event")]


def test_a_broker_that_comes_later(broker: Broker, listen: Listen, links: Links) -> None:
    link = links.make(broker)
    links.cycle(link, events=3)
    wait_for(lambda: link.status.problem)
    broker.start()
    listener = listen(broker)
    wait_for(lambda: numbers(listener) == [1, 2, 3], lambda: listener.received)
    wait_for(lambda: link.status.connected and not link.status.waiting)
    late = listen(broker)  # what is retained, and nothing else
    wait_for(lambda: late.payloads(f"{SITE}/roof/state"))
    retained = {message["topic"]: message for message in late.received}
    assert f"{SITE}/event" not in retained
    assert all(message["retain"] == 1 for message in retained.values())
    qos = {topic.removeprefix(f"{SITE}/"): message["qos"] for topic, message in retained.items()}
    expected = {"availability": 1, "state": 0, "mode": 1, "schedule": 1}
    for device in ("roof", "battery", "genset", "grid"):
        expected |= {f"{device}/availability": 1, f"{device}/state": 0, f"{device}/meta": 1}
    assert qos == expected
    assert late.payloads(f"{SITE}/availability") == ["online"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_broker_that_goes_and_comes_costs_no_event(
    broker: Broker, proxy: Proxy, listen: Listen, links: Links, disk: ThreadDisk, number: int
) -> None:
    """Everything arrives once and in order; each listener is there before the link is."""
    link = links.make(broker, disk, port=proxy.port)
    got: list[dict[str, Any]] = []
    for _ in range(3):
        for _ in range(10):
            links.cycle(link, events=2)
        broker.start()
        listener = listen(broker, f"{SITE}/event")
        proxy.open()
        links.cycle(link, events=20)
        expected = links.events - len(got)
        wait_for(lambda: len(listener.received) >= expected, lambda: listener.received)  # noqa: B023
        wait_for(lambda: not link.status.waiting)
        got += listener.payloads(f"{SITE}/event")
        proxy.cut()
        broker.stop(number)
    assert [int(event["text"]) for event in got] == list(range(1, links.events + 1))
    assert len({event["id"] for event in got}) == links.events


def test_a_connection_that_breaks_at_any_moment(
    broker: Broker, proxy: Proxy, listen: Listen, links: Links, disk: ThreadDisk
) -> None:
    """All arrive; each break repeats one message at most, next to itself and with its id."""
    broker.start()
    listener = listen(broker, f"{SITE}/event")
    link = links.make(broker, disk, port=proxy.port)
    breaks = 8
    for number in range(breaks):
        proxy.open()
        links.cycle(link, events=60)
        seen = len(listener.received)
        wait_for(lambda: len(listener.received) > seen)  # noqa: B023
        time.sleep(0.002 * number)
        proxy.cut()
    proxy.open()
    wait_for(lambda: link.status.connected and not link.status.waiting, lambda: link.status)
    wait_for(lambda: numbers(listener)[-1] == links.events)
    ids = [event["id"] for event in listener.payloads(f"{SITE}/event")]
    without_repeats = [first for first, _ in itertools.groupby(ids)]
    assert len(without_repeats) == len(set(ids)) == links.events
    assert len(ids) - len(without_repeats) <= breaks
    found = [number for number, _ in itertools.groupby(numbers(listener))]
    assert found == list(range(1, links.events + 1))


def test_what_one_process_leaves_the_next_one_sends(
    broker: Broker, listen: Listen, links: Links, disk: ThreadDisk
) -> None:
    link = links.make(broker, disk)
    links.cycle(link, events=5)
    link.close()
    broker.start()
    listener = listen(broker)
    link = links.make(broker, disk)
    links.cycle(link, events=5)
    wait_for(lambda: len(numbers(listener)) == 10)
    assert numbers(listener) == list(range(1, 11))
    assert len({event["id"] for event in listener.payloads(f"{SITE}/event")}) == 10


def test_a_storm_arrives_in_order(broker: Broker, listen: Listen, links: Links) -> None:
    broker.start()
    listener = listen(broker, f"{SITE}/event")
    link = links.make(broker)
    for _ in range(20):
        links.cycle(link, events=30)
        time.sleep(0.005)  # a cycle
    wait_for(lambda: len(listener.received) == 600, lambda: len(listener.received))
    assert numbers(listener) == list(range(1, 601))


def test_a_broker_that_hangs_holds_up_nobody(broker: Broker, listen: Listen, links: Links) -> None:
    broker.start()
    listener = listen(broker)
    link = links.make(broker)
    links.cycle(link)
    wait_for(lambda: link.status.connected)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    slowest_s = 0.0
    for _ in range(300):
        start_s = time.perf_counter()
        links.cycle(link, events=1)
        slowest_s = max(slowest_s, time.perf_counter() - start_s)
        time.sleep(0.001)
    assert slowest_s < 1.0  # it would have been for ever
    broker.process.send_signal(signal.SIGCONT)
    wait_for(lambda: len(numbers(listener)) == 300, lambda: len(numbers(listener)))
    assert numbers(listener) == list(range(1, 301))


def test_it_says_goodbye_and_is_missed(broker: Broker, listen: Listen, links: Links) -> None:
    broker.start()
    listener = listen(broker, f"{SITE}/availability")
    link = links.make(broker)
    wait_for(lambda: listener.payloads(f"{SITE}/availability") == ["online"])
    link.close()
    wait_for(lambda: listener.payloads(f"{SITE}/availability") == ["online", "offline"])


def test_a_hung_broker_does_not_hold_up_the_end(broker: Broker, links: Links) -> None:
    broker.start()
    link = links.make(broker)
    wait_for(lambda: link.status.connected)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    links.cycle(link, events=1)
    start_s = time.monotonic()
    link.close()
    assert time.monotonic() - start_s < link_module.JOIN_S
    assert not link._thread.is_alive()


def test_a_command_and_who_hears_of_it(broker: Broker, listen: Listen, links: Links) -> None:
    broker.start()
    listener = listen(broker)
    link = links.make(broker)
    wait_for(lambda: link.status.connected)
    answer = ("-D", "publish", "response-topic", "ng/1/_desk/answers")
    broker.send(f"{SITE}/cmd", "one", *answer, "-D", "publish", "correlation-data", "x7")
    wait_for(lambda: len(listener.payloads("ng/1/_desk/answers")) == 2)
    wait_for(lambda: len(listener.payloads(f"{SITE}/ack/c1")) == 2)
    for topic in (f"{SITE}/ack/c1", "ng/1/_desk/answers"):
        said = [ack["status"] for ack in listener.payloads(topic)]
        assert said == ["received", "accepted"]
    for harmful in (f"{SITE}/cmd", f"{SITE}/availability", "ng/1/other/cmd", "elsewhere", "ng/1/+"):
        if "+" not in harmful:  # mosquitto_pub refuses it
            response = ("-D", "publish", "response-topic", harmful)
            broker.send(f"{SITE}/cmd", "harm", *response)
    wait_for(lambda: link.status.ignored.get("response topic") == 4, lambda: link.status)
    assert len(listener.payloads(f"{SITE}/cmd")) == 5  # what was sent, and no answer


def test_retained_commands_are_told_apart(broker: Broker, listen: Listen, links: Links) -> None:
    broker.start()
    broker.send(f"{SITE}/cmd", "of yesterday", "-r")
    listener = listen(broker, f"{SITE}/ack/#")
    link = links.make(broker)
    wait_for(lambda: link.status.connected)
    broker.send(f"{SITE}/cmd", "now", "-r")
    broker.send(f"{SITE}/cmd", "now")
    wait_for(lambda: len(listener.received) == 4)
    assert links.commander.given == [(b"now", True), (b"now", False)]


def test_commands_of_any_size(broker: Broker, links: Links) -> None:
    broker.start()
    link = links.make(broker)
    wait_for(lambda: link.status.connected)
    taken = [b"", b"x", os.urandom(65_536)]
    for payload in (*taken, os.urandom(65_537), os.urandom(250_000), os.urandom(300_000), b"last"):
        file = broker.folder / "payload"
        file.write_bytes(payload)
        command = ["mosquitto_pub", "-V", "5", "-p", str(broker.port), "-q", "1", "-f", str(file)]
        subprocess.run([*command, "-t", f"{SITE}/cmd"], check=True, timeout=20)
    wait_for(lambda: links.commander.given[-1:] == [(b"last", False)])
    assert [raw for raw, _ in links.commander.given] == [*taken, b"last"]
    assert link.status.ignored == {"too long": 2}  # the broker kept the longest to itself
    assert link.status.connected


def test_a_flood_leaves_time_for_others(broker: Broker, links: Links) -> None:
    """One packet at a time with a pause: the rest waits in the network, where it costs nothing."""
    broker.start()
    link = links.make(broker)
    wait_for(lambda: link.status.connected)
    command = ["mosquitto_pub", "-V", "5", "-p", str(broker.port), "-t", f"{SITE}/cmd", "-l"]
    flood = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert flood.stdin is not None
    flood.stdin.write(b"{}\n" * 5_000)
    flood.stdin.close()
    wait_for(lambda: links.commander.given)
    start_s, before = time.monotonic(), len(links.commander.given)
    wait_for(lambda: len(links.commander.given) > before + 300)
    assert time.monotonic() - start_s > 300 * link_module.PAUSE_S
    flood.kill()
    flood.wait()
    assert link.status.connected


def with_source(links: Links, name: str, key: str = "") -> None:
    source = {"name": name, "role": "operator", "public_key": key}
    commands = type(links.site.commands).model_validate({"source": (source,)})
    links.site = links.site.model_copy(update={"commands": commands})


SIMPLE = [
    ("set/mode", "manual", ("mode.set", {"mode": "manual"})),
    ("set/mode", "safe", None),
    ("set/replan", "PRESS", ("plan.replan", {})),
    ("set/other", "PRESS", None),
    ("battery/set/p_w", "-1500.0", ("battery.setpoint", {"p_w": -1500, "ttl_s": 900})),
    ("battery/set/p_w", "0", ("battery.setpoint", {"p_w": 0, "ttl_s": 900})),
    ("battery/set/p_w", "nan", None),
    ("battery/set/p_w", "1e999", None),
    ("battery/set/p_w", "9" * 40, None),
    ("battery/set/soc", "1", None),
]


def test_simple_topics_become_commands_of_home_assistant(broker: Broker, links: Links) -> None:
    with_source(links, "homeassistant")
    broker.start()
    link = links.make(broker)
    wait_for(lambda: link.status.connected)
    for path, value, _ in SIMPLE:
        broker.send(f"{SITE}/{path}", value)
    broker.send(f"{SITE}/set/mode", "stopped", "-r")
    expected = [order for _, _, order in SIMPLE if order]
    wait_for(lambda: link.status.ignored.get("retained") == 1)
    given = [json.loads(raw) for raw, _ in links.commander.given]
    assert [(order["op"], order["args"]) for order in given] == expected
    assert all(order["src"] == "homeassistant" and order["v"] == 1 for order in given)
    sequence = [order["seq"] for order in given]
    assert sequence == sorted(set(sequence))
    assert link.status.ignored["value"] == len(SIMPLE) - len(expected)


@pytest.mark.parametrize("source", [("supervisor-1", ""), ("homeassistant", "A" * 43 + "=")])
def test_without_an_unsigned_source_simple_topics_are_nothing(
    broker: Broker, links: Links, source: tuple[str, str]
) -> None:
    with_source(links, *source)
    broker.start()
    link = links.make(broker)
    wait_for(lambda: link.status.connected)
    broker.send(f"{SITE}/set/mode", "stopped")
    broker.send(f"{SITE}/cmd", "last")
    wait_for(lambda: links.commander.given)
    assert links.commander.given == [(b"last", False)]


def test_home_assistant_is_told_when_it_starts(
    broker: Broker, listen: Listen, links: Links
) -> None:
    broker.start()
    listener = listen(broker, "homeassistant/#")
    topic = "homeassistant/device/clinic-01/config"
    links.make(broker)
    wait_for(lambda: len(listener.payloads(topic)) == 1)
    broker.send("homeassistant/status", "offline")
    broker.send("homeassistant/status", "online")
    wait_for(lambda: len(listener.payloads(topic)) == 2)
    first, second = listener.payloads(topic)
    assert first == second


def test_nobody_is_told_who_does_not_want_to_know(
    broker: Broker, listen: Listen, links: Links
) -> None:
    broker.start()
    listener = listen(broker, "#")
    link = links.make(broker, discovery=False)
    links.cycle(link)
    wait_for(lambda: listener.payloads(f"{SITE}/grid/state"))
    assert not listener.payloads("homeassistant/device/clinic-01/config")


def test_one_line_per_change_not_per_attempt(
    broker: Broker, links: Links, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password, then the right one: read anew, without a restart."""
    caplog.set_level(logging.INFO)
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", str(passwords), "clinic-01", "right"], check=True
    )
    passwords.chmod(0o644)
    secret.write_text("wrong\n")
    broker.options = f"allow_anonymous false\npassword_file {passwords}\n"
    broker.start()
    link = links.make(broker, username="clinic-01", password_file=str(secret))
    log = broker.folder / "broker.log"
    wait_for(lambda: log.read_text().count("not authorised") >= 3, lambda: log.read_text())
    assert link.status.problem == "refused: not authorized"
    secret.write_text("right\n")
    wait_for(lambda: link.status.connected)
    said = [record.getMessage() for record in caplog.records]
    expected = [f"127.0.0.1:{broker.port}: refused: not authorized"]
    assert [line.removeprefix("mqtt: ") for line in said] == [
        *expected,
        f"connected to 127.0.0.1:{broker.port}",
    ]


def test_the_status_tells_it(broker: Broker, links: Links) -> None:
    link = links.make(broker, start=False)
    assert (link.status.connected, link.status.waiting) == (False, 0)
    link.start()
    links.cycle(link, events=2)
    wait_for(lambda: link.status.waiting == 2)
    assert link.status.problem == "connection refused"
    shown = io.StringIO()
    cycle = links.cycles[0]
    document = {**links.document(cycle), "age_s": 0.1, "link": asdict(link.status)}
    Console(file=shown, width=200).print(view(document))
    assert f"mqtt: 127.0.0.1:{broker.port}: connection refused; 2 messages wait" in shown.getvalue()
    assert link.status.since_utc_s == pytest.approx(time.time(), abs=60)
    broker.start()
    wait_for(lambda: link.status.connected and not link.status.waiting)


def test_without_a_store_the_oldest_go(broker: Broker, listen: Listen, links: Links) -> None:
    link = links.make(broker, queue=10)
    for _ in range(5):
        links.cycle(link, events=5)
    wait_for(lambda: link.status.dropped == 15, lambda: link.status)
    broker.start()
    listener = listen(broker)
    wait_for(lambda: len(numbers(listener)) == 10)
    assert numbers(listener) == list(range(16, 26))


def test_state_is_bounded_in_pace_and_says_only_what_is_new(
    broker: Broker, listen: Listen, links: Links
) -> None:
    broker.start()
    listener = listen(broker)
    link = links.make(broker)
    for _ in range(100):
        links.cycle(link)
        time.sleep(0.01)
    wait_for(lambda: listener.payloads(f"{SITE}/state"))
    count: dict[str, Any] = {}
    for message in listener.received:
        count[message["topic"]] = count.get(message["topic"], 0) + 1
    assert count[f"{SITE}/state"] <= 4  # at 1 Hz; the machine may be slow
    assert count[f"{SITE}/genset/state"] == 1
