"""`nanogrid ctl` at a real `nanogrid run` on the bench's devices: orders take effect, and end."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from firmware.commands.ctl import ctl as ctl_command
from firmware.commands.why import why as why_command
from firmware.local_client import ask_status
from firmware.recording import Recording
from firmware.replay import replay
from hil.live import served
from hil.scenario import LoadedScenario
from hil.world import World
from tests.firmware.service import Document, Service
from tests.scenario_text import scenario_text

SITE = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "realtime.toml"
STOP_PIN, RELAY_PIN = 17, 27
CLOSED, OPEN = 0, 1
SCENARIO = scenario_text(
    "wide.toml", start="2026-05-13T17:00:00Z", more="[plant.battery]\ninitial_soc_frac = 0.6\n"
)


@dataclass
class Running(Service):
    """A service, and the world around it."""

    world: World
    recording: Path

    def ctl(self, *words: object) -> Result:
        options = [str(word) for word in (*words, "--socket", self.socket)]
        return CliRunner().invoke(ctl_command, options)

    def accepted(self, *words: object) -> None:
        result = self.ctl(*words, "--no-wait")
        assert result.exit_code == 0, result.output
        assert result.stdout.startswith("accepted")

    def standing(self) -> list[str]:
        found: list[str] = ask_status(self.socket)["orders"]["standing"]
        return found


def setpoint(document: Document, device: str) -> Document:
    found: Document = next(s for s in document["setpoints"] if s["device"] == device)
    return found


def nothing_stands(document: Document) -> bool:
    return document["orders"]["standing"] == []


def decided_by(device: str, source: str) -> Callable[[Document], bool]:
    return lambda found: bool(found["setpoints"]) and setpoint(found, device)["source"] == source


def mode_is(name: str) -> Callable[[Document], bool]:
    return lambda found: found["mode"]["name"] == name


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("ctl_run")
    wide = SITE.read_text().replace("export_max_kw = 1.5", "export_max_kw = 20.0")
    (folder / "wide.toml").write_text(wide)  # by day and by night the battery is free
    (folder / "now.toml").write_text(SCENARIO)
    world = World(LoadedScenario(folder / "now.toml"), float(int(time.time())))
    recording = folder / "cycles.jsonl.gz"
    try:
        with served(world, folder, None) as (site, environment):
            with site.open("a") as file:
                file.write(f'\n[store]\npath = "{folder / "state.db"}"\n')
            made = Running(site, environment, world, recording)
            with made.running("--record", str(recording)):
                made.wait_for(mode_is("auto"))
                yield made
    finally:
        world.close()


def test_a_setpoint_is_obeyed_and_ends(running: Running) -> None:
    result = running.ctl("battery", "-1.0", "--for", "4s")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].startswith("accepted")
    found = running.wait_for(decided_by("battery", "local operator"))
    running.wait_for(lambda d: setpoint(d, "battery")["commanded"] == -1.0)
    (order,) = found["orders"]["setpoints"]
    assert (order["device"], order["value"]) == ("battery", -1.0)
    assert 0.0 < order["expires_in_s"] <= 4.0
    assert len(found["orders"]["standing"]) == 1
    said = CliRunner().invoke(why_command, ["--socket", str(running.socket)]).stdout
    assert f"Ordered: {found['orders']['standing'][0]}." in said
    end = running.wait_for(lambda d: not decided_by("battery", "local operator")(d))
    assert end["orders"]["setpoints"] == []
    running.wait_for(nothing_stands)


def test_a_battery_setpoint_stays_inside_an_export_limit(running: Running) -> None:
    running.accepted("export-limit", "0", "--for", "1h")
    result = running.ctl("battery", "3.0", "--for", "5m")
    assert result.exit_code == 0, result.output
    assert "done: " in result.stdout  # the limit clips it when the load is below 3 kW
    found = running.wait_for(
        lambda d: "export limit 0 kW, ordered" in setpoint(d, "battery")["clips"]
    )
    assert found["orders"]["export_max_kw"] == 0.0
    running.accepted("export-limit", "--lift")
    running.wait_for(lambda d: "export limit 0 kW, ordered" not in setpoint(d, "battery")["clips"])
    running.accepted("battery", "0", "--for", "1s")  # takes its place
    running.accepted("mode", "stopped")
    running.wait_for(lambda d: d["setpoints"] == [])
    running.accepted("mode", "auto")
    running.wait_for(mode_is("auto"))
    running.wait_for(nothing_stands)


def test_manual_for_a_while(running: Running) -> None:
    running.accepted("mode", "manual", "--for", "2s")
    found = running.wait_for(mode_is("manual"))
    assert found["mode"]["reason"] == "ordered to manual"
    running.wait_for(mode_is("auto"))


def test_prices_reserve_and_trade(running: Running, tmp_path: Path) -> None:
    begin = datetime.fromtimestamp(time.time() - 60, UTC).isoformat()
    file = tmp_path / "prices.csv"
    file.write_text(f"from,buy,sell\n{begin},0.9,0.3\n")
    running.accepted("prices", file, "--for", "3s")
    found = running.wait_for(lambda d: d["price_per_kwh"] == {"buy": 0.9, "sell": 0.3})
    assert found["orders"]["prices"][0]["buy"] == 0.9
    running.accepted("reserve", "90%")
    running.accepted("trade", "off", "--for", "2s")
    found = running.wait_for(lambda d: d["orders"]["reserve_soc_frac"] is not None)
    assert found["orders"]["reserve_soc_frac"] == 0.9
    running.accepted("reserve", "--lift")
    running.wait_for(lambda d: d["price_per_kwh"] == {"buy": 0.16, "sell": 0.05})
    running.wait_for(lambda d: d["orders"]["reserve_soc_frac"] is None and d["orders"]["trading"])


def test_an_ordered_plan_is_made_at_once(running: Running) -> None:
    before = running.wait_for(lambda d: d["plan"] is not None and d["plan"]["age_s"] > 2.0)
    result = running.ctl("replan")
    assert result.exit_code == 0, result.output
    found = running.wait_for(lambda d: d["plan"]["age_s"] < before["plan"]["age_s"])
    assert found["plan"]["age_s"] < 60.0 - 1.0


def test_a_generator_keeps_its_shortest_run(running: Running) -> None:
    running.accepted("generator", "start", "--for", "2s")
    running.wait_for(lambda d: d["generator"]["asked_to_run"])
    assert running.world.pi.output(RELAY_PIN) == 1
    refused = running.ctl("generator", "stop", "--for", "5m")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("rejected: minimum run: ")
    running.wait_for(nothing_stands)
    found = running.wait_for(lambda d: bool(setpoint(d, "genset")["clips"]))
    assert setpoint(found, "genset")["clips"][0].startswith("minimum run, ")
    assert running.world.pi.output(RELAY_PIN) == 1


def test_an_emergency_stop_waits_for_an_acknowledgement_after_its_release(
    running: Running,
) -> None:
    for _ in range(2):
        running.world.pi.set_input(STOP_PIN, OPEN)
        running.wait_for(mode_is("safe"))
        refused = running.ctl("acknowledge")
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "still pressed" in refused.stderr
        running.world.pi.set_input(STOP_PIN, CLOSED)
        found = running.wait_for(
            lambda d: "emergency stop was pressed and is not acknowledged" in d["alarms"]
        )
        assert found["mode"]["name"] == "safe"
        assert running.ctl("acknowledge").exit_code == 0
        running.wait_for(mode_is("auto"))


def test_what_was_ordered_is_replayed_to_the_bit(running: Running) -> None:
    """Last: the service ends."""
    assert running.stop() == 0
    replayed = list(replay(Recording(running.recording)))
    assert not any(each.differs for each in replayed)
    ordered = {bool(each.cycle.orders.prices) for each in replayed}
    assert ordered == {True, False}
    result = running.ctl("replan")
    assert result.exit_code == 1
    assert "no service is running here" in result.stderr
