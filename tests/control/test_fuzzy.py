import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfuzzy import control as ctrl

from control.fuzzy import CHUNK, Mamdani, Rule
from control.membership import Gaussian, Shape, Term, Trapezoid, Triangle, Variable
from control.surplus import engine


def variable(name: str, *shapes: Shape, points: int = 101, periodic: bool = False) -> Variable:
    terms = tuple(Term(f"t{i}", shape) for i, shape in enumerate(shapes))
    return Variable(name, 0.0, 1.0, terms, points, periodic)


class ReferenceSystem(ctrl.ControlSystem):
    """scikit-fuzzy with its rules in the given order: working the order out takes seconds."""

    rules = ()


def reference(system: Mamdani) -> ctrl.ControlSystemSimulation:
    variables = {}
    for kind, group in ((ctrl.Antecedent, system.inputs), (ctrl.Consequent, system.outputs)):
        for v in group:
            variables[v.name] = kind(v.universe, v.name)
            for term, degrees in zip(v.terms, v.sampled(), strict=True):
                variables[v.name][term.name] = degrees
    rules = []
    for rule in system.rules:
        first, *rest = (variables[name][term] for name, term in rule.when.items())
        for condition in rest:
            first = first & condition
        rules.append(ctrl.Rule(first, [variables[name][t] for name, t in rule.then.items()]))
    reference_system = ReferenceSystem()
    reference_system.rules = rules
    reference_system.graph = nx.compose_all([rule.graph for rule in rules])
    return ctrl.ControlSystemSimulation(reference_system, cache=False)


def reference_outputs(simulation: ctrl.ControlSystemSimulation, system: Mamdani, x) -> list[float]:
    for v, value in zip(system.inputs, x, strict=True):
        simulation.input[v.name] = value
    simulation.compute()
    return [simulation.output.get(v.name, np.nan) for v in system.outputs]


def strongest(system: Mamdani, x: np.ndarray, output: Variable, term: str) -> float:
    """Strength of the strongest rule for one term of an output, found rule by rule."""
    matching = (
        strength
        for strength, rule in zip(system.firing(x), system.rules, strict=True)
        if rule.then.get(output.name) == term
    )
    return max(matching, default=0.0)


def height(system: Mamdani, x: np.ndarray, output: Variable) -> float:
    """Height of the merged output terms."""
    rows = zip(output.terms, output.sampled(), strict=True)
    return max(min(strongest(system, x, output, term.name), row.max()) for term, row in rows)


def assert_agrees(system: Mamdani, inputs: np.ndarray) -> None:
    """To 1e-9, except where nothing fires above 1e-6: scikit-fuzzy divides by epsilon there."""
    simulation = reference(system)
    for x, ours in zip(inputs, system.evaluate(inputs), strict=True):
        expected = reference_outputs(simulation, system, x)
        fires = [height(system, x, output) > 1e-6 for output in system.outputs]
        np.testing.assert_allclose(ours[fires], np.array(expected)[fires], rtol=0, atol=1e-9)


pytestmark = pytest.mark.filterwarnings("ignore:Passing more than 2 positional:DeprecationWarning")


# --- agreement with scikit-fuzzy -----------------------------------------------------------


def test_the_surplus_system_agrees_with_scikit_fuzzy():
    system = engine()
    low = np.array([v.low for v in system.inputs])
    high = np.array([v.high for v in system.inputs])
    spread = np.random.default_rng(3).random((40, 5))
    assert_agrees(system, low + spread * (high - low))


@st.composite
def shapes(draw) -> Shape:
    number = st.floats(-0.3, 1.3).map(lambda x: round(x, 3))
    kind = draw(st.sampled_from([Trapezoid, Triangle, Gaussian]))
    if kind is Gaussian:
        return Gaussian(draw(number), draw(st.floats(0.03, 0.5)))
    return kind(*sorted(draw(st.tuples(*[number] * (4 if kind is Trapezoid else 3)))))


@st.composite
def systems(draw) -> Mamdani:
    """Any system: sparse rules, rules that skip inputs, shapes off the samples, gaps."""
    points = draw(st.sampled_from([7, 50, 101]))
    terms = st.lists(shapes(), min_size=1, max_size=4)
    inputs = [
        variable(f"i{i}", *draw(terms), points=points) for i in range(draw(st.integers(1, 3)))
    ]
    outputs = [
        variable(f"o{i}", *draw(terms), points=points) for i in range(draw(st.integers(1, 2)))
    ]

    def some_terms(variables: list[Variable]) -> dict[str, str]:
        named = draw(st.lists(st.sampled_from(variables), min_size=1, unique_by=lambda v: v.name))
        return {v.name: draw(st.sampled_from(v.terms)).name for v in named}

    rules = [Rule(some_terms(inputs), some_terms(outputs)) for _ in range(draw(st.integers(1, 8)))]
    # scikit-fuzzy does not know a variable that no rule mentions, nor unused terms of an output.
    rules += [Rule({v.name: v.terms[0].name for v in inputs}, {v.name: "t0" for v in outputs})]
    return Mamdani(inputs, outputs, rules)


@settings(max_examples=60, deadline=None)
@given(systems(), st.data())
def test_random_systems_agree_with_scikit_fuzzy(system, data):
    row = st.tuples(*[st.floats(0, 1)] * len(system.inputs))
    assert_agrees(system, np.array(data.draw(st.lists(row, min_size=1, max_size=5))))


# --- the engine by itself ------------------------------------------------------------------

LOW_HIGH = (Trapezoid(0, 0, 0.4, 0.6), Trapezoid(0.4, 0.6, 1, 1))


def two_by_two() -> Mamdani:
    rules = [
        Rule({"a": "t0", "b": "t0"}, {"y": "t0"}),
        Rule({"a": "t1"}, {"y": "t1"}),
    ]
    inputs = [variable("a", *LOW_HIGH), variable("b", *LOW_HIGH)]
    return Mamdani(inputs, [variable("y", Triangle(0, 0.2, 0.4), Gaussian(0.7, 0.05))], rules)


def test_a_single_full_rule_yields_the_centroid_of_its_term():
    assert two_by_two().evaluate([0.1, 0.1]) == pytest.approx([0.2])
    assert two_by_two().evaluate([0.9, 0.1]) == pytest.approx([0.7], abs=1e-6)


def test_no_rule_fires_is_not_a_number():
    outputs = two_by_two().evaluate([[0.1, 0.9], [0.1, 0.1]])
    assert np.isnan(outputs[0, 0])
    assert outputs[1, 0] == pytest.approx(0.2)


def test_inputs_are_clamped_to_the_universe():
    system = two_by_two()
    assert system.evaluate([-5, -5]) == system.evaluate([0, 0])
    assert system.evaluate([1e9, 0]) == system.evaluate([1, 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_inputs_are_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        two_by_two().evaluate([0.5, bad])


@pytest.mark.parametrize("x", [[0.5], [[0.5], [0.5]], 0.5, [[[0.5, 0.5]]]])
def test_inputs_of_the_wrong_shape_are_refused(x):
    with pytest.raises(ValueError, match="2 in a row"):
        two_by_two().evaluate(x)


def test_many_equal_one_by_one_across_chunks():
    system = engine()
    inputs = np.random.default_rng(1).random((2 * CHUNK + 3, 5)) * [0.06, 90, 24, 1, 1]
    inputs += [0.07, -40, 0, 0, 0]
    many = system.evaluate(inputs)
    for index in (0, CHUNK - 1, CHUNK, 2 * CHUNK + 2):
        np.testing.assert_allclose(many[index], system.evaluate(inputs[index]), atol=1e-12)
    assert system.evaluate(np.empty((0, 5))).shape == (0, 3)


@settings(max_examples=50, deadline=None)
@given(systems(), st.data())
def test_the_compiled_rules_give_what_every_rule_gives(system, data):
    x = np.array(data.draw(st.tuples(*[st.floats(0, 1)] * len(system.inputs))))
    cuts = system._diagram(system._fuzzifier(x[:, None]))[..., 0]
    for output, row in zip(system.outputs, cuts, strict=True):
        for term, cut in zip(output.terms, row, strict=False):
            assert cut == strongest(system, x, output, term.name)


def test_a_periodic_variable_continues_across_its_ends():
    clock = variable("clock", Triangle(-0.25, 0.0, 0.25), Triangle(0, 0.5, 1), periodic=True)
    night = clock.sampled()[0]
    assert night[0] == night[-1] == 1.0
    np.testing.assert_allclose(night, night[::-1], atol=1e-12)
    assert night[10] == pytest.approx(0.6)


# --- what is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: Trapezoid(0, 2, 1, 3),
        lambda: Trapezoid(0, 1, 2, np.nan),
        lambda: Triangle(2, 1, 3),
        lambda: Gaussian(0, 0),
        lambda: Gaussian(np.inf, 1),
        lambda: Variable("x", 1, 1, (Term("t", Triangle(0, 1, 2)),)),
        lambda: Variable("x", 0, 1, ()),
        lambda: Variable("x", 0, 1, (Term("t", Triangle(0, 1, 2)),) * 2),
        lambda: Mamdani([], [], []),
        lambda: Mamdani([variable("a", *LOW_HIGH)], [variable("y", *LOW_HIGH)], []),
    ],
)
def test_nonsense_is_refused(make):
    with pytest.raises(ValueError, match=r"."):
        make()


@pytest.mark.parametrize(
    "rule",
    [
        Rule({"b": "t0"}, {"y": "t0"}),
        Rule({"a": "t9"}, {"y": "t0"}),
        Rule({"a": "t0"}, {"z": "t0"}),
        Rule({"a": "t0"}, {"y": "t9"}),
    ],
)
def test_rules_with_unknown_names_are_refused(rule):
    with pytest.raises(ValueError, match=r"unknown|no term"):
        Mamdani([variable("a", *LOW_HIGH)], [variable("y", *LOW_HIGH)], [rule])


def test_outputs_need_one_resolution_and_one_peak():
    a, y = variable("a", *LOW_HIGH), variable("y", *LOW_HIGH)
    rule = [Rule({"a": "t0"}, {"y": "t0"})]
    with pytest.raises(ValueError, match="same number of points"):
        Mamdani([a], [y, variable("z", *LOW_HIGH, points=51)], rule)
    wrapped = variable("y", Triangle(-0.25, 0.0, 0.25), periodic=True)
    with pytest.raises(ValueError, match="one peak"):
        Mamdani([a], [wrapped], rule)
