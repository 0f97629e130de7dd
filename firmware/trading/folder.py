"""Where a box keeps what it needs to trade: its key, the membership document, the ledger."""

import os
from pathlib import Path

from firmware.trading.identity import Identity, IdentityError, read_identity
from firmware.trading.membership import (
    Membership,
    MembershipError,
    follow,
    read_membership,
    require_signed,
)

DEFAULT = Path("/var/lib/nanogrid/trading")


class FolderError(Exception):
    """A folder that cannot be used for trading; one line says why."""


class Folder:
    """The files of one box. What is written belongs to whoever owns the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.key = path / "identity.pem"
        self.admin_key = path / "administrator.pem"
        self.document = path / "community.json"
        self.ledger = path / "ledger.db"

    def identity(self) -> Identity:
        """This box; its key is made when there is none. Raises FolderError."""
        return self._key(self.key)

    def administrator(self, *, make: bool = False) -> Identity:
        """The administrator who sits at this box. Raises FolderError."""
        if not make and not self.admin_key.exists():
            raise FolderError(f"{self.admin_key}: no such file: this box has no administrator")
        return self._key(self.admin_key)

    def membership(self) -> Membership | None:
        """The community's document, None before the box has joined. Raises FolderError."""
        try:
            return read_membership(self.document.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FolderError(f"{self.document}: {error.strerror}") from None
        except MembershipError as error:
            raise FolderError(f"{self.document}: {error}") from None

    def keep(self, document: Membership) -> None:
        """Replace the document, whole or not at all. Raises FolderError."""
        part = self.document.with_name(f"{self.document.name}.part")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(document.raw() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            self._give_to_owner(part)
            part.replace(self.document)
        except OSError as error:
            raise FolderError(f"{part}: {error.strerror}") from None

    def join(self, document: Membership) -> None:
        """Take over a document that a person brought. Raises FolderError, MembershipError."""
        current = self.membership()
        if current is None:
            require_signed(document, document.admins)
        else:
            document = follow(current, document)
        if document.member(self.identity().peer) is None:
            raise MembershipError(f"version {document.version}: this box is not in it")
        self.keep(document)

    def _key(self, path: Path) -> Identity:
        try:
            if not path.exists():
                self.path.mkdir(parents=True, exist_ok=True)
                Identity.new().write(path)
                self._give_to_owner(path)
            return read_identity(path)
        except OSError as error:
            raise FolderError(f"{path}: {error.strerror}") from None
        except IdentityError as error:
            raise FolderError(str(error)) from None

    def _give_to_owner(self, path: Path) -> None:
        """A service of its own user reads what root made for it."""
        owner = self.path.parent.stat()
        if os.geteuid() == 0:
            os.chown(self.path, owner.st_uid, owner.st_gid)
            os.chown(path, owner.st_uid, owner.st_gid)
