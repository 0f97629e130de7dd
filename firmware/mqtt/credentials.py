"""What the broker wants to see: certificates and the password, read anew for each connection."""

import ssl
from pathlib import Path

from firmware.config_operation import Broker

PASSWORD_BYTES = 4096


class CredentialError(Exception):
    """A file that cannot be used; one line names it."""


def tls_context(settings: Broker) -> ssl.SSLContext | None:
    """How to verify the broker and to show who we are; None without TLS.

    Raises CredentialError.
    """
    if not settings.tls_ca:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings.tls_ca)
    except OSError as error:
        raise CredentialError(_said(settings, "tls_ca", settings.tls_ca, error)) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # Python 3.13 began to ask for extensions that a village's own authority rarely writes.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if settings.tls_certificate:
        try:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key, _no_passphrase)
        except OSError as error:
            files = f"{settings.tls_certificate} with {settings.tls_key}"
            raise CredentialError(_said(settings, "tls_certificate", files, error)) from None
        except ValueError as error:
            raise CredentialError(
                f"{settings.where}.tls_key: {settings.tls_key}: {error}"
            ) from None
    return context


def password(settings: Broker) -> str | None:
    """The first line of the password file, None without one. Raises CredentialError."""
    if not settings.password_file:
        return None
    try:
        with Path(settings.password_file).open("rb") as file:
            text = file.read(PASSWORD_BYTES).decode()
    except OSError as error:
        raise CredentialError(
            _said(settings, "password_file", settings.password_file, error)
        ) from None
    except UnicodeDecodeError:
        message = f"{settings.where}.password_file: {settings.password_file}: not UTF-8 text"
        raise CredentialError(message) from None
    if not (first := text.partition("\n")[0].rstrip("\r")):
        message = (
            f"{settings.where}.password_file: {settings.password_file}: its first line is empty"
        )
        raise CredentialError(message)
    return first


def problems(settings: Broker) -> list[str]:
    """What is wrong with the files that a broker's table names, a line each."""
    found = []
    for read in (tls_context, password):
        try:
            read(settings)
        except CredentialError as error:
            found.append(str(error))
    return found


def _said(settings: Broker, key: str, path: str, error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        said = (error.reason or "not a certificate in PEM form").replace("_", " ").lower()
    else:
        said = error.strerror or str(error)
    return f"{settings.where}.{key}: {path}: {said}"


def _no_passphrase() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("must not have a passphrase")
