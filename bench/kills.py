"""Kills the controller at random moments in a running site; exit status 1: something did not hold.

The bench's plant runs in real time in this process; `nanogrid run` is another that is killed with
SIGKILL and started again. The grid comes and goes and the battery is nearly empty, so that the
generator starts and stops; for a part of the time manual mode and a tighter export limit are
ordered through the local socket, and a supervisor numbers its commands over MQTT. After each
restart are compared: the mode with what was ordered, the generator's timers with the plant's own
record of the run request, energy counters with the plant's books, event numbers with the look
before, the supervisor's number with the one it used last; the database is checked. In between the
plant counts broken limits. Half of the kills meet a set that is started by relay, half one that is
started over its bus.

    python -m bench.kills [--kills 100] [--seed 1] [--folder out/kills]
"""

import argparse
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.kills_store import Left, look, problems
from bench.kills_supervisor import SOURCE, Supervisor, broker
from bench.kills_truth import COUNTED, TOLERANCE_S, Life, Run, Truth, runs, short
from bench.live_site import running
from firmware.local_client import LocalError, ask, ask_status

PERIOD_S = 0.2
MIN_RUN_S, MIN_REST_S, COOL_DOWN_S = 40.0, 40.0, 30.0
OUTAGE_FIRST_S, OUTAGE_EVERY_S, OUTAGE_S = 15, 160, 60
ORDERS_EVERY_S = 60.0  # manual in the first half of each, tight export in the second, then none
EXPORT_MAX_W = 500
YOUNG_FRAC = 0.25  # of the kills hit a process that may not have begun
YOUNG_S, LONG_S, AWAY_S = 2.0, 12.0, 3.0
READY_S = 60.0
FLUSH_S, LATE_S = 20.0, 2.0  # so much of a counter may go with its process
TOLERANCE_KWH, TOLERANCE_FRAC, REGISTER_KWH = 0.002, 0.03, 0.001
REGISTERED = ("imported", "exported", "pv")  # devices count them too
STARTS = ("relay", "gencomm")
SITE: dict[str, Mapping[str, Any]] = {
    "loop": {"period_s": PERIOD_S, "realtime_priority": 0},
    "safety": {"start_up_s": 10.0},
    "planner": {"interval_s": 20.0, "budget_s": 0.1},
    "battery": {"capacity_kwh": 60.0},  # its state of charge stays where it is
}
GENERATOR = {
    "min_run_s": MIN_RUN_S,
    "min_rest_s": MIN_REST_S,
    "warm_up_s": 3.0,
    "cool_down_s": COOL_DOWN_S,
    "start_timeout_s": 20.0,
}


@dataclass
class Finding:
    """One kill and what came of the restart after it."""

    number: int
    at_s: float  # of the start, since the world began
    lived_s: float
    away_s: float
    mode: str = "-"
    run: str = "-"
    lost_wh: float = 0.0
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        """The row of the report."""
        said = "; ".join(self.problems) or "ok"
        return (
            f"{self.number:4d} {self.at_s:6.0f} {self.lived_s:6.2f} {self.away_s:6.2f}"
            f"  {self.mode:9s} {self.run:20s} {self.lost_wh:7.2f}  {said}"
        )


HEADING = "kill     at  lived   away  mode      generator            lost Wh"


def main() -> int:
    """Run, print, return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("out/kills"))
    options = parser.parse_args()
    bad = 0
    for index, start in enumerate(STARTS):
        kills = options.kills // 2 + (options.kills % 2 if index == 0 else 0)
        print(f"\ngenerator started by {start}, {kills} kills\n{HEADING}", flush=True)
        bad += campaign(options.folder / start, start, kills, random.Random(options.seed + index))
    print("\nall held" if bad == 0 else f"\n{bad} things did NOT hold")
    return 0 if bad == 0 else 1


def campaign(folder: Path, start: str, kills: int, chance: random.Random) -> int:
    """One site and its kills; prints a row for each, returns how many things did not hold."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in [*folder.glob("state.db*"), *folder.glob("*.energy")]:
        old.unlink()
    outages = [
        {"from_h": at_s / 3600.0, "to_h": (at_s + OUTAGE_S) / 3600.0}
        for at_s in range(OUTAGE_FIRST_S, 7200, OUTAGE_EVERY_S)
    ]
    changes: dict[str, Mapping[str, Any]] = {
        **SITE,
        "generator": {**GENERATOR, "start": start},
        "store": {"path": str((folder / "state.db").resolve())},
        "recording": {"path": str((folder / "cycles.jsonl.gz").resolve())},
    }
    if start != "relay":
        changes["gpio"] = {"generator_relay_pin": None}
    changes["commands"] = {"source": [{"name": SOURCE, "role": "supervisor"}]}
    others = {"outage": outages, "plant": {"battery": {"initial_soc_frac": 0.16}}}
    with broker(folder) as port:
        changes["mqtt"] = {"host": "127.0.0.1", "port": port}
        with running(folder, changes, others=others) as bench:
            truth = Truth(bench.world)
            bench.world.watchers.append(truth.watch)
            supervisor = Supervisor(port, bench.world.loaded.site.site.name)
            killer = Killer(bench.command, bench.environment, folder, truth, chance, supervisor)
            bad = 0
            for number in range(1, kills + 1):
                found = killer.kill(number)
                bad += len(found.problems)
                print(found.line(), flush=True)
            supervisor.close()
    goes_on_s = COOL_DOWN_S + TOLERANCE_S
    said = short(runs(truth.edges, killer.lives, goes_on_s), MIN_RUN_S, MIN_REST_S)
    said += [f"{name}: {count} times" for name, count in truth.violations().items() if count]
    for note in truth.notes:
        print(note)
    print(f"generator starts {truth.starts}; limits: {'; '.join(said) or 'none broken'}")
    print(killer.summary())
    return bad + len(said)


class Killer:
    """Starts the controller, looks at it, orders something, kills it: `kill` is one such life."""

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
        truth: Truth,
        chance: random.Random,
        supervisor: Supervisor,
    ) -> None:
        self._command, self._environment, self._folder = command, environment, folder
        self._truth, self._chance, self._supervisor = truth, chance, supervisor
        self._socket = folder / "nanogrid.sock"
        self.lives: list[Life] = []
        self._left: Left | None = None
        self._standing = "auto"
        self._last: dict[str, Any] | None = None  # command
        self._number: int | None = None  # of it, among those accepted
        self._began_s = time.monotonic()
        self._first_s = (float("inf"), float("inf"))  # within, a device's register was first read
        self._counted = dict.fromkeys(COUNTED, 0.0)

    def kill(self, number: int) -> Finding:
        """One life, one death, and what was found of the death before."""
        away_s = self._chance.uniform(0.0, AWAY_S)
        time.sleep(away_s)
        start_s = time.monotonic()
        found = Finding(number, start_s - self._began_s, 0.0, away_s)
        with (self._folder / "controller.log").open("ab") as log:
            process = subprocess.Popen(self._command, env=self._environment, stderr=log)
        try:
            ready_s = self._live(process, start_s, found)
        finally:
            process.kill()
            kill_s = time.monotonic()
            process.wait()
        self.lives.append(Life(start_s, kill_s))
        found.lived_s = kill_s - start_s
        self._look(found, start_s, ready_s, kill_s)
        return found

    def _live(
        self, process: "subprocess.Popen[bytes]", start_s: float, found: Finding
    ) -> float | None:
        """Let it run for a while; returns when it was ready, None where it was not let be."""
        if self._chance.random() < YOUNG_FRAC:
            time.sleep(self._chance.uniform(0.0, YOUNG_S))
            return None
        status = self._ready(process, start_s)
        if status is None:
            found.problems.append(f"not ready within {READY_S:.0f} s; see controller.log")
            return None
        ready_s = time.monotonic()
        self._compare(status, ready_s, found)
        self._supervise(found)
        self._order(found)
        time.sleep(self._chance.uniform(0.0, LONG_S))
        return ready_s

    def _ready(self, process: "subprocess.Popen[bytes]", start_s: float) -> dict[str, Any] | None:
        """The first status in which it acts."""
        while time.monotonic() < start_s + READY_S and process.poll() is None:
            try:
                status = ask_status(self._socket)
            except LocalError:
                status = {}
            if status and status["mode"]["name"] != "starting":
                return status
            time.sleep(0.05)
        return None

    # --- what a restart found ----------------------------------------------------------------

    def _compare(self, status: Mapping[str, Any], now_s: float, found: Finding) -> None:
        """Mode and generator timers against what was ordered and what the plant knows."""
        found.mode = status["mode"]["name"]
        wanted = "manual" if self._standing == "manual" else "auto"
        if found.mode != wanted:
            reason = status["mode"]["reason"]
            found.problems.append(f"mode {found.mode} ({reason}) instead of {wanted}")
        limit_kw = status["orders"]["export_max_kw"]
        wanted_kw = EXPORT_MAX_W / 1000.0 if self._standing == "limited" else None
        if limit_kw != wanted_kw:
            found.problems.append(f"ordered export limit {limit_kw} instead of {wanted_kw}")
        generator, ran = status["generator"], self._runs()
        asked, for_s = generator["asked_to_run"], generator["for_s"]
        found.run = f"{'run' if asked else 'rest'} {for_s or 0.0:3.0f} s, {generator['phase']}"
        if generator["locked"]:
            found.problems.append(f"generator locked: {generator['locked']}")
        if not ran:
            return
        last, cycle_s = ran[-1], now_s - status["age_s"]
        if asked and last.stop_s == float("inf"):
            self._differs(found, "run", for_s, cycle_s - last.start_s)
        elif not asked and last.stop_s < float("inf"):
            left_s = MIN_REST_S - (cycle_s - last.stop_s)
            if generator["min_rest_left_s"] < left_s - TOLERANCE_S:
                said = (
                    f"{generator['min_rest_left_s']:.1f} s of rest left instead of {left_s:.1f} s"
                )
                found.problems.append(said)

    def _differs(self, found: Finding, what: str, said_s: float, true_s: float) -> None:
        """A timer that differs by more than a start that was under way when the process died."""
        slack_s = TOLERANCE_S
        if self._truth.edges and self.lives:
            died_s, edge_s = self.lives[-1].kill_s, self._truth.edges[-1].t_s
            slack_s += max(0.0, edge_s - died_s) if edge_s > died_s else 0.0
        if abs(said_s - true_s) > slack_s:
            found.problems.append(f"{what} for {said_s:.1f} s, the plant says {true_s:.1f} s")

    def _runs(self) -> list[Run]:
        return runs(list(self._truth.edges), self.lives, COOL_DOWN_S + TOLERANCE_S)

    # --- orders ----------------------------------------------------------------------------

    def _order(self, found: Finding) -> None:
        """Order what is due by the clock, and wait until it is accepted: from then on it stands."""
        part = (time.monotonic() - self._began_s) % ORDERS_EVERY_S / ORDERS_EVERY_S
        due = "manual" if part < 0.33 else "limited" if part < 0.67 else "auto"
        if due == self._standing:
            self._repeat(found)
            return
        mode = {"mode": "manual" if due == "manual" else "auto"}
        limit = {"p_w": EXPORT_MAX_W if due == "limited" else None}
        try:
            self._send("mode.set", mode)
            self._send("grid.export_limit", limit)
        except LocalError as error:
            found.problems.append(f"order {due}: {error}")
            return
        self._standing = due
        self._truth.export_max_kw = EXPORT_MAX_W / 1000.0 if due == "limited" else float("inf")

    def _send(self, op: str, args: Mapping[str, Any]) -> None:
        """Raises LocalError unless the service accepts it."""
        now_s, known = time.time(), str(uuid.uuid4())
        order = {"v": 1, "id": known, "iat": now_s, "exp": now_s + 60.0, "op": op, "args": args}
        ack = ask(self._socket, {"command": order})["ack"]
        end_s = time.monotonic() + 10.0
        while ack["status"] == "received" and time.monotonic() < end_s:
            time.sleep(0.02)
            ack = ask(self._socket, {"ack": known})["ack"]
        if ack["status"] not in ("accepted", "done"):
            raise LocalError(f"{op}: {ack['status']}: {ack['reason']}")
        self._last = order
        self._accepted(ack)

    def _accepted(self, ack: Mapping[str, Any]) -> None:
        """Raises LocalError unless the site counts one command more than before."""
        before, self._number = self._number, ack["gen"]
        if before is not None and self._number != before + 1:
            raise LocalError(
                f"{ack['op']}: accepted as number {self._number}, the one before was {before}"
            )

    def _supervise(self, found: Finding) -> None:
        """The supervisor's last number is used up, and its next one is good."""
        ack, said = self._supervisor.look()
        found.problems += said
        try:
            if ack is not None:
                self._accepted(ack)
        except LocalError as error:
            found.problems.append(f"supervisor: {error}")

    def _repeat(self, found: Finding) -> None:
        """Give the last command once more: it counts once, in whatever process it comes."""
        if self._last is None:
            return
        try:
            ask(self._socket, {"command": self._last})
        except LocalError as error:
            found.problems.append(f"repeated command: {error}")

    # --- what a death left -------------------------------------------------------------------

    def _look(self, found: Finding, start_s: float, ready_s: float | None, kill_s: float) -> None:
        """Store and counters after the kill."""
        before, now = self._left, look(self._folder / "state.db")
        found.problems += problems(before, now)
        if now is None or now.saved_s is None:
            return
        self._left = now
        if now.metered:
            self._first_s = min(self._first_s, (start_s, ready_s or kill_s))
        if (seq := now.sequences.get(SOURCE)) != self._supervisor.seq:
            found.problems.append(f"kept number {seq}, accepted was {self._supervisor.seq}")
        if now.saved_s < start_s:  # it was killed before its first commit
            return
        if kill_s - now.saved_s > FLUSH_S + LATE_S:
            found.problems.append(f"nothing kept for {kill_s - now.saved_s:.1f} s")
        for name in COUNTED:
            kwh = self._truth.kwh(name, now.saved_s)
            slack_kwh = TOLERANCE_KWH + TOLERANCE_FRAC * kwh
            if name in REGISTERED:
                most, least = (kwh - self._truth.kwh(name, first_s) for first_s in self._first_s)
                slack_kwh += REGISTER_KWH * len(self.lives)
            else:
                most = self._counted[name] + kwh - self._truth.kwh(name, start_s)
                least = self._counted[name]
                least += kwh - self._truth.kwh(name, ready_s) if ready_s is not None else 0.0
            self._note(found, name, now.kwh[name], least - slack_kwh, most + slack_kwh)
            self._counted[name] = now.kwh[name]
        lost = (
            self._truth.kwh(name, kill_s) - self._truth.kwh(name, now.saved_s) for name in COUNTED
        )
        found.lost_wh = 1000.0 * max(lost)

    @staticmethod
    def _note(found: Finding, name: str, kwh: float, least_kwh: float, most_kwh: float) -> None:
        if not least_kwh <= kwh <= most_kwh:
            said = f"{name}: {1000 * kwh:.1f} Wh counted instead of {1000 * least_kwh:.1f}"
            found.problems.append(f"{said} to {1000 * most_kwh:.1f} Wh")

    def summary(self) -> str:
        """The counters beside the plant's books."""
        end_s = self.lives[-1].kill_s
        books = {name: self._truth.kwh(name, end_s) for name in COUNTED}
        parts = [f"{name} {self._counted[name]:.3f} ({kwh:.3f})" for name, kwh in books.items()]
        return f"kWh counted (turned over, also while none lived): {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(main())
