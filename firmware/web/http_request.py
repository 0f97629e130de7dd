"""What a request may look like, and what is answered to one that may not."""

import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from http import HTTPStatus

TEXT = "text/plain; charset=utf-8"
METHODS = ("GET", "HEAD")
LOCAL_NAME = "localhost"
HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]/@]+)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back, apart from the headers that every answer has."""

    status: HTTPStatus
    body: bytes
    kind: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


class RefusedError(Exception):
    """A request that is not answered as its sender hoped."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        headers = (
            (("Allow", ", ".join(METHODS)),) if status is HTTPStatus.METHOD_NOT_ALLOWED else ()
        )
        self.response = Response(status, f"{why}\n".encode(), headers=headers)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may be answered; `path` is without the query."""

    path: str
    headers_only: bool


def request_of(head: bytes, names: Collection[str]) -> Request:
    """Read what came before the empty line. Raises RefusedError.

    `names` are the host names under which this server is known beside addresses and localhost: a
    page from elsewhere whose name suddenly leads here (DNS rebinding) is not one of them.
    """
    line, *fields = head.decode("latin-1").split("\r\n")
    method, _, rest = line.partition(" ")
    target, _, version = rest.partition(" ")
    if version not in ("HTTP/1.1", "HTTP/1.0"):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "not a request in HTTP/1.1")
    if method not in METHODS:
        raise RefusedError(
            HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD: this page changes nothing"
        )
    if not target.startswith("/"):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "the target must be a path that begins with /")
    hosts = [
        value.strip()
        for name, _, value in (f.partition(":") for f in fields)
        if name.lower() == "host"
    ]
    if len(hosts) != 1:
        raise RefusedError(HTTPStatus.BAD_REQUEST, "exactly one Host header is needed")
    if not is_known(hosts[0], names):
        why = "this name is not known here: use an IP address, localhost or the configured host"
        raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, why)
    return Request(target.partition("?")[0], method == "HEAD")


def is_known(host: str, names: Collection[str]) -> bool:
    """Whether a Host header names this machine: an address, localhost, or one of `names`."""
    found = HOST.fullmatch(host.lower())
    if found is None:
        return False
    name = found["name"].removesuffix(".")
    if name == LOCAL_NAME or name.endswith("." + LOCAL_NAME) or name in names:
        return True
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def own_names(configured: str) -> frozenset[str]:
    """The configured host, and this machine's name, bare and as multicast DNS has it."""
    machine = socket.gethostname().lower()
    return frozenset({configured.lower(), machine, f"{machine.partition('.')[0]}.local"} - {""})
