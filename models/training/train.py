"""Train one network from history files: examples, ridge, GRU, int8, sidecar and model card."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import features
from models.gru import FORMAT, Network, sidecar, told, with_ones
from models.history import Floats, HistoryError, Target
from models.training import card, ridge
from models.training.examples import Examples, collect

CHECK_FRAC = 0.12
LEAST_BLOCKS = 25
CHECK_BLOCK = 200  # neighbouring examples go to the same side of the split
LEAST_EXAMPLES = 2 * CHECK_BLOCK
SAMPLES = 400  # representative examples for the quantisation
COMPARED = 1500


def train(
    target: Target, data: list[Path], out: Path, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Write `<target>.tflite`, `<target>_float.tflite`, sidecars and the card into `out`.

    Returns the sidecar. The same data, seed, TensorFlow version and kind of processor give
    the same weights. Raises RuntimeError when the converter fails.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    say(f"reading {len(data)} file(s)")
    examples = collect(data, target, seed)
    if len(examples) < LEAST_EXAMPLES:
        raise HistoryError(f"{len(examples)} usable examples; {LEAST_EXAMPLES} are the least")
    learn, check = _split(examples, seed)
    say(f"{len(learn)} examples, {len(check)} to check, {len(set(examples.site))} series")
    linear = ridge.fit(learn)
    from models.training import network  # TensorFlow: only when the data are good

    model = network.build(linear, seed)
    losses = network.fit(model, learn, check)
    say(f"{len(losses)} epochs, check loss {losses[0]:.4f} -> {min(losses):.4f}")
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    path = network.linear_path(model)
    samples = learn.take(_representative(with_ones(learn.flat) @ path[:, ::3], rng))
    with tempfile.TemporaryDirectory() as folder:
        network.export(model, Path(folder) / "saved")
        np.savez(Path(folder) / "samples.npz", sequence=samples.sequence, flat=samples.flat)
        for dtype, name in (("int8", target), ("float32", f"{target}_float")):
            say(f"converting to {dtype}")
            _convert(Path(folder), out / f"{name}.tflite", dtype)
    described: dict[str, Any] = {
        "format": FORMAT,
        "target": target,
        "layout": features.LAYOUT,
        "knots": list(features.KNOTS),
        "shapes": {
            "sequence": [1, features.SEQUENCE_STEPS, features.CHANNELS],
            "flat": [1, features.flat_width(target)],
            "answer": [1, 3 * len(features.KNOTS)],
        },
        "seed": seed,
        "data": card.sources(data, examples.site),
    } | told(path)
    compared = check.take(rng.choice(len(check), min(COMPARED, len(check)), replace=False))
    figures = {"ridge": _figures(linear.centre(compared.flat), compared)}
    for dtype, name in (("float32", f"{target}_float"), ("int8", target)):
        file = out / f"{name}.tflite"
        described |= {"dtype": dtype, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        _write(file, described)
        figures[dtype] = _figures(_centres(file, target, compared), compared)
    described["check_rmse"] = figures
    _write(out / f"{target}.tflite", described)
    card.write(out)
    return described


def _split(examples: Examples, seed: int) -> tuple[Examples, Examples]:
    """Blocks of neighbouring examples, so that the check is not the learnt day seen again.

    Of one young site, blocks are smaller: a few large ones would leave little to learn from.
    """
    rng = np.random.default_rng(seed)
    blocks = np.arange(len(examples)) // min(CHECK_BLOCK, max(1, len(examples) // LEAST_BLOCKS))
    chosen = rng.random(blocks[-1] + 1) < CHECK_FRAC
    chosen[0], chosen[-1] = True, False
    return (
        examples.take(np.flatnonzero(~chosen[blocks])),
        examples.take(np.flatnonzero(chosen[blocks])),
    )


def _representative(centre: Floats, rng: np.random.Generator) -> NDArray[np.intp]:
    """Examples at random, and those with the largest answers: int8 cannot say more than they do."""
    count = min(SAMPLES, len(centre))
    extreme = np.argsort(np.abs(centre).max(axis=1))[-count // 4 :]
    return np.concatenate([rng.choice(len(centre), count, replace=False), extreme])


def _convert(folder: Path, out: Path, dtype: str) -> None:
    command = [sys.executable, "-m", "models.training.convert", str(folder / "saved")]
    done = subprocess.run(
        [*command, str(folder / "samples.npz"), str(out.resolve()), dtype],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the converter failed (status {done.returncode}): {last}")


def _centres(path: Path, target: Target, examples: Examples) -> Floats:
    nothing = np.empty((len(examples), 0))
    given = features.Inputs(examples.sequence, examples.flat, nothing, nothing)
    return np.asarray(Network(path, target).run(given)[:, :, 0] @ features.INTERPOLATION.T)


def _figures(centre: Floats, examples: Examples) -> dict[str, float]:
    """Weighted RMSE in network units at four leads."""
    squares = (examples.weight * (centre - examples.truth) ** 2).sum(axis=0, dtype=float)
    rmse = np.sqrt(squares / np.maximum(examples.weight.sum(axis=0, dtype=float), 1e-9))
    return {f"{lead * 15} min": round(float(rmse[lead - 1]), 4) for lead in (1, 4, 24, 96)}


def _write(path: Path, described: dict[str, Any]) -> None:
    sidecar(path).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
