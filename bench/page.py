"""Pictures of the page: a day on the bench in virtual time, then headless Chromium looks at it.

python -m bench.page [SCENARIO] [--until-h H] [-o DIR] [--serve PORT]
"""

import argparse
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from control.records import Orders
from firmware.config import site_from_dict
from firmware.local_server import Snapshot
from firmware.loop import Loop, Publisher, Telemetry
from firmware.parameters import site_parameters
from firmware.ports import Ports
from firmware.status import Machine, Moment, status
from firmware.web.http_server import HttpServer
from firmware.web.page import Page
from firmware.web.today import Today
from firmware.wiring import build_buses, build_pins, build_sensor
from firmware.workers import Workers
from hil import fake_pi
from hil.inputs import write_history
from hil.lockstep import VirtualClock
from hil.scenario import LoadedScenario
from hil.world import World

DATA = Path("../shared/data")
SHOTS = (  # name, width, height, dark
    ("page", 1280, 2540, False),
    ("page-dark", 1280, 1000, True),
    ("page-phone", 360, 800, False),
)
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--virtual-time-budget=3000", "--force-prefers-reduced-motion"),
)


@contextmanager
def page_at(scenario: Path, until_h: float) -> Iterator[Page]:
    """The page as it looks so many hours after the scenario's start."""
    loaded = LoadedScenario(scenario, DATA)
    with (
        closing(World(loaded, loaded.scenario.scenario.start_utc_s)) as world,
        tempfile.TemporaryDirectory(prefix="nanogrid-") as folder,
    ):
        history = Path(folder) / "history.csv"
        start_utc_s = world.start_utc_s
        write_history(history, loaded, world.parameters.pv, world.weather, world.load, start_utc_s)
        table: dict[str, Any] = {**world.site(), "forecast": {"history": str(history)}}
        site = site_from_dict(table)
        parameters = site_parameters(site)
        clock = VirtualClock(world)
        fake_pi.install(world.pi)
        buses = build_buses(site, clock.monotonic)
        ports = Ports(site, buses, build_sensor(site), build_pins(site), clock, lockstep=True)
        workers = Workers(site, parameters, iterations=loaded.scenario.scenario.plan_iterations)
        snapshot, today = Snapshot(), Today(site, parameters)
        publishers: Sequence[Publisher] = (snapshot, today)
        loop = Loop(parameters, ports, workers, Orders, list(publishers), clock)

        def document(seen: Telemetry) -> dict[str, Any]:
            state, command = seen.decision.state, seen.decision.command
            moment = Moment(seen.sample, seen.applied, seen.advice, state, command)
            machine = Machine(ports.images, loop.statistics())
            return status(site.site.name, "0.1.0", parameters, moment, machine)

        try:
            ports.start()
            workers.start()
            while world.elapsed_s < until_h * 3600.0:
                loop.step()
                world.advance(world.elapsed_s + site.loop.period_s)
            yield Page(site, snapshot, today, document, clock.monotonic)
        finally:
            workers.stop()
            ports.stop()
            fake_pi.uninstall()


def take(url: str, folder: Path) -> None:
    """Write a picture for every size and colour scheme."""
    for name, width, height, dark in SHOTS:
        with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
            look = ("--blink-settings=preferredColorScheme=0",) if dark else ()
            subprocess.run(
                [
                    *("chromium", *FLAGS, *look, f"--user-data-dir={profile}"),
                    *(f"--window-size={width},{height}", f"--screenshot={folder / name}.png", url),
                ],
                check=True,
                capture_output=True,
                timeout=60,
            )


def main() -> None:
    """Run the scenario, then take pictures or serve the page until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", type=Path, nargs="?", default=Path("hil/scenarios/demo.toml"))
    parser.add_argument("--until-h", type=float, default=13.6)
    parser.add_argument("-o", dest="folder", type=Path, default=Path("docs/images"))
    parser.add_argument("--serve", type=int, default=0, metavar="PORT")
    given = parser.parse_args()
    with page_at(given.scenario, given.until_h) as page:
        server = HttpServer("page", "127.0.0.1", given.serve or 18099, page)
        server.start()
        try:
            if given.serve:
                while True:
                    time.sleep(1.0)
            given.folder.mkdir(parents=True, exist_ok=True)
            take(server.url, given.folder)
        except KeyboardInterrupt:
            pass
        finally:
            server.stop()


if __name__ == "__main__":
    main()
