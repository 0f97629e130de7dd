"""Lateness of the control loop beside cyclictest, in one run and one scheduling class.

`nanogrid run` (planner and forecaster on) controls the bench's devices, which are served by this
process; cyclictest (Debian package rt-tests) wakes up at the same period and priority on the same
machine meanwhile. Both series go through the same histogram (buckets of 12 %). With --faults the PV
inverter hangs and the battery answers garbage in the third quarter of the run, and every setpoint
is accounted for. Exit status 1: a cycle was lost, or a setpoint was neither obeyed nor flagged.

    python -m bench.loop [--minutes 10] [--period 0.1] [--faults] [--ordinary]
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.live_site import running
from bench.setpoints import Truth, account, table
from firmware.histogram import Histogram

PRIORITY = 50
TRACKED_US = 1_000_000  # cyclictest counts beyond it as overflow
HANGING, GARBLED = "roof", "battery"
QUANTILES = ("p50", "p99", "p999", "max")
STOP_S = 15.0


def main() -> int:
    """Run, print, return the exit status."""
    options = _options()
    if shutil.which("cyclictest") is None:
        print("cyclictest is missing: apt install rt-tests", file=sys.stderr)
        return 1
    priority = PRIORITY if not options.ordinary and may_be_realtime() else 0
    folder: Path = options.folder
    duration_s = 60.0 * options.minutes
    faults = _faults(duration_s) if options.faults else []
    truth = Truth()
    changes = {"loop": {"period_s": options.period, "realtime_priority": priority}}
    with running(folder, changes, faults) as bench:
        bench.world.watchers.append(truth.watch)
        ours, theirs = measure(bench.command, bench.environment, folder, options, priority)
    print(_heading(options, priority))
    print(lateness_table(ours["lateness"], theirs))
    print(f"\ncycles {ours['cycles']}, missed {ours['cycles_missed']}")
    print(stage_table(ours["stages"]))
    sound = ours["cycles_missed"] == 0
    if options.faults:
        fates = account(folder / "cycles.jsonl.gz", truth)
        print(f"\nSeconds of every setpoint; {HANGING} hung and {GARBLED} answered garbage for")
        print(
            f"{duration_s / 4:.0f} s. Silent: not obeyed in the simulated plant, and not noticed."
        )
        print(table(fates))
        sound = sound and bool(fates) and all(fate.is_accounted_for for fate in fates.values())
    print("\nsound" if sound else "\nNOT sound")
    return 0 if sound else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--period", type=float, default=0.1, help="seconds")
    parser.add_argument("--faults", action="store_true", help="break two devices meanwhile")
    parser.add_argument("--ordinary", action="store_true", help="not SCHED_FIFO even if permitted")
    parser.add_argument("--folder", type=Path, default=Path("out/bench-loop"))
    return parser.parse_args()


def _faults(duration_s: float) -> list[dict[str, Any]]:
    when = {"at_h": duration_s / 2 / 3600.0, "for_s": duration_s / 4}
    return [
        {"kind": "hang", "target": HANGING, **when},
        {"kind": "garbage", "target": GARBLED, **when},
    ]


def may_be_realtime() -> bool:
    """Whether SCHED_FIFO is permitted; tried in a thread of its own."""
    permitted = []

    def attempt() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
        except PermissionError:
            return
        permitted.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(permitted)


def measure(
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    options: argparse.Namespace,
    priority: int,
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run controller and cyclictest together: the loop's statistics, and cyclictest's lateness."""
    stats = folder / "loop.json"
    stats.unlink(missing_ok=True)
    command = [*command, "--stats", str(stats), "--record", str(folder / "cycles.jsonl.gz")]
    seconds = round(60.0 * options.minutes)
    with (folder / "controller.log").open("w") as log:
        controller = subprocess.Popen(command, env=dict(environment), stderr=log)
        reference = subprocess.Popen(
            _cyclictest(options.period, seconds, priority), stdout=subprocess.PIPE, text=True
        )
        try:
            _wait(controller, seconds)
        finally:
            _end(controller, signal.SIGTERM)
            output = _end(reference, signal.SIGINT)
    if controller.returncode != 0:
        raise SystemExit(f"the controller ended with {controller.returncode}; see {log.name}")
    return json.loads(stats.read_text()), read_cyclictest(output)


def _cyclictest(period_s: float, seconds: int, priority: int) -> list[str]:
    """Its own tuning of the machine stays off: both live on the machine as it is."""
    command = ["cyclictest", "-q", "--default-system", "-t1", f"-i{round(1e6 * period_s)}"]
    command += [f"-D{seconds}", f"-h{TRACKED_US}"]
    return command + (["-m", f"-p{priority}"] if priority else ["--policy=other"])


def _wait(controller: "subprocess.Popen[bytes]", seconds: int) -> None:
    end_s = time.monotonic() + seconds
    while controller.poll() is None and time.monotonic() < end_s:
        time.sleep(1.0)
        if sys.stderr.isatty():
            print(f"\r{end_s - time.monotonic():5.0f} s left ", end="", file=sys.stderr)


def _end(process: "subprocess.Popen[Any]", number: int) -> str:
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.communicate(timeout=STOP_S)[0] or ""
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0] or ""


def read_cyclictest(output: str) -> dict[str, float]:
    """Its histogram of microseconds, as the loop's own statistics are kept."""
    lateness = Histogram()
    for microseconds, count in re.findall(r"^(\d{6}) (\d{6})", output, re.MULTILINE):
        for _ in range(int(count)):
            lateness.add(1e-6 * int(microseconds))
    most = re.search(r"^# Max Latencies: *(\d+)", output, re.MULTILINE)
    beyond = re.search(r"^# Histogram Overflows: *(\d+)", output, re.MULTILINE)
    if most is None or lateness.count == 0:
        raise SystemExit("cyclictest said nothing")
    for _ in range(int(beyond[1]) if beyond else 0):
        lateness.add(1e-6 * int(most[1]))
    return lateness.summary()


def _heading(options: argparse.Namespace, priority: int) -> str:
    scheduling = f"SCHED_FIFO {priority}" if priority else "SCHED_OTHER"
    return (
        f"{options.minutes:g} min at {options.period:g} s, both {scheduling},"
        f" {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )


def lateness_table(ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    """Lateness in microseconds."""
    lines = [f"{'lateness, us':14}" + "".join(f"{name:>10}" for name in QUANTILES)]
    for name, series in (("nanogrid run", ours), ("cyclictest", theirs)):
        lines.append(f"{name:14}" + "".join(f"{1e6 * series[q + '_s']:10.0f}" for q in QUANTILES))
    ratios = (ours[q + "_s"] / max(theirs[q + "_s"], 1e-6) for q in QUANTILES)
    return "\n".join([*lines, f"{'ratio':14}" + "".join(f"{ratio:10.2f}" for ratio in ratios)])


def stage_table(stages: Mapping[str, Mapping[str, float]]) -> str:
    """Where a cycle's time goes, in microseconds."""
    lines = [f"\n{'stage, us':14}" + "".join(f"{name:>10}" for name in QUANTILES)]
    for name, series in stages.items():
        lines.append(f"{name:14}" + "".join(f"{1e6 * series[q + '_s']:10.0f}" for q in QUANTILES))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
