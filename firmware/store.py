"""`state.db`: history, events, energy and the checkpoint, written by a thread of its own.

The loop hands over what has come together and never waits. One transaction takes everything that
waits, so that a new checkpoint is in the very next commit. Where the disk takes nothing, control
goes on: the log says so once, a bounded rest waits, and the next batch tries again.
"""

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from control.site import SiteParameters
from control.state import State
from firmware.config_tables import Store as Settings
from firmware.energy_tail import EnergyTail
from firmware.loop import Telemetry
from firmware.store_records import (
    EnergyMeter,
    MinuteMeans,
    Pending,
    StoredEvent,
    checkpoint_of,
    cycle_values,
    most_kw,
)
from firmware.store_restore import boot_id, restored
from firmware.store_schema import StoreError
from firmware.store_writer import Job, Writer
from firmware.unexpected import SteadyThread
from firmware.unit_energy import UnitEnergy

FIRST_S = 0.5  # who dies young loses little
ENERGY_S = 20.0  # so much of what nobody else counts a killed process takes with it
EVENT_S = 60.0  # events alone make a batch so often at most: the card's write budget
QUEUED = 32  # batches and jobs together
CLOSE_S = 5.0

Urgent = tuple[bool, tuple[tuple[bool, float, bool, int, str], ...]]
T = TypeVar("T")


class Store:
    """Takes telemetry, keeps it in `state.db`, and gives back the state to start with."""

    def __init__(
        self, settings: Settings, site: SiteParameters, tail: EnergyTail | None = None
    ) -> None:
        """Read the checkpoint and start the thread; a store that cannot be opened is logged.

        `tail` is where energy outlives a kill between two commits.
        """
        self._site = site
        self._boot = boot_id()
        self._generator_name = site.generator.name if site.generator else ""
        self._sets = tuple(each.name for each in site.generators)
        self._units = UnitEnergy(site)
        self._means = MinuteMeans()
        self._next = Pending()
        self._due = False
        self._handed_s = float("-inf")  # when the last batch was handed over
        self._pause_s = FIRST_S  # until the next, at the latest; grows to ENERGY_S
        self._urgent: Urgent | None = None
        self._events_t_s = float("-inf")  # of the last batch that events alone made due
        self._writer = Writer(settings)
        self._checkpoint = self._writer.read_checkpoint()
        self._tail = tail if self._writer.totals_kwh is not None else None
        self._totals_kwh = dict(self._writer.totals_kwh or {})  # with what waits to be written
        uncommitted = self._uncommitted()
        self._count(uncommitted)
        self._energy = EnergyMeter(
            site.period_s, most_kw(site), self._checkpoint, self._boot, uncommitted
        )
        self._queue: queue.Queue[Pending | Job | None] = queue.Queue(QUEUED)
        self._closing = threading.Lock()
        self._closed = False
        self._waiting, self._written, self._ended = Pending(), True, False  # of the thread
        self._thread = SteadyThread("store", self._run)
        self._thread.start()

    def state(self, now_s: float, utc_s: float) -> State:
        """What the process before left to start with, at this monotonic and UTC time."""
        if self._checkpoint is None:
            return State()
        site = self._site
        return restored(self._checkpoint, site.generator, now_s, utc_s, self._boot, site.generators)

    def publish(self, telemetry: Telemetry) -> None:
        """Take one cycle; hand over to the thread what is due."""
        sample, state = telemetry.sample, telemetry.decision.state
        values = cycle_values(state, sample, self._site.pv_rated_kw)
        minute = self._means.add(sample.utc_s, values, state.mode)
        pending = self._next
        if minute is not None:
            pending.minutes.append(minute)
            self._due = True
        self._count(self._energy.add(sample, values))
        self._count(self._units.add(sample.t_s, state))
        for event in telemetry.events:
            pending.events.append(StoredEvent(sample.utc_s, event.severity, event.key, event.text))
        urgent = _urgent(state)
        self._due |= urgent != self._urgent
        self._urgent = urgent
        if pending.events and not self._due and sample.t_s - self._events_t_s >= EVENT_S:
            self._due, self._events_t_s = True, sample.t_s
        pending.checkpoint = checkpoint_of(
            state, sample, self._boot, self._generator_name, self._sets
        )
        if self._due or sample.t_s - self._handed_s >= self._pause_s:
            self._hand_over(sample.t_s)

    def transaction(self, job: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Have the store's thread run `job` in one transaction, on the disk when it is done.

        Never waits. `job` raises sqlite3.Error at most. The future fails with StoreError when the
        disk takes nothing or too much waits for it; then nothing of the job is kept.
        """
        return self._have_done(Job(job))

    def reading(self, job: Callable[[sqlite3.Connection], T]) -> "Future[T]":
        """Have `job` only read: that works on a read-only disk too. Else as `transaction`."""
        return self._have_done(Job(job, reads=True))

    def _have_done(self, entry: Job) -> "Future[Any]":
        with self._closing:
            try:
                if self._closed:
                    raise StoreError("closed")
                self._queue.put_nowait(entry)
            except queue.Full:
                entry.future.set_exception(StoreError("too much waits for the disk"))
            except StoreError as error:
                entry.future.set_exception(error)
        return entry.future

    @property
    def problem(self) -> str:
        """Why nothing can be written; empty: all is well."""
        return self._writer.fault and f"{self._writer.path}: {self._writer.fault}"

    def close(self) -> None:
        """Write what is left; a disk that hangs is not waited for."""
        with self._closing:
            self._closed = True
        with contextlib.suppress(queue.Full):
            self._queue.put(self._next, timeout=CLOSE_S)
            self._queue.put(None, timeout=CLOSE_S)
            self._thread.join(CLOSE_S)
        if self._tail is not None:
            self._tail.close()

    def _uncommitted(self) -> dict[str, float]:
        """What the process before counted after its last commit, kWh."""
        kept = self._tail.read() if self._tail else {}
        return {
            name: kwh - self._totals_kwh[name]
            for name, kwh in kept.items()
            if name in self._totals_kwh and kwh > self._totals_kwh[name]
        }

    def _count(self, kwh: Mapping[str, float]) -> None:
        """Count energy; a counter's first value is due at once: the tail goes on from it."""
        self._next.count(kwh)
        for name, more_kwh in kwh.items():
            self._due |= name not in self._totals_kwh
            self._totals_kwh[name] = self._totals_kwh.get(name, 0.0) + more_kwh
        if self._tail is not None:
            self._tail.write(self._totals_kwh)

    def _hand_over(self, t_s: float) -> None:
        try:
            self._queue.put_nowait(self._next)
        except queue.Full:
            return  # it stays due, and what waits is bounded
        self._next, self._due, self._handed_s = Pending(), False, t_s
        self._pause_s = min(ENERGY_S, 2.0 * self._pause_s)

    def _run(self) -> None:
        self._writer.close()  # with what an error may have left half done
        while not self._ended:
            batches = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while True:
                    batches.append(self._queue.get_nowait())
            self._ended |= None in batches
            for batch in batches:
                if isinstance(batch, Pending):
                    self._waiting.take(batch)
                    self._written = False
            self._work([batch for batch in batches if isinstance(batch, Job)])
        self._writer.close()

    def _work(self, jobs: list[Job]) -> None:
        """Write what waits, then do the jobs; whatever happens, each gets its answer."""
        try:
            if not self._written and self._writer.write(self._waiting):
                self._waiting, self._written = Pending(), True
            for job in jobs:
                self._writer.work(job)
        finally:
            for job in jobs:
                job.give_up()


def _urgent(state: State) -> Urgent:
    """What is written as soon as it changes."""
    return state.emergency_latched, tuple(
        (each.run, each.since_s, each.carried, each.attempts, each.locked)
        for each in (state.generator, *state.generators)
    )
