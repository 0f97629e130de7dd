"""The face of `spidev` on the bench's FakePi: the part that drivers use, as strict as the chip."""

from collections.abc import Sequence

from hil.fake_pi import FakePi, current


class SpiDev:
    """One device on one bus; like the real one it starts in mode 0 at the kernel's full speed."""

    def __init__(self) -> None:
        """Closed until `open`."""
        self.mode = 0
        self.max_speed_hz = 125_000_000
        self._at: tuple[FakePi, int, int] | None = None

    def open(self, bus: int, device: int) -> None:
        """Open /dev/spidev<bus>.<device>; FileNotFoundError where nothing is wired."""
        pi = current()
        pi.check_wired(bus, device)
        self._at = pi, bus, device

    def close(self) -> None:
        """Harmless when closed."""
        self._at = None

    def xfer2(self, values: Sequence[int]) -> list[int]:
        """One transfer with chip select held; as many bytes come back as go out."""
        if self._at is None:
            raise OSError(9, "Bad file descriptor")
        pi, bus, device = self._at
        return pi.transfer(bus, device, self.mode, self.max_speed_hz, values)
