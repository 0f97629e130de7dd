"""Time one and 1,000 evaluations of the 540-rule surplus split beside other fuzzy engines.

Every engine gets the same rules, the same membership functions at the same resolution and the same
inputs, in this one run. Times are CPU times: neighbours on the machine count for little. The last
column is the largest difference from our raw outputs. Engines that are not installed are named and
left out. Takes about 30 s, most of it scikit-fuzzy as shipped, which works out the order of its
rules anew for every evaluation.

    python -m bench.fuzzy
"""

import timeit
from collections.abc import Callable, Mapping
from functools import partial
from time import process_time

import numpy as np
from numpy.typing import NDArray

from control.fuzzy import Mamdani
from control.membership import Variable
from control.surplus import engine, split, split_many

Floats = NDArray[np.float64]
Evaluate = Callable[[Floats], Floats]  # inputs (5,) to raw outputs (3,)


def random_inputs(count: int) -> Floats:
    """Inputs spread over the whole universe of each variable, the same in every run."""
    system = engine()
    low, high = (np.array([getattr(v, end) for v in system.inputs]) for end in ("low", "high"))
    spread = np.random.default_rng(0).random((count, len(system.inputs)))
    return np.asarray(low + spread * (high - low))


class Straightforward:
    """The obvious numpy version: all rules, all samples, no compilation, no cut points."""

    def __init__(self, system: Mamdani) -> None:
        self._inputs = [(v.universe, v.sampled()) for v in system.inputs]
        self._when = np.array(
            [[v.index_of(r.when[v.name]) for v in system.inputs] for r in system.rules]
        )
        self._outputs = [
            (v.universe, v.sampled(), [v.index_of(r.then[v.name]) for r in system.rules])
            for v in system.outputs
        ]

    def many(self, x: Floats) -> Floats:
        """Inputs (n, 5) to outputs (n, 3)."""
        strength = np.ones((len(x), len(self._when)))
        for column, (universe, table) in enumerate(self._inputs):
            degrees = np.array([np.interp(x[:, column], universe, row) for row in table])
            np.minimum(strength, degrees[self._when[:, column]].T, out=strength)
        crisp = []
        for universe, table, then in self._outputs:
            merged = np.zeros((len(x), len(universe)))
            for term, row in enumerate(table):
                cut = strength[:, np.equal(then, term)].max(axis=1)
                np.maximum(merged, np.minimum(cut[:, None], row), out=merged)
            crisp.append(merged @ universe / merged.sum(axis=1))
        return np.stack(crisp, axis=1)


def scikit_fuzzy(system: Mamdani, *, cached: bool) -> Evaluate:
    """scikit-fuzzy's control API, with the rule order kept or worked out at every evaluation."""
    import networkx as nx
    from skfuzzy import control as ctrl

    class CachedOrder(ctrl.ControlSystem):  # type: ignore[misc]
        rules = ()

    variables = {}
    for kind, group in ((ctrl.Antecedent, system.inputs), (ctrl.Consequent, system.outputs)):
        for variable in group:
            variables[variable.name] = kind(variable.universe, variable.name)
            for term, degrees in zip(variable.terms, variable.sampled(), strict=True):
                variables[variable.name][term.name] = degrees
    rules = []
    for rule in system.rules:
        first, *rest = (variables[name][term] for name, term in rule.when.items())
        for condition in rest:
            first = first & condition
        rules.append(ctrl.Rule(first, [variables[name][t] for name, t in rule.then.items()]))
    control_system = CachedOrder() if cached else ctrl.ControlSystem()
    if cached:
        control_system.rules = rules
    # Adding 540 rules one by one takes minutes: the library composes the graph anew for each.
    control_system.graph = nx.compose_all([rule.graph for rule in rules])
    simulation = ctrl.ControlSystemSimulation(control_system, cache=False)

    def evaluate(x: Floats) -> Floats:
        for variable, value in zip(system.inputs, x, strict=True):
            simulation.input[variable.name] = value
        simulation.compute()
        return np.array([simulation.output[variable.name] for variable in system.outputs])

    return evaluate


def pyfuzzylite(system: Mamdani) -> Evaluate:
    """pyfuzzylite with the sampled terms as discrete ones."""
    import fuzzylite as fl

    def word(name: str) -> str:
        return name.replace(" ", "_")

    def terms(variable: Variable) -> list[fl.Discrete]:
        return [
            fl.Discrete(
                word(term.name), np.column_stack([variable.universe, degrees]).ravel().tolist()
            )
            for term, degrees in zip(variable.terms, variable.sampled(), strict=True)
        ]

    def clauses(parts: Mapping[str, str]) -> str:
        return " and ".join(f"{name} is {word(term)}" for name, term in parts.items())

    flow = fl.Engine(
        input_variables=[
            fl.InputVariable(v.name, minimum=v.low, maximum=v.high, terms=terms(v))
            for v in system.inputs
        ],
        output_variables=[
            fl.OutputVariable(
                v.name,
                minimum=v.low,
                maximum=v.high,
                aggregation=fl.Maximum(),
                defuzzifier=fl.Centroid(v.points),
                terms=terms(v),
            )
            for v in system.outputs
        ],
    )
    texts = (f"if {clauses(rule.when)} then {clauses(rule.then)}" for rule in system.rules)
    flow.rule_blocks.append(
        fl.RuleBlock(
            conjunction=fl.Minimum(),
            implication=fl.Minimum(),
            activation=fl.General(),
            rules=[fl.Rule.create(text, flow) for text in texts],
        )
    )

    def evaluate(x: Floats) -> Floats:
        for variable, value in zip(flow.input_variables, x, strict=True):
            variable.value = value
        flow.process()
        return np.concatenate([np.ravel(variable.value) for variable in flow.output_variables])

    return evaluate


def seconds(call: Callable[[], object], rounds: int) -> float:
    """Median CPU time of one call, after a first one that is not counted."""
    call()
    return float(np.median(timeit.repeat(call, timer=process_time, number=1, repeat=rounds)))


def row(name: str, one: float, many: float | None, outputs: Floats | None, ours: Floats) -> None:
    """Print one line of the table; 1,000 one by one where the engine takes no arrays."""
    thousand = f"{many * 1e3:12.3f}" if many is not None else f"{one * 1e6:10.0f} *"
    difference = "" if outputs is None else f"{np.abs(outputs - ours[: len(outputs)]).max():14.1e}"
    print(f"{name:34}{one * 1e3:12.4f}{thousand}{difference}", flush=True)


def bench_ours(system: Mamdani, inputs: Floats, ours: Floats) -> None:
    """Our engine, and the split with its shares on top."""
    first = inputs[0].copy()
    values = tuple(first.tolist())
    many = seconds(lambda: system.evaluate(inputs), 101)
    row("nanogrid, engine", seconds(lambda: system.evaluate(first), 5001), many, ours, ours)
    many = seconds(lambda: split_many(inputs), 101)
    row("nanogrid, split with shares", seconds(lambda: split(*values), 5001), many, None, ours)
    plain = Straightforward(system)
    row(
        "straightforward numpy",
        seconds(lambda: plain.many(first[None]), 501),
        seconds(lambda: plain.many(inputs), 21),
        plain.many(inputs),
        ours,
    )


def main() -> None:
    """Print the table."""
    system = engine()
    inputs = random_inputs(1000)
    ours = system.evaluate(inputs)
    print(f"{len(system.rules)} rules, {system.rule_bytes} bytes compiled; median CPU times")
    print(f"{'engine':34}{'one, ms':>12}{'1,000, ms':>12}{'difference':>14}")
    bench_ours(system, inputs, ours)
    peers: list[tuple[str, Callable[[], Evaluate], int]] = [
        ("scikit-fuzzy, rule order cached", lambda: scikit_fuzzy(system, cached=True), 20),
        ("scikit-fuzzy, as shipped", lambda: scikit_fuzzy(system, cached=False), 2),
        ("pyfuzzylite", lambda: pyfuzzylite(system), 20),
    ]
    for name, build, rounds in peers:
        try:
            evaluate = build()
        except ModuleNotFoundError as missing:
            print(f"{name:34}{f'not measured: no {missing.name}':>24}")
            continue
        outputs = np.array([evaluate(x) for x in inputs[:rounds]])
        row(name, seconds(partial(evaluate, inputs[0]), rounds), None, outputs, ours)
    print("* one by one: a thousand times the first column")


if __name__ == "__main__":
    main()
