"""What the page is made of, and what its documents say."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from firmware.config import Site
from firmware.local_server import Snapshot
from firmware.loop import Telemetry
from firmware.web.page import ASSETS, KINDS, Page
from firmware.web.today import Today

Run = Callable[[int], list[Telemetry]]
FILES = sorted(ASSETS.iterdir())


@pytest.fixture
def page(site: Site, parameters: Any, run_cycles: Run) -> Page:
    snapshot, today = Snapshot(), Today(site, parameters)
    for telemetry in run_cycles(10):
        snapshot.publish(telemetry)
        today.publish(telemetry)
    latest_s = snapshot.latest.sample.t_s if snapshot.latest else 0.0
    return Page(
        site, snapshot, today, lambda seen: {"cycle": seen.sample.cycle}, lambda: latest_s + 2
    )


def found(page: Page, path: str) -> Any:
    response = page(path)
    assert response is not None
    return json.loads(response.body)


def test_every_file_is_served_as_what_it_is(page: Page) -> None:
    for path in FILES:
        response = page(f"/{path.name}")
        assert response is not None
        assert response.kind == KINDS[path.suffix]
        assert response.body == path.read_bytes()
    assert page("/") == page("/index.html")
    assert page("/../page.py") is None


def test_what_files_refer_to_is_there() -> None:
    for path in FILES:
        text = path.read_text()
        for name in re.findall(r'(?:href|src)="([^"]+)"|from "\./([^"]+)"', text):
            assert (ASSETS / "".join(name)).is_file(), (path, name)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_name_no_other_place_and_never_make_markup_of_text(path: Path) -> None:
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|srcdoc", text
    )
    assert not re.search(r"\bon\w+=|style=", text)


def test_the_live_document_has_age_status_and_events(page: Page) -> None:
    live = found(page, "/api/live")
    assert live["age_s"] == 2.0
    assert live["status"] == {"cycle": 9}
    assert live["has"] == {
        "pv": True,
        "wind": False,
        "battery": True,
        "generator": True,
        "grid": True,
    }
    assert live["limits"]["soc_min_frac"] < live["limits"]["soc_max_frac"]
    assert {"utc", "severity", "key", "text"} == set(live["events"][0])


def test_before_the_first_cycle_there_is_no_status(site: Site, parameters: Any) -> None:
    page = Page(site, Snapshot(), Today(site, parameters), lambda _: {}, lambda: 0.0)
    assert found(page, "/api/live")["status"] is None
    assert found(page, "/api/today") == {}


def test_a_cycle_is_put_into_words_once(site: Site, parameters: Any, run_cycles: Run) -> None:
    made: list[int] = []
    snapshot = Snapshot()

    def document(seen: Telemetry) -> dict[str, Any]:
        made.append(seen.sample.cycle)
        return {}

    page = Page(site, snapshot, Today(site, parameters), document, lambda: 0.0)
    for telemetry in run_cycles(2):
        snapshot.publish(telemetry)
        for _ in range(3):
            page("/api/live")
    assert made == [0, 1]
