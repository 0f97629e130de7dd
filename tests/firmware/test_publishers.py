"""Log and recording: what they write, and that nothing about them holds up the loop."""

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from control.cycle import Decision
from control.records import Advice, Event, Severity
from control.site import SiteParameters
from firmware import publishers
from firmware.log import background_log
from firmware.loop import Telemetry
from firmware.publishers import KEPT_RECORDINGS, BackgroundRecording, DirectRecording, EventLog
from firmware.recording import Recorder, Recording
from firmware.replay import replay

Run = Callable[[int], list[Telemetry]]
DEADLINE_S = 60.0


def until(what: Callable[[], bool]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.01)


# --- recording ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DirectRecording, BackgroundRecording])
def test_every_cycle_is_on_disk_after_close(
    kind: type[DirectRecording] | type[BackgroundRecording],
    tmp_path: Path,
    parameters: SiteParameters,
    run_cycles: Run,
) -> None:
    path = tmp_path / "cycles.jsonl.gz"
    recording = kind(path, parameters)
    for telemetry in run_cycles(50):
        recording.publish(telemetry)
    recording.close()
    replayed = list(replay(Recording(path)))
    assert [each.cycle.sample.cycle for each in replayed] == list(range(50))
    assert not any(each.differs for each in replayed)


def test_a_slow_disk_leaves_a_gap_that_replay_crosses(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "QUEUE_CYCLES", 5)
    busy, go_on = threading.Event(), threading.Event()
    write = Recorder.write

    def slow(self: Recorder, *given: object, **options: bool) -> None:
        busy.set()
        assert go_on.wait(DEADLINE_S)
        write(self, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Recorder, "write", slow)
    path = tmp_path / "cycles.jsonl.gz"
    recording = BackgroundRecording(path, parameters)
    cycles = run_cycles(40)
    recording.publish(cycles[0])
    assert busy.wait(DEADLINE_S)
    for telemetry in cycles[1:30]:
        recording.publish(telemetry)
    assert recording.dropped == 24
    go_on.set()
    until(lambda: recording._queue.empty())
    for telemetry in cycles[30:]:
        recording.publish(telemetry)
        until(lambda: recording._queue.empty())
    recording.close()
    replayed = list(replay(Recording(path)))
    assert [r.cycle.sample.cycle for r in replayed] == [*range(6), *range(30, 40)]
    assert not any(each.differs for each in replayed)


def test_a_full_disk_ends_the_recording_and_nothing_else(
    tmp_path: Path,
    parameters: SiteParameters,
    run_cycles: Run,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recording = BackgroundRecording(tmp_path / "cycles.jsonl.gz", parameters, max_bytes=20_000.0)
    monkeypatch.setattr(recording, "_path", Path("/dev/full"))  # from the next file on
    cycles = run_cycles(200)
    for telemetry in cycles:
        recording.publish(telemetry)
    until(lambda: "recording ends: [Errno 28]" in caplog.text)
    for telemetry in cycles[:9]:
        recording.publish(telemetry)
    recording.close()
    assert not recording._thread.is_alive()
    assert recording.dropped >= 9


def test_a_disk_that_is_full_from_the_start_is_an_os_error(parameters: SiteParameters) -> None:
    with pytest.raises(OSError, match="No space"):
        BackgroundRecording(Path("/dev/full"), parameters)


def test_a_recording_goes_on_in_new_files_within_its_bytes(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    path, max_bytes = tmp_path / "cycles.jsonl.gz", 60_000.0
    recording = BackgroundRecording(path, parameters, max_bytes)
    cycles = [
        replace(t, sample=replace(t.sample, cycle=number, t_s=60.0 * number))
        for number, t in enumerate(run_cycles(100) * 8)
    ]
    for telemetry in cycles:
        recording.publish(telemetry)
    recording.close()
    names = [path, *(path.with_name(f"{path.name}.{n}") for n in range(1, 100))]
    files = [name for name in names if name.exists()]
    assert sum(name.stat().st_size for name in tmp_path.iterdir()) <= max_bytes
    assert len(files) == len(list(tmp_path.iterdir())) > 10
    found = [cycle for name in files[::-1] for cycle in Recording(name)]
    numbers = [cycle.sample.cycle for cycle in found]
    assert numbers == list(range(numbers[0], len(cycles)))
    assert numbers[0] > 0
    assert all(next(iter(Recording(name))).state is not None for name in files)


def test_a_disk_that_hangs_is_not_waited_for_at_the_end(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishers, "CLOSE_S", 0.1)
    go_on = threading.Event()

    def hang(*_: object, **__: object) -> None:
        assert go_on.wait(DEADLINE_S)

    monkeypatch.setattr(Recorder, "write", hang)
    recording = BackgroundRecording(tmp_path / "cycles.jsonl.gz", parameters)
    cycles = run_cycles(1)
    for _ in range(publishers.QUEUE_CYCLES + 10):
        recording.publish(cycles[0])
    recording.close()
    assert recording._thread.is_alive()
    go_on.set()
    recording._queue.put(None)
    recording._thread.join(DEADLINE_S)


def test_earlier_recordings_are_kept(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run
) -> None:
    path = tmp_path / "cycles.jsonl.gz"
    for count in range(1, KEPT_RECORDINGS + 4):
        recording = BackgroundRecording(path, parameters)
        for telemetry in run_cycles(count):
            recording.publish(telemetry)
        recording.close()
    counts = {file.name: len(list(Recording(file))) for file in tmp_path.iterdir()}
    newest = KEPT_RECORDINGS + 3
    older = {f"{path.name}.{n}": newest - n for n in range(1, KEPT_RECORDINGS + 1)}
    assert counts == {path.name: newest, **older}


# --- events ---------------------------------------------------------------------------------


def telling(telemetry: Telemetry, detail: str, *events: Event) -> Telemetry:
    decision = Decision(telemetry.decision.state, telemetry.decision.command, events)
    return replace(telemetry, advice=Advice(detail=detail), decision=decision)


def test_events_and_changes_of_the_advice_are_logged(
    run_cycles: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cycle, log = run_cycles(1)[0], EventLog()
    mode = Event(Severity.ALARM, "mode", "safe: emergency stop")
    start = Event(Severity.INFO, "generator", "start: low battery")
    for telemetry in (
        telling(cycle, ""),
        telling(cycle, "the planning process died", mode, start),
        telling(cycle, "the planning process died"),
        telling(cycle, ""),
    ):
        log.publish(telemetry)
    log.close()
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "mode: safe: emergency stop"),
        ("INFO", "generator: start: low battery"),
        ("WARNING", "advice: the planning process died"),
        ("INFO", "advice: complete again"),
    ]


def test_the_log_reaches_its_descriptor_in_order() -> None:
    reader, writer = os.pipe()
    with background_log(writer):
        for number in range(50):
            logging.getLogger("nanogrid").info("line %d", number)
        logging.getLogger("nanogrid").debug("not this")
    os.close(writer)
    with os.fdopen(reader) as lines:
        assert [line.split(" INFO ")[1] for line in lines] == [f"line {n}\n" for n in range(50)]


LOGGED = """
import logging, sys
from firmware.log import background_log
log = logging.getLogger("nanogrid")
with background_log(site="clinic-01"):
    log.error("mode: safe", extra={"event_key": "mode"})
    log.warning("two\\nlines")
    log.info("%d cycles", 3)
"""
FAKE_JOURNAL = """
import sys
def send(message, **fields):
    print(repr(message), sorted(fields.items()), file=sys.stderr)
"""


def logged(tmp_path: Path, journal: bool) -> str:
    """What a process logs to a file that is, or is not, the journal's stream."""
    with (tmp_path / "stderr").open("w+") as file:
        about = os.fstat(file.fileno())
        stream = f"{about.st_dev}:{about.st_ino if journal else 1}"
        environment = {**os.environ, "JOURNAL_STREAM": stream, "PYTHONPATH": str(tmp_path)}
        subprocess.run([sys.executable, "-c", LOGGED], stderr=file, env=environment, check=True)
        file.seek(0)
        return file.read()


def test_a_journal_gets_severity_and_no_time(tmp_path: Path) -> None:
    assert logged(tmp_path, True) == "<3>mode: safe\n<4>two\n<4>lines\n<6>3 cycles\n"
    assert re.match(r"\d{4}-\S+ \S+ ERROR mode: safe\n", logged(tmp_path, False))


def test_a_journal_gets_fields_where_systemd_python_is(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "journal.py").write_text(FAKE_JOURNAL)
    (first, second, _) = logged(tmp_path, True).splitlines()
    fields = {"PRIORITY": "3", "SYSLOG_IDENTIFIER": "nanogrid", "SITE": "clinic-01"}
    assert first == f"'mode: safe' {sorted([*fields.items(), ('EVENT_KEY', 'mode')])}"
    assert second.startswith(r"'two\nlines' [('PRIORITY', '4')")


def test_a_terminal_that_takes_nothing_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firmware.log.FLUSH_S", 0.1)
    reader, writer = os.pipe()
    before = logging.getLogger().handlers[:]
    with background_log(writer):
        for number in range(3000):  # much more than a pipe holds
            logging.getLogger("nanogrid").warning("line %d %s", number, 100 * "x")
    assert logging.getLogger().handlers == before
    os.close(reader)  # ends the thread's write
    until(lambda: not [t for t in threading.enumerate() if t.name == "log" and t.is_alive()])
    os.close(writer)
