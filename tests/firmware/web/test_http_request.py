"""Requests that are answered, and those that are not."""

import contextlib
import socket
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.web.http_request import RefusedError, is_known, own_names, request_of

NAMES = own_names("gate.example")
OK = b"GET / HTTP/1.1\r\nHost: localhost"


def refused(head: bytes) -> HTTPStatus:
    with pytest.raises(RefusedError) as found:
        request_of(head, NAMES)
    return found.value.response.status


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:8080",
        "page.localhost:1",
        "127.0.0.1",
        "192.168.1.7:8080",
        "[::1]:8080",
        "[fe80::1]",
        "gate.example",
        "Gate.Example:8080",
        "gate.example.",
        socket.gethostname(),
        f"{socket.gethostname().partition('.')[0]}.local:8080",
    ],
)
def test_addresses_and_own_names_are_known(host: str) -> None:
    assert is_known(host, NAMES)
    assert request_of(f"GET /x?y=1 HTTP/1.1\r\nhOST: {host}".encode(), NAMES).path == "/x"


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evillocalhost",
        "user@localhost",
        "localhost:80:80",
        "localhost:http",
        "[::1",
        "[::1]x",
        "1.2.3",
        "gate.example/x",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not is_known(host, NAMES)
    head = f"GET / HTTP/1.1\r\nHost: {host}".encode()
    assert refused(head) is HTTPStatus.MISDIRECTED_REQUEST


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"", HTTPStatus.BAD_REQUEST),
        (b"\x16\x03\x01", HTTPStatus.BAD_REQUEST),
        (b"GET /", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/2.0\r\nHost: localhost", HTTPStatus.BAD_REQUEST),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost", HTTPStatus.BAD_REQUEST),
        (b"GET / HTTP/1.1", HTTPStatus.BAD_REQUEST),
        (OK + b"\r\nHost: localhost", HTTPStatus.BAD_REQUEST),
        (b"POST / HTTP/1.1\r\nHost: localhost", HTTPStatus.METHOD_NOT_ALLOWED),
        (b"OPTIONS / HTTP/1.1\r\nHost: localhost", HTTPStatus.METHOD_NOT_ALLOWED),
    ],
)
def test_what_is_not_a_plain_request_is_refused(head: bytes, status: HTTPStatus) -> None:
    assert refused(head) is status


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(head: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert request_of(head, NAMES).path.startswith("/")


@given(st.text(max_size=60))
def test_a_host_that_is_known_has_no_strange_letters(host: str) -> None:
    if is_known(host, frozenset({"gate.example"})):
        assert not set(host) & set("/@ \r\n?#")
