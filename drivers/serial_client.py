"""pymodbus's serial client with a reception of our own, which finds answers in noise."""

import select
import time

from pymodbus.client import ModbusSerialClient
from pymodbus.exceptions import ConnectionException
from pymodbus.framer.rtu import FramerRTU

_EXCEPTION_SIZE, _WRITE_SIZE = 5, 8
_WRITES = (5, 6, 15, 16)


class SerialClient(ModbusSerialClient):
    """An answer is what starts with the unit and function asked for and has the right check sum.

    What stands before it is dropped: lines without bias put a byte or two there whenever the
    direction turns, and some adapters echo the request. pymodbus would give up on the whole.
    """

    _asked = b""

    def connect(self) -> bool:
        """Open the port; an adapter that takes no bytes must not hold the bus either."""
        if self.socket is not None:  # pymodbus asks before every request
            return True
        opened = super().connect()
        if opened and self.socket is not None:
            self.socket.write_timeout = self.comm_params.timeout_connect
        return opened

    def send(self, request: bytes, addr: tuple[str, int] | None = None) -> int:
        """Send, and remember what answers to expect."""
        self._asked = request[:2]
        return int(super().send(request, addr))

    def recv(self, size: int | None) -> bytes:
        """One whole answer; b"" after a time-out of silence, or after two of anything else."""
        del size
        port = self.socket
        if port is None:
            raise ConnectionException("port is closed")
        timeout_s: float = self.comm_params.timeout_connect
        end_s = time.monotonic() + 2 * timeout_s
        received = b""
        try:
            while (left_s := end_s - time.monotonic()) > 0:
                if not select.select([port.fileno()], [], [], min(timeout_s, left_s))[0]:
                    break
                received += port.read(max(1, port.in_waiting))
                if answer := answer_in(received, self._asked):
                    return answer
        except OSError as error:
            self.close()  # type: ignore[no-untyped-call]
            raise ConnectionException(str(error)) from error
        return b""


def answer_in(received: bytes, asked: bytes) -> bytes:
    """The first complete RTU answer to a request that starts with `asked`, b"" while none is."""
    unit, function = asked
    for start in range(len(received) - _EXCEPTION_SIZE + 1):
        if received[start] != unit or received[start + 1] & 0x7F != function:
            continue
        size = _size(received, start)
        frame = received[start : start + size]
        if len(frame) == size and FramerRTU.check_CRC(
            frame[:-2], int.from_bytes(frame[-2:], "big")
        ):
            return frame
    return b""


def _size(received: bytes, start: int) -> int:
    function = received[start + 1]
    if function & 0x80:
        return _EXCEPTION_SIZE
    return _WRITE_SIZE if function in _WRITES else 5 + received[start + 2]
