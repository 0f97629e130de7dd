"""A small community."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware.trading.identity import Identity
from firmware.trading.membership import Membership
from tests.firmware.mqtt.conftest import Broker
from tests.firmware.trading.people import document, entry


@pytest.fixture(scope="session")
def ann() -> Identity:
    return Identity.new()


@pytest.fixture(scope="session")
def bob() -> Identity:
    return Identity.new()


@pytest.fixture(scope="session")
def admins() -> list[Identity]:
    return [Identity.new() for _ in range(3)]


@pytest.fixture(scope="session")
def street(admins: list[Identity], ann: Identity, bob: Identity) -> Membership:
    return document(admins, 2, [entry(ann), entry(bob)])


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that lets everybody in, not started yet."""
    made = Broker(tmp_path)
    yield made
    made.stop(signal.SIGKILL)
