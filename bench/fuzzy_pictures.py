"""Draw the pictures of docs/fuzzy.md from the rules as they are (needs matplotlib).

python -m bench.fuzzy_pictures
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from control.membership import Variable
from control.surplus import (
    DEFAULTS,
    INPUTS,
    OPTIONS,
    input_variables,
    output_variables,
    split_many,
)

IMAGES = Path(__file__).parents[1] / "docs" / "images"
UNITS = {
    "price": "price, USD/kWh",
    "temperature": "outdoor temperature, °C",
    "hour": "time of day, h",
    "interest": "buyers' interest",
    "capacity": "free capacity",
    "store": "store to batteries",
    "export": "export to the grid",
    "p2p": "sell to peers",
}


def draw_memberships() -> None:
    """One panel per variable."""
    figure, axes = plt.subplots(2, 4, figsize=(13, 4.6), layout="constrained")
    variables: list[Variable] = [*input_variables(DEFAULTS), *output_variables(DEFAULTS)]
    for panel, variable in zip(axes.flat, variables, strict=True):
        for term, degrees in zip(variable.terms, variable.sampled(), strict=True):
            panel.plot(variable.universe, degrees, label=term.name)
        panel.set_xlabel(UNITS[variable.name])
        panel.set_ylim(-0.02, 1.35)
        panel.set_yticks([0, 0.5, 1])
        panel.legend(ncols=3, fontsize=7, loc="upper center", frameon=False)
    figure.savefig(IMAGES / "fuzzy-memberships.svg", metadata={"Date": None})


def surface(
    output: str, first: str, second: str, others: dict[str, float], points: int = 41
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Grids of two inputs and of one raw output."""
    spans = {v.name: np.linspace(v.low, v.high, points) for v in input_variables(DEFAULTS)}
    x, y = np.meshgrid(spans[first], spans[second])
    columns = {name: np.full(x.size, value) for name, value in others.items()}
    columns |= {first: x.ravel(), second: y.ravel()}
    raw, _ = split_many(np.column_stack([columns[name] for name in INPUTS]))
    return x, y, raw[:, OPTIONS.index(output)].reshape(x.shape)


def draw_surfaces() -> None:
    """The paper's figures 7 and 8."""
    figure = plt.figure(figsize=(11, 4.6), layout="constrained")
    cases = [
        ("p2p", "temperature", {"hour": 12.0, "interest": 0.5, "capacity": 0.5}, -125),
        ("export", "interest", {"hour": 12.0, "temperature": 5.0, "capacity": 0.5}, 45),
    ]
    for position, (output, second, others, azimuth) in enumerate(cases, start=1):
        panel = figure.add_subplot(1, 2, position, projection="3d")
        x, y, z = surface(output, "price", second, others)
        panel.plot_surface(x, y, z, cmap="viridis", vmin=0, vmax=1, rcount=41, ccount=41)
        panel.set_xlabel(UNITS["price"])
        panel.set_ylabel(UNITS[second])
        panel.set_zlabel(UNITS[output])
        panel.set_zlim(0, 1)
        panel.view_init(elev=28, azim=azimuth)
    figure.savefig(IMAGES / "fuzzy-surfaces.png", dpi=72, metadata={"Software": None})


if __name__ == "__main__":
    plt.switch_backend("Agg")
    # The same rules give the same file, and text stays text.
    plt.rcParams |= {"svg.hashsalt": "nanogrid", "svg.fonttype": "none"}
    IMAGES.mkdir(exist_ok=True)
    draw_memberships()
    draw_surfaces()
