"""Energy that a killed process had counted is counted, once."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.energy_tail import RECORD_BYTES, EnergyTail

TOTALS = {"imported": 12.5, "load": 0.125}

COUNTING = """
import sys
from pathlib import Path
from firmware.energy_tail import EnergyTail
tail, kwh = EnergyTail(Path(sys.argv[1])), 0.0
while True:
    kwh += 0.001
    tail.write({"load": kwh, "imported": 2 * kwh})
    if kwh > 1.0:
        print("counts", flush=True)
"""


def test_what_was_written_is_read_by_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "site.energy"
    first = EnergyTail(path)
    assert first.read() == {}
    first.write({"imported": 1.0})
    first.write(TOTALS)
    assert EnergyTail(path).read() == TOTALS
    assert path.stat().st_size == RECORD_BYTES


@pytest.mark.parametrize("content", [b"", b"x", b"00000000 {}", bytes(range(256)) * 4])
def test_what_is_not_ours_counts_for_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "site.energy"
    path.write_bytes(content)
    assert EnergyTail(path).read() == {}


def test_without_a_place_there_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tail = EnergyTail(tmp_path / "no" / "site.energy")
    tail.write(TOTALS)
    assert tail.read() == {}
    assert "No such file" in caplog.text


def test_a_kill_tears_no_record(tmp_path: Path) -> None:
    path = tmp_path / "site.energy"
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTING, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    totals = EnergyTail(path).read()
    assert totals["load"] > 1.0
    assert totals["imported"] == 2 * totals["load"]
