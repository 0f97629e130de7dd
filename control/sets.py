"""Which of several generators run: as many as are needed, the plan's first, else the cheapest.

All is decided anew in every cycle from what each set can do now; a set that fails, is locked, rests
or cannot be seen simply does not count, and so the next one is asked. That nothing hunts is the
work of each set's own minimum run and rest, and of the two shares between which a set is kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control.allotment import LEVELS
from control.arbiter import Target, Verdict
from control.fleet import sequences
from control.generator import STILL
from control.records import Level, Quantity
from control.site import GeneratorParameters, SiteParameters
from control.state import GeneratorEstimate, GeneratorState, Mode, State
from control.strain import LASTING_S, STRAINED_FRAC, ability_kw

USED_FRAC = 0.95  # of the ratings of those that run: more is asked of the next
KEPT_FRAC = 0.75  # of the others' ratings: a set that runs is kept above this


@dataclass(frozen=True, slots=True)
class Candidate:
    """One set: what it can do now and what is wanted of it by itself."""

    index: int
    parameters: GeneratorParameters
    own: GeneratorState
    seen: GeneratorEstimate
    missing: bool
    rested: bool
    planned: bool
    order: Verdict | None  # what it is told by itself, if that counts
    spared: bool  # it is ordered to rest by somebody whom the wish for all overrules

    @property
    def serves(self) -> bool:
        """It carries, is about to, or could be asked to now."""
        if self.own.locked:
            return False
        if self.own.run:
            lost = self.own.carried or not self.seen.available
            return not (self.missing or (lost and self.seen.phase in STILL))
        blind = self.parameters.by_relay and self.missing
        return self.rested and (self.seen.available or blind)

    @property
    def must(self) -> bool:
        """It is ordered to run."""
        return self.order is not None and self.order.value >= 0.5

    @property
    def may(self) -> bool:
        """It is not ordered to rest."""
        return self.order is None or self.must


@dataclass(frozen=True, slots=True)
class Choice:
    """What is wanted of every set, in the site's order, and since when those do not suffice."""

    wishes: tuple[Verdict, ...]
    short_since_s: float | None


def choose(
    site: SiteParameters,
    state: State,
    wish: Verdict,
    verdicts: Mapping[Target, Verdict],
    planned_on: Sequence[bool],
    now_s: float,
) -> Choice:
    """Return who is to run, given the wish for all; `planned_on` is empty without a plan."""
    found = _candidates(site, state, wish, verdicts, planned_on, now_s)
    by_plan = wish.source == Level.PLAN.title
    running = wish.value >= 0.5
    chosen = {each.index for each in found if each.must}
    need_kw = _need_kw(site, state, found)
    ranked = sorted((each for each in found if each.may), key=lambda each: _rank(each, by_plan))
    short_since_s = None
    if running:
        chosen |= {each.index for each in ranked if by_plan and each.planned and each.serves}
        # Whether one that does not serve comes back, or is locked, its own sequence says.
        chosen |= {each.index for each in ranked if each.own.run and not each.serves}
        if state.mode is Mode.MANUAL and wish.source == Level.RULES.title:
            chosen |= {each.index for each in ranked if each.own.run}
        alone = site.battery is None or state.estimate.soc_frac is None or state.generator.low_soc
        patience_s = 0.0 if alone else LASTING_S
        short_since_s = _add_needed(state, ranked, chosen, need_kw, (now_s, patience_s))
        if not chosen and ranked:
            chosen.add(ranked[0].index)  # it says why it cannot
    return Choice(tuple(_wish(each, wish, each.index in chosen) for each in found), short_since_s)


def _candidates(
    site: SiteParameters,
    state: State,
    wish: Verdict,
    verdicts: Mapping[Target, Verdict],
    planned_on: Sequence[bool],
    now_s: float,
) -> list[Candidate]:
    plant, found = state.estimate, []
    units = zip(site.generators, sequences(site, state), plant.generators, strict=True)
    for index, (unit, own, seen) in enumerate(units):
        order, spared = verdicts.get((unit.name, Quantity.RUN)), False
        overruled = order is not None and LEVELS[order.source] < LEVELS[wish.source]
        if order is not None and overruled and not (order.value >= 0.5 and wish.value >= 0.5):
            spared, order = order.value < 0.5, None
        found.append(
            Candidate(
                index,
                unit,
                own,
                seen,
                missing=unit.name in plant.missing,
                rested=now_s - own.since_s >= unit.min_rest_s,
                planned=index < len(planned_on) and planned_on[index],
                order=order,
                spared=spared,
            )
        )
    return found


def _rank(each: Candidate, by_plan: bool) -> tuple[float, ...]:
    """Who comes first: of the plan's own wish the planned ones, else those that run already."""
    runs, planned = not (each.own.run and each.serves), not each.planned
    first = (planned, runs) if by_plan else (runs, planned)
    return (not each.must, each.spared, *first, each.parameters.cost_per_kwh, each.index)


def _need_kw(site: SiteParameters, state: State, found: Sequence[Candidate]) -> float:
    """What the sets have to be able to give together; unknown: what those that run can."""
    plant, battery = state.estimate, site.battery
    if plant.grid_present:
        return 0.0
    if plant.net_kw is None:
        return KEPT_FRAC * sum(each.parameters.rated_kw for each in found if each.own.run)
    if battery is None or plant.soc_frac is None or state.generator.low_soc:
        return plant.net_kw
    return plant.net_kw - STRAINED_FRAC * ability_kw(battery, plant)


def _add_needed(
    state: State,
    ranked: Sequence[Candidate],
    chosen: set[int],
    need_kw: float,
    clock: tuple[float, float],
) -> float | None:
    """Add sets to `chosen` until they suffice; return since when those that run do not.

    Another one is started when the need has lasted for `clock`'s second time, in the place of one
    that fails at once; one that runs is let go when the chosen ones carry and suffice without it.
    """
    now_s, patience_s = clock
    since_s = state.generator.short_since_s
    lasting = now_s - (now_s if since_s is None else since_s) >= patience_s
    short = False
    for each in (each for each in ranked if each.serves and each.index not in chosen):
        ours = [other for other in ranked if other.serves and other.index in chosen]
        can_kw = sum(other.parameters.rated_kw for other in ours)
        if each.own.run:
            carried = any(other.seen.carries for other in ours)
            needed = not carried or need_kw > KEPT_FRAC * can_kw
        else:
            lacking = bool(ours) and need_kw > USED_FRAC * can_kw
            short = short or lacking
            needed = not ours or (lacking and lasting)
        if needed:
            chosen.add(each.index)
    if not short:
        return None
    return now_s if since_s is None else since_s


def _wish(each: Candidate, wish: Verdict, chosen: bool) -> Verdict:
    if each.order is not None:
        return each.order
    if chosen or wish.value < 0.5:
        return wish
    return Verdict(0.0, 0.0, wish.source, "enough run without it", (), (f"{wish.reason}",))
