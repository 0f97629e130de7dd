"""Energy counted since the last commit, where it outlives the process: killed, it has lost nothing.

One small record in a file on a memory file system (the socket's folder, /run/nanogrid as a rule) is
overwritten every cycle. It costs the card nothing, and is gone when the power is.
"""

import json
import logging
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path

log = logging.getLogger("nanogrid")

RECORD_BYTES = 4096


class EnergyTail:
    """The counters' totals in kWh up to the last cycle; does without when the file cannot be."""

    def __init__(self, path: Path) -> None:
        """Open or create the file."""
        self._file: int | None = None
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            log.warning("energy: %s: %s; a killed process loses seconds", path, error.strerror)

    def read(self) -> dict[str, float]:
        """The totals that an earlier process left; empty without usable ones."""
        if self._file is None:
            return {}
        try:
            check, _, content = os.pread(self._file, RECORD_BYTES, 0).partition(b" ")
            if int(check, 16) != zlib.crc32(content):
                return {}
            totals = json.loads(content)
            return {str(name): kwh for name, kwh in totals.items() if math.isfinite(kwh)}
        except (OSError, ValueError):  # nothing there yet, or not ours
            return {}

    def write(self, totals: Mapping[str, float]) -> None:
        """Overwrite the record; one small write that a kill cannot tear."""
        if self._file is None:
            return
        content = json.dumps(totals).encode().ljust(RECORD_BYTES - 9)
        try:
            os.pwrite(self._file, b"%08x " % zlib.crc32(content) + content, 0)
        except OSError as error:
            log.warning("energy: %s; a killed process loses seconds from now on", error.strerror)
            self.close()

    def close(self) -> None:
        """Let go of the file; it stays."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
