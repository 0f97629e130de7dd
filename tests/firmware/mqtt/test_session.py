"""Whatever a broker sends or does not send: a connection ends in a LinkError, and in time."""

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from firmware.config_operation import Mqtt
from firmware.mqtt import session as session_module
from firmware.mqtt.session import LinkError, Session, Will

CONNACK = b"\x20\x03\x00\x00\x00"
REFUSAL = b"\x20\x03\x00\x86\x00"
PUBLISH = b"\x30\x0c\x00\x04ng/1\x00hello"


@contextmanager
def server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Something that listens like a broker, and talks to whoever comes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    talk(connection)
        except OSError:
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def session(port: int) -> Session:
    return Session(Mqtt(host="127.0.0.1", port=port), "test", Will("ng/1/s/availability"), print)


def live(port: int) -> str:
    """Connect, do what a link does, and return how it ended."""
    made = session(port)
    try:
        made.open()
        made.subscribe(["ng/1/s/cmd"], lambda reason: None)
        made.publish("ng/1/s/event", "{}", 1, settled=lambda reason: None)
        while True:
            made.turn(None, 0.05)
    except LinkError as error:
        return str(error)
    finally:
        made.drop()


def test_any_bytes_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random packets, with and without an accepted connection before them."""
    monkeypatch.setattr(session_module, "CONNECT_S", 1.0)
    random_numbers = random.Random(5)
    packets: list[bytes] = []
    for _ in range(150):
        kind = random_numbers.choice([0x20, 0x30, 0x32, 0x34, 0x40, 0x50, 0x62, 0x90, 0xB0, 0xE0])
        body = random_numbers.randbytes(random_numbers.choice([0, 1, 2, 3, 5, 30, 127]))
        packet = bytes([kind, len(body)]) + body
        packets.append(random_numbers.choice([b"", CONNACK]) + packet)
        packets.append(CONNACK + random_numbers.randbytes(40))
    waiting = iter(packets)

    def talk(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(next(waiting))

    with server(talk) as port:
        for _ in packets:
            said = live(port)
            assert said
            assert "\n" not in said


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "connection lost"),
        (REFUSAL, "refused: bad user name or password"),
        (CONNACK + b"\xe0\x02\x8b\x00", "disconnected by the broker: server shutting down"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
    ],
)
def test_how_it_ends(answer: bytes, said: str) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(answer)
        connection.settimeout(0.1)
        with suppress(TimeoutError):  # what is not read resets the connection
            while connection.recv(1024):
                pass

    with server(talk) as port:
        assert said in live(port)


def _listen_until_it_hangs_up(connection: socket.socket) -> None:
    connection.settimeout(10.0)
    with suppress(ConnectionError):
        while connection.recv(1024):
            pass


def test_one_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "CONNECT_S", 0.2)
    with server(_listen_until_it_hangs_up) as port:
        assert live(port) == "no answer to the request to connect"


def test_one_that_acknowledges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "ACKNOWLEDGE_S", 0.2)

    def talk(connection: socket.socket) -> None:
        connection.recv(1024)
        connection.sendall(CONNACK)
        _listen_until_it_hangs_up(connection)

    with server(talk) as port:
        assert live(port).startswith("acknowledged nothing for")


def test_nobody_there() -> None:
    with server(lambda connection: None) as port:
        pass
    assert live(port) == "connection refused"
    bad = Session(Mqtt(host="no-such-host.invalid", port=port), "t", Will("a"), print)
    with pytest.raises(LinkError):
        bad.open()
