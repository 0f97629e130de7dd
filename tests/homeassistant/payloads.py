"""Print what Home Assistant is sent by three sites, with messages for the topics it names.

Runs in the product's own environment; `validate.py` reads it in Home Assistant's.
"""

import json
import sys
from dataclasses import replace
from typing import Any

from control.cycle import decide
from control.records import Advice, Orders
from control.state import State
from firmware.config import Site, load_site
from firmware.loop import Telemetry
from firmware.mqtt.discovery import discovery
from firmware.mqtt.feed import Feed
from firmware.mqtt.topics import ONLINE, Topics
from firmware.parameters import site_parameters
from firmware.status import Machine, Moment, status
from firmware.store_records import COUNTERS
from tests.firmware.conftest import EXAMPLE, sample


def case(site: Site, *, commands: bool, energy: bool) -> dict[str, Any]:
    """A site's discovery payload, and the newest message of each of its topics."""
    topics = Topics(site.site.name)
    payload = discovery(site, topics, "1.0", commands=commands, energy=energy)
    messages = {item.topic: item.payload for item in published(site, topics, energy)}
    messages[topics.of_site("availability")] = ONLINE
    return {"topic": topics.discovery, "payload": payload, "messages": messages}


def published(site: Site, topics: Topics, energy: bool) -> Any:
    """What is published after one cycle."""
    parameters = site_parameters(site)
    seen = sample(0)
    if site.grid is None:
        seen = replace(seen, grid=None)
    advice, orders = Advice(), Orders()
    decision = decide(parameters, State(), seen, (), advice, orders)
    telemetry = Telemetry(State(), seen, (), advice, orders, decision)
    moment = Moment(seen, (), advice, decision.state, decision.command)
    document = status(site.site.name, "1.0", parameters, moment, Machine({}, {}))
    counters = dict.fromkeys(COUNTERS, 12.3456) if energy else {}
    return Feed(site, topics).changed(0.0, telemetry, document, counters)


def main() -> None:
    """All cases as one JSON document on standard output."""
    whole = load_site(EXAMPLE)
    island = whole.model_copy(update={"grid": None, "prices": None})
    small = whole.model_copy(update={"battery": (), "generator": (), "irradiance": None})
    cases = {
        "whole": case(whole, commands=True, energy=True),
        "island": case(island, commands=True, energy=False),
        "small": case(Site.model_validate(small), commands=False, energy=True),
    }
    json.dump(cases, sys.stdout, allow_nan=False)


if __name__ == "__main__":
    main()
