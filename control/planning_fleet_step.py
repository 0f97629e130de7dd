"""The exact decision within one step for several batteries and diesels."""

from collections.abc import Sequence

import numpy as np

from control.dispatch import Bools
from control.dispatch_fleet import Fleet, FleetSchedule
from control.dispatch_instance import NO_BATTERY, Floats
from control.planning_running import Burning, Running
from control.planning_step import Ints, Supply, wear


class FleetSteps:
    """Who serves what the batteries leave, for any set of running diesels.

    A set is a number whose n-th bit says that the n-th diesel runs.
    """

    def __init__(self, fleet: Fleet) -> None:
        """Prepare; the supply of a set is made when it is first asked for."""
        site = fleet.site
        self.fleet = fleet
        self.demand = site.load_kw - site.pv_kw - site.wind_kw
        self.diesels = [Burning.of(site, d) for d in fleet.diesels]
        self.wear = [wear(fleet.alone(battery=b)) for b in fleet.batteries]
        self._supplies: dict[int, Supply] = {}

    def supply(self, running: int) -> Supply:
        """Cost and dispatch while this set of diesels runs."""
        if running not in self._supplies:
            diesels = [d for n, d in enumerate(self.diesels) if running >> n & 1]
            self._supplies[running] = Supply(self.fleet.site, Running(diesels))
        return self._supplies[running]

    def sets(self, on: Bools) -> Ints:
        """The set that runs in every step."""
        bits = 1 << np.arange(len(on), dtype=np.intp)
        return np.asarray(bits @ on.astype(np.intp) if len(on) else np.zeros(on.shape[1], np.intp))

    def cost(self, rest_kw: Floats, running: Ints, first: int = 0) -> Floats:
        """Cost of serving rests (steps, n) from step `first` on, without start-ups."""
        found = np.empty_like(rest_kw)
        for number in np.unique(running).tolist():
            rows = np.flatnonzero(running == number)
            found[rows] = self.supply(number).cost(rest_kw[rows], (rows + first, None))
        return self.fleet.site.step_h * found

    def kinks_kw(self, running: Ints) -> Floats:
        """Rests at which a step's marginal cost changes, (steps, kinks)."""
        kinks = {n: self.supply(n).kinks_kw() for n in np.unique(running).tolist()}
        wide = max(k.shape[1] for k in kinks.values())
        found = np.empty((running.size, wide))
        for number, k in kinks.items():
            padded = np.pad(k, ((0, 0), (0, wide - k.shape[1])), mode="edge")
            rows = running == number
            found[rows] = padded[rows]
        return found

    def schedule(self, battery_kw: Floats, on: Bools) -> FleetSchedule:
        """The schedule that battery powers and diesel states imply, at least cost."""
        rest = self.demand - battery_kw.sum(axis=0)
        running = self.sets(on)
        shared = np.zeros((4, rest.size))
        diesel_kw = np.zeros(on.shape)
        for number in np.unique(running).tolist():
            supply, steps = self.supply(number), running == number
            total, *others = supply.dispatch(rest)
            shared[:, steps] = np.stack(others)[:, steps]
            rows = [n for n in range(len(on)) if number >> n & 1]
            for row, part in zip(rows, supply.running.split(total) if rows else [], strict=True):
                diesel_kw[row, steps] = part[steps]
        return FleetSchedule(battery_kw, on, diesel_kw, *shared)


class SomeOfMany:
    """Step costs of a few batteries and diesels while all other units stay as they are.

    Which of these diesels run is again a number: the first is bit 0.
    """

    def __init__(
        self,
        steps: FleetSteps,
        batteries: Sequence[int],
        diesels: Sequence[int],
        power: Floats,
        on: Bools,
    ) -> None:
        """`power` (batteries, steps) and `on` (diesels, steps) are what all units do."""
        fleet = steps.fleet
        self._steps = steps
        battery = fleet.batteries[batteries[0]] if batteries else NO_BATTERY
        self.instance = fleet.alone(battery=battery)  # of one battery
        self._wear = steps.wear[batteries[0]] if batteries else (0.0, 0.0)
        self._demand = steps.demand - power.sum(axis=0) + power[list(batteries)].sum(axis=0)
        bits = [1 << n for n in diesels]
        others = steps.sets(on) & ~sum(bits)
        self._running = [
            others | sum(bit for k, bit in enumerate(bits) if number >> k & 1)
            for number in range(1 << len(bits))
        ]

    def serve(self, total_kw: Floats, running: int, at: slice = slice(None)) -> Floats:
        """Cost of the steps `at` for powers of all these batteries together, without wear."""
        sets = self._running[running][at]
        return self._steps.cost(self._demand[at, None] - total_kw, sets, at.start or 0)

    def cost(self, battery_kw: Floats, running: int, at: slice = slice(None)) -> Floats:
        """The same of the one battery, with its wear."""
        linear, quadratic = self._wear
        worn = np.abs(battery_kw) * linear + quadratic * battery_kw**2
        return np.asarray(self.serve(battery_kw, running, at) + self.instance.step_h * worn)

    def kinks_kw(self, running: int) -> Floats:
        """Total powers at which a step's marginal cost changes, (steps, kinks), unclipped."""
        return np.asarray(self._demand[:, None] - self._steps.kinks_kw(self._running[running]))
