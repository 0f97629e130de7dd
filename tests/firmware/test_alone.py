"""One controller per plant: what one holds, no other gets, until it ends however it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from firmware.alone import Claims, NotAloneError, claimed_by
from firmware.config import Site, site_from_dict

HOLDER = """
import sys, time
from firmware.alone import Claims
held = Claims([("it", sys.argv[1])])
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_claim_names_what_and_who(tmp_path: Path) -> None:
    identity = str(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, identity], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        for _ in range(3):
            with pytest.raises(NotAloneError, match=rf"it: process {holder.pid} uses it already"):
                Claims([("other", identity + "/other"), ("it", identity)])
        Claims([("other", identity + "/other")]).close()  # what was refused holds nothing
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        claims = Claims([("it", identity)])
    with pytest.raises(NotAloneError, match=rf"process {os.getpid()}"):
        Claims([("it", identity)])
    claims.close()
    Claims([("it", identity)]).close()


def test_a_child_does_not_hold_it_on(tmp_path: Path) -> None:
    claims = Claims([("it", str(tmp_path))])
    with subprocess.Popen(["sleep", "600"]) as child:
        claims.close()
        Claims([("it", str(tmp_path))]).close()
        child.kill()


def test_a_service_claims_its_buses_and_files(site: Site, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    table = site.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    table["store"] = {"path": str(tmp_path / "link" / "state.db")}
    claimed = claimed_by(site_from_dict(table))
    assert claimed == {
        "bus lan-pv": "192.168.1.20:502",
        "bus lan-gx": "192.168.1.30:502",
        "bus rs485": "/dev/ttyUSB0",
        f"store.path {tmp_path / 'link' / 'state.db'}": str(tmp_path / "state.db"),
    }
