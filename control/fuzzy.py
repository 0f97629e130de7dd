"""Mamdani inference: min for AND, max to aggregate, centroid to defuzzify.

Output terms are polylines through their samples. Where a term is cut, the point of the cut is added
to its polyline, as scikit-fuzzy's control API does: results agree to rounding.

The rules are compiled into a decision diagram. Min and max distribute over each other, so the
diagram gives bit for bit what evaluating every rule gives, at a fraction of the work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from control.membership import Floats, Variable

Indices = NDArray[np.intp]
Child = tuple[int, ...]

CHUNK = 256  # inputs evaluated at once: keeps the working arrays inside the processor's cache
FLAT = 1e-12  # a rise in membership too small to place a crossing in


@dataclass(frozen=True, slots=True)
class Rule:
    """IF every named input is its term THEN every named output is its term."""

    when: Mapping[str, str]
    then: Mapping[str, str]


class Mamdani:
    """A compiled rule base. All outputs must be sampled at the same number of points."""

    def __init__(
        self, inputs: Sequence[Variable], outputs: Sequence[Variable], rules: Sequence[Rule]
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.rules = tuple(rules)
        _require_known_names(self.inputs, self.outputs, self.rules)
        self._fuzzifier = _Fuzzifier(self.inputs)
        self._antecedents = _antecedents(self.inputs, self.rules)
        self._diagram = _Diagram(self.inputs, self.outputs, self.rules, self._antecedents)
        self._defuzzifier = _Defuzzifier(self.outputs)

    def evaluate(self, x: ArrayLike) -> Floats:
        """Crisp outputs: shape (outputs,) for inputs (inputs,), (n, outputs) for (n, inputs).

        Inputs outside their universe are clamped; non-finite ones raise ValueError. An output for
        which no rule fires is NaN.
        """
        values = self._checked(x)
        if values.ndim == 1:
            return self._evaluate(values[:, None])[:, 0]
        columns = np.ascontiguousarray(values.T)
        crisp = np.empty((len(values), len(self.outputs)))
        for start in range(0, len(values), CHUNK):
            part = slice(start, start + CHUNK)
            crisp[part] = self._evaluate(columns[:, part]).T
        return crisp

    def firing(self, x: ArrayLike) -> Floats:
        """Strength of every rule, shape (rules,), for one input of shape (inputs,)."""
        memberships = self._fuzzifier(self._checked(x)[:, None])[:, 0]
        padded = np.append(memberships, 1.0)  # index -1: the rule does not mention this input
        strength: Floats = padded[self._antecedents].min(axis=1)
        return strength

    @property
    def rule_bytes(self) -> int:
        """Memory of the compiled rule base."""
        return sum(level.nbytes for level in self._diagram.levels)

    def _checked(self, x: ArrayLike) -> Floats:
        values = np.asarray(x, dtype=np.float64)
        if values.ndim not in (1, 2) or values.shape[-1] != len(self.inputs):
            raise ValueError(f"inputs of shape {values.shape}: {len(self.inputs)} in a row allowed")
        if not np.isfinite(values).all():
            raise ValueError("inputs must be finite numbers")
        return values

    def _evaluate(self, x: Floats) -> Floats:
        return self._defuzzifier(self._diagram(self._fuzzifier(x)))


class _Fuzzifier:
    """Inputs (inputs, n) to memberships (all terms, n), by interpolation in one flat table."""

    def __init__(self, inputs: Sequence[Variable]) -> None:
        tables = [variable.sampled() for variable in inputs]
        points = np.array([variable.points for variable in inputs])
        high = np.array([variable.high for variable in inputs])
        self._low = np.array([variable.low for variable in inputs])[:, None]
        self._per_unit = ((points - 1) / (high - self._low[:, 0]))[:, None]
        self._last = (points - 1.0)[:, None]
        self._last_cell = (points - 2)[:, None]
        self._variable = np.repeat(np.arange(len(inputs)), [len(table) for table in tables])
        lengths = points[self._variable]
        self._base = (np.cumsum(lengths) - lengths)[:, None]
        self._flat, self._rise = _flattened(tables)

    def __call__(self, x: Floats) -> Floats:
        position = np.minimum(np.maximum((x - self._low) * self._per_unit, 0.0), self._last)
        cell = np.minimum(position.astype(np.intp), self._last_cell)
        fraction = (position - cell)[self._variable]
        index = cell[self._variable] + self._base
        memberships: Floats = self._flat[index] + fraction * self._rise[index]
        return memberships


class _Diagram:
    """The rule base as a decision diagram with one level per input.

    A node stands for the rules that are still open once the inputs before its level have been
    looked at; equal nodes are one. Its value is max over the level's terms of
    min(membership of the term, value of the child for that term).
    """

    def __init__(
        self,
        inputs: Sequence[Variable],
        outputs: Sequence[Variable],
        rules: Sequence[Rule],
        antecedents: Indices,
    ) -> None:
        bounds = np.cumsum([0] + [len(variable.terms) for variable in inputs])
        self._slices = [slice(bounds[i], bounds[i + 1]) for i in range(len(inputs))]
        # The extra "term" with membership 1 carries the rules that do not mention the input.
        self._skipped = [bool((antecedents[:, i] < 0).any()) for i in range(len(inputs))]
        self._terms = [
            [*range(bounds[i], bounds[i + 1])] + [-1] * skipped
            for i, skipped in enumerate(self._skipped)
        ]
        self._nodes: list[dict[Child, int]] = [{} for _ in inputs]
        self._known: dict[tuple[int, frozenset[Child]], int] = {}
        self._width = max(len(variable.terms) for variable in outputs)
        roots = [
            self._node(0, frozenset(_matching(rules, antecedents, variable, index)))
            for variable in outputs
            for index in range(self._width)
        ]
        self._roots = np.array(roots).reshape(len(outputs), self._width)
        self.levels = tuple(
            _compact(np.array([*nodes], dtype=np.intp).reshape(len(nodes), -1))
            for nodes in self._nodes
        )

    def __call__(self, memberships: Floats) -> Floats:
        """Cut levels (outputs, terms, n) from memberships (all terms, n)."""
        value = np.array([[0.0], [1.0]])
        for part, skipped, children in zip(
            reversed(self._slices), reversed(self._skipped), reversed(self.levels), strict=True
        ):
            given = memberships[part]
            if skipped:
                given = np.concatenate([given, np.ones((1, given.shape[1]))])
            value = np.maximum.reduce(np.minimum(given, value[children]), axis=1)
        cuts: Floats = value[self._roots]
        return cuts

    def _node(self, level: int, open_rules: frozenset[Child]) -> int:
        """Index of the node at `level` for the given rest antecedents, made when new."""
        if level == len(self._terms):
            return int(bool(open_rules))
        known = self._known.get((level, open_rules))
        if known is not None:
            return known
        children = tuple(
            self._node(level + 1, frozenset(rule[1:] for rule in open_rules if rule[0] == term))
            for term in self._terms[level]
        )
        nodes = self._nodes[level]
        index = nodes.setdefault(children, len(nodes))
        self._known[level, open_rules] = index
        return index


class _Defuzzifier:
    """Centroids of the cut and merged output terms.

    Positions are in sample steps from the low end, so that all outputs share one set of weights.
    """

    def __init__(self, outputs: Sequence[Variable]) -> None:
        points = outputs[0].points
        if any(variable.points != points for variable in outputs):
            raise ValueError("outputs must be sampled at the same number of points")
        width = max(len(variable.terms) for variable in outputs)
        self._points = points
        self._table = np.zeros((len(outputs), width, points))
        for index, variable in enumerate(outputs):
            self._table[index, : len(variable.terms)] = variable.sampled()
        self._low = np.array([variable.low for variable in outputs])[:, None]
        self._step = np.array([v.high - v.low for v in outputs])[:, None] / (points - 1)
        self._weights = _polyline_weights(points)
        self._flat, self._rise = _flattened([*self._table])
        row = np.arange(len(outputs) * width).reshape(len(outputs), width)
        self._row_start = (row * points)[:, :, None, None]
        self._flanks = _Flanks(self._table)

    def __call__(self, cuts: Floats) -> Floats:
        """Crisp outputs (outputs, n) from cut levels (outputs, terms, n)."""
        clipped = np.minimum(self._table[:, :, None, :], cuts[..., None])
        merged = np.maximum.reduce(clipped, axis=1)
        sums = merged @ self._weights
        extra_area, extra_moment = self._kinks(cuts, merged)
        area = sums[..., 0] + extra_area
        moment = sums[..., 1] + extra_moment
        centre = np.full_like(area, np.nan)
        np.divide(moment, area, out=centre, where=area > 0.0)
        crisp: Floats = self._low + self._step * centre
        return crisp

    def _kinks(self, cuts: Floats, merged: Floats) -> tuple[Floats, Floats]:
        """Area and moment that the cut points add to the polyline through the samples.

        Each point spans a triangle with its left neighbour (the sample, or a cut point in the same
        cell) and the sample on its right.
        """
        x = np.sort(self._flanks(cuts), axis=1)
        cell = np.minimum(x.astype(np.intp), self._points - 2)
        fraction = x - cell
        index = cell[:, None] + self._row_start
        membership = self._flat[index] + fraction[:, None] * self._rise[index]
        y = np.maximum.reduce(np.minimum(membership, cuts[:, :, None, :]), axis=1)
        outputs, _, n = x.shape
        sample = cell + (np.arange(outputs * n) * self._points).reshape(outputs, 1, n)
        samples = merged.reshape(-1)
        left_y, right_y = samples[sample], samples[sample + 1]
        left_x = np.zeros_like(x)
        shared = cell[:, 1:] == cell[:, :-1]
        np.copyto(left_x[:, 1:], fraction[:, :-1], where=shared)
        np.copyto(left_y[:, 1:], y[:, :-1], where=shared)
        area = 0.5 * ((1.0 - fraction) * (y - left_y) + (fraction - left_x) * (y - right_y))
        moment = area * (cell + (left_x + fraction + 1.0) / 3.0)
        return np.add.reduce(area, axis=1), np.add.reduce(moment, axis=1)


class _Flanks:
    """Where each output term's rising and falling flank crosses its cut level.

    All flanks lie in one ascending array, each lifted by twice its number, so that a single binary
    search serves them all.
    """

    def __init__(self, table: Floats) -> None:
        outputs, width, points = table.shape
        rows = table.reshape(outputs * width, points)
        flanks = [flank for row in rows for flank in _flanks_of(row)]
        lengths = [len(height) for height, _, _ in flanks]
        self._term = np.repeat(np.arange(len(rows)), 2)
        self._lift = 2.0 * np.arange(len(flanks))[:, None]
        self._height, self._at, self._slope = (
            np.concatenate(part) for part in zip(*flanks, strict=True)
        )
        self._keys = self._height + np.repeat(self._lift[:, 0], lengths)
        self._shape = (outputs, 2 * width, -1)

    def __call__(self, cuts: Floats) -> Floats:
        """Positions in sample steps, shape (outputs, 2 * terms, n); a flank's end if none."""
        level = cuts.reshape(len(self._term) // 2, -1)[self._term]
        found = self._keys.searchsorted(level + self._lift)
        crossing = self._at[found] + (level - self._height[found]) * self._slope[found]
        positions: Floats = crossing.reshape(self._shape)
        return positions


def _flanks_of(row: Floats) -> list[tuple[Floats, Floats, Floats]]:
    """Rising and falling flank of one sampled term: heights ascending, positions, inverse slopes.

    The inverse slope belongs to the segment that ends in the entry; 0 at both ends, so that a level
    below or above the whole flank yields the flank's end.
    """
    peak = int(row.argmax())
    flanks = []
    for order in (np.arange(peak + 1), np.arange(len(row) - 1, peak - 1, -1)):
        height, at = row[order], order.astype(np.float64)
        if (np.diff(height) < 0).any():
            raise ValueError("output terms must rise to one peak and fall from it")
        slope = np.zeros(len(height))
        rise = np.diff(height)
        np.divide(np.diff(at), rise, out=slope[1:], where=rise > FLAT)
        flanks.append((np.append(height, 1.5), np.append(at, at[-1]), np.append(slope, 0.0)))
    return flanks


def _polyline_weights(points: int) -> Floats:
    """Weights (points, 2) that give a polyline's area and first moment over 0..points-1."""
    area, moment = np.ones(points), np.arange(points, dtype=np.float64)
    area[[0, -1]] = 0.5
    moment[0], moment[-1] = 1 / 6, (points - 1) / 2 - 1 / 6
    return np.column_stack([area, moment])


def _flattened(tables: Sequence[Floats]) -> tuple[Floats, Floats]:
    """All rows of all tables end to end, and the rise from each sample to the next in its row."""
    rises = [np.diff(table, axis=1, append=table[:, -1:]) for table in tables]
    return np.concatenate([t.ravel() for t in tables]), np.concatenate([r.ravel() for r in rises])


def _antecedents(inputs: Sequence[Variable], rules: Sequence[Rule]) -> Indices:
    """Index into all terms per rule and input, -1 where the rule does not mention the input."""
    start = np.cumsum([0] + [len(variable.terms) for variable in inputs])
    rows = [
        [
            int(start[i]) + v.index_of(rule.when[v.name]) if v.name in rule.when else -1
            for i, v in enumerate(inputs)
        ]
        for rule in rules
    ]
    return np.array(rows, dtype=np.intp)


def _matching(
    rules: Sequence[Rule], antecedents: Indices, output: Variable, index: int
) -> list[Child]:
    """Antecedents of the rules whose consequent for `output` is its term number `index`."""
    return [
        tuple(antecedent)
        for rule, antecedent in zip(rules, antecedents.tolist(), strict=True)
        if output.name in rule.then and output.index_of(rule.then[output.name]) == index
    ]


def _compact(children: Indices) -> NDArray[np.integer]:
    """The same indices in the smallest type that holds them."""
    return children.astype(np.min_scalar_type(int(children.max(initial=0))))


def _require_known_names(
    inputs: Sequence[Variable], outputs: Sequence[Variable], rules: Sequence[Rule]
) -> None:
    if not (inputs and outputs and rules):
        raise ValueError("a rule base needs inputs, outputs and rules")
    known = ({v.name for v in inputs}, {v.name for v in outputs})
    for rule in rules:
        unknown = (rule.when.keys() - known[0]) | (rule.then.keys() - known[1])
        if unknown:
            raise ValueError(f"rule names unknown variables: {', '.join(sorted(unknown))}")
