"""The parts of training that need no TensorFlow: examples, the ridge start, refusals."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models import features
from models.history import History, HistoryError, Target, format_utc
from models.training import card, ridge
from models.training.examples import collect
from models.training.train import train

Maker = Callable[..., History]


def _file(folder: Path, history: History, column: str, name: str) -> Path:
    rows = [
        f"{format_utc(history.start_utc_s + index * history.step_s)},{value:.4f}"
        for index, value in enumerate(history.values)
    ]
    path = folder / name
    path.write_text("\n".join([f"ts_utc,{column}", *rows, ""]))
    return path


@pytest.mark.parametrize("target", ["pv", "load"])
def test_the_ridge_learns_from_examples(
    tmp_path: Path, roof: Maker, house: Maker, target: Target
) -> None:
    make = roof if target == "pv" else house
    path = _file(tmp_path, make(days=60), f"a_{target}_kw", "site.csv")
    examples = collect([path], target, seed=1)
    assert len(examples) > 400
    assert examples.flat.shape == (len(examples), features.flat_width(target))
    assert set(examples.site) == {f"site:a_{target}_kw"}
    again = collect([path], target, seed=1)
    np.testing.assert_array_equal(examples.flat, again.flat)
    for array in (examples.sequence, examples.flat, examples.truth, examples.weight):
        assert np.isfinite(array).all()
    linear = ridge.fit(examples)
    error = examples.weight * (linear.centre(examples.flat) - examples.truth) ** 2
    mean = np.average(examples.truth, weights=examples.weight)
    assert error.sum() < 0.95 * (examples.weight * (mean - examples.truth) ** 2).sum()


def test_data_that_do_not_do_are_refused(tmp_path: Path, roof: Maker) -> None:
    short = _file(tmp_path, roof(days=12), "pv_kw", "short.csv")
    with pytest.raises(HistoryError, match="usable examples; 400 are the least"):
        train("pv", [short], tmp_path / "out", 0, say=lambda text: None)
    with pytest.raises(HistoryError, match="no column for load"):
        train("load", [short], tmp_path / "out", 0, say=lambda text: None)
    with pytest.raises(HistoryError, match=r"none\.csv"):
        train("pv", [tmp_path / "none.csv"], tmp_path / "out", 0, say=lambda text: None)
    assert not (tmp_path / "out").exists()


def test_sources_name_licences() -> None:
    files = [Path("dtu_x.csv.gz"), Path("mine.csv")]
    dtu, mine = card.sources(files, ["dtu_x:ghi_w_m2", "dtu_x:ghi_w_m2", "mine:pv_kw"])
    assert (dtu["series"], dtu["examples"]) == (1, 2)
    assert "Technical University of Denmark" in dtu["licence"]
    assert mine["licence"] == "unknown"
