"""Who a box is: an Ed25519 key that never leaves it, and the name that follows from the key."""

import os
from base64 import b32encode
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

KEY_BYTES = 32
SIGNATURE_BYTES = 64
_OTHERS = 0o077


class IdentityError(Exception):
    """A key that cannot be used; one line says why."""


def peer_id(public_key: bytes) -> str:
    """The name of a key: 16 letters and digits, fit for a topic."""
    return b32encode(sha256(public_key).digest()[:10]).decode().lower()


class Identity:
    """A private key and what can be done with it."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes_raw()
        self.peer = peer_id(self.public_key)

    @classmethod
    def new(cls) -> "Identity":
        """One that exists nowhere yet."""
        return cls(Ed25519PrivateKey.generate())

    def sign(self, purpose: str, data: bytes) -> bytes:
        """A signature for one purpose; it is none for any other."""
        return self._key.sign(_with_purpose(purpose, data))

    def write(self, path: Path) -> None:
        """Keep it in a new file that only its owner reads, whole or not at all. Raises OSError."""
        pem = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        part = path.with_name(f"{path.name}.part-{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)  # unlike a rename it never replaces a key
        finally:
            part.unlink()


def read_identity(path: Path) -> Identity:
    """The key in a file. Raises IdentityError."""
    try:
        mode = path.stat().st_mode & 0o777
        raw = path.read_bytes()
    except OSError as error:
        raise IdentityError(f"{path}: {error.strerror}") from None
    if mode & _OTHERS:
        raise IdentityError(f"{path}: mode {mode:o}: others may read this key; 600 allowed")
    try:
        key = load_pem_private_key(raw, password=None)
    except (ValueError, TypeError):
        raise IdentityError(f"{path}: not a private key in PEM without a password") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise IdentityError(f"{path}: not an Ed25519 key")
    return Identity(key)


def is_signed(public_key: bytes, signature: bytes, purpose: str, data: bytes) -> bool:
    """Whether the owner of a key signed this for this purpose."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature, _with_purpose(purpose, data))
    except (ValueError, InvalidSignature):
        return False
    return True


def _with_purpose(purpose: str, data: bytes) -> bytes:
    return b"NGM1|" + purpose.encode() + b"|" + data
