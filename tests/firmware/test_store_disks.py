"""The store on a disk that is really full, then really read-only; and the service with a store."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from control.state import Mode, State
from firmware.config import Site
from firmware.config_tables import Store as Settings
from firmware.service import Service
from firmware.store_reading import read_minutes
from firmware.store_records import COLUMNS, Checkpoint, checkpoint_to_text
from firmware.store_restore import boot_id
from firmware.store_schema import connect
from firmware.worker import Worker

EXAMPLE = Path(__file__).parents[2] / "examples" / "site.toml"
SCRIPT = """
import json, logging, sqlite3, subprocess, sys, time
from dataclasses import replace
from control.cycle import Decision
from control.records import Advice, Command, Event, Orders, Sample, Severity
from control.state import Estimate, State
from firmware.config import load_site
from firmware.config_tables import Store as Settings
from firmware.loop import Telemetry
from firmware.parameters import site_parameters
from firmware.store import Store

said = []
class Keep(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("nanogrid").addHandler(Keep())
folder = sys.argv[1]
site = site_parameters(load_site(sys.argv[2]))
empty = Sample(0, 0.0, 0.0, None, None, (), (), (), (), None, 0.0, 0.0, 0.0, 0.0)

def publish(store, number, size):
    state = State(estimate=Estimate(load_kw=1.0), emergency_latched=True)
    event = Event(Severity.INFO, "filler", size * "x")
    sample = replace(empty, t_s=60.0 * number, utc_s=1.76e9 + 60.0 * number)
    decision = Decision(state, Command((), ()), (event,))
    store.publish(Telemetry(state, sample, (), Advice(), Orders(), decision))
    while not store._queue.empty():
        time.sleep(0.001)

def remount(options):
    subprocess.run(["mount", "-o", "remount," + options, folder], check=True)

def reopened():
    return Store(Settings(path=folder + "/state.db"), site)

store = reopened()
for number in range(60):
    publish(store, number, 20000)
remount("size=20m")
publish(store, 60, 1)
store.close()
full = said[:]
remount("ro")
store = reopened()
latched = store.state(1e6, 1e6).emergency_latched
for number in range(61, 70):
    publish(store, number, 1)
store.close()
read_only = said[len(full):]
remount("rw")
database = sqlite3.connect(folder + "/state.db")
print(json.dumps({
    "full": full, "read_only": read_only, "latched": latched,
    "events": database.execute("SELECT count(*) FROM event").fetchone()[0],
    "check": database.execute("PRAGMA integrity_check").fetchone()[0],
}))
"""


def test_a_full_disk_then_a_read_only_one(tmp_path: Path) -> None:
    own = ["unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=600k tmpfs {tmp_path}"
    if shutil.which("unshare") is None:
        pytest.skip("no unshare(1)")
    if subprocess.run([*own, "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount a tmpfs in a namespace of their own")
    inner = f'{mount} && exec "$0" -c "$1" {tmp_path} {EXAMPLE}'
    done = subprocess.run(
        [*own, "sh", "-c", inner, sys.executable, SCRIPT],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=EXAMPLE.parents[1],
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    failed, works = told["full"]
    assert "control goes on without it" in failed
    assert works.endswith("works again")
    assert told["events"] == 61  # what did not fit has waited
    assert len(told["read_only"]) == 1
    assert told["latched"]  # what must hold is read all the same
    assert told["check"] == "ok"


def test_the_service_starts_with_what_was_left(bare: Site, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    left = Checkpoint(
        boot_id(), 1.0, 1.76e9, Mode.SAFE, "", True, "genset", attempts=3, locked="3 failed starts"
    )
    connection = connect(path)
    connection.execute("INSERT INTO checkpoint VALUES (1, ?)", (checkpoint_to_text(left),))
    connection.close()
    service = Service(bare.model_copy(update={"store": Settings(path=str(path))}))
    for publisher in service._publishers:
        publisher.close()
    state = service.loop.state
    assert (state.emergency_latched, state.generator.locked) == (True, "3 failed starts")
    assert Service(bare).loop.state == State()


def test_forecasts_begin_with_the_stored_past(bare: Site, tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = connect(path)
    for minute in range(30):
        known = {"pv_kw": 2.0, "load_kw": 1.0, "curtailed_frac": float(minute < 15)}
        row = (1_760_000_400 + 60 * minute, *(known.get(name) for name in COLUMNS), "auto")
        connection.execute(f"INSERT INTO minute VALUES ({', '.join('?' * len(row))})", row)
    connection.close()
    assert [minute.start_utc_s for minute in read_minutes(path, 2)] == [
        1_760_002_080,
        1_760_002_140,
    ]
    worker = Worker(bare.model_copy(update={"store": Settings(path=str(path))}))
    assert worker._pasts["load"].history(1_760_002_200.0).values[-2:].tolist() == [1.0, 1.0]
    pv = worker._pasts["pv"].history(1_760_002_200.0).values[-2:]
    assert pv[1] == 2.0
    assert pv[0] != pv[0]  # curtailed: not known
