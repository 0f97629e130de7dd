"""ai-edge-litert and tflite-runtime say the same: they cannot share an environment (numpy)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

CODE = """
import json
import sys
import numpy as np
from models import features
from models.gru import WEIGHTS, Network, read_card
rng = np.random.default_rng(0)
found = {}
for target in ("pv", "load"):
    shapes = read_card(WEIGHTS / f"{target}.tflite", target)["shapes"]
    sequence = rng.normal(0, 1, (5, *shapes["sequence"][1:])).astype(np.float32)
    flat = rng.normal(0, 1, (5, *shapes["flat"][1:])).astype(np.float32)
    nothing = np.empty((5, 0))
    given = features.Inputs(sequence, flat, nothing, nothing)
    for name in (target, f"{target}_float"):
        found[name] = Network(WEIGHTS / f"{name}.tflite", target).run(given).tolist()
runtimes = {"tflite_runtime", "ai_edge_litert"} & set(sys.modules)
print(json.dumps({"answers": found, "runtimes": sorted(runtimes)}))
"""


def _answers(python: str) -> dict[str, object]:
    done = subprocess.run(
        [python, "-c", CODE],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout))


def test_both_runtimes_give_the_same_answer() -> None:
    python = os.environ.get("NANOGRID_TFLITE_PYTHON")
    if python is None:
        pytest.skip("NANOGRID_TFLITE_PYTHON names no Python with tflite-runtime and numpy<2")
    new, old = _answers(sys.executable), _answers(python)
    assert (new["runtimes"], old["runtimes"]) == (["ai_edge_litert"], ["tflite_runtime"])
    ours, theirs = new["answers"], old["answers"]
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    for name, answer in ours.items():
        tolerance = 1e-5 if name.endswith("float") else 0.0
        np.testing.assert_allclose(answer, theirs[name], rtol=tolerance, atol=tolerance)
