"""Who wins: proposals with a priority, bounds, an expiry and a reason become one value each."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from control.records import Proposal, Quantity

Target = tuple[str, Quantity]
LARGEST = 1e6  # kW: anything beyond is no setpoint


@dataclass(frozen=True, slots=True)
class Verdict:
    """The value for one target, who wanted it, and what moved or lost."""

    value: float
    wanted: float
    source: str
    reason: str
    clips: tuple[str, ...]
    losers: tuple[str, ...]

    def clipped(self, value: float, clip: str) -> "Verdict":
        """This verdict moved to `value` because of `clip`."""
        return Verdict(
            value, self.wanted, self.source, self.reason, (*self.clips, clip), self.losers
        )


def arbitrate(proposals: Iterable[Proposal], now_s: float) -> dict[Target, Verdict]:
    """Return one verdict per target that somebody wants a value for.

    The highest level with a value wins; bounds of its own and of higher levels clip it, the
    higher level last. Expired proposals do not count; values and bounds that are not finite or
    absurd are refused.
    """
    targets: dict[Target, list[Proposal]] = {}
    for proposal in proposals:
        if proposal.expires_t_s > now_s:
            targets.setdefault((proposal.device, proposal.quantity), []).append(proposal)
    verdicts = {target: _decide(group) for target, group in targets.items()}
    return {target: verdict for target, verdict in verdicts.items() if verdict is not None}


def _decide(group: list[Proposal]) -> Verdict | None:
    ranked = sorted(group, key=lambda proposal: -proposal.level)
    sane = [proposal for proposal in ranked if _is_sane(proposal)]
    winner = next((proposal for proposal in sane if proposal.value is not None), None)
    if winner is None or winner.value is None:
        return None
    clips = [
        f"{p.level.title} refused: {p.reason} is not a number" for p in ranked if p not in sane
    ]
    value = winner.value
    for bound in reversed(sane):  # ends with the highest level
        if bound.level < winner.level:
            continue
        clamped = clamp(value, bound.lower, bound.upper)
        if clamped != value:
            clips.append(f"{bound.level.title}: {bound.reason}")
            value = clamped
    losers = tuple(
        f"{p.level.title} {p.value:z.2f}: {p.reason}"
        for p in sane
        if p is not winner and p.value is not None
    )
    return Verdict(value, winner.value, winner.level.title, winner.reason, tuple(clips), losers)


def clamp(value: float, lower: float | None, upper: float | None) -> float:
    """Return `value` inside the bounds; where they contradict, the one nearer to zero holds."""
    if lower is not None and upper is not None and lower > upper:
        lower = upper = min(lower, upper, key=abs)
    if lower is not None and value < lower:
        return lower
    if upper is not None and value > upper:
        return upper
    return value


def _is_sane(proposal: Proposal) -> bool:
    numbers = (proposal.value, proposal.lower, proposal.upper)
    return all(n is None or (math.isfinite(n) and abs(n) <= LARGEST) for n in numbers)
