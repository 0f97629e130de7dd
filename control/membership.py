"""Membership functions and the variables that they describe.

Every membership function is sampled at equal steps over its variable's universe and is a polyline
between the samples, for inputs and outputs alike.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trapezoid:
    """0 up to `a`, rising to 1 at `b`, 1 up to `c`, falling to 0 at `d`."""

    a: float
    b: float
    c: float
    d: float

    def __post_init__(self) -> None:
        _require_ascending((self.a, self.b, self.c, self.d))

    def __call__(self, x: Floats) -> Floats:
        """Membership of each x, 0 to 1."""
        rising = _ramp(x, self.a, self.b)
        falling = 1.0 - _ramp(x, self.c, self.d)
        return np.where(x > self.c, falling, np.where(x < self.b, rising, 1.0))


@dataclass(frozen=True, slots=True)
class Triangle:
    """0 up to `a`, rising to 1 at `b`, falling to 0 at `c`."""

    a: float
    b: float
    c: float

    def __post_init__(self) -> None:
        _require_ascending((self.a, self.b, self.c))

    def __call__(self, x: Floats) -> Floats:
        """Membership of each x, 0 to 1."""
        return Trapezoid(self.a, self.b, self.b, self.c)(x)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """1 at `mean`, exp(-1/2) one `sigma` away."""

    mean: float
    sigma: float

    def __post_init__(self) -> None:
        if not (isfinite(self.mean) and isfinite(self.sigma) and self.sigma > 0):
            raise ValueError(f"({self.mean}, {self.sigma}): mean finite and sigma > 0 allowed")

    def __call__(self, x: Floats) -> Floats:
        """Membership of each x, 0 to 1."""
        return np.asarray(np.exp(-0.5 * ((x - self.mean) / self.sigma) ** 2))


Shape = Trapezoid | Triangle | Gaussian


@dataclass(frozen=True, slots=True)
class Term:
    """A word for a range of a variable, e.g. "high"."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Variable:
    """A quantity with its universe `low..high`, sampled at `points` equal steps.

    `periodic`: the universe is one period and the terms continue across its ends.
    """

    name: str
    low: float
    high: float
    terms: tuple[Term, ...]
    points: int = 101
    periodic: bool = False

    def __post_init__(self) -> None:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self.name}: universe {self.low}..{self.high} is empty")
        if self.points < 2 or not self.terms:
            raise ValueError(f"{self.name}: needs at least 2 points and 1 term")
        if len({term.name for term in self.terms}) < len(self.terms):
            raise ValueError(f"{self.name}: two terms of one name")

    @property
    def universe(self) -> Floats:
        """The sample positions, shape (points,)."""
        return np.linspace(self.low, self.high, self.points)

    def sampled(self) -> Floats:
        """Memberships of all terms at the sample positions, shape (terms, points)."""
        x, period = self.universe, self.high - self.low
        shifts = (0.0, -period, period) if self.periodic else (0.0,)
        return np.array([np.max([t.shape(x + s) for s in shifts], axis=0) for t in self.terms])

    def index_of(self, term: str) -> int:
        """Position of a term; ValueError naming the variable when there is none."""
        for index, candidate in enumerate(self.terms):
            if candidate.name == term:
                return index
        raise ValueError(f"{self.name}: no term {term!r}")


def _ramp(x: Floats, start: float, end: float) -> Floats:
    """0 up to `start`, 1 from `end` on; a step at `end` when both are equal."""
    if end == start:
        return np.where(x >= end, 1.0, 0.0)
    return np.clip((x - start) / (end - start), 0.0, 1.0)


def _require_ascending(points: tuple[float, ...]) -> None:
    ordered = all(a <= b for a, b in pairwise(points))
    if not all(map(isfinite, points)) or not ordered:
        raise ValueError(f"{points}: finite numbers in ascending order allowed")
