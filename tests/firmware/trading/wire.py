"""The way to a broker that lies: it loses what it is told to, and says what nobody said."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

PUBLISH, PUBACK = 0x30, 0x40
RETAIN = 0x01
Loses = Callable[[str], bool]


class LyingBroker:
    """Stands between one client and its broker, and knows enough MQTT 5 to read publications."""

    def __init__(self, broker_port: int) -> None:
        self.loses: Loses = lambda _topic: False
        self.lost: list[str] = []
        self.seen: list[tuple[str, bytes]] = []  # what the client was sent
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._client: socket.socket | None = None
        self._sending = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def say(self, topic: str, payload: bytes) -> None:
        """Send the client something that is retained, as it would have it."""
        name = topic.encode()
        body = struct.pack(">H", len(name)) + name + b"\0" + payload
        assert self._client is not None
        with self._sending:
            self._client.sendall(bytes([PUBLISH | RETAIN]) + _length(len(body)) + body)

    def close(self) -> None:
        self._listener.close()
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._client, _ = self._listener.accept()
                broker = socket.create_connection(("127.0.0.1", self._broker_port))
                for source, target in ((self._client, broker), (broker, self._client)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        file = source.makefile("rb")
        with contextlib.suppress(OSError):
            while (packet := _packet(file.read)) is not None:
                head, body = packet
                if head & 0xF0 != PUBLISH:
                    self._send(target, head, body)
                    continue
                topic, mid, payload = _publication(head, body)
                if self.loses(topic):
                    self.lost.append(topic)
                    if mid:
                        self._send(source, PUBACK, mid)
                    continue
                if target is self._client:
                    self.seen.append((topic, payload))
                self._send(target, head, body)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _send(self, target: socket.socket, head: int, body: bytes) -> None:
        with self._sending:
            target.sendall(bytes([head]) + _length(len(body)) + body)


def _packet(read: Callable[[int], bytes]) -> tuple[int, bytes] | None:
    """Header and body of the next packet."""
    head, size, shift = read(1), 0, 0
    while head:
        digit = read(1)
        if not digit:
            return None
        size |= (digit[0] & 0x7F) << shift
        shift += 7
        if digit[0] < 0x80:
            return head[0], read(size)
    return None


def _publication(head: int, body: bytes) -> tuple[str, bytes, bytes]:
    """Topic, identifier (empty at QoS 0) and payload."""
    end = 2 + int(struct.unpack(">H", body[:2])[0])
    mid = body[end : end + 2] if head & 0x06 else b""
    start = end + len(mid)
    return body[2:end].decode(), mid, body[start + 1 + body[start] :]  # properties are short


def _length(size: int) -> bytes:
    digits = bytearray()
    while True:
        size, digit = divmod(size, 128)
        digits.append(digit | (0x80 if size else 0))
        if not size:
            return bytes(digits)
