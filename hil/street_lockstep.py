"""A street in virtual time: the real loop of every house, its plant and devices, one clock for all.

Houses take turns with the market: all run one cycle, then messages pass, then time goes on. Within
a cycle nothing of one house can reach another, so their cycles may run side by side: the planning
processes then share the machine's cores.
"""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from firmware.loop import Loop
from hil import fake_pi
from hil.live import RECORDING
from hil.lockstep import START_T_S, lockstep_loop
from hil.progress import Glance
from hil.scenario import ScenarioError
from hil.street import LoadedStreet
from hil.street_house import House, RanHouse
from hil.street_market import Post, Seat, found


def run_street_lockstep(
    street: LoadedStreet,
    folders: Mapping[str, Path],
    speed: float | None,
    progress: Callable[[float, Glance], None],
) -> tuple[dict[str, RanHouse], int]:
    """Run the street to its end; return its houses and how many messages were delivered.

    `speed` holds virtual time to that multiple of real time. Raises ScenarioError, OSError,
    FolderError, LedgerError.
    """
    period_s = _period_s(street)
    start_utc_s = street.head.start_utc_s
    boxes = found(street, {name: folder / "trading" for name, folder in folders.items()})
    with ExitStack() as stack:
        houses, seats = [], []
        for name, loaded in street.houses.items():
            houses.append(House(loaded, folders[name], street.head.slot_s, start_utc_s))
            stack.callback(houses[-1].world.close)
            seats.append(Seat(loaded, boxes[name], start_utc_s))
            stack.callback(seats[-1].close)
        _install_pi(street, houses, stack)
        running = []
        for house, seat in zip(houses, seats, strict=True):
            recording, history = house.folder / RECORDING, house.history()
            opened = lockstep_loop(house.world, house.observer, recording, history, seat)
            running.append(_Running(house, stack.enter_context(opened)))
        pool = stack.enter_context(ThreadPoolExecutor(len(houses)))
        post = Post(seats)
        _turns(street, period_s, running, post, pool, speed, progress)
        ended = zip(street.houses, running, strict=True)
        return {name: r.house.ran(r.loop.statistics()) for name, r in ended}, post.messages


@dataclass(frozen=True)
class _Running:
    """A house with its loop."""

    house: House
    loop: Loop

    def turn(self, to_s: float) -> None:
        """Let the world come to a time, and the loop act on it."""
        self.house.world.advance(to_s)
        self.loop.step()


def _turns(
    street: LoadedStreet,
    period_s: float,
    houses: list[_Running],
    post: Post,
    pool: ThreadPoolExecutor,
    speed: float | None,
    progress: Callable[[float, Glance], None],
) -> None:
    """All cycles of all houses."""
    end_s, began = street.head.duration_h * 3600.0, time.monotonic()
    for count in range(round(end_s / period_s)):
        now_s = count * period_s
        list(pool.map(lambda house, to_s=now_s: house.turn(to_s), houses))
        for wait_s in np.arange(0.0, period_s, post.turn_s).tolist():
            post.carry(street.head.start_utc_s + now_s + wait_s, START_T_S + now_s + wait_s)
        post.tell(street.head.start_utc_s + now_s, START_T_S + now_s)
        progress(now_s, houses[0].house.observer)
        if speed is not None:
            ahead_s = now_s / speed - (time.monotonic() - began)
            if ahead_s > 0:
                time.sleep(ahead_s)
    for house in houses:
        house.house.world.advance(end_s)


def _period_s(street: LoadedStreet) -> float:
    """The cycle that all loops share. Raises ScenarioError."""
    periods = {name: house.site.loop.period_s for name, house in street.houses.items()}
    first = next(iter(periods.values()))
    wrong = [
        f"{street.path}: house {name}: loop.period_s = {period_s:g} of its site: in virtual time"
        f" all houses need the same, the first has {first:g}"
        for name, period_s in periods.items()
        if period_s != first
    ]
    if wrong:
        raise ScenarioError(wrong)
    return first


def _install_pi(street: LoadedStreet, houses: list[House], stack: ExitStack) -> None:
    """One process has one Raspberry Pi: the house that uses it. Raises ScenarioError."""
    using = [
        (name, house)
        for (name, loaded), house in zip(street.houses.items(), houses, strict=True)
        if loaded.site.irradiance is not None or any(loaded.site.gpio.model_dump().values())
    ]
    if len(using) > 1:
        names = ", ".join(name for name, _ in using)
        raise ScenarioError(
            [f"{street.path}: [irradiance] and [gpio] in virtual time: one house may, not {names}"]
        )
    for _, house in using:
        fake_pi.install(house.world.pi)
        stack.callback(fake_pi.uninstall)
