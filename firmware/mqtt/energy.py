"""The energy counters of the store, read now and then for those who publish them."""

import contextlib
from collections.abc import Mapping
from concurrent.futures import Future
from sqlite3 import Connection

from firmware.mqtt.outbox import Disk
from firmware.store_schema import StoreError

READ_S = 60.0  # the store counts on once a minute


class Energy:
    """kWh by name: what the disk last said."""

    def __init__(self, disk: Disk | None) -> None:
        """Nothing is known before the first answer, or without a store."""
        self._disk = disk
        self._asked_s = float("-inf")
        self._answer: Future[dict[str, float]] | None = None
        self._known: Mapping[str, float] = {}

    def newest(self, now_s: float) -> Mapping[str, float]:
        """The newest that is known; asks for newer ones and does not wait."""
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            with contextlib.suppress(StoreError):  # the store says why
                self._known = answer.result()
        if self._disk is not None and self._answer is None and now_s - self._asked_s >= READ_S:
            self._asked_s = now_s
            self._answer = self._disk.transaction(_read)
        return self._known


def _read(db: Connection) -> dict[str, float]:
    return dict(db.execute("SELECT name, kwh FROM counter"))
