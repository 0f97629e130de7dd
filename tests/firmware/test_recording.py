"""Recordings on a real disk: whole, cut off, garbled, of another version."""

import gzip
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from control.records import Event, Severity
from control.site import SiteParameters
from firmware.loop import Telemetry
from firmware.recording import FLUSH_S, Cycle, Recorder, Recording, RecordingError

Run = Callable[[int], list[Telemetry]]


def write(path: Path, site: SiteParameters, cycles: list[Telemetry]) -> Recorder:
    recorder = Recorder(path, site)
    for t in cycles:
        recorder.write(t.before, t.sample, t.applied, t.advice, t.orders, t.decision)
    return recorder


def as_read(cycles: list[Telemetry]) -> list[Cycle]:
    return [
        Cycle(
            t.before if number == 0 else None,
            t.sample,
            t.applied,
            t.advice,
            t.orders,
            t.decision.command,
            t.decision.events,
        )
        for number, t in enumerate(cycles)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cycles.jsonl.gz"


def test_what_is_read_is_what_was_written(
    path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    cycles = run_cycles(40)
    write(path, parameters, cycles).close()
    recording = Recording(path)
    assert recording.site == parameters
    assert repr(list(recording)) == repr(as_read(cycles))
    assert list(recording) == list(recording)  # it can be read again


def test_notices_are_read_back_with_their_cycle(
    path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    t, told = run_cycles(1)[0], (Event(Severity.WARNING, "advice", "the planning process died"),)
    recorder = Recorder(path, parameters)
    for notices in ((), told):
        recorder.write(t.before, t.sample, t.applied, t.advice, t.orders, t.decision, notices)
    recorder.close()
    assert [cycle.notices for cycle in Recording(path)] == [(), told]


def test_equal_runs_make_equal_files(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    names = [tmp_path / "a.gz", tmp_path / "some-other-name.gz"]
    for name in names:
        write(name, parameters, run_cycles(25)).close()
    assert names[0].read_bytes() == names[1].read_bytes()


def test_advice_and_orders_are_written_when_they_change(
    path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    write(path, parameters, run_cycles(20)).close()
    text = gzip.decompress(path.read_bytes()).decode()
    keys = [next(iter(json.loads(line))) for line in text.splitlines()]
    assert keys.count("advice") == 2
    assert keys.count("orders") == 3  # none, acknowledge, none
    assert keys.count("state") == 1


def test_a_gap_starts_from_a_state(path: Path, parameters: SiteParameters, run_cycles: Run) -> None:
    cycles = run_cycles(10)
    recorder = write(path, parameters, cycles[:4])
    t = cycles[7]
    recorder.write(t.before, t.sample, t.applied, t.advice, t.orders, t.decision, gap=True)
    recorder.close()
    found = list(Recording(path))
    assert [cycle.sample.cycle for cycle in found] == [0, 1, 2, 3, 7]
    assert [cycle.state is not None for cycle in found] == [True, False, False, False, True]
    assert found[-1].state == t.before


def test_a_process_that_dies_leaves_all_but_the_last_minute(
    path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    cycles = run_cycles(150)
    recorder = write(path, parameters, cycles)  # neither closed nor flushed by us
    on_disk = path.read_bytes()
    recorder.close()
    path.write_bytes(on_disk)
    found = list(Recording(path))
    assert found == as_read(cycles)[: len(found)]
    assert len(found) >= 150 - FLUSH_S


def test_a_file_cut_anywhere_reads_as_far_as_it_goes(
    path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    cycles = run_cycles(100)
    write(path, parameters, cycles).close()
    whole, expected = path.read_bytes(), as_read(cycles)
    lengths = []
    for end in range(len(whole) // 2, len(whole), 131):
        path.write_bytes(whole[:end])
        found = list(Recording(path))
        assert found == expected[: len(found)]
        lengths.append(len(found))
    assert lengths == sorted(lengths)
    assert lengths[-1] > 90


def test_a_flipped_bit_does_not_pass_for_a_recording(
    path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    write(path, parameters, run_cycles(30)).close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=r"cannot be read|line"):
        list(Recording(path))


def lines(header: dict[str, Any], *rest: str) -> bytes:
    return gzip.compress("\n".join([json.dumps(header), *rest, ""]).encode(), mtime=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a nanogrid recording"),
        (b"ts_utc,pv_kw\n", "cannot be read"),
        (gzip.compress(b"", mtime=0), "not a nanogrid recording"),
        (gzip.compress(b"[1, 2]\n", mtime=0), "line 1: not an object"),
        (gzip.compress(b"{'a'}\n", mtime=0), "line 1: no JSON"),
        (gzip.compress(b"[" * 100_000 + b"\n", mtime=0), "line 1: no JSON"),
        (gzip.compress(b"\xff\xfe\n", mtime=0), "cannot be read"),
        (lines({"nanogrid": 2, "site": []}), "of format 1"),
        (lines({"nanogrid": 1}), "line 1: not a SiteParameters"),
        (lines({"nanogrid": 1, "version": "0.0.9", "site": [1]}), r"written by version 0\.0\.9"),
    ],
)
def test_what_is_no_recording_is_named(path: Path, content: bytes, message: str) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=message) as caught:
        Recording(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"cycle": [1]}', "line 3: not a Sample"),
        ('{"cycle": []}', "line 3"),
        ('{"state": null}', "line 3: not a State"),
        ('{"advice": 3}', "line 3: not a Advice"),
        ("{", "line 3: no JSON"),
    ],
)
def test_a_line_that_is_none_is_named(
    path: Path, parameters: SiteParameters, run_cycles: Run, line: str, message: str
) -> None:
    write(path, parameters, run_cycles(1)).close()
    text = gzip.decompress(path.read_bytes()).decode().splitlines()
    path.write_bytes(gzip.compress("\n".join([*text[:2], line, ""]).encode()))
    with pytest.raises(RecordingError, match=message):
        list(Recording(path))


@contextmanager
def limited_files(size_bytes: int) -> Iterator[None]:
    """No file of this process may grow beyond that (RLIMIT_FSIZE): a disk that gets full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_process_that_is_killed_at_once_leaves_a_recording(
    path: Path, parameters: SiteParameters
) -> None:
    recorder = write(path, parameters, [])
    on_disk = path.read_bytes()
    recorder.close()
    path.write_bytes(on_disk)
    assert Recording(path).site == parameters
    assert list(Recording(path)) == []


def open_files() -> list[str]:
    """What this process has open, by name."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the listing itself
            found.append(os.readlink(f"/proc/self/fd/{number}"))
    return found


def test_a_full_disk_is_an_os_error_and_the_file_is_let_go(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    cycles = run_cycles(100) * 20
    with pytest.raises(OSError, match="No space"):
        write(Path("/dev/full"), parameters, [])
    full = tmp_path / "full.gz"
    with limited_files(2000), pytest.raises(OSError, match="too large"):
        write(full, parameters, cycles)
    recorder = write(tmp_path / "some.gz", parameters, cycles[:1])
    with limited_files(10), pytest.raises(OSError, match="too large"):
        recorder.close()
    assert not [name for name in open_files() if "/dev/full" in name or str(tmp_path) in name]
