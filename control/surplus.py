"""The fuzzy split of surplus energy among battery, grid and peers (Shahzad 2021).

Five inputs, three outputs, 540 rules. The paper prints one rule and describes the behaviour; the
rules here follow from the principles in `_store`, `_export` and `_p2p`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import ArrayLike

from control import surplus_shapes as shapes
from control.fuzzy import Mamdani, Rule
from control.membership import (
    Floats,
    Gaussian,
    Shape,
    Term,
    Trapezoid,
    Triangle,
    Variable,
)
from control.surplus_shapes import Points

Case = Mapping[str, str]  # the term of every input

LOW, MEDIUM, HIGH = "low", "medium", "high"
LEVELS = (LOW, MEDIUM, HIGH)
TEMPERATURES = ("very cold", "cold", "normal", "hot", "very hot")
TIMES = ("midnight", "morning", "noon", "evening")
INPUTS = ("price", "temperature", "hour", "interest", "capacity")
OPTIONS = ("store", "export", "p2p")
NEGLIGIBLE = 1e-6  # outputs that add up to less prefer no option


@dataclass(frozen=True, slots=True)
class SurplusSettings:
    """What a site may adapt: the range of its tariff and the points of every membership function.

    Trapezoids are (a, b, c, d), triangles (a, b, c), Gaussians (mean, sigma), in the order of the
    terms. Prices are fractions of the way from `price_low_per_kwh` to `price_high_per_kwh`. The
    outer output terms lie evenly around 0 and 1: only so can a centroid reach the ends.
    """

    price_low_per_kwh: float = 0.07
    price_high_per_kwh: float = 0.13
    price_frac: Points = shapes.PRICE_FRAC
    temperature_degc: Points = shapes.TEMPERATURE_DEGC
    hour: Points = shapes.HOUR
    interest_frac: Points = shapes.INTEREST_FRAC
    capacity_frac: Points = shapes.CAPACITY_FRAC
    store: Points = shapes.STORE
    export: Points = shapes.EXPORT
    p2p: Points = shapes.P2P
    store_weight: float = 1.0  # what the rules say of each use counts by so much
    export_weight: float = 1.0
    p2p_weight: float = 1.0


def input_variables(settings: SurplusSettings) -> tuple[Variable, ...]:
    """The five inputs, in the order of INPUTS."""
    low, high = settings.price_low_per_kwh, settings.price_high_per_kwh
    prices = tuple(tuple(low + p * (high - low) for p in term) for term in settings.price_frac)
    return (
        Variable("price", low, high, _terms("price_frac", LEVELS, Trapezoid, prices), 121),
        Variable(
            "temperature",
            -40.0,
            50.0,
            _terms("temperature_degc", TEMPERATURES, Trapezoid, settings.temperature_degc),
            181,
        ),
        Variable("hour", 0.0, 24.0, _terms("hour", TIMES, Triangle, settings.hour), 97, True),
        _fraction("interest", LEVELS, Triangle, settings.interest_frac),
        _fraction("capacity", LEVELS, Trapezoid, settings.capacity_frac),
    )


def output_variables(settings: SurplusSettings) -> tuple[Variable, ...]:
    """The three outputs, in the order of OPTIONS."""
    shapes = (Trapezoid, Triangle, Gaussian)
    return tuple(
        Variable(name, -0.5, 1.5, _terms(name, LEVELS, shape, getattr(settings, name)))
        for name, shape in zip(OPTIONS, shapes, strict=True)
    )


def require_usable(settings: SurplusSettings) -> None:
    """ValueError naming the key where a shape is malformed or values are left without a term."""
    for variable in input_variables(settings):
        uncovered = variable.universe[variable.sampled().max(axis=0) <= 0.0]
        if uncovered.size:
            raise ValueError(f"{variable.name}: no term covers {uncovered[0]:g}")
    for variable in output_variables(settings):
        if (variable.sampled().max(axis=1) <= 0.0).any():
            raise ValueError(
                f"{variable.name}: a term lies outside {variable.low}..{variable.high}"
            )


def _fraction(name: str, names: tuple[str, ...], shape: type[Shape], points: Points) -> Variable:
    return Variable(name, 0.0, 1.0, _terms(f"{name}_frac", names, shape, points))


def _terms(
    key: str, names: tuple[str, ...], shape: type[Shape], points: Points
) -> tuple[Term, ...]:
    """Terms from a settings table; ValueError naming the key."""
    if len(points) != len(names):
        raise ValueError(f"{key}: {len(points)} terms given, {len(names)} needed")
    terms = []
    for name, numbers in zip(names, points, strict=True):
        if len(numbers) != len(fields(shape)):
            raise ValueError(f"{key}: {name} {numbers}: {len(fields(shape))} numbers needed")
        try:
            terms.append(Term(name, shape(*numbers)))
        except ValueError as error:
            raise ValueError(f"{key}: {name} {error}") from None
    return tuple(terms)


DEFAULTS = SurplusSettings()


@dataclass(frozen=True, slots=True)
class Parts:
    """One number per use of the surplus, 0 to 1."""

    store: float
    export: float
    p2p: float

    def shared_among(self, *options: str) -> "Parts":
        """Shares (sum 1) of these options alone, e.g. "store" and "p2p" on an island.

        Equal ones where all of them are negligible: then none is preferred.
        """
        if not options or not set(options) <= set(OPTIONS):
            raise ValueError(f"{options}: some of {', '.join(OPTIONS)} allowed")
        wanted = {name: getattr(self, name) if name in options else 0.0 for name in OPTIONS}
        total = sum(wanted.values())
        if total < NEGLIGIBLE:
            wanted, total = {name: float(name in options) for name in OPTIONS}, len(set(options))
        return Parts(**{name: part / total for name, part in wanted.items()})


@dataclass(frozen=True, slots=True)
class Split:
    """What the rules say of each option by itself, and the shares of the surplus (sum 1)."""

    raw: Parts
    shares: Parts


def split(
    price_per_kwh: float,
    temperature_degc: float,
    hour: float,
    interest_frac: float,
    capacity_frac: float,
    settings: SurplusSettings = DEFAULTS,
) -> Split:
    """How to use surplus energy now.

    `hour` is local time, 0 to 24; `interest_frac` is consumers asking over all consumers;
    `capacity_frac` is the free share of the storage, 0 full, 1 empty. Values outside their range
    count as its end; non-finite ones raise ValueError.
    """
    row = (price_per_kwh, temperature_degc, hour, interest_frac, capacity_frac)
    raw = Parts(*_raw(row, settings).tolist())
    return Split(raw, raw.shared_among(*OPTIONS))


def split_many(inputs: ArrayLike, settings: SurplusSettings = DEFAULTS) -> tuple[Floats, Floats]:
    """Raw outputs and shares, each (n, 3) in the order of OPTIONS, for inputs (n, 5) of `split`."""
    raw = _raw(inputs, settings)
    total = raw.sum(axis=1, keepdims=True)
    shares = np.full_like(raw, 1.0 / len(OPTIONS))
    np.divide(raw, total, out=shares, where=total >= NEGLIGIBLE)
    return raw, shares


def explain(
    price_per_kwh: float,
    temperature_degc: float,
    hour: float,
    interest_frac: float,
    capacity_frac: float,
    settings: SurplusSettings = DEFAULTS,
    strongest: int = 3,
) -> tuple[str, ...]:
    """The rules that fire most, strongest first, each with its strength 0 to 1."""
    row = (price_per_kwh, temperature_degc, hour, interest_frac, capacity_frac)
    system = engine(settings)
    strengths = system.firing(row)
    order = np.argsort(-strengths, kind="stable")[:strongest]
    return tuple(f"{strengths[i]:.2f}: {_text(system.rules[i])}" for i in order if strengths[i] > 0)


@lru_cache(maxsize=8)
def engine(settings: SurplusSettings = DEFAULTS) -> Mamdani:
    """The compiled rule base; ValueError where the settings are unusable."""
    require_usable(settings)
    return Mamdani(input_variables(settings), output_variables(settings), tuple(rules()))


# --- the rules -----------------------------------------------------------------------------

FOR_STORING = {
    "capacity": {HIGH: 3},
    "price": {LOW: 1, HIGH: -1},
    "interest": {LOW: 1, HIGH: -1},
    "hour": {"midnight": 1, "noon": -1},
}
FOR_EXPORTING = {
    "capacity": {LOW: 2, HIGH: -1},
    "price": {LOW: 1, HIGH: -2},
    "interest": {LOW: 1, HIGH: -2},
    "temperature": {"very cold": -1, "very hot": -1},
}
FOR_PEERS = {  # 4 is reason enough; the 1s count only all together
    "price": {MEDIUM: 1, HIGH: 4},
    "temperature": {"very cold": 4, "cold": 1, "hot": 1, "very hot": 4},
    "interest": {HIGH: 4},
    "hour": {"noon": 1},
    "capacity": {LOW: 1},
}


def rules() -> Iterator[Rule]:
    """One rule for each of the 540 combinations of input terms."""
    for terms in product(LEVELS, TEMPERATURES, TIMES, LEVELS, LEVELS):
        case = dict(zip(INPUTS, terms, strict=True))
        yield Rule(case, {"store": _store(case), "export": _export(case), "p2p": _p2p(case)})


def _store(case: Case) -> str:
    """A full battery stores nothing. Else: the more room, and the less the energy fetches now."""
    if case["capacity"] == LOW:
        return LOW
    return _level(_score(FOR_STORING, case), low=-2, high=2)


def _export(case: Case) -> str:
    """What neither peers nor battery can take goes to the grid. Else: what fetches little."""
    if case["interest"] == LOW and case["capacity"] == LOW:
        return HIGH
    return _level(_score(FOR_EXPORTING, case), low=-1, high=3)


def _p2p(case: Case) -> str:
    """Peers pay best: sell when they need it or it is dear. Where nobody asks, there is no sale."""
    if case["interest"] == LOW:
        return LOW
    return HIGH if _score(FOR_PEERS, case) >= 4 else MEDIUM


def _score(weights: Mapping[str, Mapping[str, int]], case: Case) -> int:
    return sum(weight.get(case[name], 0) for name, weight in weights.items())


def _level(score: int, *, low: int, high: int) -> str:
    return LOW if score <= low else HIGH if score >= high else MEDIUM


# --- details -------------------------------------------------------------------------------


def _raw(inputs: ArrayLike, settings: SurplusSettings) -> Floats:
    raw: Floats = np.minimum(np.maximum(engine(settings).evaluate(inputs), 0.0), 1.0)
    return raw * (settings.store_weight, settings.export_weight, settings.p2p_weight)


def _text(rule: Rule) -> str:
    def listed(terms: Case) -> str:
        return ", ".join(f"{name} {term}" for name, term in terms.items())

    return f"{listed(rule.when)} -> {listed(rule.then)}"
