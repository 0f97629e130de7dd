"""What is said in the log about a broker: each thing once, however often it happens."""

import logging

log = logging.getLogger("nanogrid")

SAID = 20  # problems in one time without connection


class Complaints:
    """Of one connection; `who` begins each line."""

    def __init__(self, who: str, broker: str) -> None:
        self._who = who
        self._broker = broker
        self._said: set[str] = set()
        self.refused: dict[str, str] = {}  # by the broker: topic, or part of one -> its reason

    def connected(self) -> None:
        """What is wrong from now on is new."""
        self._said.clear()
        log.info("%s: connected to %s", self._who, self._broker)

    def lost(self, problem: str) -> None:
        """There is no connection."""
        if problem not in self._said and len(self._said) < SAID:
            self._said.add(problem)
            log.warning("%s: %s: %s", self._who, self._broker, problem)

    def note(self, what: str, reason: str) -> None:
        """How the broker took something: `reason` is empty, or says why it refuses it."""
        if not reason:
            self.refused.pop(what, None)
        elif self.refused.get(what) != reason:
            self.refused[what] = reason
            log.warning("%s: %s refuses %s: %s", self._who, self._broker, what, reason)
