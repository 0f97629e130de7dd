"""A small HTTP server that nobody can hold up, and that cannot hold up the loop.

GET and HEAD alone, one request per connection. All of it happens in one thread that works in small
portions with pauses between them: however many ask, and however slowly, the loop does not notice.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from firmware.web.http_request import RefusedError, Request, Response, own_names, request_of

log = logging.getLogger("nanogrid")

HEAD_BYTES = 8192
SEND_BYTES = 1 << 16
CLIENTS = 24
ACCEPTED = 8  # at one look
CLIENT_S = 5.0  # a client has so long for all of it
PAUSE_S = 0.01  # between two looks at the clients
IDLE_S = 0.2
RETRY_S = 5.0  # for an address that is not there yet, or is taken
BACKLOG = 64
HEADERS = (
    ("Connection", "close"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)

Answer = Callable[[str], Response | None]


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    until_s: float
    head: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None


class HttpServer:
    """Serves one TCP port from a thread of its own; `answer` gives None for an unknown path.

    An address that cannot be had is one line in the log, and tried again.
    """

    def __init__(self, name: str, host: str, port: int, answer: Answer) -> None:
        """`name` is what the log and the status call it."""
        self.name = name
        self.problem = ""  # why nobody is served
        self._host, self._port = host or "127.0.0.1", port
        self._names = own_names(host)
        self._answer = answer
        self._clients: dict[int, _Client] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def url(self) -> str:
        """Where it is, or is wanted."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(CLIENT_S)

    def _run(self) -> None:
        listener = self._listener()
        if listener is None:
            return
        with listener, selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            while not self._stopping.is_set():
                events = selector.select(IDLE_S)
                for key, _ in events:
                    if key.fileobj is listener:
                        for _ in range(ACCEPTED):
                            self._accept(listener, selector)
                    elif key.fd in self._clients:
                        self._serve(self._clients[key.fd], selector)
                self._drop_late(selector)
                if events:
                    self._stopping.wait(PAUSE_S)
            for client in list(self._clients.values()):
                self._drop(client, selector)

    def _listener(self) -> socket.socket | None:
        """The listening socket, as soon as it can be had; None when it is time to stop."""
        while not self._stopping.is_set():
            try:
                listener = _listen(self._host, self._port)
            except OSError as error:
                if not self.problem:
                    log.error("no %s at %s: %s; tried again", self.name, self.url, error.strerror)
                self.problem = error.strerror or str(error)
            else:
                self.problem = ""
                log.info("%s at %s", self.name, self.url)
                return listener
            self._stopping.wait(RETRY_S)
        return None

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

    def _serve(self, client: _Client, selector: selectors.BaseSelector) -> None:
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
        """Read on; after the empty line the answer is on its way. True: it is over."""
        received = client.socket.recv(HEAD_BYTES)
        client.head += received
        head, end, _ = client.head.partition(b"\r\n\r\n")
        if end and len(head) <= HEAD_BYTES:
            client.answer = memoryview(self._answered(bytes(head)))
        elif len(client.head) > HEAD_BYTES:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            refused = RefusedError(status, f"longer than {HEAD_BYTES} bytes")
            client.answer = memoryview(_message(refused.response))
        return not received

    def _answered(self, head: bytes) -> bytes:
        try:
            request = request_of(head, self._names)
        except RefusedError as refused:
            return _message(refused.response)
        response = self._answer(request.path) or _UNKNOWN
        return _message(response, request)

    def _drop_late(self, selector: selectors.BaseSelector) -> None:
        now_s = time.monotonic()
        for client in [c for c in self._clients.values() if c.until_s < now_s]:
            self._drop(client, selector)

    def _drop(self, client: _Client, selector: selectors.BaseSelector) -> None:
        del self._clients[client.socket.fileno()]
        selector.unregister(client.socket)
        client.socket.close()


_UNKNOWN = Response(HTTPStatus.NOT_FOUND, b"nothing here\n")


def _message(response: Response, request: Request | None = None) -> bytes:
    """The whole answer; what may be kept by a browser says so itself."""
    lines = [f"HTTP/1.1 {response.status.value} {response.status.phrase}"]
    fixed = (("Content-Type", response.kind), ("Content-Length", str(len(response.body))))
    kept = () if any(name == "Cache-Control" for name, _ in response.headers) else _NOT_KEPT
    lines += [f"{name}: {value}" for name, value in (*fixed, *HEADERS, *kept, *response.headers)]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head if request is not None and request.headers_only else head + response.body


_NOT_KEPT = (("Cache-Control", "no-store"),)


def _send(client: _Client) -> bool:
    """Send on. True: all of it has been sent."""
    answer = client.answer or memoryview(b"")
    client.answer = answer[client.socket.send(answer[:SEND_BYTES]) :]
    if not client.answer:
        with contextlib.suppress(OSError):
            client.socket.shutdown(socket.SHUT_WR)
    return not client.answer


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError, also for a name that leads nowhere."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
