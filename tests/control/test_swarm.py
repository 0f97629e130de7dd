"""The particle swarm on functions whose minimum is known."""

import numpy as np
import pytest

from control.swarm import INERTIA_MAX, Swarm


def sphere(x: np.ndarray) -> np.ndarray:
    return np.sum((x - 0.3) ** 2, axis=1)


def run(seed: int, moves: int = 80) -> Swarm:
    low, high = np.full(4, -1.0), np.full(4, 1.0)
    swarm = Swarm(low, high, np.zeros((0, 4)), 20, np.random.default_rng(seed))
    for _ in range(moves):
        swarm.iterate(sphere, moves)
        assert np.all((swarm.position >= low) & (swarm.position <= high))
    return swarm


def test_it_finds_the_bottom_of_a_bowl() -> None:
    swarm = run(1)
    assert swarm.best_cost < 1e-4
    assert swarm.best_position == pytest.approx(np.full(4, 0.3), abs=0.02)


def test_the_seed_decides_everything() -> None:
    assert np.array_equal(run(3).position, run(3).position)
    assert not np.array_equal(run(3).position, run(4).position)


def test_the_best_only_gets_better_and_includes_the_start() -> None:
    start = np.full((1, 4), 0.3)
    swarm = Swarm(np.full(4, -1.0), np.full(4, 1.0), start, 5, np.random.default_rng(0))
    assert swarm.iterate(sphere, 10)
    assert swarm.best_cost == pytest.approx(0.0)
    assert not any(swarm.iterate(sphere, 10) for _ in range(9))


def test_inertia_is_largest_first() -> None:
    """A lone particle at its own best is moved by inertia alone (eq. 16)."""
    swarm = Swarm(np.zeros(1), np.ones(1), np.array([[0.5]]), 1, np.random.default_rng(0))
    before = float(swarm.speed[0, 0])
    swarm.iterate(lambda x: np.zeros(1), 10)
    assert swarm.position[0, 0] - 0.5 == pytest.approx(INERTIA_MAX * before)
