"""The connection to the other members: a real broker that comes, goes, refuses and is slow."""

import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.config_operation import Mqtt
from firmware.mqtt import backoff
from firmware.trading import carrier as carrier_module
from firmware.trading.carrier import Carrier
from firmware.trading.member import Outgoing
from tests.firmware.mqtt.certificates import Authority
from tests.firmware.mqtt.conftest import Broker, Listener, wait_for

ANN, BOB, CAT = "a" * 16, "b" * 16, "c" * 16
BASE = "ng/1/_market/street"
Make = Callable[..., Carrier]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again soon: nobody wants to wait for a minute."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.1)
    monkeypatch.setattr(backoff, "LAST_S", 0.4)
    monkeypatch.setattr(carrier_module, "OFFER_S", 0.1)


@pytest.fixture
def carriers(broker: Broker) -> Iterator[Make]:
    """Starts carriers, and stops them at the end."""
    made: list[Carrier] = []

    def make(peer: str, slot_s: float = 900.0, hears: bool = True, **mqtt: Any) -> Carrier:
        settings = Mqtt(**{"host": "127.0.0.1", "port": broker.port, **mqtt})
        made.append(Carrier(settings, "street", peer, slot_s))
        made[-1].hear_orders(hears)
        made[-1].start()
        return made[-1]

    yield make
    for carrier in made:
        carrier.stop()


@pytest.fixture
def listen(broker: Broker) -> Iterator[Callable[[str], Listener]]:
    """Starts listeners, and stops them at the end."""
    made: list[Listener] = []

    def start(topic: str) -> Listener:
        made.append(Listener(broker, (topic,)))
        made[-1].start()
        return made[-1]

    yield start
    for listener in made:
        listener.stop()


def connected(*carriers: Carrier) -> None:
    """Wait until they are, and hear each other: subscriptions take a moment longer."""
    for carrier in carriers:
        wait_for(lambda c=carrier: c.status.connected, lambda c=carrier: c.status)  # type: ignore[misc]
    for one in carriers:
        for other in carriers:
            if one is not other:
                hello(one, other)


def hello(sender: Carrier, receiver: Carrier) -> None:
    """Send until it arrives."""
    end_s = time.monotonic() + 20.0
    while b"hello" not in receiver.receive(0.05):
        sender.send(Outgoing("ack", "", b"hello"))
        assert time.monotonic() < end_s
    while receiver.receive(0.05):  # those that were sent while we waited
        pass


def come(carrier: Carrier, count: int) -> list[bytes]:
    """So many messages."""
    found: list[bytes] = []

    def enough() -> bool:
        found.extend(carrier.receive(0.1))
        return len(found) >= count

    wait_for(enough, lambda: found)
    return found


def nothing_comes(carrier: Carrier, marker: Carrier) -> None:
    """What was sent before this has gone by: `marker` says something, and only that comes."""
    marker.send(Outgoing("ack", "", b"marker"))
    assert come(carrier, 1) == [b"marker"]


def test_who_gets_what(broker: Broker, carriers: Make) -> None:
    broker.start()
    ann, bob, cat = carriers(ANN), carriers(BOB), carriers(CAT, hears=False)
    connected(ann, bob, cat)
    ann.send(Outgoing("order", "", b"to all who may propose"))
    ann.send(Outgoing("book", "", b"one", 0))
    ann.send(Outgoing("book", "", b"two", 1))
    ann.send(Outgoing("vote", BOB, b"to bob"))
    assert come(bob, 4) == [b"to all who may propose", b"one", b"two", b"to bob"]
    assert come(cat, 2) == [b"one", b"two"]
    nothing_comes(cat, ann)
    nothing_comes(ann, bob)  # nobody hears itself


def test_who_comes_late_gets_what_is_retained(broker: Broker, carriers: Make) -> None:
    broker.start()
    ann, early = carriers(ANN), carriers(CAT)
    connected(ann, early)
    for outgoing in (
        Outgoing("order", "", b"replaced"),
        Outgoing("order", "", b"order"),
        Outgoing("book", "", b"part 0", 0),
        Outgoing("book", "", b"part 1", 1),
        Outgoing("decide", BOB, b"decision"),
        Outgoing("head", BOB, b"head"),
        Outgoing("vote", BOB, b"vote"),
        Outgoing("want", "", b"want"),
    ):
        ann.send(outgoing)
    come(early, 5)
    bob = carriers(BOB, hears=False)
    assert sorted(come(bob, 4)) == [b"decision", b"head", b"part 0", b"part 1"]
    bob.hear_orders(True)  # proposes now
    assert come(bob, 1) == [b"order"]
    bob.hear_orders(False)
    hello(ann, bob)
    ann.send(Outgoing("order", "", b"another"))
    nothing_comes(bob, ann)


def test_what_is_retained_ends(
    broker: Broker, carriers: Make, listen: Callable[[str], Listener]
) -> None:
    broker.start()
    ann = carriers(ANN, slot_s=1.0)
    listener = listen(f"{BASE}/#")
    connected(ann)
    ann.send(Outgoing("order", "", b"{}"))
    ann.send(Outgoing("decide", BOB, b"{}"))
    wait_for(lambda: len(listener.received) == 2)
    expiry = {m["topic"]: m["properties"]["message-expiry-interval"] for m in listener.received}
    assert expiry == {f"{BASE}/order/{ANN}": 1, f"{BASE}/decide/{ANN}/{BOB}": 7 * 86400}
    late: list[bytes] = []

    def gone() -> bool:
        cat = carriers(CAT)
        connected(cat)
        late[:] = cat.receive(0.2)
        cat.stop()
        return not late

    wait_for(gone, lambda: late)


def test_a_broker_that_comes_later_goes_and_comes_back(broker: Broker, carriers: Make) -> None:
    ann, bob = carriers(ANN), carriers(BOB)
    wait_for(lambda: ann.status.problem == "connection refused", lambda: ann.status)
    ann.send(Outgoing("meter", "", b"sent before"))
    assert ann.status.waiting == 1
    broker.start()
    connected(ann, bob)
    assert ann.status.waiting == 0
    broker.stop(signal.SIGKILL)
    wait_for(lambda: not bob.status.connected)
    wait_for(lambda: bob.status.problem == "connection refused", lambda: bob.status)
    broker.start()
    connected(ann, bob)
    assert bob.status.problem == ""


def test_what_waited_for_longer_than_a_slot_is_not_sent(broker: Broker, carriers: Make) -> None:
    ann, bob = carriers(ANN, slot_s=0.5), carriers(BOB)
    ann.send(Outgoing("vote", BOB, b"too old"))
    time.sleep(0.6)
    ann.send(Outgoing("vote", BOB, b"new"))
    broker.start()
    wait_for(lambda: ann.status.waiting == 0 and bob.status.connected)
    hello(ann, bob)
    nothing_comes(bob, ann)
    assert ann.status.late == 1


def test_what_finds_no_room_pushes_out_the_oldest(
    broker: Broker, carriers: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier_module, "QUEUE_BYTES", 10 * 1256)
    ann, bob = carriers(ANN), carriers(BOB)
    start_s = time.monotonic()
    for number in range(1_000):
        ann.send(Outgoing("meter", "", b"%1000d" % number))
    assert time.monotonic() - start_s < 20.0
    assert (ann.status.waiting, ann.status.dropped_out) == (10, 990)
    broker.start()
    wait_for(lambda: bob.status.connected and ann.status.waiting == 0)
    for number in range(300):
        ann.send(Outgoing("vote", BOB, b"%1000d" % number))
        wait_for(lambda: ann.status.waiting == 0)
    wait_for(lambda: bob.status.dropped_in > 250, lambda: bob.status)
    hello(ann, bob)


def test_a_broker_that_hangs_costs_nothing(broker: Broker, carriers: Make) -> None:
    broker.start()
    ann = carriers(ANN)
    wait_for(lambda: ann.status.connected)
    assert broker.process is not None
    broker.process.send_signal(signal.SIGSTOP)
    start_s = time.monotonic()
    for _ in range(1000):
        ann.send(Outgoing("book", "", bytes(100_000)))
    assert ann.status.dropped_out > 500
    assert ann.receive(0.0) == []
    assert time.monotonic() - start_s < 20.0
    broker.process.send_signal(signal.SIGCONT)


def test_the_membership_document(broker: Broker, carriers: Make) -> None:
    broker.start()
    ann, bob = carriers(ANN), carriers(BOB)
    assert bob.document() == b""
    large = b"[%s]" % (b"1," * 400_000)
    ann.publish_document(large)
    wait_for(lambda: bob.document() == large)
    assert bob.document() == b""
    ann.publish_document(b"version 2")
    late = carriers(CAT)
    wait_for(lambda: late.document() == b"version 2")
    connected(ann, bob, late)


def test_a_document_is_published_once_and_a_newer_one_comes_back(
    broker: Broker, carriers: Make, listen: Callable[[str], Listener]
) -> None:
    broker.start()
    listener = listen(f"{BASE}/membership")
    ann, bob, cat = carriers(ANN), carriers(BOB), carriers(CAT)
    for carrier in (ann, bob, cat):
        carrier.publish_document(b"version 2")
    wait_for(lambda: listener.received)
    connected(ann, bob, cat)
    late = carriers("d" * 16)
    late.publish_document(b"version 2")
    wait_for(lambda: late.document() == b"version 2")
    connected(ann, late)
    assert len(listener.received) <= 3  # all at the same moment, at worst
    stale = carriers("e" * 16)
    stale.publish_document(b"version 1")  # a box that was away, and will learn better
    wait_for(lambda: listener.payloads(f"{BASE}/membership")[-2:] == ["version 1", "version 2"])


def test_each_only_under_its_own_name(
    broker: Broker, carriers: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The access rules of docs/mqtt.md, with certificates."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("broker")
    rules = tmp_path / "acl"
    rules.write_text(
        f"pattern read ng/1/_market/street/#\n"
        f"user house-ann\ntopic write {BASE}/+/{ANN}/#\ntopic write {BASE}/membership\n"
        f"user house-bob\ntopic write {BASE}/+/{BOB}/#\n"
    )
    broker.options = (
        f"cafile {authority.path}\ncertfile {certificate}\nkeyfile {key}\n"
        f"require_certificate true\nuse_identity_as_username true\nacl_file {rules}\n"
    )
    broker.start()

    def tls(name: str) -> dict[str, str]:
        certificate, key = authority.issue(name)
        files = {"tls_ca": authority.path, "tls_certificate": certificate, "tls_key": key}
        return {name: str(path) for name, path in files.items()}

    ann, bob = carriers(ANN, **tls("house-ann")), carriers(BOB, **tls("house-bob"))
    connected(ann, bob)
    assert ann.status.refused == bob.status.refused == {}
    liar = carriers(ANN + "x", **tls("house-bob"))
    wait_for(lambda: liar.status.connected)
    for _ in range(3):
        liar.send(Outgoing("order", "", b"as somebody else"))
        liar.send(Outgoing("vote", BOB, b"as somebody else"))
    liar.publish_document(b"not an administrator's")
    wait_for(lambda: len(liar.status.refused) == 3, lambda: liar.status)
    assert set(liar.status.refused) == {"order", "vote", "membership"}
    assert set(liar.status.refused.values()) == {"not authorized"}
    nothing_comes(bob, ann)
    said = [record.getMessage() for record in caplog.records if "refuses" in record.getMessage()]
    assert len(said) == 3


def test_a_wrong_password_is_said_once(
    broker: Broker, carriers: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "secret").write_text("wrong\n")
    (tmp_path / "passwords").write_text("")
    (tmp_path / "passwords").chmod(0o644)
    broker.options = f"allow_anonymous false\npassword_file {tmp_path / 'passwords'}\n"
    broker.start()
    ann = carriers(ANN, username="ann", password_file=str(tmp_path / "secret"))
    log = broker.folder / "broker.log"
    wait_for(lambda: log.read_text().count("not authorised") >= 3, lambda: log.read_text())
    assert ann.status.problem == "refused: not authorized"
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"market: 127.0.0.1:{broker.port}: refused: not authorized"]
    (tmp_path / "secret").unlink()
    wait_for(lambda: "mqtt.password_file" in ann.status.problem)


def test_any_bytes_come_through_as_they_are(broker: Broker, carriers: Make) -> None:
    broker.start()
    ann = carriers(ANN)
    connected(ann)
    hello_from = Outgoing("meter", "", json.dumps({"v": 1}).encode())
    bob = carriers(BOB)
    connected(ann, bob)
    for raw in (b"", bytes(range(256)), hello_from.raw):
        bob.send(Outgoing("meter", "", raw))
    assert come(ann, 3) == [b"", bytes(range(256)), hello_from.raw]


def test_two_brokers_with_a_bridge(broker: Broker, carriers: Make, tmp_path: Path) -> None:
    """As docs/scaling.md has it; what is retained crosses too, also after the link was down."""
    lower = Broker(tmp_path)
    lower.options = (
        f"allow_anonymous true\nconnection valley\naddress 127.0.0.1:{broker.port}\n"
        "bridge_protocol_version mqttv50\ntopic ng/1/_market/street/# both 1\n"
        "cleansession false\nrestart_timeout 1\n"
    )
    broker.start()
    lower.start()
    try:
        ann, bob = carriers(ANN), carriers(BOB, port=lower.port)
        connected(ann, bob)
        ann.send(Outgoing("vote", BOB, b"across"))
        assert come(bob, 1) == [b"across"]
        nothing_comes(ann, bob)  # nothing goes round
        broker.stop(signal.SIGKILL)
        bob.send(Outgoing("order", "", b"while the link was down"))
        wait_for(lambda: bob.status.waiting == 0)
        broker.start()
        wait_for(lambda: ann.status.connected)
        assert set(come(ann, 1)) == {b"while the link was down"}
    finally:
        lower.stop(signal.SIGKILL)
