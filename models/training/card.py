"""The model card: what the weights in a folder are, out of their sidecars."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from models import features
from models.gru import sidecar

# Licences of the public sets that the shipped weights may come from, by the start of the file name.
KNOWN_SETS = {
    "fontana": "Fontana CA zero-net-energy houses (EPRI; CityLearn, Nagy et al.), MIT",
    "ausgrid": "Ausgrid solar home 12, data (c) Ausgrid, CC BY 4.0",
    "dtu": "DTU climate station Lyngby, freely available (Technical University of Denmark)",
    "swiss": "ResidentialEnergyConsumption (Hopf, Weigert, Staake, Univ. Bamberg), CC BY-SA 4.0",
}


def sources(data: Iterable[Path], sites: Iterable[str]) -> list[dict[str, Any]]:
    """One entry per file: name, licence as far as known, series and examples."""
    counts = Counter(sites)
    entries = []
    for path in data:
        stem = path.name.split(".")[0]
        series = {name: n for name, n in counts.items() if name.split(":")[0] == stem}
        licence = next(
            (text for key, text in KNOWN_SETS.items() if stem.startswith(key)), "unknown"
        )
        entries.append(
            {
                "file": path.name,
                "licence": licence,
                "series": len(series),
                "examples": sum(series.values()),
            }
        )
    return entries


def write(folder: Path) -> None:
    """Write MODEL_CARD.md for the models found in the folder."""
    parts = [HEADER]
    for target in ("pv", "load"):
        path = sidecar(folder / f"{target}.tflite")
        if path.exists():
            parts.append(_section(json.loads(path.read_text(encoding="utf-8"))))
    (folder / "MODEL_CARD.md").write_text("\n".join(parts), encoding="utf-8")


def _section(described: dict[str, Any]) -> str:
    lines = [
        f"## {described['target']}.tflite",
        "",
        f"SHA-256 `{described['sha256']}`, {described['dtype']}, seed {described['seed']}.",
        "",
        "| trained on | licence | series | examples |",
        "|---|---|---|---|",
    ]
    for entry in described["data"]:
        lines.append("| {file} | {licence} | {series} | {examples} |".format(**entry))
    figures = described["check_rmse"]
    leads = list(figures["int8"])
    lines += [
        "",
        "RMSE of the centre in the network's own unit, on blocks of days kept out of training",
        "(though other grids or neighbours of those days may have been in it):",
        "",
        "| | " + " | ".join(leads) + " |",
        "|---|" + "---|" * len(leads),
    ]
    for name, row in figures.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[lead]:.4f}" for lead in leads) + " |")
    return "\n".join(lines) + "\n"


HEADER = f"""# Model card: forecasters of PV and load

Written by `nanogrid train`. Each network forecasts 24 h from the last 24 to 48 h and from what the
site's own last 28 days show (see `models/features.py`, layout {features.LAYOUT}): a GRU over half
hours, weights and activations int8, and a linear path beside it that starts at the ridge solution
and stays in single precision.

**Output.** p50 is trained on the squared error: it is the expected value, which for load lies above
the median. p10 and p90 are trained on the pinball loss.

**Use.** PV power or global irradiance, and the load of one house, on grids of 5 to 60 min.

**Limits.** Trained on few places (Denmark, California, Sydney, Switzerland): large buildings and
strong weekly patterns are foreign to it, and its band is not calibrated to any site: correcting it
and scaling the band is left to `models/correction.py` and `models/learning.py`, on site. It knows
no weather service. The first week of a site is left to simple forecasts. Licences of the data are
listed per model; the Swiss set (CC BY-SA 4.0) asks for attribution.

**Files.** `<target>.tflite` is what runs; `<target>_float.tflite` is the same network before
quantisation, for comparison. Each has its description beside it (.json), with checksums, shapes and
the linear path.
"""
