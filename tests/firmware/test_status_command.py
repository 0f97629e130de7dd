"""`nanogrid status` and `nanogrid why`: beside a real `nanogrid run`, and from recordings."""

import contextlib
import json
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from control.cycle import decide
from control.records import Advice, Orders, Sample
from control.site import SiteParameters
from firmware.commands.status import status as status_command
from firmware.commands.why import why as why_command
from firmware.config import load_site
from firmware.loop import Telemetry
from firmware.recording import Recorder, Recording
from firmware.replay import replay
from hil.live import served
from hil.run import Speed, run_scenario
from hil.scenario import LoadedScenario
from hil.world import World
from tests.firmware.service import DEADLINE_S, Service

SITES = Path(__file__).parents[2] / "hil" / "scenarios" / "sites"
EXAMPLE = Path(__file__).parents[2] / "examples" / "site.toml"
SCENARIO = """
[scenario]
title = "now"
site = "{site}"
start = "2026-05-13T17:00:00Z"
duration_h = {duration_h}
seed = 5
[weather]
kind = "clear"
"""
Run = Callable[[int], list[Telemetry]]


def status(*options: object) -> Result:
    return CliRunner().invoke(status_command, [str(option) for option in options])


def why(*options: object) -> Result:
    return CliRunner().invoke(why_command, [str(option) for option in options])


# --- a running service ---------------------------------------------------------------------


def acts(document: dict[str, Any]) -> bool:
    return document["mode"]["name"] == "auto" and all(
        (setpoint["acknowledged"] or {}).get("value") is not None
        for setpoint in document["setpoints"] or [{"acknowledged": None}]
    )


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    scenario = tmp_path / "now.toml"
    scenario.write_text(SCENARIO.format(site=SITES / "realtime.toml", duration_h=1.0))
    world = World(LoadedScenario(scenario), float(int(time.time())))
    try:
        with served(world, tmp_path, None) as (site, environment):
            yield Service(site, environment)
    finally:
        world.close()


def test_beside_a_running_service(service: Service) -> None:
    with service.running() as process:
        found = service.wait_for(acts)
        assert stat.S_IMODE(service.socket.stat().st_mode) == 0o660
        assert found["site"] == load_site(service.site).site.name
        assert all(device["online"] for device in found["devices"])
        assert all(device["identity"]["model"] for device in found["devices"])
        assert found["age_s"] < DEADLINE_S
        assert found["loop"]["cycles"] > 0

        printed = status("--config", service.site)
        assert printed.exit_code == 0, printed.output
        assert found["site"] in printed.output
        assert "state of charge" in printed.output
        later = service.wait_for(lambda document: document["cycle"] > found["cycle"])
        as_json = status("--json", "--socket", service.socket)
        assert json.loads(as_json.output)["cycle"] >= later["cycle"]

        explained = why("--config", service.site)
        for setpoint in found["setpoints"]:
            assert f"\n{setpoint['device']}: " in explained.output
        assert explained.output.count("Decided by: ") == len(found["setpoints"])
        asked = json.loads(why("--json", "--socket", service.socket).output)
        assert [s["device"] for s in asked["setpoints"]]

        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    assert not service.socket.exists()
    gone = status("--config", service.site)
    assert (gone.exit_code, gone.output.count("\n")) == (1, 1)
    assert "no service is running here" in gone.output


def test_hostile_clients_stop_nothing_and_a_killed_service_is_replaced(service: Service) -> None:
    with service.running() as process:
        before = service.wait_for(acts)
        links = []
        for number in range(150):
            link = socket.socket(socket.AF_UNIX)
            link.setblocking(False)
            with contextlib.suppress(OSError):
                link.connect(str(service.socket))
                link.sendall([b"", b"\x00" * 100_000, b'{"get": "status"}\n'][number % 3])
            links.append(link)
        cycles = before["loop"]["cycles"]
        after = service.wait_for(lambda found: found["loop"]["cycles"] > cycles + 20)
        assert after["cycle"] > before["cycle"]
        for link in links:
            link.close()
        process.kill()
        process.wait()
    assert service.socket.is_socket()  # nobody took it away
    assert status("--config", service.site).exit_code == 1
    with service.running() as process:
        restarted = service.wait_for(acts)
        assert restarted["setpoints"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    assert not service.socket.exists()


def test_a_socket_that_cannot_be_does_not_keep_the_service_from_control(service: Service) -> None:
    service.socket.mkdir()
    with service.running() as process:
        end_s = time.monotonic() + DEADLINE_S
        while "mode: auto" not in service.log and time.monotonic() < end_s:
            time.sleep(0.02)
        assert process.poll() is None
        assert "no local interface: " in service.log
        assert "mode: auto" in service.log


# --- recordings ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half an hour of the bench in lockstep."""
    folder = tmp_path_factory.mktemp("evening")
    scenario = folder / "evening.toml"
    scenario.write_text(SCENARIO.format(site=SITES / "clinic.toml", duration_h=0.5))
    run_scenario(LoadedScenario(scenario), folder / "out", Speed(), lambda *_: None)
    return folder / "out" / "cycles.jsonl.gz"


def test_every_change_of_a_setpoint_has_a_reason_that_the_recording_confirms(
    evening: Path,
) -> None:
    result = why("--recording", evening, "--changes", "--json")
    assert result.exit_code == 0, result.output
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(told) > 20
    by_cycle = {replayed.cycle.sample.cycle: replayed for replayed in replay(Recording(evening))}
    held: dict[tuple[str, str], float] = {}
    expected = []
    for cycle, replayed in by_cycle.items():
        now = {(s.device, s.quantity.value): s.value for s in replayed.cycle.command.setpoints}
        expected += [
            (cycle, *target, held.get(target), now.get(target))
            for target in dict.fromkeys([*held, *now])
            if held.get(target) != now.get(target)
        ]
        held = now
    keys = ("cycle", "device", "quantity", "before", "after")
    assert [tuple(change[key] for key in keys) for change in told] == expected
    for change in told:
        assert change["source"]
        assert change["reason"]
        command = by_cycle[change["cycle"]].decision.command
        (confirmed,) = (
            item
            for item in command.why
            if (item.device, item.quantity) == (change["device"], change["quantity"])
        )
        assert (confirmed.source, confirmed.reason) == (change["source"], change["reason"])
        assert list(confirmed.clips) == change["clips"]
    lines = why("--recording", evening, "--changes").stdout.splitlines()
    assert 10 < len(lines) <= len(told)
    newest: dict[str, str] = {}
    for line in lines:
        device, said = line.split("  ", 1)[1].split(": ", 1)
        outcome = said.split(" -> ", 1)[1]
        assert newest.get(device) != outcome
        newest[device] = outcome


def test_a_moment_of_a_recording(evening: Path) -> None:
    end = json.loads(why("--recording", evening, "--json").stdout)
    at = "2026-05-13T19:10:01+02:00"
    found = json.loads(why("--recording", evening, "--at", at, "--json").stdout)
    assert "2026-05-13T17:09:50" < found["utc"] <= "2026-05-13T17:10:01"
    assert end["utc"] > "2026-05-13T17:29"
    naive = json.loads(why("--recording", evening, "--at", "2026-05-13T17:10:01", "--json").stdout)
    assert naive == found
    text = why("--recording", evening, "--at", at).stdout
    assert text.startswith(found["utc"])
    assert text.count("Decided by: ") == len(found["setpoints"])


def test_withdrawn_setpoints_name_the_mode(
    tmp_path: Path, parameters: SiteParameters, run_cycles: Run, make_sample: Callable[..., Sample]
) -> None:
    """An operator stops the plant: every setpoint goes, and the mode says why."""
    path = tmp_path / "stop.jsonl.gz"
    recorder = Recorder(path, parameters)
    cycles = run_cycles(10)
    for t in cycles:
        recorder.write(t.before, t.sample, t.applied, t.advice, t.orders, t.decision)
    before, seen, stop = cycles[-1].decision.state, make_sample(10), Orders(stop=True)
    decision = decide(parameters, before, seen, (), Advice(), stop)
    recorder.write(before, seen, (), Advice(), stop, decision)
    recorder.close()
    told = [
        json.loads(line)
        for line in why("--recording", path, "--changes", "--json").stdout.splitlines()
    ]
    withdrawn = [change for change in told if change["after"] is None]
    assert {c["device"] for c in withdrawn} == {c["device"] for c in told if c["before"] is None}
    assert {(c["cycle"], c["source"]) for c in withdrawn} == {(10, "mode stopped")}
    assert {c["reason"] for c in withdrawn} == {decision.state.mode_reason}
    assert "left to themselves" in why("--recording", path).stdout


# --- bad input -----------------------------------------------------------------------------


def test_bad_input_is_one_line_and_exit_status_2(
    tmp_path: Path, evening: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from firmware.cli import cli

    broken = tmp_path / "broken.toml"
    broken.write_text("[site]\nname = 5\n")
    bad: list[tuple[object, ...]] = [
        ("status", "--config", broken),
        ("status", "--config", tmp_path / "absent.toml"),
        ("status", "--config", EXAMPLE),  # has no socket
        ("why", "--changes"),
        ("why", "--at", "2026-05-13T17:10:01"),
        ("why", "--recording", tmp_path / "absent"),
        ("why", "--recording", broken),
        ("why", "--recording", evening, "--at", "yesterday"),
        ("why", "--recording", evening, "--at", "2020-01-01"),
        ("why", "--recording", evening, "--socket", tmp_path / "x"),
        ("why", "--recording", evening, "--at", "2026-05-13T17:10", "--changes"),
    ]
    for arguments in bad:
        with pytest.raises(SystemExit) as ended:
            cli.main([str(argument) for argument in arguments], prog_name="nanogrid")
        said = capsys.readouterr()
        assert ended.value.code == 2, (arguments, said)
        assert said.err.count("\n") == 1, (arguments, said)
        assert said.out == ""


def test_no_service_is_one_line_and_exit_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from firmware.cli import cli

    plain = tmp_path / "file"
    plain.write_text("")
    for command in ("status", "why"):
        for path in (tmp_path / "absent", plain):
            with pytest.raises(SystemExit) as ended:
                cli.main([command, "--socket", str(path)], prog_name="nanogrid")
            said = capsys.readouterr()
            assert ended.value.code == 1
            assert said.err.count("\n") == 1
            assert str(path) in said.err
