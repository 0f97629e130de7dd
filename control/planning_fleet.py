"""The day plan of any number of batteries and diesels, at least true cost.

Dynamic programming over all units at once would explode, so a particle swarm over what stored
energy is worth (`planning_fleet_values`) opens, and each of its best plans is improved until
nothing helps any more: one battery and one diesel at a time by dynamic programming while the others
stay as they are, two diesels with a battery, two batteries, and the same in shrinking corridors. A
fleet of one battery and one diesel at most is planned as a single instance.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from control import planning
from control.dispatch import TOLERANCE, Bools, Schedule, energy_kwh
from control.dispatch_fleet import Fleet, FleetSchedule
from control.dispatch_instance import NO_BATTERY, NO_DIESEL, Floats
from control.planning import SIZE_MAX, OutOfTimeError, exhaust
from control.planning_candidates import Candidates, FleetPlan
from control.planning_corridor import Corridor, CorridorSearch
from control.planning_diesel import ALWAYS_OFF, JointStates, States
from control.planning_fleet_pair import PairSearch
from control.planning_fleet_step import SomeOfMany
from control.planning_fleet_values import FleetDecoder
from control.planning_storage import Storage
from control.swarm import Swarm

PARTICLES = 16
SWARM_MOVES = (2, 4, 8, 16, 32)  # before each descent
PLANE, JOINT_PLANE, PAIR_PLANE = 64, 32, 16  # energies of whole planes
HALF, PAIR_HALF = 24, 4  # energies on either side of a trajectory
FIRST_CELLS = 192  # of a battery's usable span, in the first corridor of single batteries
CELLS = (100, 300, 1000, 3000)  # in the corridors of pairs, and then of single batteries
SWEEPS_MAX = 4  # of whole planes, while they help


def plan_fleet(
    fleet: Fleet,
    *,
    seed: int = 0,
    out_of_time: Callable[[], bool] = lambda: False,
    iterations: int | None = None,
    warm_start: FleetSchedule | None = None,
) -> FleetPlan:
    """Plan a fleet until nothing more is to be gained, or the time or the iterations are up.

    As `planning.plan`, which plans fleets of one battery and one diesel at most.
    """
    if len(fleet.batteries) <= 1 and len(fleet.diesels) <= 1:
        return _single(fleet, seed, out_of_time, iterations, warm_start)
    planner = _Planner(fleet, seed, out_of_time)
    planner.begin(warm_start)
    done, stopped_by = exhaust(planner.work(), planner.check, iterations)
    return planner.candidates.result(done, stopped_by)


def _single(
    fleet: Fleet,
    seed: int,
    out_of_time: Callable[[], bool],
    iterations: int | None,
    warm_start: FleetSchedule | None,
) -> FleetPlan:
    batteries, diesels = len(fleet.batteries), len(fleet.diesels)
    battery = fleet.batteries[0] if batteries else NO_BATTERY
    diesel = fleet.diesels[0] if diesels else NO_DIESEL
    start = None if warm_start is None else _start(fleet, warm_start)
    found = planning.plan(
        fleet.alone(battery, diesel),
        seed=seed,
        out_of_time=out_of_time,
        iterations=iterations,
        warm_start=start,
    )
    s = found.schedule
    schedule = FleetSchedule(
        s.battery_kw[None][:batteries],
        s.diesel_on[None][:diesels],
        s.diesel_kw[None][:diesels],
        s.grid_kw,
        s.curtailed_kw,
        s.unserved_kw,
        s.dumped_kw,
    )
    return FleetPlan(
        schedule, found.cost, found.stage, found.evaluations, found.iterations, found.stopped_by
    )


def _start(fleet: Fleet, warm_start: FleetSchedule) -> Schedule:
    """What a schedule says of the only units; only battery power and diesel state matter."""
    idle = np.zeros(fleet.site.steps)
    rows = [*warm_start.rows(), (idle, idle.astype(bool), idle)]
    return Schedule(*rows[0], grid_kw=idle, curtailed_kw=idle, unserved_kw=idle, dumped_kw=idle)


class _Planner:
    """The plan that is being improved, and the ways to improve it."""

    def __init__(self, fleet: Fleet, seed: int, out_of_time: Callable[[], bool]) -> None:
        self.fleet, self._seed, self._out_of_time = fleet, seed, out_of_time
        self.candidates = Candidates(fleet)
        self._steps, self._storages = self.candidates.steps, self.candidates.storages
        self._power = np.zeros((len(fleet.batteries), fleet.site.steps))
        self._on = np.zeros((len(fleet.diesels), fleet.site.steps), dtype=bool)
        self._cost = np.inf

    def check(self) -> None:
        """Raise when the budget has ended."""
        if self._out_of_time():
            raise OutOfTimeError

    def begin(self, warm_start: FleetSchedule | None) -> None:
        """The first plan: whichever of idle batteries and the warm start costs less."""
        self._replace(self._power, self._on, "idle")
        if warm_start is None:
            return
        if warm_start.battery_kw.shape != self._power.shape or (
            warm_start.diesel_on.shape != self._on.shape
        ):
            found = f"{warm_start.battery_kw.shape} and {warm_start.diesel_on.shape}"
            allowed = f"{self._power.shape} and {self._on.shape}"
            raise ValueError(f"warm start: batteries and diesels {found} (allowed: {allowed})")
        self._improve(warm_start.battery_kw, warm_start.diesel_on, "warm start")

    def _replace(self, power: Floats, on: Bools, stage: str) -> None:
        """Go on from this plan, whatever it costs."""
        self._cost, schedule = self.candidates.offer(power, on, stage)
        self._power, self._on = schedule.battery_kw, schedule.diesel_on

    def _improve(self, power: Floats, on: Bools, stage: str) -> float:
        """Go on from this plan if it costs less than the one at hand; the gain."""
        cost, schedule = self.candidates.offer(power, on, stage)
        gain = max(0.0, self._cost - cost)
        if gain:
            self._cost, self._power, self._on = cost, schedule.battery_kw, schedule.diesel_on
        return gain

    def work(self) -> Iterator[float]:
        """All stages, one iteration at a time; ends when nothing is left to try."""
        if self._on.shape[1] > planning.STEPS_MAX:  # too many for the swarm to be quick
            quick = planning.QUICK_PLANE
            yield from self._each_alone(lambda search, _: search.whole_plane(quick), "plane")
            yield from self._descend()
        elif self.candidates.evaluations > 1:
            yield from self._descend()  # the warm start is near already
        swarm: Iterator[tuple[Floats, Bools]] = self._swarm()
        for _ in SWARM_MOVES:
            yield self._cost
            found = next(swarm)
            self._replace(*found, "swarm")
            yield from self._descend()

    def _swarm(self) -> Iterator[tuple[Floats, Bools]]:
        """The best plan after every so many moves."""
        decoder = FleetDecoder(self._steps, self._storages, self.candidates.states, self.check)
        low, high = decoder.box()
        rng = np.random.default_rng(self._seed)
        swarm = Swarm(low, high, decoder.start(), PARTICLES, rng)

        def cost(particles: Floats) -> Floats:
            self.candidates.evaluations += len(particles)
            return decoder.decode(particles)[2]

        for moves in SWARM_MOVES:
            for _ in range(moves):
                swarm.iterate(cost, sum(SWARM_MOVES))
            power, on, _ = decoder.decode(swarm.best_position[None])
            yield power[0], on[0]

    # --- descent ------------------------------------------------------------------------------

    def _descend(self) -> Iterator[float]:
        """Improve the plan at hand until nothing helps."""
        for _ in range(SWEEPS_MAX):
            before = self._cost
            yield from self._each_alone(lambda search, _: search.whole_plane(PLANE), "plane")
            if before - self._cost < TOLERANCE:
                break
        yield from self._two_diesels()
        yield from self._two_batteries(lambda search, _: search.whole_plane(PAIR_PLANE))
        yield from self._each_alone(self._around(FIRST_CELLS, HALF), "polish")
        yield from self._two_diesels()
        for cells in CELLS:
            yield from self._two_batteries(self._around(cells, PAIR_HALF))
            yield from self._each_alone(self._around(cells, HALF), "polish")

    def _around(self, cells: int, half: int) -> "Picker":
        """A corridor around the battery's trajectory in the plan at hand."""

        def corridor(search: CorridorSearch, battery: int | None) -> Corridor:
            power = self._power[battery] if battery is not None else np.zeros(self._on.shape[1])
            return search.around(energy_kwh(search.merit.instance, power), cells, half)

        return corridor

    def _search(self, battery: int | None, diesels: Sequence[int]) -> CorridorSearch:
        batteries = [] if battery is None else [battery]
        costs = SomeOfMany(self._steps, batteries, diesels, self._power, self._on)
        storage = Storage(costs.instance) if battery is None else self._storages[battery]
        return CorridorSearch(costs, storage, self.check, 1 << len(diesels))

    def _batteries(self) -> Sequence[int | None]:
        return range(len(self._storages)) if self._storages else (None,)

    def _each_alone(self, corridor: "Picker", stage: str) -> Iterator[float]:
        """Every battery with every diesel; with none where a diesel has too many states."""
        diesels: list[tuple[int, ...]] = [
            (n,) for n, s in enumerate(self.candidates.states) if s.on
        ]
        for some in diesels or [()]:
            for battery in self._batteries():
                if not self._optimise(battery, some, corridor, stage):
                    self._optimise(battery, (), corridor, stage)
                yield self._cost

    def _two_diesels(self) -> Iterator[float]:
        """Every two diesels with every battery."""
        able = [n for n, s in enumerate(self.candidates.states) if s.on]
        for two in itertools.combinations(able, 2):
            for battery in self._batteries():
                self._optimise(battery, two, lambda s, _: s.whole_plane(JOINT_PLANE), "plane")
                yield self._cost

    def _optimise(
        self, battery: int | None, diesels: tuple[int, ...], corridor: "Picker", stage: str
    ) -> bool:
        """Decide these units anew, the others being fixed; whether that was small enough to try."""
        search = self._search(battery, diesels)
        states: States = ALWAYS_OFF
        own = [self.candidates.states[n] for n in diesels]
        if own:
            states = own[0] if len(own) == 1 else JointStates(*own)
        where = corridor(search, battery)
        if search.size(where, states) > SIZE_MAX:
            return False
        found = search.best(where, states)
        if found is not None:
            energy, running = found
            power, on = self._power.copy(), self._on.copy()
            if battery is not None:
                power[battery] = self._storages[battery].power_kw(np.diff(energy))
            for bit, diesel in enumerate(diesels):
                on[diesel] = running >> bit & 1
            self._improve(power, on, stage)
        return True

    def _two_batteries(self, corridor: "Picker") -> Iterator[float]:
        """Every two batteries, the diesels being fixed."""
        for one, other in itertools.combinations(range(len(self._storages)), 2):
            self._optimise_pair((one, other), corridor)
            yield self._cost

    def _optimise_pair(self, two: tuple[int, int], corridor: "Picker") -> None:
        costs = SomeOfMany(self._steps, two, (), self._power, self._on)
        singles = [self._search(n, ()) for n in two]
        instances = (singles[0].merit.instance, singles[1].merit.instance)
        storages = (self._storages[two[0]], self._storages[two[1]])
        wear = (self._steps.wear[two[0]], self._steps.wear[two[1]])
        search = PairSearch(costs, instances, storages, wear, self.check)
        corridors = (corridor(singles[0], two[0]), corridor(singles[1], two[1]))
        if search.size(corridors) > SIZE_MAX:
            return
        found = search.best(corridors)
        if found is not None:
            power = self._power.copy()
            for n, energy in zip(two, found, strict=True):
                power[n] = self._storages[n].power_kw(np.diff(energy))
            self._improve(power, self._on, "pair")


Picker = Callable[[CorridorSearch, int | None], Corridor]
