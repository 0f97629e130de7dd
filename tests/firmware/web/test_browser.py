"""The page in headless Chromium: of a real service with the bench's devices, and of nonsense."""

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from control.site import SiteParameters
from firmware.config import Site
from firmware.local_server import Snapshot
from firmware.loop import Telemetry
from firmware.status import Machine, Moment, status
from firmware.web.http_server import HttpServer
from firmware.web.page import Page
from firmware.web.today import Today
from hil.live import served
from hil.scenario import LoadedScenario
from hil.world import World
from tests.firmware.service import Service
from tests.scenario_text import scenario_text

from .conftest import fetched, free_port, wait_for

SITE = Path(__file__).parents[3] / "hil" / "scenarios" / "sites" / "clinic.toml"
PERIOD_S = 0.25
FOLLOWS_S = 2.0
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
SCENARIO = scenario_text("site.toml")
READ = """
const kw = {};
for (const node of document.querySelectorAll("#flow .node"))
  kw[node.classList[1]] = node.dataset.kw === "" ? null : Number(node.dataset.kw);
return {cycle: Number(document.body.dataset.cycle ?? -1), kw,
        old: document.body.classList.contains("old"),
        soc: document.getElementById("soc").textContent,
        mode: document.getElementById("mode-name").textContent,
        cards: [...document.querySelectorAll("#why .card")].map((card) => card.innerText),
        marker: window.marker ?? null};
"""
Run = Callable[[int], list[Telemetry]]
Show = Callable[[Callable[[dict[str, Any]], None]], None]


@dataclass
class House(Service):
    """A service before the bench's devices, and where its page is."""

    url: str
    metrics: socket.socket  # holds the port that the service wants


@contextmanager
def taken_port() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    text = SITE.read_text().replace("period_s = 5.0", f"period_s = {PERIOD_S}")
    (folder / "site.toml").write_text(text.replace("interval_s = 900.0", "budget_s = 0.1"))
    (folder / "now.toml").write_text(SCENARIO)
    world = World(LoadedScenario(folder / "now.toml"), float(int(time.time())))
    run = folder / "run"
    run.mkdir()
    port = free_port()
    try:
        with served(world, run, None) as (site, environment), taken_port() as taken:
            with site.open("a") as file:
                file.write(f'\n[web]\nport = {port}\n[store]\npath = "{run}/state.db"\n')
                file.write(f"[metrics]\nport = {taken.getsockname()[1]}\n")
            made = House(site, environment, f"http://127.0.0.1:{port}/", taken)
            made.start()
            made.wait_for(bool)
            yield made
            made.kill()
    finally:
        world.close()


def seen(browser: webdriver.Chrome) -> dict[str, Any]:
    found: dict[str, Any] = browser.execute_script(READ)
    return found


def opened(browser: webdriver.Chrome, url: str) -> None:
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(url)
    wait_for(lambda: seen(browser)["cycle"] >= 0, lambda: browser.get_log("browser"))
    charts = "return document.querySelectorAll('#charts figure').length"
    wait_for(lambda: browser.execute_script(charts) > 0)


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console says, apart from a service that is away."""
    said = [entry["message"] for entry in browser.get_log("browser")]
    return [text for text in said if "net::ERR_" not in text]


def requested(browser: webdriver.Chrome) -> set[str]:
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }


def test_it_shows_what_the_service_says_within_two_seconds(
    browser: webdriver.Chrome, house: House
) -> None:
    opened(browser, house.url)
    delays_s, documents = [], {}
    for _ in range(5):
        document = house.status()
        asked_s = time.monotonic()
        wait_for(lambda document=document: seen(browser)["cycle"] >= document["cycle"])  # type: ignore[misc]
        delays_s.append(time.monotonic() - asked_s)

    def agrees() -> bool:
        document, shown = house.status(), seen(browser)
        documents[document["cycle"]] = document
        found = documents.get(shown["cycle"])
        if found is None:
            return False
        for kind, kw in shown["kw"].items():
            assert kw == pytest.approx(found["power_kw"][kind])
        assert shown["soc"].replace("\u202f", "") == f"{100 * found['battery']['soc_frac']:.0f}%"
        assert shown["mode"] == found["mode"]["name"]
        return True

    wait_for(agrees)
    assert set(seen(browser)["kw"]) == {"pv", "generator", "grid", "load", "battery"}
    assert median(delays_s) < FOLLOWS_S


def test_every_setpoint_has_its_answer_to_why(browser: webdriver.Chrome, house: House) -> None:
    opened(browser, house.url)
    wait_for(lambda: len(seen(browser)["cards"]) == 3)
    for card in seen(browser)["cards"]:
        assert "Decided by" in card
        assert "Otherwise" in card
        assert "commanded" in card


def test_nothing_is_asked_of_anybody_else_and_the_console_stays_empty(
    browser: webdriver.Chrome, house: House
) -> None:
    opened(browser, house.url)
    assert complaints(browser) == []
    asked = requested(browser)
    assert {f"{house.url}api/live", f"{house.url}api/today"} <= asked
    assert all(url.startswith(house.url) for url in asked), asked


def test_a_phone_needs_no_sideways_scrolling(browser: webdriver.Chrome, house: House) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    try:
        opened(browser, house.url)
        width = "return document.documentElement.scrollWidth"
        assert browser.execute_script(width) <= PHONE["width"]
        outside = browser.execute_script(
            "return [...document.querySelectorAll('body *')].filter((e) => {"
            " const box = e.getBoundingClientRect();"
            f" return box.width && (box.right > {PHONE['width']} + 1 || box.left < -1); }})"
            ".map((e) => e.outerHTML.slice(0, 200))"
        )
        assert outside == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_days_totals_stay_in_their_places(
    browser: webdriver.Chrome, house: House, width: int
) -> None:
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        opened(browser, house.url)
        too_wide = browser.execute_script(
            "return [...document.querySelectorAll('.tiles strong')].filter((e) => {"
            " e.textContent = '\u2212123.45 EUR'; return e.scrollWidth > e.clientWidth; }).length"
        )
        assert too_wide == 0
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_port_that_is_taken_is_one_line_and_shown(house: House) -> None:
    page, metrics = house.status()["servers"]
    assert page == {"name": "page", "url": house.url, "problem": None}
    assert metrics["problem"] == "Address already in use"
    (line,) = [line for line in house.log.splitlines() if "no metrics at" in line]
    assert metrics["url"] in line


def test_it_says_that_the_service_is_away_and_comes_back_without_a_reload(
    browser: webdriver.Chrome, house: House
) -> None:
    opened(browser, house.url)
    browser.execute_script("window.marker = 'the same page'")
    house.kill()
    address = house.metrics.getsockname()
    house.metrics.close()
    banner = "return document.getElementById('contact').innerText"
    wait_for(lambda: "No contact for" in browser.execute_script(banner))
    assert seen(browser)["old"]
    house.start()
    house.wait_for(bool)
    wait_for(lambda: not seen(browser)["old"], lambda: browser.execute_script(banner))
    assert seen(browser)["marker"] == "the same page"
    wait_for(lambda: seen(browser)["cycle"] >= house.status()["cycle"] - 8)
    assert complaints(browser) == []
    assert b"nanogrid_power_watts" in fetched(address[1], "/metrics").read()


# --- nonsense --------------------------------------------------------------------------------

EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"&amp;'


def _twist(document: dict[str, Any]) -> None:
    """Texts that would like to be markup, and nothing known."""
    document["alarms"] = [EVIL]
    document["mode"]["reason"] = EVIL
    document["power_kw"] = dict.fromkeys(document["power_kw"])
    document["battery"] = dict.fromkeys(document["battery"])
    document["orders"] = {**document.get("orders", {}), "standing": [EVIL]}
    for device in document["devices"]:
        device.update(error=EVIL, identity={"maker": EVIL, "model": EVIL, "version": EVIL})
    for setpoint in document["setpoints"]:
        setpoint.update(reason=EVIL, clips=[EVIL], otherwise=[EVIL])


@pytest.fixture
def show(
    browser: webdriver.Chrome, site: Site, parameters: SiteParameters, run_cycles: Run
) -> Iterator[Show]:
    """Opens the page of a document that has been changed."""
    cycles = run_cycles(130)
    snapshot, today = Snapshot(), Today(site, parameters)
    for telemetry in cycles:
        today.publish(telemetry)
    snapshot.publish(cycles[-1])
    now_s = cycles[-1].sample.t_s
    loop = {"cycles": 1, "cycles_missed": 0, "lateness": {"p99_s": 0.0, "max_s": 0.0}}
    with ExitStack() as at_end:

        def opening(change: Callable[[dict[str, Any]], None]) -> None:
            def document(seen: Telemetry) -> dict[str, Any]:
                state, command = seen.decision.state, seen.decision.command
                moment = Moment(seen.sample, seen.applied, seen.advice, state, command)
                made = status("site", "1", parameters, moment, Machine({}, loop))
                change(made)
                return made

            page = Page(site, snapshot, today, document, lambda: now_s)
            server = HttpServer("page", "127.0.0.1", free_port(), page)
            server.start()
            at_end.callback(server.stop)
            opened(browser, server.url)

        yield opening


def test_texts_stay_texts_and_unknown_is_not_zero(browser: webdriver.Chrome, show: Show) -> None:
    show(_twist)
    found = seen(browser)
    assert complaints(browser) == []
    assert set(found["kw"].values()) == {None}
    assert found["soc"] == "?"
    numbers = "return [...document.querySelectorAll('#flow .number')].map((n) => n.textContent)"
    assert set(browser.execute_script(numbers)) == {"?kW"}
    assert EVIL in browser.execute_script("return document.getElementById('alarms').innerText")
    assert EVIL in browser.execute_script("return document.getElementById('orders').innerText")
    assert browser.execute_script("return window.hacked ?? null") is None
    assert browser.execute_script("return document.images.length") == 0


def test_what_no_device_measures_is_called_an_estimate(
    browser: webdriver.Chrome, show: Show, site: Site
) -> None:
    show(lambda document: document.update(missing=[site.pv[0].name]))
    words = (
        "return Object.fromEntries([...document.querySelectorAll('#flow .node')]"
        ".map((n) => [n.classList[1], n.querySelector('.word').textContent]))"
    )
    found = browser.execute_script(words)
    assert found["pv"] == "estimated"
    assert "estimated" not in {found["load"], found["grid"], found["battery"]}


def test_the_pointer_reads_every_chart_out(browser: webdriver.Chrome, show: Show) -> None:
    show(lambda _: None)
    chart = browser.find_element(By.CSS_SELECTOR, "#chart-soc .plot")
    ActionChains(browser).move_to_element(chart).perform()
    said = (
        "return [...document.querySelectorAll('.keys li:first-child output')].map(o => o.innerText)"
    )
    wait_for(lambda: all(browser.execute_script(said)))
    (time_of_day,) = set(browser.execute_script(said))  # the same in all, and about the middle
    assert re.fullmatch(r"1[12]:\d\d", time_of_day)
