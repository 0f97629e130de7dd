"""How other threads wake one that waits for the network."""

import contextlib
import socket

WAKE_BYTES = 4096


class Waker:
    """A socket that becomes readable; close to nothing, and never in the way of who wakes."""

    def __init__(self) -> None:
        self.socket, self._other_end = socket.socketpair()
        self.socket.setblocking(False)
        self._other_end.setblocking(False)

    def wake(self) -> None:
        """From any thread."""
        with contextlib.suppress(BlockingIOError):  # it has been woken
            self._other_end.send(b"x")

    def slept(self) -> None:
        """The thread is awake."""
        with contextlib.suppress(BlockingIOError):
            self.socket.recv(WAKE_BYTES)
