"""A command path with a loop around it: real decisions, a clock that is told the time."""

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from control.cycle import decide
from control.records import (
    Ack,
    Advice,
    Applied,
    BatteryMeasurement,
    Event,
    GeneratorMeasurement,
    Observed,
    Quality,
    Sample,
)
from control.site import SiteParameters
from control.state import State
from firmware.config_operation import CommandSource
from firmware.config_tables import Store as Settings
from firmware.loop import Telemetry
from firmware.orders.clerk import Clerk
from firmware.orders.journal import Journal
from firmware.orders.telling import Way
from firmware.store import Store

START_T_S, START_UTC_S = 5000.0, 1_760_000_000.0
MQTT, LOCAL = Way("mqtt"), Way("local", who="anna")
ROLES = ("viewer", "operator", "supervisor", "grid_operator", "market", "installer")
SOURCES = tuple(
    CommandSource(name=role.replace("_", "-"), role=role, public_key="")  # type: ignore[arg-type]
    for role in ROLES
)


@dataclass
class SteppedClock:
    t_s: float = START_T_S
    utc_s: float = START_UTC_S

    def monotonic(self) -> float:
        return self.t_s

    def utc(self) -> float:
        return self.utc_s

    def sleep(self, seconds: float) -> None:
        self.t_s += seconds
        self.utc_s += seconds


@dataclass
class Office:
    """One site: its clerk, a loop that follows, and all that was told."""

    site: SiteParameters
    make_sample: Callable[..., Sample]
    disk: Any = None
    sources: tuple[CommandSource, ...] = SOURCES
    clock: SteppedClock = field(default_factory=SteppedClock)
    boot: str = "boot 1"
    state: State = field(default_factory=State)
    applied: Applied = ()
    told: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=dict)  # changes to the sample
    deaf: tuple[str, ...] = ()  # devices that acknowledge nothing
    seq: int = 0
    clock_problem: str = ""

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """A new process."""
        self.clerk = Clerk(
            self.site,
            self.sources,
            Journal(self.disk),
            self.clock,
            self.boot,
            lambda _: self.clock_problem,
        )

    def envelope(self, op: str, src: str = "supervisor", **args: Any) -> dict[str, Any]:
        self.seq += 1
        return {
            "v": 1,
            "id": str(uuid.uuid4()),
            "iat": int(self.clock.utc_s),
            "exp": int(self.clock.utc_s) + 60,
            "src": src,
            "seq": self.seq,
            "op": op,
            "args": args,
        }

    def send(self, envelope: Any, way: Way = MQTT) -> dict[str, Any]:
        """The last acknowledgement of it."""
        raw = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
        mine: list[dict[str, Any]] = []

        def tell(acknowledgement: dict[str, Any]) -> None:
            mine.append(acknowledgement)
            self.told.append(acknowledgement)

        self.clock.sleep(0.11)  # nobody is too fast
        self.clerk.take(raw, way, tell)
        return mine[-1] if mine else {}

    def order(self, op: str, src: str = "supervisor", **args: Any) -> dict[str, Any]:
        return self.send(self.envelope(op, src, **args))

    def locally(self, op: str, **args: Any) -> dict[str, Any]:
        envelope = self.envelope(op, **args)
        return self.send({k: v for k, v in envelope.items() if k not in ("src", "seq")}, LOCAL)

    def step(self, cycles: int = 1, seconds: float = 1.0) -> Telemetry:
        """So many cycles of the loop, each followed by what the desk's thread does."""
        for _ in range(cycles):
            self.clock.sleep(seconds)
            orders = self.clerk.orders
            seen = replace(
                self.make_sample(0), t_s=self.clock.t_s, utc_s=self.clock.utc_s, **self.seen
            )
            made = decide(self.site, self.state, seen, self.applied, Advice(), orders)
            telemetry = Telemetry(self.state, seen, self.applied, Advice(), orders, made)
            self.state = made.state
            self.applied = tuple(
                Ack(
                    s.device,
                    s.quantity,
                    s.value,
                    None if s.device in self.deaf else s.value,
                    self.clock.t_s,
                )
                for s in made.command.setpoints
            )
            self.clerk.look(telemetry)
            self.clerk.tick()
            self.events += self.clerk.notices.take()
        return telemetry

    def value(self, device: str) -> float:
        return next(ack.commanded for ack in self.applied if ack.device == device)

    def statuses(self, id: str) -> list[str]:
        return [ack["status"] for ack in self.told if ack["id"] == id]


def good(value: object) -> Observed[Any]:
    return Observed(value, 0.1, Quality.GOOD, "")


def battery(**measured: Any) -> tuple[Observed[Any]]:
    known = {"power_kw": 0.0, "soc_frac": 0.5, "charge_limit_kw": 4.0, "discharge_limit_kw": 4.0}
    return (good(BatteryMeasurement(**known | {"state": "running"} | measured)),)


def genset(phase: str, power_kw: float = 0.0) -> tuple[Observed[Any]]:
    return (good(GeneratorMeasurement(power_kw, phase, "auto")),)


@pytest.fixture
def office(parameters: SiteParameters, make_sample: Callable[..., Sample]) -> Office:
    """Without a disk, after start-up."""
    made = Office(parameters, make_sample)
    made.step(3)
    return made


@pytest.fixture
def kept(
    parameters: SiteParameters, make_sample: Callable[..., Sample], tmp_path: Path
) -> Iterator[Office]:
    """With a store."""
    store = Store(Settings(path=str(tmp_path / "state.db")), parameters)
    made = Office(parameters, make_sample, store)
    made.step(3)
    yield made
    store.close()
