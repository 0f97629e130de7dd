"""A real MQTT broker for the bench: Mosquitto on a free port of this machine."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HOST = "127.0.0.1"
READY_S = 30.0
STOP_S = 10.0
PLACES = "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/sbin"


class BrokerError(Exception):
    """There is no broker; one line says why."""


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """Run Mosquitto with its files in `folder`; yield its port. Raises BrokerError, OSError."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path=PLACES)
    if program is None:
        raise BrokerError("mosquitto: not found; on Debian: apt install mosquitto")
    port = _free_port()
    file = folder / "mosquitto.conf"
    file.write_text(f"listener {port} {HOST}\nallow_anonymous true\npersistence false\n")
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(file)], stdout=log, stderr=log)
        try:
            _wait(process, port, Path(log.name))
            yield port
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end_s = time.monotonic() + READY_S
    while time.monotonic() < end_s and process.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), 1.0):
            return
        time.sleep(0.02)
    raise BrokerError(f"mosquitto does not listen at port {port}; see {log}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
