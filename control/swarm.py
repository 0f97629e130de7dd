"""Particle swarm with linearly falling inertia (Qian 2024, eq. 16), all particles at once."""

from collections.abc import Callable

import numpy as np

from control.dispatch_instance import Floats

INERTIA_MAX, INERTIA_MIN = 0.9, 0.4
PULL_OWN = PULL_BEST = 1.6  # learning factors c1 and c2
SPEED_MAX_FRAC = 0.25  # of the box, per iteration


class Swarm:
    """Particles in a box, minimising a cost; `iterate` moves all of them once.

    The first of them start where `start` (n, dimensions) says, the others at random.
    """

    def __init__(
        self, low: Floats, high: Floats, start: Floats, particles: int, rng: np.random.Generator
    ) -> None:
        """Place the particles; nothing is evaluated yet."""
        self.low, self.high, self._rng = low, high, rng
        self.position = rng.uniform(low, high, (particles, low.size))
        self.position[: len(start)] = np.clip(start, low, high)
        reach = SPEED_MAX_FRAC * (high - low)
        self.speed = rng.uniform(-reach, reach, self.position.shape)
        self.own_position = self.position.copy()
        self.own_cost = np.full(particles, np.inf)
        self.best_position = self.position[0].copy()
        self.best_cost = np.inf
        self.moves = 0

    def iterate(self, cost: Callable[[Floats], Floats], moves_in_all: int) -> bool:
        """Evaluate, then move, all particles; whether the best of all has improved."""
        found = cost(self.position)
        better = found < self.own_cost
        self.own_cost = np.where(better, found, self.own_cost)
        self.own_position[better] = self.position[better]
        leader = int(np.argmin(self.own_cost))
        improved = bool(self.own_cost[leader] < self.best_cost)
        if improved:
            self.best_cost = float(self.own_cost[leader])
            self.best_position = self.own_position[leader].copy()
        self._move(min(1.0, self.moves / max(1, moves_in_all)))
        self.moves += 1
        return improved

    def _move(self, done_frac: float) -> None:
        """One step of eq. 16; a particle that hits the box stops there."""
        inertia = INERTIA_MAX - (INERTIA_MAX - INERTIA_MIN) * done_frac
        own, best = self._rng.random((2, *self.position.shape))
        speed = (
            inertia * self.speed
            + PULL_OWN * own * (self.own_position - self.position)
            + PULL_BEST * best * (self.best_position - self.position)
        )
        reach = SPEED_MAX_FRAC * (self.high - self.low)
        wanted = self.position + np.clip(speed, -reach, reach)
        moved = np.clip(wanted, self.low, self.high)
        self.speed = np.where(moved == wanted, moved - self.position, 0.0)
        self.position = moved
