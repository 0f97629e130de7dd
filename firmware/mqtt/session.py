"""One connection to the broker, from its beginning to its end; never used twice.

Everything happens in the caller's thread, through paho's interface for event loops: nothing is
handed to paho while there is no connection, and nothing of an old connection is sent by a new one.
"""

import re
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, LogLevel, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from firmware.config_operation import Broker
from firmware.mqtt.credentials import CredentialError, password, tls_context
from firmware.mqtt.topics import OFFLINE

CONNECT_S = 5.0  # for TCP, then for TLS, then for the broker's answer
ACKNOWLEDGE_S = 30.0  # a broker that owes an acknowledgement for longer is none
WILL_DELAY_S = 5
SESSION_S = 30  # what the broker keeps of us; a new connection starts clean all the same
PACKET_BYTES = 256 * 1024
QUEUED = 1000  # messages that paho has taken and not sent
PACKETS = 10  # read at one go
ALERT = re.compile(r"\[SSL: (\w+)\]")
SEND_RETAINED, SEND_NEW_ONLY = 0, 2  # retain handling: with or without what was there before us

# What paho raises over the network and over what a broker should not send.
BROKEN = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    MQTTException,
)

Settled = Callable[[str], None]  # called with "", or with the reason of a refusal
Received = Callable[[MQTTMessage], None]


class LinkError(Exception):
    """There is no connection, or no longer; one line says why."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says when we are gone."""

    topic: str
    payload: str = OFFLINE


class Session:
    """One connection."""

    def __init__(
        self,
        settings: Broker,
        client_id: str,
        will: Will | None,
        received: Received,
        packet_bytes: int = PACKET_BYTES,
        queue: int = QUEUED,
    ) -> None:
        """Nothing is opened yet. The broker sends nothing larger than `packet_bytes`."""
        self._packet_bytes = packet_bytes
        self._settings = settings
        self._received = received
        self._client = _client(client_id, will, queue)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_log = self._on_log
        self._accepted = False
        self._ended = ""
        self._heard = ""  # from TLS: why the other side does not like us
        self._waiting: dict[int, tuple[float, Settled]] = {}  # by message identifier

    def open(self) -> None:
        """Connect and be accepted. Raises LinkError."""
        settings = self._settings
        properties = _properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=SESSION_S,
            MaximumPacketSize=self._packet_bytes,
        )
        try:
            if context := tls_context(settings):
                self._client.tls_set_context(context)
            if settings.username:
                self._client.username_pw_set(settings.username, password(settings))
            self._client.connect(
                settings.host,
                settings.port,
                settings.keepalive_s,
                clean_start=True,
                properties=properties,
            )
        except CredentialError as error:
            raise LinkError(str(error)) from None
        except BROKEN as error:
            raise LinkError(_words(error)) from None
        sock: Any = self._client.socket()
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end_s = time.monotonic() + CONNECT_S
        while not self._accepted:
            if time.monotonic() > end_s:
                self.drop()
                raise LinkError("no answer to the request to connect")
            self.turn(None, 0.1)

    def subscribe(
        self, topics: list[str], settled: Settled, *, retained: bool = False, echo: bool = True
    ) -> None:
        """Ask for `topics`, at QoS 1. Raises LinkError.

        `retained`: also what is retained there already; `echo`: also what we send ourselves.
        """
        options = SubscribeOptions(
            1,
            noLocal=not echo,
            retainAsPublished=True,
            retainHandling=SEND_RETAINED if retained else SEND_NEW_ONLY,
        )
        _, mid = self._guarded(lambda: self._client.subscribe([(t, options) for t in topics]))
        if mid is not None:
            self._waiting[mid] = time.monotonic(), settled

    def unsubscribe(self, topics: list[str]) -> None:
        """Ask for `topics` no more. Raises LinkError."""
        self._guarded(lambda: self._client.unsubscribe(topics))

    def publish(
        self,
        topic: str,
        payload: str | bytes,
        qos: int,
        retain: bool = False,
        settled: Settled | None = None,
        correlation: bytes | None = None,
        expiry_s: int | None = None,
    ) -> None:
        """Send; `settled` hears how it went at QoS 1; the broker forgets it after `expiry_s`.

        Raises LinkError.
        """
        values: dict[str, Any] = {}
        if correlation is not None:
            values["CorrelationData"] = correlation
        if expiry_s is not None:
            values["MessageExpiryInterval"] = expiry_s
        properties = _properties(PacketTypes.PUBLISH, **values) if values else None
        info = self._guarded(
            lambda: self._client.publish(topic, payload, qos, retain, properties=properties)
        )
        if qos and settled is not None:
            self._waiting[info.mid] = time.monotonic(), settled

    @property
    def is_busy(self) -> bool:
        """The broker takes less than there is to send."""
        return self._client.want_write()

    @property
    def under_way(self) -> int:
        """How much has been sent that the broker has not acknowledged."""
        return len(self._waiting)

    def turn(self, wake: socket.socket | None, timeout_s: float) -> None:
        """Wait for traffic, or for `wake` to become readable, and handle it. Raises LinkError."""
        sock: Any = self._client.socket()
        if sock is not None:
            ready: tuple[list[Any], list[Any], list[Any]] = [], [], []
            pending = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
            reading = [sock] if wake is None else [sock, wake]
            writing = [sock] if self._client.want_write() else []
            try:
                ready = select.select(reading, writing, [], 0.0 if pending else timeout_s)
            except (OSError, ValueError) as error:
                raise LinkError(_words(error)) from None
            if pending or sock in ready[0]:
                self._guarded(self._read)
            if sock in ready[1]:
                self._guarded(self._client.loop_write)
        self._guarded(self._client.loop_misc)
        self._look_for_the_end()

    def close(self) -> None:
        """Part in order: without the will."""
        try:
            self._client.disconnect()
            end_s = time.monotonic() + 1.0
            while self._client.want_write() and time.monotonic() < end_s:
                self.turn(None, 0.05)
        except (LinkError, *BROKEN):
            pass
        self.drop()

    def drop(self) -> None:
        """Close the socket, whatever state it is in."""
        sock = self._client.socket()
        if sock is not None:
            sock.close()

    def _read(self) -> None:
        for _ in range(PACKETS):
            self._client.loop_read()
            sock: Any = self._client.socket()
            if not (isinstance(sock, ssl.SSLSocket) and sock.pending()):
                return

    def _guarded(self, action: Callable[[], Any]) -> Any:
        """Do something with paho. Raises LinkError for whatever that raises."""
        try:
            return action()
        except BROKEN as error:
            self.drop()
            raise LinkError(f"the broker sent nonsense: {_words(error)}") from None

    def _look_for_the_end(self) -> None:
        """Raises LinkError."""
        if not self._ended and self._client.socket() is None:
            self._ended = self._lost()
        if not self._ended and self._waiting:
            oldest_s = next(iter(self._waiting.values()))[0]
            if time.monotonic() - oldest_s > ACKNOWLEDGE_S:
                self._ended = f"acknowledged nothing for {ACKNOWLEDGE_S:g} s"
        if self._ended:
            self.drop()
            raise LinkError(self._ended)

    # --- what paho calls, from within `turn` -------------------------------------------------

    def _on_connect(
        self, _client: Client, _data: Any, _flags: ConnectFlags, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._ended = f"refused: {str(reason).lower()}"
        else:
            self._accepted = True

    def _on_disconnect(
        self, _client: Client, _data: Any, flags: DisconnectFlags, reason: Any, _properties: Any
    ) -> None:
        sent = flags.is_disconnect_packet_from_server
        self._ended = self._ended or (
            f"disconnected by the broker: {str(reason).lower()}" if sent else self._lost()
        )

    def _on_log(self, _client: Client, _data: Any, level: int, text: str) -> None:
        alert = ALERT.search(text)
        if level == LogLevel.MQTT_LOG_ERR and alert:
            self._heard = alert[1].replace("_", " ").lower()

    def _lost(self) -> str:
        return f"connection lost: {self._heard}" if self._heard else "connection lost"

    def _on_publish(
        self, _client: Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        self._settle(mid, [reason])

    def _on_subscribe(
        self, _client: Client, _data: Any, mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        self._settle(mid, reasons)

    def _settle(self, mid: int, reasons: list[ReasonCode]) -> None:
        _, settled = self._waiting.pop(mid, (0.0, None))
        if settled is not None:
            refusals = [str(reason).lower() for reason in reasons if reason.is_failure]
            settled(refusals[0] if refusals else "")

    def _on_message(self, _client: Client, _data: Any, message: MQTTMessage) -> None:
        self._received(message)


def _client(client_id: str, will: Will | None, queue: int) -> Client:
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
    )
    client.max_queued_messages_set(queue)
    client.connect_timeout = CONNECT_S
    if will is not None:
        properties = _properties(PacketTypes.WILLMESSAGE, WillDelayInterval=WILL_DELAY_S)
        client.will_set(will.topic, will.payload, 1, True, properties)
    return client


def _words(error: BaseException) -> str:
    """An exception as one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate of the broker: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _properties(packet: int, **values: Any) -> Properties:
    """MQTT 5 properties of one kind of packet."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    for name, value in values.items():
        setattr(properties, name, value)
    return properties
