"""What the service costs on this machine: start-up time, memory, CPU; each beside its bound.

`nanogrid run` at a period of 1 s, planner and forecaster on at their defaults, against the bench's
devices, which are served by this process and do not count. Start-up is the time from starting the
process to the log line of the first cycle that gave a setpoint; memory is the largest sum over all
processes of the service (PSS: shared pages counted once); CPU is their share of one core once the
first plan is there, over a time that holds one more plan. Exit status 1: a bound is broken.

    python -m bench.footprint [--seconds 310]
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from bench.live_site import Running, running

SITE = {
    "loop": {"period_s": 1.0, "stale_after_s": 5.0},
    "planner": {"interval_s": 300.0},
}
BOUNDS = {"start to first setpoint, s": 2.0, "resident memory, MB": 200.0, "CPU, % of a core": 5.0}
FIRST = "first actuating cycle"
START_LIMIT_S = 60.0
SETTLE_S = 10.0  # after start-up: the first forecast and plan
SAMPLE_S = 2.0
STOP_S = 15.0
TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measure, print, return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=310.0, help="of measuring CPU and memory")
    parser.add_argument("--folder", type=Path, default=Path("out/bench-footprint"))
    options = parser.parse_args()
    with running(options.folder, SITE) as bench:
        values, detail = measure(bench, options.folder, options.seconds)
    print(f"{'':28}{'bound':>8}{'measured':>10}")
    for (name, bound), value in zip(BOUNDS.items(), values, strict=True):
        print(f"{name:28}{bound:8.1f}{value:10.2f}{'' if value < bound else '  BROKEN'}")
    print(detail)
    return 0 if all(v < b for v, b in zip(values, BOUNDS.values(), strict=True)) else 1


def measure(bench: Running, folder: Path, seconds: float) -> tuple[tuple[float, ...], str]:
    """Values in the order of `BOUNDS`, and where memory and CPU time went."""
    began_s = time.monotonic()
    service = subprocess.Popen(
        bench.command, env=dict(bench.environment), stderr=subprocess.PIPE, text=True
    )
    first = _FirstSetpoint(service, folder / "controller.log")
    try:
        start_s = first.wait_s() - began_s
        time.sleep(SETTLE_S)
        if service.poll() is not None:
            raise SystemExit(
                f"the service ended with {service.returncode}: {folder}/controller.log"
            )
        cpu_s, since_s = _cpu_s(service.pid), time.monotonic()
        most: dict[int, tuple[float, float]] = {}
        while time.monotonic() < since_s + seconds and service.poll() is None:
            found = {pid: _memory_mb(pid) for pid in _family(service.pid)}
            most = max(most, found, key=lambda each: sum(pss for pss, _ in each.values()))
            time.sleep(SAMPLE_S)
        lasted_s = time.monotonic() - since_s
        parts = {_name(pid): _cpu_s(pid, alone=True) for pid in _family(service.pid)}
        share = 100.0 * (_cpu_s(service.pid) - cpu_s) / lasted_s
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(STOP_S)
    detail = [f"\nCPU over {lasted_s:.0f} s. Since each process started, s: {_pairs(parts)}"]
    rss_mb = sum(rss for _, rss in most.values())
    detail.append(f"Memory is PSS; the sum of RSS, shared pages counted twice, {rss_mb:.0f} MB")
    return (start_s, sum(pss for pss, _ in most.values()), share), "\n".join(detail)


def _pairs(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


class _FirstSetpoint:
    """Copies the service's log to a file and notes when the first setpoint is reported."""

    def __init__(self, service: "subprocess.Popen[str]", log: Path) -> None:
        self._service = service
        self._seen = threading.Event()
        self._at_s = float("inf")
        threading.Thread(target=self._read, args=(log,), daemon=True).start()

    def _read(self, log: Path) -> None:
        assert self._service.stderr is not None
        with log.open("w", encoding="utf-8") as file:
            for line in self._service.stderr:
                if FIRST in line and not self._seen.is_set():
                    self._at_s = time.monotonic()
                    self._seen.set()
                file.write(line)

    def wait_s(self) -> float:
        """The monotonic time of it; infinite when it does not come."""
        self._seen.wait(START_LIMIT_S)
        return self._at_s


# --- /proc -----------------------------------------------------------------------------------


def _family(pid: int) -> list[int]:
    """The process and all its descendants that live."""
    found = [pid]
    for parent in found:
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in path.read_text().split()]
    return found


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return words[2] if len(words) > 2 else words[0]


def _memory_mb(pid: int) -> tuple[float, float]:
    """PSS and RSS."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = {key: int(kb) for key, kb in re.findall(r"^(Pss|Rss): +(\d+) kB", text, re.MULTILINE)}
    return sizes["Pss"] / 1024, sizes["Rss"] / 1024


def _cpu_s(pid: int, *, alone: bool = False) -> float:
    """CPU time of a process, with its descendants, dead and alive, unless `alone`."""
    total = 0.0
    for member in [pid] if alone else _family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += sum(int(field) for field in fields[11 : 13 if alone else 15]) * TICK_S
    return total


if __name__ == "__main__":
    sys.exit(main())
