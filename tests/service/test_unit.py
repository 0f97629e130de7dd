"""The unit file: valid, well sandboxed, and open where the controller has to reach out."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from firmware.config_models import Loop, Safety
from firmware.notify import ready

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "systemd" / "nanogrid.service"
EXPOSURE_MAX = 2.5
ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *arguments, str(UNIT)], capture_output=True, text=True, check=False
    )


def values(key: str) -> list[str]:
    """Every value that the unit gives a key."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


@needs_analyze
def test_systemd_has_nothing_to_say_about_it() -> None:
    """An unknown key is only a warning to systemd."""
    result = analyze("verify")
    assert (result.returncode, result.stderr) == (0, "")


@needs_analyze
def test_its_sandbox_is_tight() -> None:
    result = analyze("security", "--offline=true", "--no-pager")
    found = re.search(r"Overall exposure level for .*: ([0-9.]+)", result.stdout)
    assert found, result.stdout + result.stderr
    assert float(found[1]) <= EXPOSURE_MAX


def test_the_watchdog_outlasts_the_longest_period() -> None:
    longest_s = max(
        limit.le for limit in Loop.model_fields["period_s"].metadata if hasattr(limit, "le")
    )
    assert longest_s == 60.0
    assert float(values("WatchdogSec")[0]) > longest_s


@pytest.mark.parametrize("period_s", [0.05, 1.0, 5.0, 60.0])
def test_a_loop_that_runs_asks_for_a_watchdog_of_its_pace(period_s: float) -> None:
    state, watchdog = ready(period_s).splitlines()
    assert state == "READY=1"
    watchdog_s = int(watchdog.removeprefix("WATCHDOG_USEC=")) / 1e6
    assert watchdog_s >= 3 * period_s
    assert watchdog_s <= max(Safety().lease_s / 2, 3 * period_s)


def test_real_time_and_devices_are_within_reach() -> None:
    assert values("LimitRTPRIO") == ["99"]
    assert values("LimitMEMLOCK") == ["infinity"]
    assert values("RestrictRealtime") == []
    assert values("PrivateDevices") == []
    assert values("ProcSubset") == []  # the Pi's revision is read from /proc/device-tree
    filters = values("SystemCallFilter")
    assert filters == ["@system-service", "~@privileged"]  # with @resources: the scheduler's calls
    allowed = {value.split()[0] for value in values("DeviceAllow")}
    assert {"char-188", "char-153", "char-gpiochip"} <= allowed


def test_a_wrong_site_file_is_not_tried_again() -> None:
    """Exit status 2 of `nanogrid run` is bad input."""
    assert values("Restart") == ["on-failure"]
    assert values("RestartPreventExitStatus") == ["2"]


def test_it_starts_what_the_installer_installs() -> None:
    script = (ROOT / "install.sh").read_text(encoding="utf-8")
    paths = re.search(r"OPT=(\S+) CONFIG=(\S+) STATE=(\S+)", script)
    account = re.search(r"ACCOUNT=(\S+)", script)
    assert paths
    assert account
    program, site, state = paths.groups()
    assert (
        f"{program}/current/venv/bin/nanogrid run --config {site}/site.toml"
        in values("ExecStart")[0]
    )
    assert values("User") == values("Group") == [account[1]]
    assert [f"/var/lib/{name}" for name in values("StateDirectory")] == [state]
