"""One run of a process beside the loop. Starting, feeding, burying it takes time: threads do it."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

from firmware.codec import decode, encode

T = TypeVar("T")

MAX_ANSWER_BYTES = 4_000_000
MAX_UNREAD = 8  # answers; one request has one


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What the process said to one request; `problem` instead of content that cannot be read."""

    request: int
    content: T | None
    problem: str = ""


class WorkerProcess(Generic[T]):
    """`ask`, `kill` and the queue of answers never wait; None in the queue: it has ended."""

    def __init__(
        self,
        command: tuple[str, ...],
        hello: Mapping[str, Any],
        kind: type[T],
        word: str,
        name: str,
    ) -> None:
        """Start `command` in the background; `hello` is the first line that it gets.

        A line of answer is {"id": request, word: a record of `kind`}; `name` is for messages.
        """
        self.answers: queue.SimpleQueue[Answer[T] | None] = queue.SimpleQueue()
        self._kind, self._word, self._name = kind, word, name
        self._requests: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._requests.put(hello)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._thread = threading.Thread(target=self._run, name=word, daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """The process's id, None before it runs."""
        return self._process.pid if self._process else None

    @property
    def ended(self) -> bool:
        """Nothing is left of it."""
        return not self._thread.is_alive()

    def ask(self, request: Mapping[str, Any]) -> None:
        """Queue a line; its values are plain or frozen records."""
        self._requests.put(request)

    def kill(self) -> None:
        """Have it ended."""
        self._killed = True
        self._requests.put(None)
        if self._process is not None:
            self._process.kill()

    def join(self, timeout_s: float) -> None:
        """Wait until nothing is left of it, or for so long."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            # A session of its own: Ctrl-C is for the controller, which ends it in order.
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            print(f"{self._name}: {error}", file=sys.stderr)
            self.answers.put(None)
            return
        self._process = process
        if self._killed:
            process.kill()
        assert process.stdin is not None
        assert process.stdout is not None
        feeder = threading.Thread(
            target=_feed, args=(process.stdin, self._requests), name="requests", daemon=True
        )
        feeder.start()
        with process.stdout as lines:
            self._collect(lines)
            self.kill()
            process.wait()
        feeder.join()
        self.answers.put(None)

    def _collect(self, lines: IO[bytes]) -> None:
        """Queue answers until the process ends or stops making sense."""
        while (line := lines.readline(MAX_ANSWER_BYTES)).endswith(b"\n"):
            answer = self._parsed(line)
            if answer is None or self.answers.qsize() >= MAX_UNREAD:
                return
            self.answers.put(answer)

    def _parsed(self, line: bytes) -> Answer[T] | None:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(said, dict) or not isinstance(said.get("id"), int):
            return None
        try:
            return Answer(said["id"], decode(self._kind, said.get(self._word)))
        except ValueError as error:
            return Answer(said["id"], None, str(error))


def _feed(lines: IO[bytes], requests: "queue.SimpleQueue[Mapping[str, Any] | None]") -> None:
    """Write until told to end, or until nobody reads any more."""
    with contextlib.suppress(OSError), lines:
        while (request := requests.get()) is not None:
            lines.write(json.dumps(request, default=encode).encode() + b"\n")
            lines.flush()
