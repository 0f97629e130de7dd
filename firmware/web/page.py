"""What the page's server answers: its own files, the live document, the day."""

import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from firmware.config import Site
from firmware.config_models import Device
from firmware.local_server import Snapshot
from firmware.loop import Telemetry
from firmware.parameters import site_parameters
from firmware.web.http_request import Response
from firmware.web.today import Today

ASSETS = Path(__file__).with_name("assets")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
CHECKED_EACH_TIME = (("Cache-Control", "no-cache"),)
JSON = "application/json"


class Page:
    """Answers paths. The live document is made once per cycle at most, and only when asked for."""

    def __init__(
        self,
        site: Site,
        snapshot: Snapshot,
        today: Today,
        document: Callable[[Telemetry], Mapping[str, Any]],
        monotonic: Callable[[], float],
    ) -> None:
        """Read the files that the page consists of."""
        self._about = _about(site)
        self._snapshot, self._today = snapshot, today
        self._document, self._monotonic = document, monotonic
        self._made: tuple[Telemetry | None, str] = (None, "")
        self._files = {
            f"/{path.name}": _file(path) for path in ASSETS.iterdir() if path.suffix in KINDS
        }
        self._files["/"] = self._files["/index.html"]

    def __call__(self, path: str) -> Response | None:
        """The answer to one path; None where there is nothing."""
        if path in self._files:
            return self._files[path]
        if path == "/api/live":
            return Response(HTTPStatus.OK, self._live().encode(), JSON)
        if path == "/api/today":
            return Response(HTTPStatus.OK, self._today.document().encode(), JSON)
        return None

    def _live(self) -> str:
        telemetry = self._snapshot.latest
        if telemetry is None:
            return '{"age_s": null, "status": null}'
        if telemetry is not self._made[0]:
            status = json.dumps(self._document(telemetry), allow_nan=False)
            events = json.dumps(self._today.events())
            self._made = (telemetry, f'{self._about}, "status": {status}, "events": {events}}}')
        age_s = max(0.0, self._monotonic() - telemetry.sample.t_s)
        return f'{{"age_s": {age_s:.3f}, {self._made[1]}'


def _about(site: Site) -> str:
    """What never changes, as the inside of a JSON object."""
    battery = site_parameters(site).battery
    kinds: dict[str, tuple[Device, ...]] = {
        "pv": site.pv,
        "wind": site.wind,
        "battery": site.battery,
        "generator": site.generator,
        "grid": (site.grid,) if site.grid else (),
    }
    names = ("soc_min_frac", "reserve_soc_frac", "soc_max_frac")
    about = {
        "zone": site.site.timezone,
        "currency": site.site.currency,
        "has": {kind: bool(kinds[kind]) for kind in kinds},
        "kinds": {device.name: kind for kind, devices in kinds.items() for device in devices},
        "limits": {name: getattr(battery, name, None) for name in names},
    }
    return json.dumps(about)[1:-1]


def _file(path: Path) -> Response:
    return Response(HTTPStatus.OK, path.read_bytes(), KINDS[path.suffix], CHECKED_EACH_TIME)
