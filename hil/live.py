"""A run in real time: `nanogrid run` as a process of its own against the bench's sockets."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from firmware.recording import Recording, RecordingError
from firmware.replay import replay
from hil.fake_pi_link import FakePiServer
from hil.observer import Observer
from hil.site_file import to_toml
from hil.world import World

TICK_S = 0.05
STOP_S = 15.0
RECORDING, STATISTICS, LOG = "cycles.jsonl.gz", "loop.json", "controller.log"
SOCKET, SOCKET_BYTES = "nanogrid.sock", 99  # see firmware.config_site_rules


class LiveError(Exception):
    """The controller's process failed; the message says how."""


@contextmanager
def served(
    world: World, folder: Path, history: Path | None, more: Mapping[str, Any] | None = None
) -> Iterator[tuple[Path, dict[str, str]]]:
    """Let the world run in real time; yield the site file and environment for a controller.

    `more` are further tables of the site file.
    """
    stopping = threading.Event()
    thread = threading.Thread(target=_advance, args=(world, stopping), name="world", daemon=True)
    table = {**world.site(), **(more or {})}
    if history is not None:
        table["forecast"] = {**table.get("forecast", {}), "history": str(history)}
    site = folder / "site.toml"
    with (
        tempfile.TemporaryDirectory(prefix="nanogrid-") as short,  # socket paths are limited
        FakePiServer(world.pi, Path(short) / "pi") as pi,
    ):
        table["local"] = {"socket": str(_socket(folder, Path(short)))}
        site.write_text(to_toml(table), encoding="utf-8")
        thread.start()
        try:
            yield site, pi.environment()
        finally:
            stopping.set()
            thread.join()


def _socket(folder: Path, short: Path) -> Path:
    """The controller's own socket: in its folder, unless an address has no room for that."""
    socket = (folder / SOCKET).resolve()
    return socket if len(bytes(socket)) <= SOCKET_BYTES else short / SOCKET


def _advance(world: World, stopping: threading.Event) -> None:
    started = time.monotonic()
    while not stopping.wait(TICK_S):
        world.advance(time.monotonic() - started)


def run_live(
    world: World,
    observer: Observer,
    folder: Path,
    history: Path | None,
    progress: Callable[[float, Observer], None],
) -> Mapping[str, Any]:
    """Run the scenario in real time; return the controller's own statistics. Raises LiveError."""
    duration_s = world.loaded.scenario.scenario.duration_h * 3600.0
    with served(world, folder, history) as (site, environment):
        process = start(site, environment, folder)
        try:
            _wait(process, world, duration_s, lambda s: progress(s, observer))
        finally:
            stop(process)
    return looked_at(process, observer, folder)


def start(site: Path, environment: Mapping[str, str], folder: Path) -> "subprocess.Popen[bytes]":
    """The controller as a process of its own, its recording and its log in `folder`."""
    command = [sys.executable, "-m", "firmware", "run", "--config", str(site)]
    command += ["--record", str(folder / RECORDING), "--stats", str(folder / STATISTICS)]
    with (folder / LOG).open("w") as log:
        return subprocess.Popen(command, env={**os.environ, **environment}, stderr=log)


def looked_at(
    process: "subprocess.Popen[bytes]", observer: Observer, folder: Path
) -> Mapping[str, Any]:
    """Let the observer see what a controller that has ended recorded; return its statistics.

    Raises LiveError.
    """
    stats = folder / STATISTICS
    if process.returncode != 0 or not stats.exists():
        log = folder / LOG
        raise LiveError(f"the controller ended with status {process.returncode}; see {log}")
    try:
        for replayed in replay(Recording(folder / RECORDING)):
            cycle = replayed.cycle
            observer.controller.add(cycle.sample, cycle.advice, replayed.decision, cycle.notices)
    except RecordingError as error:
        raise LiveError(str(error)) from error
    found: Mapping[str, Any] = json.loads(stats.read_text())
    return found


def _wait(
    process: subprocess.Popen[bytes],
    world: World,
    duration_s: float,
    progress: Callable[[float], None],
) -> None:
    seen_s, since_s = -1.0, time.monotonic()
    while world.elapsed_s < duration_s and process.poll() is None:
        progress(world.elapsed_s)
        if world.elapsed_s > seen_s:
            seen_s, since_s = world.elapsed_s, time.monotonic()
        elif time.monotonic() - since_s > STOP_S:
            raise LiveError("the simulated plant stands still; its error is above")
        time.sleep(0.2)


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a controller: asked, then by force."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
