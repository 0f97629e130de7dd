"""A real `nanogrid run` beside the bench's devices, and what it says of itself."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firmware.config import load_site
from firmware.local_client import LocalError, ask_status

DEADLINE_S = 60.0
Document = dict[str, Any]


@dataclass
class Service:
    """Starts `nanogrid run` for a site, again and again."""

    site: Path
    environment: dict[str, str]
    process: "subprocess.Popen[bytes] | None" = field(default=None, kw_only=True)

    @property
    def socket(self) -> Path:
        return Path(load_site(self.site).local.socket)

    @property
    def log(self) -> str:
        """Of all runs so far."""
        return (self.site.parent / "log").read_text()

    def start(self, *options: str) -> "subprocess.Popen[bytes]":
        with (self.site.parent / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "firmware", "run", "--config", str(self.site), *options],
                env={**os.environ, **self.environment},
                stderr=log,
            )
        return self.process

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE_S)  # of one that hangs `kill` still knows
        self.process = None
        return status

    def kill(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.stop(signal.SIGKILL)

    @contextlib.contextmanager
    def running(self, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
        try:
            yield self.start(*options)
        finally:
            self.kill()

    def status(self) -> Document:
        """The status document, empty while nobody answers."""
        try:
            return ask_status(self.socket)
        except LocalError:
            return {}

    def wait_for(self, what: Callable[[Document], bool]) -> Document:
        """The first status of which `what` is true."""
        end_s = time.monotonic() + DEADLINE_S
        while not ((found := self.status()) and what(found)):
            alive = self.process is not None and self.process.poll() is None
            assert alive, self.log
            assert time.monotonic() < end_s, (found, self.log)
            time.sleep(0.02)
        return found
