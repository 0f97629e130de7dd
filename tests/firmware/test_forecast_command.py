"""`nanogrid forecast` and `nanogrid train` as a program sees them."""

import csv
import gzip
import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner, Result

from firmware.cli import cli
from models.history import DAY_S, format_utc, parse_utc_s

START = parse_utc_s("2024-05-01T00:00:00Z")


def _history(folder: Path, days: int = 32, step_s: int = 1800, name: str = "load_kw") -> Path:
    times = START + np.arange(0, days * DAY_S, step_s)
    hour = times % DAY_S / 3600
    values = 0.5 + np.maximum(0, np.sin((hour - 6) / 12 * np.pi)) * (1 + 0.2 * np.sin(times / 9e4))
    if name != "load_kw":
        values = np.maximum(0, values - 0.5) * 3
    rows = [f"{format_utc(int(t))},{v:.4f}" for t, v in zip(times, values, strict=True)]
    path = folder / "history.csv.gz"
    path.write_bytes(gzip.compress("\n".join([f"ts_utc,{name}", *rows, ""]).encode()))
    return path


def _origins(folder: Path, *texts: str) -> Path:
    path = folder / "origins.txt"
    path.write_text("\n".join(texts) + "\n")
    return path


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["forecast", *map(str, arguments)])


def test_writes_every_step_of_every_origin(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    origins = _origins(
        tmp_path, "2024-05-31T12:00:00Z", "2024-05-30T09:00:00+02:00", "2024-05-02T00:10:00"
    )
    done = _run(
        "--target", "load", "--history", _history(tmp_path), "--origins", origins, "-o", out
    )
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(out.open()))
    assert list(rows[0]) == ["origin_utc", "ts_utc", "p10", "p50", "p90"]
    assert len(rows) == 3 * 48
    assert [rows[i]["origin_utc"] for i in (0, 48, 96)] == [
        "2024-05-31T12:00:00Z",
        "2024-05-30T07:00:00Z",
        "2024-05-02T00:10:00Z",
    ]
    assert rows[0]["ts_utc"] == "2024-05-31T12:00:00Z"
    assert rows[47]["ts_utc"] == "2024-06-01T11:30:00Z"
    assert rows[96]["ts_utc"] == "2024-05-02T00:30:00Z"
    for row in rows:
        assert 0 <= float(row["p10"]) <= float(row["p50"]) <= float(row["p90"])
    assert "1 of 3 origins, e.g. 2024-05-02T00:10:00Z: same-clock mean of 1.0 days" in done.stderr
    assert not list(tmp_path.glob("*.part"))


def test_standard_output_site_and_horizon(tmp_path: Path) -> None:
    site = Path(__file__).parents[2] / "examples" / "site.toml"
    history = _history(tmp_path, step_s=3600, name="h06_pv_kw")
    origins = _origins(tmp_path, "2024-05-31T12:00:00Z")
    done = _run(
        *("--target", "pv", "--history", history, "--origins", origins),
        *("--site", site, "--horizon-h", 6, "--no-learning"),
    )
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "origin_utc,ts_utc,p10,p50,p90"
    assert len(lines) == 7
    assert "adjusted" not in done.stderr


def test_irradiance_in_its_own_unit(tmp_path: Path) -> None:
    history = _history(tmp_path, name="ghi_w_m2")
    text = gzip.decompress(history.read_bytes()).decode()
    header, *rows = text.splitlines()
    scaled = [f"{time},{300 * float(value):.1f}" for time, value in (r.split(",") for r in rows)]
    (tmp_path / "ghi.csv").write_text("\n".join([header, *scaled, ""]))
    origins = _origins(tmp_path, "2024-05-31T06:00:00Z")
    site = Path(__file__).parents[2] / "examples" / "site.toml"
    done = _run(
        *("--target", "pv", "--history", tmp_path / "ghi.csv", "--origins", origins),
        *("--site", site),
    )
    peak = max(float(line.split(",")[3]) for line in done.stdout.splitlines()[1:])
    assert 500 < peak < 1200


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--history": "none.csv"}, "none.csv"),
        ({"--origins": "none.txt"}, "none.txt"),
        ({"--site": "none.toml"}, "none.toml"),
        ({"--weights": "none.tflite"}, "none.tflite"),
        ({"--column": "wind_kw"}, "no column 'wind_kw'; there are load_kw"),
        ({"--target": "pv"}, "no column for pv"),
        ({"--target": "wind"}, "'wind'"),
        ({"--horizon-h": "0.1"}, "shorter than"),
        ({"--horizon-h": "-1"}, "-1"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    tmp_path: Path, change: dict[str, str], says: str
) -> None:
    options = {
        "--target": "load",
        "--history": str(_history(tmp_path, days=2)),
        "--origins": str(_origins(tmp_path, "2024-05-02T00:00:00Z")),
    }
    done = _run(*(text for pair in (options | change).items() for text in pair))
    assert done.exit_code == 2
    assert says in done.stderr.splitlines()[-1]
    assert done.stdout == ""


def test_an_unwritable_output_is_a_failure(tmp_path: Path) -> None:
    done = _run(
        *("--target", "load", "--history", _history(tmp_path, days=2)),
        *("--origins", _origins(tmp_path, "2024-05-02T00:00:00Z")),
        *("-o", tmp_path / "none" / "out.csv"),
    )
    assert done.exit_code == 1
    assert "out.csv: No such file or directory" in done.stderr


def test_a_plot_shows_band_and_truth(tmp_path: Path) -> None:
    plot = tmp_path / "load.svg"
    done = _run(
        *("--target", "load", "--history", _history(tmp_path, days=10)),
        *("--origins", _origins(tmp_path, "2024-05-02T00:00:00Z", "2034-05-02T00:00:00Z")),
        *("-o", tmp_path / "out.csv", "--plot", plot),
    )
    assert done.exit_code == 0
    root = ElementTree.parse(plot).getroot()
    classes = [item.get("class") for item in root.iter() if item.get("class")]
    assert classes == ["band", "truth", "p50"] * 2
    assert "nan" not in plot.read_text()


def test_training_without_tensorflow_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: None if name == "tensorflow" else found(name, *a),
    )
    arguments = ["train", "--target", "pv", "--data", "a.csv", "b.csv", "-o", str(tmp_path)]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'nanogrid[train]'" in done.stderr
