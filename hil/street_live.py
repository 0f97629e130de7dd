"""A street in real time: every house's `nanogrid run` is a process, over a real broker."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path

from firmware.trading.folder import Folder
from hil.broker import HOST, broker
from hil.live import LOG, STOP_S, LiveError, looked_at, served, start, stop
from hil.progress import Glance
from hil.street import LoadedStreet
from hil.street_house import House, RanHouse
from hil.street_market import found

LOOK_S = 0.2
MARKET_S = 60.0  # after the end of a run that was too short


def run_street_live(
    street: LoadedStreet,
    folder: Path,
    folders: Mapping[str, Path],
    progress: Callable[[float, Glance], None],
) -> dict[str, RanHouse]:
    """Run the street in real time, from now on.

    Raises ScenarioError, BrokerError, LiveError, FolderError, OSError.
    """
    trading = {name: path.resolve() / "trading" for name, path in folders.items()}
    found(street, trading)
    with ExitStack() as stack:
        houses = {}
        for name, loaded in street.houses.items():
            houses[name] = House(loaded, folders[name], street.head.slot_s, time.time())
            stack.callback(houses[name].world.close)
        histories = {name: house.history() for name, house in houses.items()}
        port = stack.enter_context(broker(folder))
        processes = {}
        for name, house in houses.items():
            market = {"host": HOST, "port": port}
            table = {"enabled": True, "folder": str(trading[name]), "broker": market}
            house.world.start_utc_s = time.time()  # slots are agreed on by the wall clock
            opened = served(house.world, house.folder, histories[name], {"trading": table})
            site, environment = stack.enter_context(opened)
            processes[name] = start(site, environment, house.folder)
            stack.callback(stop, processes[name])
        _wait(street, houses, processes, progress)
        _wait_for_ledgers({name: Folder(path).ledger for name, path in trading.items()})
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            stop(process)
    return {
        name: house.ran(looked_at(processes[name], house.observer, house.folder))
        for name, house in houses.items()
    }


def _wait(
    street: LoadedStreet,
    houses: Mapping[str, House],
    processes: "Mapping[str, subprocess.Popen[bytes]]",
    progress: Callable[[float, Glance], None],
) -> None:
    """Until the time is over. Raises LiveError when a house ends or stands still."""
    duration_s = street.head.duration_h * 3600.0
    first = next(iter(houses.values()))
    seen_s, since_s = -1.0, time.monotonic()
    while (elapsed_s := first.world.elapsed_s) < duration_s:
        progress(elapsed_s, first.observer)
        for name, process in processes.items():
            if process.poll() is not None:
                status, log = process.returncode, houses[name].folder / LOG
                raise LiveError(
                    f"house {name}: its controller ended with status {status}; see {log}"
                )
        slowest_s = min(house.world.elapsed_s for house in houses.values())
        if slowest_s > seen_s:
            seen_s, since_s = slowest_s, time.monotonic()
        elif time.monotonic() - since_s > STOP_S:
            raise LiveError("a simulated plant stands still; its error is above")
        time.sleep(LOOK_S)


def _wait_for_ledgers(ledgers: Mapping[str, Path]) -> None:
    """On a busy machine the trading processes of a short run come late. Raises LiveError."""
    end_s = time.monotonic() + MARKET_S
    while missing := [name for name, path in ledgers.items() if not path.exists()]:
        if time.monotonic() > end_s:
            raise LiveError(f"house {missing[0]}: never came to the market")
        time.sleep(LOOK_S)
