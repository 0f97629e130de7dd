"""`nanogrid check` as an installer runs it, and the probe against simulated devices."""

import json
import os
import pty
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from drivers.line import Line
from firmware.commands.check import check as command
from firmware.commands.community import community
from firmware.config import site_from_dict
from firmware.probe import Probed, probe_devices, probe_pi
from firmware.trading.folder import Folder
from firmware.trading.member import open_member
from hil.buses import Buses
from hil.fake_pi import FakePi, install, uninstall
from hil.fake_pi_link import FakePiServer
from hil.plant import Controls, Plant, Weather
from hil.plant_parameters import PlantParameters
from hil.wire_faults import Fault

EXAMPLE = Path(__file__).parents[2] / "examples" / "site.toml"
TEXT = EXAMPLE.read_text().replace("# timeout_s = 0.2", "timeout_s = 1.5")
SUNNY = Weather(ghi_w_m2=600.0, plane_w_m2=700.0, ambient_degc=18.0)


def installed() -> str:
    """The command beside this Python."""
    path = shutil.which("nanogrid", path=str(Path(sys.executable).parent))
    assert path, "nanogrid is not installed beside this Python"
    return path


def check(*arguments: Any, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `nanogrid check`."""
    return subprocess.run(
        [installed(), "check", "--config", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )


TRADING = TEXT.replace(
    '# host = ""                    # e.g.', 'host = "127.0.0.1"  # e.g.'
).replace("# enabled = false              # true, once", "enabled = true  # once")


def test_a_box_that_is_to_trade_says_how_far_it_is(tmp_path: Path) -> None:
    site, folder = tmp_path / "site.toml", tmp_path / "trading"
    site.write_text(
        TRADING.replace('# folder = "/var/lib/nanogrid/trading"', f'folder = "{folder}"')
    )

    def said() -> str:
        result = CliRunner().invoke(command, ["--config", str(site)])
        assert result.exit_code == 0, result.output
        return next(line for line in result.output.splitlines() if line.startswith("Trading: "))

    def community_does(*arguments: str) -> str:
        result = CliRunner().invoke(community, [*arguments, "--folder", str(folder)])
        assert result.exit_code == 0, result.output
        return result.output

    assert said() == (
        f"Trading: not yet, broker 127.0.0.1:1883: {folder}: this box is in no community yet:"
        " `nanogrid community join`"
    )
    assert not folder.exists()  # nothing is written
    community_does("create", "street", "--house", "ann", "--feed-in", "0.05", "--retail", "0.30")
    peer = Folder(folder).identity().peer
    assert said() == (
        f"Trading: in street as ann ({peer}), 1 members, broker 127.0.0.1:1883, no ledger yet"
    )
    open_member(Folder(folder), 1e9).close()
    assert said().endswith("ledger sound, 2 entries")
    (folder / "ledger.db").write_bytes(b"nonsense" * 100)
    assert "not yet, broker" in said()
    assert "ledger.db" in said()
    (folder / "identity.pem").unlink()
    assert said().endswith("identity.pem: No such file or directory")


@pytest.fixture
def bench() -> Iterator[Buses]:
    """The example's devices behind real sockets and a pty, on a sunny day."""
    content = tomllib.loads(TEXT)
    content["pv"].append(content["pv"][0] | {"name": "barn", "unit": 3, "rated_kw": 8.0})
    plant = Plant(PlantParameters.from_site(content, {}), SUNNY, 1.0)
    with Buses(content, frozenset({"barn"})) as buses:
        buses.update(plant.step(1.0, SUNNY, 1.0, Controls()), 1.0)
        yield buses


def probed(content: dict[str, Any]) -> dict[str, Probed]:
    """Everything on the buses, by name."""
    return {device.name: device for device in probe_devices(site_from_dict(content))}


# --- the probe ------------------------------------------------------------------------------


def test_every_device_says_what_it_is(bench: Buses) -> None:
    found = probed(bench.site())
    assert list(found) == ["roof", "barn", "battery", "genset", "grid"]
    for device in found.values():
        assert device.problems == (), device
        assert device.identity is not None
        assert device.identity.maker
        assert device.values["power_kw"] is not None
        assert device.round_trip_ms is not None
        assert device.round_trip_ms > 0
    assert 0 < found["battery"].values["soc_frac"] < 1
    assert found["battery"].values["charge_limit_kw"] > 0
    assert found["roof"].values["power_kw"] > 0
    assert found["grid"].values["frequency_hz"] == pytest.approx(50, abs=1)
    assert found["genset"].values["phase"] == "stopped"


def test_nothing_is_ever_written(bench: Buses, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    monkeypatch.setattr(Line, "write", lambda *arguments: written.append(arguments))
    found = probed(bench.site())
    assert written == []
    assert found["battery"].notes == ()


def test_a_silent_device_is_named_and_the_others_answer(bench: Buses) -> None:
    bench.set_fault(Fault.HANG, "genset")
    content = bench.site()
    content["bus"] = [bus | {"timeout_s": 0.3} for bus in content["bus"]]
    found = probed(content)
    assert found["genset"].problems == (
        f"no answer: unit 10 on {content['bus'][2]['port']}: no answer in 0.3 s",
    )
    assert found["grid"].problems == ()


def test_a_bus_that_is_not_there(bench: Buses) -> None:
    content = bench.site()
    content["bus"][2] |= {"port": "/dev/nanogrid-none"}
    found = probed(content)
    assert "/dev/nanogrid-none" in found["grid"].problems[0]
    assert found["grid"].round_trip_ms is None
    assert found["roof"].problems == ()


def test_a_device_that_is_something_else(bench: Buses) -> None:
    content = bench.site()
    content["grid"] = content["grid"] | {"driver": "sunspec-meter"}
    assert "SunSpec" in probed(content)["grid"].problems[0]


@pytest.mark.parametrize(
    ("change", "device", "problem"),
    [
        ({"pv": {"rated_kw": 9.0}}, "roof", r"nameplate 5 kW, but rated_kw = 9"),
        ({"grid": {"nominal_hz": 60}}, "grid", r"(49.9|50.\d) Hz, but nominal_hz = 60"),
        ({"grid": {"nominal_v": 120}}, "grid", r"2\d\d V, but nominal_v = 120"),
        ({"battery": {"battery_unit": 226}}, "battery", r"no limits from the BMS at unit 226"),
    ],
)
def test_what_is_measured_and_what_is_configured(
    bench: Buses, change: dict[str, Any], device: str, problem: str
) -> None:
    content = bench.site()
    for table, keys in change.items():
        if isinstance(content[table], list):
            content[table] = [content[table][0] | keys, *content[table][1:]]
        else:
            content[table] = content[table] | keys
    (said,) = probed(content)[device].problems
    assert re.fullmatch(problem, said)


def test_an_unusual_charge_is_worth_a_note(bench: Buses) -> None:
    content = bench.site()
    content["battery"] = [content["battery"][0] | {"soc_min_frac": 0.93, "reserve_soc_frac": 0.94}]
    assert "outside soc_min_frac" in probed(content)["battery"].notes[0]


@pytest.fixture
def pi() -> Iterator[FakePi]:
    """A Raspberry Pi with 0.6 V at the sensor's input and the emergency stop released."""
    fake = FakePi(noise_v=0.002)
    fake.set_voltage(0, 0.6)
    fake.set_input(17, 0)
    install(fake)
    yield fake
    uninstall()


def test_the_sensor_and_the_emergency_stop(pi: FakePi) -> None:
    site = site_from_dict(tomllib.loads(TEXT))
    sensor, stop = probe_pi(site)
    assert sensor.values["volts"] == pytest.approx(0.6, abs=0.01)
    assert sensor.values["irradiance_w_m2"] == pytest.approx(600, abs=10)
    assert stop.values == {"pin": 17, "pressed": False}
    pi.set_input(17, None)
    assert probe_pi(site)[1].values["pressed"] is True
    assert pi.output(27) is None, "the generator's relay is not ours to move"


def test_no_pi() -> None:
    sensor, stop = probe_pi(site_from_dict(tomllib.loads(TEXT)))
    assert sensor.problems[0].startswith("bus: ")
    assert stop.problems[0].startswith("GPIO: ")


# --- the command ----------------------------------------------------------------------------


def test_a_valid_file_exits_0() -> None:
    done = check(EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "valid. clinic-01, with a grid connection" in done.stdout
    assert "its relay opens the run contact: it cools down and stops" in done.stdout
    assert "limit ends within 30 s" in done.stdout


def test_what_is_said_of_a_dead_controller_follows_the_file(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    text = TEXT.replace("heartbeat_pin = ", "# heartbeat_pin = ")
    path.write_text(text.replace("# lease_s = 30.0 ", "lease_s = 4.0 "))
    done = check(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the contact may stay closed" in done.stdout
    assert "limit ends within 10 s" in done.stdout  # no device's timer is armed for less


@pytest.mark.parametrize("period_s", [2.0, 5.0])
def test_a_loop_slower_than_a_set_trips_is_warned_of(tmp_path: Path, period_s: float) -> None:
    path = tmp_path / "site.toml"
    text = TEXT.replace("# period_s = 1.0 ", f"period_s = {period_s} ")
    assert text != TEXT
    path.write_text(text.replace("# stale_after_s = 5.0 ", "stale_after_s = 12.0 "))
    done = check(path)
    assert done.returncode == 0
    assert "valid. clinic-01" in done.stdout
    warning = f"{path}: warning: loop.period_s = 5: a generator may trip on reverse power"
    assert done.stderr.startswith(warning) if period_s > 2.0 else done.stderr == ""
    warnings = json.loads(check(path, "--json").stdout)["warnings"]
    assert warnings == done.stderr.splitlines()


def test_a_wrong_file_exits_2_with_a_line_per_error(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(TEXT.replace("rated_kw = 5.0", "rated_kw = 5000").replace('"EUR"', '"€"'))
    done = check(path, "--probe")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f'{path}: site.currency = "€": must be three capitals like "EUR"',
        f"{path}: pv[0].rated_kw = 5000: must be between 0.05 and 250 (kW, not W)",
    ]
    done = check(path, "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout) == {"valid": False, "errors": done.stderr.splitlines()}


@pytest.mark.parametrize("text", ["", "[site", "[[bus]]\n"])
def test_a_broken_file_exits_2(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    done = check(path)
    assert (done.returncode, done.stdout) == (2, "")
    assert all(line.startswith(f"{path}: ") for line in done.stderr.splitlines())


def test_files_that_the_site_names_must_exist(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    text = TEXT.replace('# history = ""', 'history = "past.csv"')
    path.write_text(text.replace('# path = ""', 'path = "none/cycles.jsonl.gz"'))
    done = check(path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f'{path}: forecast.history = "{tmp_path / "past.csv"}": no such file',
        f'{path}: recording.path: no such folder "{tmp_path / "none"}"',
    ]


def written(content: dict[str, Any], path: Path) -> Path:
    """The example's text with the endpoints of the bench."""
    text = TEXT
    for bus, old in zip(content["bus"], ("192.168.1.20", "192.168.1.30", None), strict=True):
        if old is None:
            text = text.replace("/dev/ttyUSB0", bus["port"])
        else:
            new = f'host = "{bus["host"]}"\nport = {bus["port"]} #'
            text = text.replace(f'host = "{old}"', new)
    path.write_text(text)
    return path


def test_the_probe_on_a_bench(bench: Buses, pi: FakePi, tmp_path: Path) -> None:
    path = written(bench.site(), tmp_path / "site.toml")
    done = CliRunner().invoke(command, ["--config", str(path), "--probe", "--json"])
    answer = json.loads(done.stdout)
    names = [device["name"] for device in answer["devices"]]
    assert names == ["roof", "battery", "genset", "grid"]
    assert all(device["problems"] == [] for device in answer["devices"])
    assert [part["name"] for part in answer["parts"]] == ["irradiance", "emergency_stop"]
    # at night 0.6 V are a fault, which is what the sensor says then
    assert done.exit_code == (1 if answer["problems"] else 0)
    assert done.stderr.splitlines() == answer["problems"]


def test_the_probe_tells_what_is_missing(bench: Buses, pi: FakePi, tmp_path: Path) -> None:
    path = written(bench.site(), tmp_path / "site.toml")
    bench.set_fault(Fault.REFUSED, "lan-pv")
    done = CliRunner().invoke(command, ["--config", str(path), "--probe"])
    assert done.exit_code == 1
    assert "roof: no answer: cannot connect to 127.0.0.1:" in done.stderr
    assert "device grid | bus: rs485, unit 1 | is: Eastron SDM630" in done.stdout
    assert "SOC " in done.stdout
    assert "part emergency_stop | values: pin 17, released | remarks: ok" in done.stdout


def test_the_probe_as_installed(bench: Buses, pi: FakePi, tmp_path: Path) -> None:
    path = written(bench.site(), tmp_path / "site.toml")
    with FakePiServer(pi, tmp_path / "pi") as server:
        done = check(path, "--probe", env=server.environment())
    assert done.returncode in (0, 1)  # 1 at night, see above
    assert re.search(r"irradiance \| values: 0\.(59|60)\d V", done.stdout)
    assert "Traceback" not in done.stderr


def test_tables_on_a_terminal() -> None:
    parent, child = pty.openpty()
    with subprocess.Popen(
        [installed(), "check", "--config", str(EXAMPLE)],
        stdout=child,
        stderr=child,
        env={**os.environ, "COLUMNS": "160", "TERM": "xterm"},
    ) as process:
        os.close(child)
        output = b""
        try:
            while chunk := os.read(parent, 4096):
                output += chunk
        except OSError:  # the terminal's other end is closed
            pass
    os.close(parent)
    assert process.returncode == 0
    assert "│ genset" in output.decode()
