"""The names of all topics of one site, and which of other people's we write to."""

from dataclasses import dataclass

ROOT = "ng/1"  # 1: the major version of every schema below it
ONLINE, OFFLINE = "online", "offline"
RESPONSE_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one site."""

    site: str
    discovery_prefix: str = "homeassistant"

    @property
    def base(self) -> str:
        """Everything of the site is below it."""
        return f"{ROOT}/{self.site}"

    def of_site(self, leaf: str) -> str:
        """`availability`, `state`, `event`, `mode`, `schedule`, `cmd`."""
        return f"{self.base}/{leaf}"

    def of_device(self, device: str, leaf: str) -> str:
        """`availability`, `state`, `meta`."""
        return f"{self.base}/{device}/{leaf}"

    def ack(self, command_id: str) -> str:
        """Where the acknowledgements of one command go."""
        return f"{self.base}/ack/{command_id}"

    @property
    def discovery(self) -> str:
        """Where Home Assistant looks for the site."""
        return f"{self.discovery_prefix}/device/{self.site}/config"

    @property
    def home_assistant(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.discovery_prefix}/status"

    def may_answer_to(self, topic: str) -> bool:
        """Whether a requester's response topic is one that an answer can do no harm in.

        It is below `ng/1/`, and neither a place for commands nor one of the site's own topics.
        """
        levels = topic.split("/")
        return (
            0 < len(topic) <= RESPONSE_LENGTH
            and topic.isprintable()
            and not set("+#$") & set(topic)
            and topic.startswith(f"{ROOT}/")
            and all(levels)
            and not {"cmd", "set"} & set(levels)
            and (levels[2] != self.site or levels[3:4] == ["ack"])
        )


def is_level(text: str) -> bool:
    """Whether `text` can be one level of a topic."""
    return 0 < len(text) <= 64 and text.isprintable() and not set("/+#$") & set(text)
