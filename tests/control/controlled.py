"""A plant of a few lines with the controller on it, cycle by cycle."""

from dataclasses import dataclass, field

from control.cycle import Decision, decide
from control.records import Ack, Advice, Command, Orders, Sample
from control.site import SiteParameters
from control.state import State

NO_ORDERS, NO_ADVICE = Orders(), Advice()


@dataclass
class Controlled:
    """Devices acknowledge at once. What they do in between is the subclass's."""

    site: SiteParameters
    t_s: float = field(default=1000.0, kw_only=True)
    acks: tuple[Ack, ...] = field(default=(), kw_only=True)
    state: State = field(default_factory=State, kw_only=True)

    def step(
        self, dt_s: float = 1.0, orders: Orders = NO_ORDERS, advice: Advice = NO_ADVICE
    ) -> Decision:
        """Let `dt_s` pass, then decide and apply."""
        self.t_s += dt_s
        self.live(dt_s)
        made = decide(self.site, self.state, self.sample(), self.acks, advice, orders)
        self.state = made.state
        self.acks = tuple(
            Ack(s.device, s.quantity, s.value, s.value, self.t_s) for s in made.command.setpoints
        )
        self.obey(made.command)
        return made

    def live(self, dt_s: float) -> None:
        """What the plant does meanwhile."""
        raise NotImplementedError

    def sample(self) -> Sample:
        """What the controller gets to see."""
        raise NotImplementedError

    def obey(self, command: Command) -> None:
        """What the devices make of it."""
        raise NotImplementedError
