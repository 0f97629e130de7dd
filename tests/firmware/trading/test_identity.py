"""Keys on disk, names of keys, and signatures for one purpose."""

import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from firmware.trading.identity import Identity, IdentityError, is_signed, peer_id, read_identity


def test_a_key_is_kept_for_its_owner_alone_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    identity = Identity.new()
    identity.write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_identity(path).peer == identity.peer
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    Identity.new().write(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        Identity.new().write(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_name_follows_from_the_key_and_fits_a_topic() -> None:
    names = {Identity.new().peer for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch(r"[a-z2-7]{16}", name) for name in names)
    assert peer_id(bytes(32)) == "mzuhvlpymk6xo3ep"


def test_a_signature_is_good_for_one_key_one_purpose_one_text() -> None:
    ann, bob = Identity.new(), Identity.new()
    signature = ann.sign("order", b"text")
    assert is_signed(ann.public_key, signature, "order", b"text")
    assert not is_signed(bob.public_key, signature, "order", b"text")
    assert not is_signed(ann.public_key, signature, "vote", b"text")
    assert not is_signed(ann.public_key, signature, "order", b"texT")
    assert not is_signed(ann.public_key, signature[:-1], "order", b"text")
    assert not is_signed(b"short", signature, "order", b"text")


def test_key_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="No such file"):
        read_identity(tmp_path / "none.pem")
    path = tmp_path / "key.pem"
    Identity.new().write(path)
    path.chmod(0o640)
    with pytest.raises(IdentityError, match="mode 640: others may read this key; 600 allowed"):
        read_identity(path)
    path.chmod(0o600)
    path.write_bytes(b"no key")
    with pytest.raises(IdentityError, match="not a private key in PEM"):
        read_identity(path)
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(IdentityError, match="not an Ed25519 key"):
        read_identity(path)
