"""A quantised GRU in a .tflite file, checked against its sidecar .json and run.

The sidecar holds the checksum, shapes, feature layout, quantisation and licences; a pair that does
not fit is refused, so that no network ever runs on inputs that it was not trained for. It also
holds the linear path beside the GRU, which stays in single precision: int8 cannot say small
differences of large sums.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from models import features
from models.history import Floats, Target

FORMAT = "nanogrid-forecaster-2"
WEIGHTS = Path(__file__).parent / "weights"


class ModelError(RuntimeError):
    """A model that cannot be used; the message is one line."""


class Network:
    """A forecasting network for one target; `run` is not thread-safe."""

    def __init__(self, path: Path, target: Target) -> None:
        self.card = read_card(path, target)
        self.name = f"{path.stem} {self.card['sha256'][:8]}"
        self._interpreter = _interpreter(path, self.card["sha256"])
        found = self._interpreter.get_input_details()
        self._inputs = {len(detail["shape"]): detail for detail in found}
        self._output = self._interpreter.get_output_details()[0]
        self._check_shapes(path)
        self._linear = _linear(path, self.card)

    def _check_shapes(self, path: Path) -> None:
        wanted = {name: tuple(shape) for name, shape in self.card["shapes"].items()}
        try:
            found = {
                "sequence": tuple(self._inputs[3]["shape"].tolist()),
                "flat": tuple(self._inputs[2]["shape"].tolist()),
                "answer": tuple(self._output["shape"].tolist()),
            }
            types = {np.dtype(d["dtype"]).name for d in (*self._inputs.values(), self._output)}
        except KeyError as error:
            raise ModelError(f"{path}: inputs must have 2 and 3 dimensions") from error
        if found != wanted:
            raise ModelError(f"{path}: shapes {found}, the sidecar says {wanted}")
        if types != {self.card["dtype"]}:
            raise ModelError(f"{path}: tensors of {sorted(types)}, not {self.card['dtype']}")

    def run(self, given: features.Inputs) -> Floats:
        """Return the network's answers, shape (B, knots, 3): centre, below, above."""
        sequences = _quantised(given.sequence, self._inputs[3])
        flats = _quantised(given.flat, self._inputs[2])
        answers = np.empty((len(flats), len(features.KNOTS) * 3))
        for row, (sequence, flat) in enumerate(zip(sequences, flats, strict=True)):
            self._interpreter.set_tensor(self._inputs[3]["index"], sequence[None])
            self._interpreter.set_tensor(self._inputs[2]["index"], flat[None])
            self._interpreter.invoke()
            answers[row] = self._interpreter.get_tensor(self._output["index"])[0]
        scale, zero = self._output["quantization"]
        if scale:
            answers = (answers - zero) * scale
        answers += np.einsum("bf,fa->ba", with_ones(given.flat), self._linear)
        return answers.reshape(len(answers), len(features.KNOTS), 3)


def sidecar(path: Path) -> Path:
    """Where a model's description lies."""
    return path.with_suffix(".json")


def read_card(path: Path, target: Target) -> dict[str, Any]:
    """Read the sidecar; check the file's checksum and that this code understands the model."""
    try:
        card = json.loads(sidecar(path).read_text(encoding="utf-8"))
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: {_one_line(error)}") from error
    shapes = {
        "sequence": [1, features.SEQUENCE_STEPS, features.CHANNELS],
        "flat": [1, features.flat_width(target)],
        "answer": [1, 3 * len(features.KNOTS)],
    }
    wanted = {
        "format": FORMAT,
        "target": target,
        "layout": features.LAYOUT,
        "knots": list(features.KNOTS),
        "shapes": shapes,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if not isinstance(card, dict):
        raise ModelError(f"{sidecar(path)}: an object expected")
    for key, value in wanted.items():
        if card.get(key) != value:
            raise ModelError(f"{sidecar(path)}: {key} = {card.get(key)!r}, needed is {value!r}")
    if card.get("dtype") not in ("int8", "float32"):
        raise ModelError(f"{sidecar(path)}: dtype = {card.get('dtype')!r}: int8 or float32")
    return card


def with_ones(flat: Floats | features.Singles) -> Floats:
    """The flat inputs in double precision with a column of ones in front."""
    return np.concatenate([np.ones((len(flat), 1)), flat], axis=1)


def told(linear: features.Singles) -> dict[str, str]:
    """The linear path (1 + F, answers), its first row the bias, as the sidecar tells it."""
    content = linear.astype("<f4").tobytes()
    return {
        "linear": base64.b64encode(content).decode("ascii"),
        "linear_sha256": hashlib.sha256(content).hexdigest(),
    }


def _linear(path: Path, card: dict[str, Any]) -> Floats:
    """Read the linear path out of the sidecar."""
    try:
        content = base64.b64decode(card["linear"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{sidecar(path)}: linear: base64 expected: {error!r}") from error
    if hashlib.sha256(content).hexdigest() != card.get("linear_sha256"):
        raise ModelError(f"{sidecar(path)}: linear_sha256 is not that of linear")
    (_, inputs), (_, answers) = card["shapes"]["flat"], card["shapes"]["answer"]
    if len(content) != 4 * (1 + inputs) * answers:
        raise ModelError(f"{sidecar(path)}: linear: {len(content)} bytes do not fit the shapes")
    return np.frombuffer(content, "<f4").reshape(1 + inputs, answers).astype(float)


def _interpreter(path: Path, sha256: str) -> Any:
    """Load the file into memory: one that is overwritten later must not change what runs."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise ModelError("neither ai_edge_litert nor tflite_runtime is installed") from error
    try:
        # Plain kernels take 0.2 ms; the default delegate takes 0.03 ms and 4 MB, and it prints.
        interpreter = Interpreter(
            model_content=_unchanged(path, sha256),
            num_threads=1,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, OSError) as error:
        raise ModelError(f"{path}: {_one_line(error)}") from error
    return interpreter


def _unchanged(path: Path, sha256: str) -> bytes:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(f"{path}: has changed while it was read")
    return content


def _quantised(values: features.Singles, detail: dict[str, Any]) -> Any:
    scale, zero = detail["quantization"]
    if not scale:
        return values
    return np.clip(np.rint(values / scale) + zero, -128, 127).astype(np.int8)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
