"""A small HTTP server that nobody can hold up, and that cannot hold up the loop.

GET and HEAD alone, one request per connection.
"""

import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus

from firmware.small_server import SmallServer
from firmware.unexpected import SteadyThread
from firmware.web.http_request import RefusedError, Request, Response, own_names, request_of

log = logging.getLogger("nanogrid")

HEAD_BYTES = 8192
STOP_S = 5.0
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
        self._stopping = threading.Event()
        self._thread = SteadyThread(name, self._run)

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
            self._thread.join(STOP_S)

    def _run(self) -> None:
        listener = self._listener()
        if listener is not None:
            with listener:
                SmallServer(self._read).serve(listener, self._stopping)

    def _listener(self) -> socket.socket | None:
        """The listening socket, as soon as it can be had; None when it is time to stop."""
        while not self._stopping.is_set():
            try:
                listener = _listen(self._host, self._port)
            except (OSError, UnicodeError) as error:  # a name that cannot be one is the latter
                why = getattr(error, "strerror", None) or str(error)
                if not self.problem:
                    log.error("no %s at %s: %s; tried again", self.name, self.url, why)
                self.problem = why
            else:
                self.problem = ""
                log.info("%s at %s", self.name, self.url)
                return listener
            self._stopping.wait(RETRY_S)
        return None

    def _read(self, received: bytes, _link: socket.socket) -> bytes | None:
        """The answer to all that comes before the empty line."""
        head, end, _ = received.partition(b"\r\n\r\n")
        if end and len(head) <= HEAD_BYTES:
            return self._answered(head)
        if len(received) > HEAD_BYTES:
            status = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return _message(RefusedError(status, f"longer than {HEAD_BYTES} bytes").response)
        return None

    def _answered(self, head: bytes) -> bytes:
        try:
            request = request_of(head, self._names)
        except RefusedError as refused:
            return _message(refused.response)
        response = self._answer(request.path) or _UNKNOWN
        return _message(response, request)


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
