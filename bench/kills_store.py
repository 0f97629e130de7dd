"""What a killed controller left in its store, read from a copy: the original keeps its hot log."""

import json
import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Left:
    """One look at `state.db`."""

    integrity: str  # "ok"
    kwh: dict[str, float]
    events: list[tuple[int, float, str]]  # number, UTC, text
    sequences: dict[str, int]  # last sequence number per source
    saved_s: float | None  # monotonic, of the checkpoint
    metered: bool = False  # a device's energy register was read before it


def look(path: Path) -> Left | None:
    """Read database and log as they are; None where there is no store yet."""
    if not path.exists():
        return None
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        for part in (path, path.with_name(path.name + "-wal")):
            if part.exists():
                shutil.copyfile(part, Path(folder) / part.name)
        with closing(sqlite3.connect(Path(folder) / path.name)) as connection:
            return _read(connection)


def _read(connection: sqlite3.Connection) -> Left | None:
    (integrity,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    if "checkpoint" not in tables:
        return None
    saved = connection.execute("SELECT content FROM checkpoint").fetchone()
    content = json.loads(saved[0]) if saved else {}
    return Left(
        str(integrity),
        dict(connection.execute("SELECT name, kwh FROM counter")),
        list(connection.execute("SELECT seq, utc_s, text FROM event ORDER BY seq")),
        dict(connection.execute("SELECT source, seq FROM sequence"))
        if "sequence" in tables
        else {},
        content.get("t_s"),
        any(kwh is not None for kwh in content.get("registers_kwh", ())),
    )


def problems(before: Left | None, now: Left | None) -> list[str]:
    """What a later look may not show: damage, counters or numbers that went back, a lost past."""
    if now is None:
        return [] if before is None else ["the store is gone"]
    said = [] if now.integrity == "ok" else [f"integrity_check: {now.integrity}"]
    numbers = [number for number, _, _ in now.events]
    if numbers != list(range(1, len(numbers) + 1)):
        said.append("event numbers are not consecutive")
    if before is None:
        return said
    if now.events[: len(before.events)] != before.events:
        said.append("events of the past have changed")
    for name, kwh in before.kwh.items():
        if now.kwh.get(name, 0.0) < kwh:
            said.append(f"counter {name} went back from {kwh:.4f} to {now.kwh.get(name)} kWh")
    for source, seq in before.sequences.items():
        if now.sequences.get(source, -1) < seq:
            said.append(f"sequence of {source} went back from {seq}")
    return said
