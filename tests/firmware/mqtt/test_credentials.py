"""TLS with client certificates, access rules, and files that cannot be used."""

import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from firmware.commands.check import check
from firmware.config_operation import Mqtt
from firmware.mqtt import backoff
from firmware.mqtt.credentials import problems
from tests.firmware.mqtt.certificates import Authority
from tests.firmware.mqtt.conftest import Broker, Links, Listener, free_port, wait_for

SITE = "ng/1/clinic-01"
EXAMPLE = Path(__file__).parents[3] / "examples" / "site.toml"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_S", 0.1)
    monkeypatch.setattr(backoff, "LAST_S", 0.2)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secured(broker: Broker, authority: Authority, tmp_path: Path) -> Broker:
    """A broker for certificates alone; each name may use its own site's topics."""
    certificate, key = authority.issue("broker")
    rules = tmp_path / "acl"
    rules.write_text("pattern readwrite ng/1/%u/#\npattern write homeassistant/device/%u/config\n")
    broker.beside = free_port()
    broker.options = f"""
per_listener_settings true
cafile {authority.path}
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
acl_file {rules}
listener {broker.beside} 127.0.0.1
allow_anonymous true
"""
    return broker


def tls(authority: Authority, name: str) -> dict[str, str]:
    certificate, key = authority.issue(name)
    return {
        "tls_ca": str(authority.path),
        "tls_certificate": str(certificate),
        "tls_key": str(key),
    }


def listen_beside(broker: Broker, listen: Callable[..., Listener]) -> Listener:
    """A listener at the second listener of the secured broker."""
    assert broker.beside is not None
    return listen(Broker(broker.folder, broker.beside))


def test_client_certificates(
    secured: Broker, authority: Authority, links: Links, listen: Callable[..., Listener]
) -> None:
    secured.start()
    listener = listen_beside(secured, listen)
    link = links.make(secured, **tls(authority, "clinic-01"))
    links.cycle(link, events=40)
    wait_for(lambda: len(listener.payloads(f"{SITE}/event")) == 40, lambda: link.status)
    assert link.status.refused == {}


def test_what_the_access_rules_refuse_is_said_once(
    secured: Broker, authority: Authority, links: Links, caplog: pytest.LogCaptureFixture
) -> None:
    secured.start()
    link = links.make(secured, **tls(authority, "somebody-else"))
    for _ in range(10):
        links.cycle(link, events=1)
    wait_for(lambda: f"{SITE}/event" in link.status.refused, lambda: link.status)
    wait_for(lambda: f"{SITE}/roof/meta" in link.status.refused)
    assert link.status.refused[f"{SITE}/event"] == "not authorized"
    assert link.status.connected
    assert link.status.waiting == 10
    lines = [r.getMessage() for r in caplog.records if f"refuses {SITE}/event" in r.getMessage()]
    assert len(lines) == 1


@pytest.mark.parametrize("which", ["broker", "own", "none"])
def test_who_is_not_trusted_is_said_once(
    secured: Broker,
    authority: Authority,
    tmp_path: Path,
    links: Links,
    which: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The broker's authority is not ours, or ours is not the broker's, or we show nothing."""
    other = Authority(tmp_path, "other")
    settings = tls(other if which == "own" else authority, "clinic-01")
    settings["tls_ca"] = str(other.path if which == "broker" else authority.path)
    if which == "none":
        settings |= {"tls_certificate": "", "tls_key": ""}
    secured.start()
    link = links.make(secured, **settings)
    attempts = (secured.folder / "broker.log").read_text
    wait_for(lambda: attempts().count("OpenSSL Error") >= 6)
    said = {
        "broker": "certificate of the broker: ",
        "own": "unknown ca",
        "none": "certificate required",
    }
    wait_for(lambda: said[which] in caplog.text)  # or the broker was faster to hang up
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(lines) == len(set(lines)) <= 2
    assert not link.status.connected


def test_plain_text_to_a_tls_port_and_back(
    secured: Broker, broker: Broker, authority: Authority, links: Links
) -> None:
    secured.start()
    link = links.make(secured)
    wait_for(lambda: link.status.problem)
    assert not link.status.connected


def test_files_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    certificate, key = map(str, authority.issue("clinic-01"))
    _, other_key = map(str, authority.issue("other"))
    _, locked_key = map(str, authority.issue("locked", b"secret"))
    ca, absent, text = str(authority.path), str(tmp_path / "absent"), tmp_path / "text"
    text.write_text("not a certificate\n")
    empty, binary = tmp_path / "empty", tmp_path / "binary"
    empty.write_text("\nsecond line\n")
    binary.write_bytes(b"\xff\xfe\n")
    cases: list[tuple[dict[str, str], str]] = [
        ({"tls_ca": ca, "tls_certificate": certificate, "tls_key": key}, ""),
        ({"tls_ca": absent}, f"mqtt.tls_ca: {absent}: No such file"),
        ({"tls_ca": str(text)}, f"mqtt.tls_ca: {text}: "),
        ({"tls_ca": ca, "tls_certificate": certificate, "tls_key": absent}, "No such file"),
        ({"tls_ca": ca, "tls_certificate": certificate, "tls_key": other_key}, "mismatch"),
        ({"tls_ca": ca, "tls_certificate": str(text), "tls_key": key}, "mqtt.tls_certificate"),
        ({"tls_ca": ca, "tls_certificate": certificate, "tls_key": locked_key}, "passphrase"),
        ({"password_file": absent}, f"mqtt.password_file: {absent}: No such file"),
        ({"password_file": str(empty)}, "its first line is empty"),
        ({"password_file": str(binary)}, "not UTF-8"),
        ({"password_file": str(tmp_path)}, "Is a directory"),
    ]
    for settings, expected in cases:
        found = problems(Mqtt(**settings))
        assert len(found) == bool(expected), (settings, found)
        assert expected in "".join(found)
        assert "\n" not in "".join(found)


def test_check_looks_into_the_files(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    (tmp_path / "ca.pem").write_text("nothing\n")
    content = EXAMPLE.read_text()
    for key, value in (("host", "127.0.0.1"), ("tls_ca", "ca.pem")):
        content = re.sub(rf'(?m)^#? ?{key} = "".*$', f'{key} = "{value}"', content, count=1)
    site.write_text(content)
    result = CliRunner().invoke(check, ["--config", str(site)])
    assert result.exit_code == 2
    assert f"{site}: mqtt.tls_ca: {tmp_path / 'ca.pem'}: " in result.stderr
