"""Many clients of one listening socket, served in one thread and in small portions.

A client sends one request and gets one answer. Between two looks at the clients there is a pause:
however many ask, and however slowly, the loop does not notice.
"""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

RECEIVE_BYTES = 8192
SEND_BYTES = 1 << 16
CLIENTS = 24
ACCEPTED = 4  # at one look
CLIENT_S = 5.0  # a client has so long for all of it
PAUSE_S = 0.01
IDLE_S = 0.2

Answer = Callable[[bytes, socket.socket], bytes | None]  # to what has come; None: it is not all


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    until_s: float
    request: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class SmallServer:
    """Serves a listening socket that does not block; `answer` bounds what it wants to hear."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._clients: dict[int, _Client] = {}

    def serve(self, listener: socket.socket, stopping: threading.Event) -> None:
        """Answer until `stopping`; nobody stays connected afterwards, however it ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            try:
                while not stopping.is_set():
                    events = selector.select(IDLE_S)
                    for key, _ in events:
                        if key.fileobj is listener:
                            for _ in range(ACCEPTED):
                                self._accept(listener, selector)
                        elif key.fd in self._clients:
                            self._attend(self._clients[key.fd], selector)
                    self._drop_late(selector)
                    if events:
                        stopping.wait(PAUSE_S)
            finally:
                for client in list(self._clients.values()):
                    self._drop(client, selector)

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        """Take one client; the oldest makes room."""
        try:
            connection, _ = listener.accept()
        except OSError:  # it has gone again, or there are too many open files
            return
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS:
            self._drop(min(self._clients.values(), key=lambda client: client.until_s), selector)
        self._clients[connection.fileno()] = _Client(connection, time.monotonic() + CLIENT_S)
        selector.register(connection, selectors.EVENT_READ)

    def _attend(self, client: _Client, selector: selectors.BaseSelector) -> None:
        try:
            if client.answer is None:
                finished = self._receive(client)
                if client.answer is not None:
                    selector.modify(client.socket, selectors.EVENT_WRITE)
            else:
                finished = _send(client)
        except BlockingIOError:
            return
        except OSError:
            finished = True
        if finished:
            self._drop(client, selector)

    def _receive(self, client: _Client) -> bool:
        """Read on; when it is all there the answer is on its way. True: it is over."""
        received = client.socket.recv(RECEIVE_BYTES)
        client.request += received
        answer = self._answer(bytes(client.request), client.socket)
        client.answer = None if answer is None else memoryview(answer)
        return not received and answer is None

    def _drop_late(self, selector: selectors.BaseSelector) -> None:
        now_s = time.monotonic()
        for client in [c for c in self._clients.values() if c.until_s < now_s]:
            self._drop(client, selector)

    def _drop(self, client: _Client, selector: selectors.BaseSelector) -> None:
        del self._clients[client.socket.fileno()]
        selector.unregister(client.socket)
        client.socket.close()


def _send(client: _Client) -> bool:
    """Send on. True: all of it has been sent."""
    answer = client.answer or memoryview(b"")
    client.answer = answer[client.socket.send(answer[:SEND_BYTES]) :]
    if not client.answer:
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
    return not client.answer
