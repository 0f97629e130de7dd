"""The server on a real port, against clients of every kind."""

import contextlib
import socket
from collections.abc import Iterator
from http import HTTPStatus

import pytest

from firmware import small_server
from firmware.small_server import CLIENTS
from firmware.web import http_server
from firmware.web.http_request import Response
from firmware.web.http_server import HEAD_BYTES, HttpServer

from .conftest import DEADLINE_S, fetched, free_port, wait_for

BIG = b"x" * 3_000_000


def answer(path: str) -> Response | None:
    bodies = {"/": b"hello\n", "/big": BIG}
    return Response(HTTPStatus.OK, bodies[path]) if path in bodies else None


@pytest.fixture
def server() -> Iterator[HttpServer]:
    made = HttpServer("page", "127.0.0.1", free_port(), answer)
    made.start()
    wait_for(lambda: reachable(made))
    yield made
    made.stop()


def port_of(server: HttpServer) -> int:
    return int(server.url.rstrip("/").rpartition(":")[2])


def reachable(server: HttpServer) -> bool:
    try:
        return fetched(port_of(server), "/").status == HTTPStatus.OK
    except OSError:
        return False


def connected(server: HttpServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), DEADLINE_S)


def said(server: HttpServer, request: bytes) -> bytes:
    """All that comes back."""
    received = b""
    with connected(server) as link, contextlib.suppress(ConnectionResetError):
        link.sendall(request)
        while part := link.recv(1 << 16):
            received += part
    return received


def test_an_answer_has_its_headers(server: HttpServer) -> None:
    found = fetched(port_of(server), "/")
    assert found.read() == b"hello\n"
    assert found.headers["Content-Length"] == "6"
    assert found.headers["X-Content-Type-Options"] == "nosniff"
    assert found.headers["Cache-Control"] == "no-store"
    policy = found.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    assert "Access-Control-Allow-Origin" not in found.headers


def test_a_large_answer_arrives_whole(server: HttpServer) -> None:
    assert fetched(port_of(server), "/big").read() == BIG


def test_a_head_has_no_body(server: HttpServer) -> None:
    found = said(server, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"Content-Length: 6" in found
    assert found.endswith(b"\r\n\r\n")


def test_an_unknown_path_is_nothing(server: HttpServer) -> None:
    assert fetched(port_of(server), "/../etc/passwd").status == HTTPStatus.NOT_FOUND


def test_a_foreign_name_is_refused(server: HttpServer) -> None:
    found = fetched(port_of(server), "/", host="evil.example")
    assert found.status == HTTPStatus.MISDIRECTED_REQUEST
    assert b"hello" not in found.read()


def test_nothing_can_be_posted(server: HttpServer) -> None:
    found = said(server, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
    assert found.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET, HEAD\r\n" in found


def test_a_request_byte_by_byte_is_one(server: HttpServer) -> None:
    with connected(server) as link:
        for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n":
            link.send(bytes([byte]))
        assert link.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_a_request_without_end_is_refused(server: HttpServer) -> None:
    found = said(server, b"GET / HTTP/1.1\r\nX: " + b"y" * HEAD_BYTES)
    assert found == b"" or found.startswith(b"HTTP/1.1 431 ")  # or cut off while still sending
    assert reachable(server)


def test_who_says_nothing_is_dropped(server: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_server, "CLIENT_S", 0.2)
    with connected(server) as link:
        link.sendall(b"GET / HT")
        link.settimeout(DEADLINE_S)
        assert link.recv(1) == b""


def test_many_who_say_nothing_or_do_not_read_keep_nobody_out(server: HttpServer) -> None:
    with contextlib.ExitStack() as links:
        for number in range(3 * CLIENTS):
            link = links.enter_context(connected(server))
            if number % 2:
                with contextlib.suppress(OSError):
                    link.sendall(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: reachable(server))


def test_a_taken_port_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(http_server, "RETRY_S", 0.05)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        server = HttpServer("page", "127.0.0.1", other.getsockname()[1], answer)
        server.start()
        wait_for(lambda: "in use" in server.problem)
    wait_for(lambda: reachable(server))
    assert server.problem == ""
    server.stop()
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert server.url in errors[0].getMessage()


def test_a_name_that_cannot_be_one_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HttpServer("page", "a..b", 1, answer)
    server.start()
    wait_for(lambda: "label" in server.problem)
    server.stop()


def test_a_server_that_never_got_its_port_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HttpServer("page", "192.0.2.1", 1, answer)  # nobody's address
    server.start()
    wait_for(lambda: bool(server.problem))
    server.stop()
    assert not server._thread.is_alive()
