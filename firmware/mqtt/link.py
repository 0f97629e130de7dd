"""The MQTT link: a thread that connects, publishes, delivers events and takes commands.

The loop hands over its telemetry and never waits. Broker and network may be absent, slow or wrong:
the thread says so once, waits longer and longer, and tries again.
"""

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from control.records import Event
from firmware.config import Site
from firmware.loop import Telemetry
from firmware.mqtt import messages
from firmware.mqtt.backoff import keep_connected
from firmware.mqtt.complaints import Complaints
from firmware.mqtt.discovery import discovery
from firmware.mqtt.energy import Energy
from firmware.mqtt.feed import Feed
from firmware.mqtt.inbound import Acknowledgement, Inbound, Submit
from firmware.mqtt.outbox import Disk, Message, Outbox
from firmware.mqtt.session import Session, Will
from firmware.mqtt.topics import OFFLINE, ONLINE, Topics, is_level
from firmware.mqtt.waker import Waker
from firmware.unexpected import SteadyThread

log = logging.getLogger("nanogrid")

TURN_S = 0.25  # how often to look for something to do
PAUSE_S = 0.002  # between two turns: however much a broker sends, the loop does not notice
CLOSE_S = 3.0
JOIN_S = 7.0  # longer than an attempt to connect
INBOX = 1000  # events and acknowledgements on their way to the thread


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """How the link is; for the status document."""

    broker: str
    connected: bool = False
    since_utc_s: float | None = None  # of `connected`
    problem: str = ""
    waiting: int = 0  # events and acknowledgements
    dropped: int = 0  # of them, for want of room
    refused: Mapping[str, str] = field(default_factory=dict)  # by the broker: topic -> reason
    ignored: Mapping[str, int] = field(default_factory=dict)  # of what it sent: reason -> count


@dataclass(frozen=True, slots=True)
class _Answer:
    """An acknowledgement for a requester's own topic, while the connection lasts."""

    topic: str
    payload: str
    correlation: bytes | None


class Link:
    """Publisher: one site's link to its broker."""

    def __init__(
        self,
        site: Site,
        version: str,
        document: Callable[[Telemetry], Mapping[str, Any]],
        submit: Submit,
        disk: Disk | None,
    ) -> None:
        """`document` makes the status document; `submit` takes commands; `disk` is the store."""
        self._site = site
        self._version = version
        self._document = document
        self._disk = disk
        self._topics = Topics(site.site.name, site.mqtt.discovery_prefix)
        self._feed = Feed(site, self._topics)
        self._inbound = Inbound(site, self._topics, submit, self.tell, self._answer, time.time)
        self._latest: Telemetry | None = None
        self._inbox: deque[tuple[float, Event] | Acknowledgement | _Answer] = deque()
        self._lost = 0
        self._run_id = f"{time.time_ns() // 1_000_000:x}-{os.urandom(2).hex()}"
        self._events = 0
        self._stopping = threading.Event()
        self._waker = Waker()
        self.status = LinkStatus(f"{site.mqtt.host}:{site.mqtt.port}")
        self._complaints = Complaints("mqtt", self.status.broker)
        self._thread = SteadyThread("mqtt", self._run)

    def start(self) -> None:
        """Begin to connect."""
        self._outbox = Outbox(self._disk, self._site.mqtt.queue, time.monotonic())
        self._energy = Energy(self._disk)
        self._thread.start()

    # --- from other threads ------------------------------------------------------------------

    def publish(self, telemetry: Telemetry) -> None:
        """Take one cycle."""
        self._latest = telemetry
        for event in telemetry.events:
            self._put((telemetry.sample.utc_s, event))

    def close(self) -> None:
        """Say that we go, and save what has not arrived; a broker that hangs is not waited for."""
        self._stopping.set()
        self._waker.wake()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def tell(self, acknowledgement: Acknowledgement) -> None:
        """Publish what became of a command."""
        self._put(acknowledgement)

    def _answer(self, topic: str, ack: Acknowledgement, correlation: bytes | None) -> None:
        self._put(_Answer(topic, json.dumps(ack), correlation))

    def _put(self, item: tuple[float, Event] | Acknowledgement | _Answer) -> None:
        if len(self._inbox) < INBOX:
            self._inbox.append(item)
        else:
            self._lost += 1
        self._waker.wake()

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        keep_connected(self._stopping, self._connected, self._say, self._pause)
        self._collect(None)
        self._outbox.close(CLOSE_S)

    def _pause(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while not self._stopping.is_set() and (now_s := time.monotonic()) < end_s:
            self._collect(None)
            self._outbox.work(now_s, connected=False)
            self._count()
            self._stopping.wait(min(TURN_S, end_s - now_s))

    def _connected(self) -> None:
        """One connection, from its beginning to its end. Raises LinkError."""
        will = Will(self._topics.of_site("availability"))
        client_id = f"nanogrid-{self._site.site.name}"
        session = Session(
            self._site.mqtt, client_id, will, self._inbound.take, queue=self._site.mqtt.queue
        )
        try:
            session.open()
            self._begin(session)
            while not self._stopping.is_set():
                session.turn(self._waker.socket, TURN_S)
                self._waker.slept()
                self._work(session, time.monotonic())
                time.sleep(PAUSE_S)
            self._part(session)
        finally:
            session.drop()
            self._outbox.disconnected()

    def _begin(self, session: Session) -> None:
        self._feed.forget()
        self._inbound.announce = self._site.mqtt.discovery
        topics = self._inbound.subscriptions
        session.subscribe(topics, lambda reason: self._complaints.note("subscriptions", reason))
        self._send(session, self._topics.of_site("availability"), ONLINE)
        self._complaints.connected()
        self.status = LinkStatus(self.status.broker, True, time.time())

    def _part(self, session: Session) -> None:
        """Deliver what is under way, and say that we go."""
        self._send(session, self._topics.of_site("availability"), OFFLINE)
        end_s = time.monotonic() + CLOSE_S / 3
        while (len(self._outbox) or session.under_way) and time.monotonic() < end_s:
            self._collect(session)
            self._deliver(session, time.monotonic())
            session.turn(None, 0.05)
        session.close()

    def _work(self, session: Session, now_s: float) -> None:
        """Everything that one turn may bring."""
        self._collect(session)
        self._deliver(session, now_s)
        telemetry = self._latest
        if telemetry is not None and not session.is_busy and self._feed.is_due(now_s, telemetry):
            document = self._document(telemetry)
            energy_kwh = self._energy.newest(now_s)
            for item in self._feed.changed(now_s, telemetry, document, energy_kwh):
                self._send(session, item.topic, item.payload, item.qos, item.retain)
        if self._inbound.announce:
            self._inbound.announce = False
            self._announce(session)
        self._outbox.work(now_s, connected=True)
        self._count()

    def _collect(self, session: Session | None) -> None:
        """Take what other threads have put down."""
        while self._inbox:
            item = self._inbox.popleft()
            now_s = time.monotonic()
            if isinstance(item, _Answer):
                if session is not None:
                    session.publish(item.topic, item.payload, 1, correlation=item.correlation)
            elif isinstance(item, tuple):
                self._events += 1
                document = messages.event(f"{self._run_id}-{self._events}", *item)
                self._outbox.add(self._topics.of_site("event"), json.dumps(document), now_s)
            elif is_level(str(item.get("id"))):
                topic = self._topics.ack(str(item["id"]))
                self._outbox.add(topic, json.dumps(item, allow_nan=False), now_s)
            else:  # nobody could be told: the command had no usable id
                self._inbound.dropped["command without id"] += 1

    def _deliver(self, session: Session, now_s: float) -> None:
        for message in self._outbox.next(now_s):
            settled = partial(self._settled, message)
            session.publish(message.topic, message.payload, 1, settled=settled)

    def _settled(self, message: Message, reason: str) -> None:
        level = "ack" if message.topic.startswith(self._topics.ack("")) else message.topic
        self._complaints.note(level, reason)
        if reason:
            self._outbox.refused(message, time.monotonic())
        else:
            self._outbox.acknowledged(message)

    def _send(
        self, session: Session, topic: str, payload: str, qos: int = 1, retain: bool = True
    ) -> None:
        session.publish(
            topic, payload, qos, retain, lambda reason: self._complaints.note(topic, reason)
        )

    def _announce(self, session: Session) -> None:
        """Tell Home Assistant what there is; an empty message would remove it."""
        payload = discovery(
            self._site,
            self._topics,
            self._version,
            commands=self._inbound.takes_simple,
            energy=self._disk is not None,
        )
        self._send(session, self._topics.discovery, json.dumps(payload))

    # --- how it is ---------------------------------------------------------------------------

    def _say(self, problem: str) -> None:
        """There is no connection, or no longer."""
        before = self.status
        self._complaints.lost(problem)
        since_utc_s = time.time() if before.connected or not before.problem else before.since_utc_s
        self.status = LinkStatus(before.broker, False, since_utc_s, problem)

    def _count(self) -> None:
        before = self.status
        self.status = LinkStatus(
            before.broker,
            before.connected,
            before.since_utc_s,
            before.problem,
            len(self._outbox),
            self._outbox.dropped + self._lost,
            self._complaints.refused.copy(),
            dict(self._inbound.dropped),
        )
