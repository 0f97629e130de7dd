"""Whether a box can trade: its place in a community, its key, its ledger. Writes nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

from firmware.trading.folder import Folder, FolderError
from firmware.trading.identity import IdentityError, read_identity
from firmware.trading.ledger import LedgerError
from firmware.trading.ledger_check import check


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was found; `problem` is empty when nothing keeps the box from trading."""

    problem: str = ""
    community: str = ""
    members: int = 0
    house: str = ""  # this box in the list of members
    peer: str = ""
    entries: int = 0  # of the ledger


def readiness(path: Path) -> Readiness:
    """What a folder holds, as far as this user may read it."""
    folder = Folder(path)
    try:
        document = folder.membership()
        if document is None:
            return Readiness(f"{path}: this box is in no community yet: `nanogrid community join`")
        identity = read_identity(folder.key)
        own = document.member(identity.peer)
        entries, problem = _ledger(folder, identity.peer)
    except (FolderError, IdentityError, LedgerError) as error:
        return Readiness(str(error))
    except OSError as error:
        return Readiness(f"{path}: {error.strerror}")
    if own is None:
        problem = f"{folder.document}: {identity.peer}, this box, is not in it"
    house = own.name if own else ""
    return Readiness(
        problem, document.community, len(document.members), house, identity.peer, entries
    )


def _ledger(folder: Folder, peer: str) -> tuple[int, str]:
    """How many entries it has, and what is wrong with it. Raises LedgerError, OSError."""
    if not os.access(folder.path, os.W_OK):
        return 0, f"{folder.path}: this user may not write there"
    if not folder.ledger.exists():
        return 0, ""
    checked = check(folder.ledger, signatures=False)
    problem = f"{folder.ledger}: {checked.fault}" if checked.fault else ""
    if checked.owner != peer:
        problem = f"{folder.ledger}: of {checked.owner}, not of this box"
    return checked.head.seq, problem
