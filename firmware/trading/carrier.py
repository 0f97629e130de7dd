"""The way to the other members: a connection of its own to the MQTT broker, in a thread of its own.

Nothing here is trusted and nothing is promised: messages may be lost, the protocol repeats what it
needs. Whoever calls never waits for the broker. What finds no room pushes out the oldest, counted.
"""

import math
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Generic, TypeVar

from paho.mqtt.client import MQTTMessage

from firmware.config_operation import Broker
from firmware.mqtt.backoff import keep_connected
from firmware.mqtt.complaints import Complaints
from firmware.mqtt.session import Session
from firmware.mqtt.waker import Waker
from firmware.trading.admission import OLDEST_S
from firmware.trading.member import Outgoing
from firmware.trading.membership import MOST_BYTES
from firmware.trading.topics import RETAINED, MarketTopics
from firmware.unexpected import SteadyThread

QUEUE_BYTES = 16 * 2**20  # in each direction; the books of 1,000 members are 1 MB
OVERHEAD_BYTES = 256  # what a message costs beside its bytes
PACKET_BYTES = MOST_BYTES + 4096  # a membership document is the largest
UNDER_WAY = 20  # messages that the broker owes an acknowledgement for, at most
TURN_S = 1.0  # at least so often it is looked whether the connection lives
OFFER_S = 5.0  # before a document is published: perhaps it is there, or another member does
CLOSE_S = 1.0  # for what is under way at the end
JOIN_S = 7.0  # longer than an attempt to connect

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CarrierStatus:
    """How the connection is; for status and log."""

    broker: str
    connected: bool = False
    since_utc_s: float | None = None  # of `connected`
    problem: str = ""  # the last one
    waiting: int = 0  # messages on their way out
    dropped_out: int = 0  # of them, for want of room
    dropped_in: int = 0  # of those that came in
    late: int = 0  # waited for longer than a slot, and were not sent
    refused: Mapping[str, str] = field(default_factory=dict)  # by the broker: kind -> reason


@dataclass(frozen=True, slots=True)
class _Parcel:
    """A message on its way out."""

    outgoing: Outgoing
    since_s: float


class _Offer:
    """A document for all, published where another is found; the first of many who offer it does.

    Who insists on another one meets longer and longer waits.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self._wait_s = OFFER_S
        self._due_s = math.inf

    def is_due(self, found: bytes, now_s: float) -> bool:
        """Whether to publish it, when `found` is what is there."""
        if self.raw in (b"", found):
            self._due_s = math.inf
        elif self._due_s == math.inf:
            self._due_s = now_s + self._wait_s * random.uniform(0.5, 1.0)
        elif now_s >= self._due_s:
            self._wait_s *= 2
            self._due_s = math.inf
            return True
        return False


class _Queue(Generic[T]):
    """Between two threads; the oldest make room."""

    def __init__(self, most_bytes: int) -> None:
        self.dropped = 0
        self._left_bytes = most_bytes
        self._items: deque[tuple[int, T]] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T, size: int) -> None:
        """Never waits."""
        with self._changed:
            self._items.append((size + OVERHEAD_BYTES, item))
            self._left_bytes -= size + OVERHEAD_BYTES
            while self._left_bytes < 0:
                self._left_bytes += self._items.popleft()[0]
                self.dropped += 1
            self._changed.notify_all()

    def take(self, most: int, timeout_s: float) -> list[T]:
        """The oldest, at most so many; waits for one."""
        with self._changed:
            if not self._items:
                self._changed.wait(timeout_s)
            taken = [self._items.popleft() for _ in range(min(most, len(self._items)))]
            self._left_bytes += sum(size for size, _ in taken)
        return [item for _, item in taken]

    def wake(self) -> None:
        """End a wait."""
        with self._changed:
            self._changed.notify_all()


class Carrier:
    """One member's connection to its community. `send` and `receive` are for any thread."""

    def __init__(self, settings: Broker, community: str, peer: str, slot_s: float) -> None:
        """Nothing is opened yet; what has waited for longer than a slot is not sent any more."""
        self._settings = settings
        self._topics = MarketTopics(community, peer)
        self._slot_s = slot_s
        self._outbox: _Queue[_Parcel] = _Queue(QUEUE_BYTES)
        self._inbox: _Queue[bytes] = _Queue(QUEUE_BYTES)
        self._documents: deque[bytes] = deque(maxlen=1)  # the newest that came, until it is taken
        self._found = b""  # what the broker has
        self._offer = _Offer(b"")
        self._late = 0
        self._proposing = True
        self._heard_proposing = False
        self._stopping = threading.Event()
        self._waker = Waker()
        self._status = CarrierStatus(f"{settings.host}:{settings.port}")
        self._complaints = Complaints("market", self._status.broker)
        self._thread = SteadyThread("market", self._run)

    # --- from other threads -----------------------------------------------------------------------

    def start(self) -> None:
        """Begin to connect."""
        self._thread.start()

    def stop(self) -> None:
        """Send what is on its way if the broker takes it at once, and part."""
        self._stopping.set()
        self._waker.wake()
        self._inbox.wake()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)

    def send(self, outgoing: Outgoing) -> None:
        """Put a message on its way; never waits."""
        self._outbox.put(_Parcel(outgoing, time.monotonic()), len(outgoing.raw))
        self._waker.wake()

    def receive(self, timeout_s: float, most: int = 1000) -> list[bytes]:
        """Messages that came, oldest first; waits for the first one."""
        return self._inbox.take(most, timeout_s)

    def document(self) -> bytes:
        """A membership document that came since the last call; empty: none. It is only bytes."""
        return self._documents.pop() if self._documents else b""

    def publish_document(self, raw: bytes) -> None:
        """See to it that this membership document is the one that newcomers find."""
        self._offer = _Offer(raw)
        self._waker.wake()

    def hear_orders(self, wanted: bool) -> None:
        """Whether to listen to what only proposers need; at first we do."""
        if wanted != self._proposing:
            self._proposing = wanted
            self._waker.wake()

    @property
    def status(self) -> CarrierStatus:
        """How it is now."""
        return replace(
            self._status,
            waiting=len(self._outbox),
            dropped_out=self._outbox.dropped,
            dropped_in=self._inbox.dropped,
            late=self._late,
            refused=self._complaints.refused.copy(),
        )

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        keep_connected(self._stopping, self._connected, self._say, self._stopping.wait)

    def _connected(self) -> None:
        """One connection, from its beginning to its end. Raises LinkError."""
        client_id = f"nanogrid-market-{self._topics.me}"
        session = Session(self._settings, client_id, None, self._take, PACKET_BYTES)
        try:
            session.open()
            self._begin(session)
            while not self._stopping.is_set():
                self._work(session)
                session.turn(self._waker.socket, TURN_S)
                self._waker.slept()
            self._part(session)
        finally:
            session.drop()

    def _begin(self, session: Session) -> None:
        self._heard_proposing = False
        self._found = b""
        self._subscribe(session, self._topics.always)
        self._complaints.connected()
        self._status = CarrierStatus(self._status.broker, True, time.time())

    def _part(self, session: Session) -> None:
        """Deliver what is under way."""
        end_s = time.monotonic() + CLOSE_S
        while (len(self._outbox) or session.under_way) and time.monotonic() < end_s:
            self._work(session)
            session.turn(None, 0.05)
        session.close()

    def _work(self, session: Session) -> None:
        """What is to be said to the broker."""
        if self._proposing != self._heard_proposing:
            self._heard_proposing = self._proposing
            if self._proposing:
                self._subscribe(session, self._topics.for_proposers)
            else:
                session.unsubscribe(self._topics.for_proposers)
        offer, now_s = self._offer, time.monotonic()
        if offer.is_due(self._found, now_s):
            self._found = offer.raw
            settled = partial(self._complaints.note, "membership")
            session.publish(self._topics.membership, offer.raw, 1, True, settled)
        while session.under_way < UNDER_WAY and (parcels := self._outbox.take(1, 0.0)):
            self._deliver(session, parcels[0])  # if it breaks now, the others still wait

    def _deliver(self, session: Session, parcel: _Parcel) -> None:
        """Send, unless it has become too late for it."""
        one, waited_s = parcel.outgoing, time.monotonic() - parcel.since_s
        if waited_s > self._slot_s:
            self._late += 1
            return
        kept_s = OLDEST_S if one.kind in ("decide", "head") else self._slot_s
        session.publish(
            self._topics.of(one.kind, one.to, one.part),
            one.raw,
            1,
            one.kind in RETAINED,
            partial(self._complaints.note, one.kind),
            expiry_s=max(1, round(kept_s - waited_s)),
        )

    def _subscribe(self, session: Session, topics: list[str]) -> None:
        settled = partial(self._complaints.note, "subscriptions")
        session.subscribe(topics, settled, retained=True, echo=False)

    def _take(self, message: MQTTMessage) -> None:
        """Something came."""
        raw = bytes(message.payload)
        if message.topic == self._topics.membership:
            self._found = raw
            self._documents.append(raw)
        else:
            self._inbox.put(raw, len(raw))

    # --- how it is --------------------------------------------------------------------------------

    def _say(self, problem: str) -> None:
        """There is no connection, or no longer."""
        before = self._status
        self._complaints.lost(problem)
        since_utc_s = time.time() if before.connected or not before.problem else before.since_utc_s
        self._status = CarrierStatus(before.broker, False, since_utc_s, problem)
