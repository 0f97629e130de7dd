"""A small community."""

import pytest

from firmware.trading.identity import Identity
from firmware.trading.membership import Membership
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
