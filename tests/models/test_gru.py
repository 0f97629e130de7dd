"""The shipped networks, and that files which do not fit are refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from models import features
from models.gru import WEIGHTS, ModelError, Network, read_card, told
from models.history import Target

TARGETS: tuple[Target, ...] = ("pv", "load")
PERMITTED = ("fontana", "ausgrid", "dtu", "swiss")


def _inputs(target: Target, rows: int = 50) -> features.Inputs:
    rng = np.random.default_rng(2)
    return features.Inputs(
        rng.uniform(0, 1, (rows, features.SEQUENCE_STEPS, 3)).astype(np.float32),
        rng.uniform(0, 1, (rows, features.flat_width(target))).astype(np.float32),
        np.zeros((rows, 96)),
        np.ones((rows, 96)),
    )


@pytest.mark.parametrize("target", TARGETS)
def test_shipped_weights_are_int8_and_come_from_permitted_data(target: Target) -> None:
    path = WEIGHTS / f"{target}.tflite"
    network = Network(path, target)
    assert network.card["dtype"] == "int8"
    assert path.stat().st_size < 600_000
    assert network.card["data"]
    for entry in network.card["data"]:
        assert entry["file"].startswith(PERMITTED)
        assert entry["licence"] != "unknown"
    assert network.card["sha256"] in (WEIGHTS / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("target", TARGETS)
def test_int8_loses_no_more_than_one_percent_on_kept_out_examples(target: Target) -> None:
    figures = read_card(WEIGHTS / f"{target}.tflite", target)["check_rmse"]
    for lead, rmse in figures["int8"].items():
        assert rmse <= 1.01 * figures["float32"][lead]


@pytest.mark.parametrize("target", TARGETS)
def test_int8_and_float_say_nearly_the_same(target: Target) -> None:
    given = _inputs(target)
    whole = Network(WEIGHTS / f"{target}_float.tflite", target).run(given)
    small = Network(WEIGHTS / f"{target}.tflite", target).run(given)
    assert np.sqrt(np.mean((whole - small) ** 2)) < 0.05 * whole.std()


def test_rows_do_not_influence_each_other() -> None:
    network, given = Network(WEIGHTS / "pv.tflite", "pv"), _inputs("pv")
    last = features.Inputs(given.sequence[-1:], given.flat[-1:], given.base[-1:], given.unit[-1:])
    np.testing.assert_array_equal(network.run(given)[-1], network.run(last)[0])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A copy of the shipped PV model to spoil."""
    for suffix in ("tflite", "json"):
        shutil.copy(WEIGHTS / f"pv.{suffix}", tmp_path)
    return tmp_path / "pv.tflite"


def _edit(path: Path, **changes: object) -> None:
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(card | changes))


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"target": "load"},
        {"layout": 99},
        {"knots": [1]},
        {"shapes": {}},
        {"sha256": "0"},
        {"dtype": "int4"},
        {"linear": "no base64"},
        {"linear": 3},
        {"linear": "AAAA"},
        {"linear_sha256": "0"},
    ],
)
def test_a_sidecar_that_does_not_fit_is_refused(model: Path, change: dict[str, object]) -> None:
    _edit(model, **change)
    with pytest.raises(ModelError, match=next(iter(change))) as error:
        Network(model, "pv")
    assert "\n" not in str(error.value)


def test_a_linear_path_of_other_shapes_is_refused(model: Path) -> None:
    _edit(model, **told(np.zeros((3, 87), np.float32)))
    with pytest.raises(ModelError, match="linear: 1044 bytes do not fit the shapes"):
        Network(model, "pv")


@pytest.mark.parametrize("name", ["pv", "pv_float"])
def test_the_linear_path_is_added_to_what_the_file_says(tmp_path: Path, name: str) -> None:
    for suffix in ("tflite", "json"):
        shutil.copy(WEIGHTS / f"{name}.{suffix}", tmp_path)
    path, given = tmp_path / f"{name}.tflite", _inputs("pv", rows=3)
    with_path = Network(path, "pv").run(given)
    answers = 3 * len(features.KNOTS)
    rows = np.zeros((1 + features.flat_width("pv"), answers), np.float32)
    _edit(path, **told(rows))
    bare = Network(path, "pv").run(given)
    rows[0], rows[5] = 2.0, 1.0
    _edit(path, **told(rows))
    expected = bare + 2.0 + given.flat[:, 4].astype(float)[:, None, None]
    np.testing.assert_allclose(Network(path, "pv").run(given), expected, rtol=1e-12)
    assert np.abs(with_path - bare).max() > 0.1


def test_a_type_other_than_the_sidecar_says_is_refused(model: Path) -> None:
    _edit(model, dtype="float32")
    with pytest.raises(ModelError, match="int8"):
        Network(model, "pv")


def test_a_changed_or_missing_file_is_refused(model: Path) -> None:
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(ModelError, match="sha256"):
        Network(model, "pv")
    model.unlink()
    with pytest.raises(ModelError, match="No such file"):
        Network(model, "pv")


def test_a_file_that_is_no_model_is_refused(model: Path) -> None:
    import hashlib

    model.write_bytes(b"not a model")
    _edit(model, sha256=hashlib.sha256(b"not a model").hexdigest())
    with pytest.raises(ModelError, match=r"pv\.tflite"):
        Network(model, "pv")
    model.with_suffix(".json").write_text("[1, 2")
    with pytest.raises(ModelError, match=r"pv\.tflite"):
        Network(model, "pv")
    model.with_suffix(".json").write_text("[]")
    with pytest.raises(ModelError, match="an object expected"):
        Network(model, "pv")


def test_a_network_of_other_shapes_is_refused(model: Path) -> None:
    """The load network under a sidecar that calls it PV."""
    import hashlib

    shutil.copy(WEIGHTS / "load.tflite", model)
    _edit(model, sha256=hashlib.sha256(model.read_bytes()).hexdigest())
    with pytest.raises(ModelError, match="shapes"):
        Network(model, "pv")
