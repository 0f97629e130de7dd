"""Readiness and watchdog messages to systemd, over NOTIFY_SOCKET (sd_notify(3))."""

import contextlib
import os
import socket


class Notifier:
    """Tells systemd; does nothing when there is none."""

    def __init__(self) -> None:
        """Look for the socket in the environment."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    def send(self, message: str) -> None:
        """Send e.g. READY=1 or WATCHDOG=1; a full or missing socket loses the message."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(message.encode(), self._address)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
