"""A model of one's own, from export to champion: each command of docs/forecasting.md, really run.

    python -m bench.challenger [--days 60] [--folder out/challenger]

A store is filled with simulated days of a clinic, minute by minute; `nanogrid run` controls the
bench's devices on it. Beside the running service: export, train (in .venv-train), copy. Printed is
what the commands print, what the service's log says of it, and its status. Then weeks pass in
virtual time, a quarter of an hour at a step, until the challenger has won or three weeks are over.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from bench.live_site import Running, running
from firmware.forecast_watch import Watch
from firmware.store_schema import connect
from hil.sources import pv_means_kw
from hil.world import World
from models.forecaster import Forecaster
from models.history import DAY_S, History

TRAINER = Path(".venv-train/bin/nanogrid")
DEADLINE_S = 300.0
WEEKS = 3
STEP_S = 900


def main() -> None:
    """Run all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--days", type=int, default=60, help="of history")
    parser.add_argument("--folder", type=Path, default=Path("out/challenger"))
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    store = (given.folder / "state.db").resolve()
    changes: dict[str, dict[str, Any]] = {
        "store": {"path": str(store)},
        "planner": {"interval_s": 10.0},
    }
    with running(given.folder, changes) as bench:
        fill(store, bench.world, given.days)
        with (given.folder / "log").open("w") as log:
            service = subprocess.Popen(bench.command, env=dict(bench.environment), stderr=log)
            try:
                beside(bench, given.folder, service)
            finally:
                service.terminate()
                service.wait(60)
        weeks_pass(bench.world, given.folder, given.days)


def fill(store: Path, world: World, days: int) -> None:
    """Minute means of the days before now, as the service would have kept them."""
    count = days * DAY_S // 60
    start = int(world.start_utc_s) // 60 * 60 - count * 60
    load_kw = world.load.means(start, count, 60.0)
    pv_kw = pv_means_kw(world.parameters.pv, world.weather.means(start, count, 60.0))
    rows = [
        (start + 60 * n, float(pv), float(load))
        for n, (pv, load) in enumerate(zip(pv_kw, load_kw, strict=True))
    ]
    with closing(connect(store)) as connection:
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO minute (start_utc_s, pv_kw, load_kw, curtailed_frac, mode) "
            "VALUES (?, ?, ?, 0.0, 'auto')",
            rows,
        )
        connection.execute("COMMIT")


def beside(bench: Running, folder: Path, service: "subprocess.Popen[bytes]") -> None:
    """The documented commands while the service runs."""
    own = [sys.executable, "-m", "firmware"]
    history, trained = str(folder / "history.csv"), str(folder / "trained")
    wait(service, lambda: status(bench)["forecast"] is not None, "a forecast")
    show([*own, "export", "--config", str(bench.site), "-o", history])
    began = time.monotonic()
    show([str(TRAINER), "train", "--target", "load", "--data", history, "-o", trained])
    print(f"    trained in {time.monotonic() - began:.0f} s")
    place = folder / "forecast" / "challenger"
    place.mkdir(parents=True, exist_ok=True)
    (place / "load.tflite").write_bytes(b"a file that was cut off")
    shutil.copy(folder / "trained" / "load.json", place)
    told(bench, service, "challenger refused")
    for name in ("load.tflite", "load.json"):
        shutil.copy(folder / "trained" / name, place)
    told(bench, service, "runs in shadow")
    wait(service, lambda: "challenger" in str(status(bench).get("forecast")), "status")
    show([*own, "status", "--config", str(bench.site)], only="forecast")


def show(command: list[str], only: str = "") -> None:
    """Print a command and what it says; SystemExit if it fails."""
    print("$ " + " ".join(command), flush=True)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in (done.stdout + done.stderr).splitlines():
        if only in line:
            print("    " + line)
    if done.returncode:
        sys.exit(f"status {done.returncode}: {done.stderr.strip()}")


def status(bench: Running) -> dict[str, object]:
    """The status document; empty while nobody answers."""
    command = [sys.executable, "-m", "firmware", "status", "--json", "--config", str(bench.site)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"forecast": None}


def told(bench: Running, service: "subprocess.Popen[bytes]", text: str) -> None:
    """Wait until the service's log says so, and print it."""
    command = [sys.executable, "-m", "firmware", "log", "--config", str(bench.site)]

    def found() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if text in line]
        print("".join(f"    {line}\n" for line in lines[-1:]), end="", flush=True)
        return bool(lines)

    print("$ nanogrid log --config site.toml")
    wait(service, found, text)


def wait(service: "subprocess.Popen[bytes]", what: Callable[[], bool], said: str) -> None:
    """Until it is so; SystemExit when the service ends or time is up."""
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        if service.poll() is not None or time.monotonic() > end_s:
            sys.exit(f"waited in vain for {said}")
        time.sleep(1.0)


def weeks_pass(world: World, folder: Path, days: int) -> None:
    """The same house goes on; each quarter of an hour both forecast and are scored."""
    past = days * DAY_S // STEP_S
    count = past + WEEKS * 7 * DAY_S // STEP_S
    start = int(world.start_utc_s) // STEP_S * STEP_S - past * STEP_S
    values = np.asarray(world.load.means(start, count, float(STEP_S)))
    place = world.loaded.site.site
    watch = Watch(
        "load",
        lambda weights: Forecaster("load", place.latitude_deg, place.longitude_deg, None, weights),
        folder / "forecast",
    )
    for end in range(past, count + 1):
        watch.forecast(History(start, STEP_S, values[:end]), 96)
        for text in watch.take_events():
            print(f"day {(end - past) / 96:5.2f}: {text}", flush=True)
    print(watch.standing() or "no challenger any more: it has taken over")


if __name__ == "__main__":
    main()
