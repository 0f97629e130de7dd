"""Where the messages of a market go: a topic for each kind, sender and receiver."""

from dataclasses import dataclass

from firmware.mqtt.topics import ROOT
from firmware.trading.messages import KINDS

# In a large community only who may propose hears these.
FOR_PROPOSERS = ("order", "object", "want", "meter")
IN_PARTS = ("book",)
# What who comes late needs before it is repeated.
RETAINED = ("order", "book", "decide", "head", "plan")


@dataclass(frozen=True, slots=True)
class MarketTopics:
    """The topics of one community, as one member uses them."""

    community: str
    me: str

    @property
    def base(self) -> str:
        """Everything of the community is below it."""
        return f"{ROOT}/_market/{self.community}"

    @property
    def membership(self) -> str:
        """The community's document, retained."""
        return f"{self.base}/membership"

    def of(self, kind: str, to: str, part: int = 0) -> str:
        """Where we send a message; `to` is empty when it is for everybody."""
        own = f"{self.base}/{kind}/{self.me}"
        if kind in IN_PARTS:
            return f"{own}/{part}"
        return f"{own}/{to}" if to else own

    @property
    def always(self) -> list[str]:
        """What we listen to all the time."""
        kinds = [kind for kind in KINDS if kind not in (*FOR_PROPOSERS, *IN_PARTS)]
        parts = [f"{self.base}/{kind}/+/+" for kind in IN_PARTS]
        return [
            self.membership,
            *(f"{self.base}/{kind}/+" for kind in kinds),
            f"{self.base}/+/+/{self.me}",
            *parts,
        ]

    @property
    def for_proposers(self) -> list[str]:
        """What we listen to where we may have to propose a book."""
        return [f"{self.base}/{kind}/+" for kind in FOR_PROPOSERS]
