"""What the simulated plant itself saw while its controller was killed again and again.

Times are monotonic, of this machine: the same that a controller's checkpoint has.
"""

import time
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from hil.plant import PlantState
from hil.score import POWER_TOLERANCE_FRAC, RETURN_S, Lasting, Violations
from hil.world import World

TOLERANCE_S = 1.5  # a cycle, a write to the bus, the plant's step
DEATH_S = 0.5  # so long after a kill the relay has dropped
COUNTED = {  # the store's counters as the plant's books have them
    "imported": "grid_import_kwh",
    "exported": "grid_export_kwh",
    "pv": "pv_kwh",
    "generator": "generator_kwh",
    "discharged": "battery_discharge_kwh",
    "charged": "battery_charge_kwh",
    "load": "served_kwh",
}
SEPARATE = ("generator run time", "generator rest")  # `short` looks at them


@dataclass(frozen=True, slots=True)
class Life:
    """One process of the controller."""

    start_s: float
    kill_s: float = float("inf")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the generator as it was asked for at the set; gaps that a death made are in it."""

    start_s: float
    stop_s: float = float("inf")
    died: bool = False  # the contact dropped with its controller
    carried: bool = True  # it had come to take load: else the death broke a start off


@dataclass(frozen=True, slots=True)
class Edge:
    """A change of the run request at the set."""

    t_s: float
    asked: bool
    carried: bool = True  # the set takes load, or did since it was asked


class Truth:
    """Watches a world: energy, the run request at the set, limits, also those ordered meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._violations = Violations(world.loaded.site)
        self._ordered = Lasting(RETURN_S)
        self.export_max_kw = float("inf")  # as ordered
        self.starts = 0
        self.notes: list[str] = []  # when the ordered limit was broken
        self.edges: list[Edge] = []
        self._carried = False
        self._times_s: list[float] = []
        self._kwh: list[dict[str, float]] = []

    def watch(self, state: PlantState, _utc_s: float, dt_s: float) -> None:
        """Take one step of the plant; called by the world."""
        now_s = time.monotonic()
        self._violations.update(state, dt_s)
        allowed_kw = (1.0 + POWER_TOLERANCE_FRAC) * self.export_max_kw + 0.05
        broken = self._ordered.count
        self._ordered.update(state.grid_connected and -state.grid_kw > allowed_kw, dt_s)
        if self._ordered.count > broken:
            limits_kw = [pv.limit_kw for pv in state.pv]
            said = (
                f"{self._world.elapsed_s:.0f} s: export {-state.grid_kw:.2f} kW against an ordered"
            )
            self.notes.append(f"{said} {self.export_max_kw:g} kW, PV limits {limits_kw} kW")
        asked = self._world.buses.controls(self._world.elapsed_s).generator_run
        if asked != bool(self.edges and self.edges[-1].asked):
            self.edges.append(Edge(now_s, asked, self._carried))
            self._carried = False
        self._carried |= bool(state.generator and state.generator.phase == "running")
        self.starts = state.generator.starts if state.generator else 0
        self._times_s.append(now_s)
        self._kwh.append({name: getattr(state.energy, key) for name, key in COUNTED.items()})

    def kwh(self, name: str, t_s: float) -> float:
        """The plant's book at a time."""
        index = bisect_right(self._times_s, t_s) - 1
        return self._kwh[index][name] if index >= 0 else 0.0

    def violations(self) -> dict[str, int]:
        """Limits that were broken; the generator's run and rest times are `short`'s matter."""
        counts = self._violations.counts() | {"ordered export limit": self._ordered.count}
        return {name: count for name, count in counts.items() if name not in SEPARATE}


def runs(edges: Iterable[Edge], lives: Iterable[Life], goes_on_s: float) -> list[Run]:
    """The generator's runs.

    One whose contact dropped with a death goes on when it is asked for again within `goes_on_s`;
    a start that was broken off that way begins anew.
    """
    kills_s = [life.kill_s for life in lives]
    found: list[Run] = []
    for edge in edges:
        if edge.asked:
            last = found[-1] if found else Run(0.0)
            in_time = last.died and edge.t_s - last.stop_s <= goes_on_s
            if in_time and last.carried:
                found[-1] = Run(last.start_s)
            elif in_time:
                found[-1] = Run(edge.t_s)
            else:
                found.append(Run(edge.t_s))
        else:
            died = any(0.0 <= edge.t_s - kill_s <= DEATH_S for kill_s in kills_s)
            found[-1] = Run(found[-1].start_s, edge.t_s, died, edge.carried)
    return found


def short(found: list[Run], min_run_s: float, min_rest_s: float) -> list[str]:
    """Runs and rests that were too short, though the controller lived to keep them."""
    said = []
    for run in found:
        length_s = run.stop_s - run.start_s
        if not run.died and length_s < min_run_s - TOLERANCE_S:
            said.append(f"generator ran for {length_s:.1f} s, minimum {min_run_s:.0f} s")
    for before, after in pairwise(found):
        rest_s = after.start_s - before.stop_s
        if rest_s < min_rest_s - TOLERANCE_S:
            said.append(f"generator rested for {rest_s:.1f} s, minimum {min_rest_s:.0f} s")
    return said
