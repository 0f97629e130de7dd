"""Readiness and watchdog messages to systemd, over NOTIFY_SOCKET (sd_notify(3))."""

import contextlib
import os
import socket

WATCHDOG_S = 15.0  # with a restart after it, within the default lease of a setpoint
WATCHDOG_PERIODS = 3


def ready(period_s: float) -> str:
    """The message that the loop runs, and after which silence it hangs: by its period."""
    watchdog_s = max(WATCHDOG_S, WATCHDOG_PERIODS * period_s)
    return f"READY=1\nWATCHDOG_USEC={round(1e6 * watchdog_s)}"


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
