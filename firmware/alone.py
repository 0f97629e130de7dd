"""One controller per plant: a second one would fight the first over every setpoint.

What a service uses alone is claimed by name, as abstract Unix sockets (unix(7)): they need no disk,
hold between users, and end with the process, however it ends.
"""

import errno
import hashlib
import os
import socket
import struct
from collections.abc import Iterable

from firmware.config import Site
from firmware.wiring import build_link

PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid
ASKED = 128  # so often the holder is named


class NotAloneError(Exception):
    """Another process controls the same; the message is one line that names what and who."""


class Claims:
    """Things that this process uses alone, until it ends or lets go."""

    def __init__(self, things: Iterable[tuple[str, str]]) -> None:
        """Claim each (title, identity). Raises NotAloneError, and then holds none."""
        self._held: list[socket.socket] = []
        try:
            for title, identity in things:
                self._held.append(_claim(title, identity))
        except NotAloneError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of all."""
        for held in self._held:
            held.close()


def claimed_by(site: Site) -> dict[str, str]:
    """Title -> identity of what one service of a site uses alone."""
    found = {f"bus {bus.name}": str(build_link(bus)) for bus in site.bus}
    paths = (
        ("store.path", site.store.path),
        ("local.socket", site.local.socket),
        ("recording.path", site.recording.path),
    )
    return found | {f"{key} {path}": os.path.realpath(path) for key, path in paths if path}


def _claim(title: str, identity: str) -> socket.socket:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    name = "\0nanogrid-" + hashlib.sha256(identity.encode()).hexdigest()[:32]
    try:
        claim.bind(name)
        claim.listen(ASKED)
    except OSError as error:
        claim.close()
        if error.errno != errno.EADDRINUSE:
            raise NotAloneError(f"{title}: cannot be claimed: {error.strerror}") from None
        raise NotAloneError(f"{title}: {_holder(name)} uses it already") from None
    return claim


def _holder(name: str) -> str:
    """Who has claimed it, as far as that can be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(name)
            credentials = asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size)
        except OSError:  # it has ended meanwhile, or was asked very often
            return "another process"
    return f"process {PEER.unpack(credentials)[0]}"
