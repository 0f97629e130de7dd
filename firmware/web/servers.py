"""The HTTP servers that a site file asks for: the page, and figures for Prometheus."""

from collections.abc import Callable
from typing import Any

from control.site import SiteParameters
from firmware.clock import Clock
from firmware.config import Site
from firmware.local_server import Snapshot
from firmware.loop import Publisher, Telemetry, Timing
from firmware.web.http_server import HttpServer
from firmware.web.page import Page
from firmware.web.today import Today


def build_servers(
    site: Site,
    parameters: SiteParameters,
    document: Callable[[Telemetry], dict[str, Any]],
    timing: Timing,
    clock: Clock,
    publishers: list[Publisher],
) -> tuple[HttpServer, ...]:
    """Servers that have not started; what feeds them is added to `publishers`.

    `document` is the status document of one cycle.
    """
    servers = []
    if site.web.port:
        snapshot, today = Snapshot(), Today(site, parameters)
        publishers += [snapshot, today]
        today.seed(clock.utc())
        page = Page(site, snapshot, today, document, clock.monotonic)
        servers.append(HttpServer("page", site.web.host, site.web.port, page))
    if site.metrics.port:
        # Prometheus' library is loaded only where it is wanted.
        from firmware.metrics import Figures, Meter, MetricsAnswer

        meter = Meter(parameters.period_s)
        publishers.append(meter)
        answer = MetricsAnswer(Figures(meter, document, timing, clock.monotonic))
        servers.append(HttpServer("metrics", site.metrics.host, site.metrics.port, answer))
    return tuple(servers)
