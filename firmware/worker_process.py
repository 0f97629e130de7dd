"""One run of the second process. Starting, feeding and burying it may take time: threads do it."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from control.records import Advice
from firmware.codec import decode, encode

MAX_ANSWER_BYTES = 4_000_000
MAX_UNREAD = 8  # answers; one request has one


@dataclass(frozen=True, slots=True)
class Answer:
    """What the process said to one request; `problem` instead of an advice that cannot be read."""

    request: int
    advice: Advice
    problem: str = ""


class WorkerProcess:
    """`ask`, `kill` and the queue of answers never wait; None in the queue: it has ended."""

    def __init__(self, command: tuple[str, ...], hello: Mapping[str, Any]) -> None:
        """Start `command` in the background; `hello` is the first line that it gets."""
        self.answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._requests: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._requests.put(hello)
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._thread = threading.Thread(target=self._run, name="advice", daemon=True)
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
            print(f"planning process: {error}", file=sys.stderr)
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
            _collect(lines, self.answers)
            self.kill()
            process.wait()
        feeder.join()
        self.answers.put(None)


def _feed(lines: IO[bytes], requests: "queue.SimpleQueue[Mapping[str, Any] | None]") -> None:
    """Write until told to end, or until nobody reads any more."""
    with contextlib.suppress(OSError), lines:
        while (request := requests.get()) is not None:
            lines.write(json.dumps(request, default=encode).encode() + b"\n")
            lines.flush()


def _collect(lines: IO[bytes], answers: "queue.SimpleQueue[Answer | None]") -> None:
    """Queue answers until the process ends or stops making sense."""
    while (line := lines.readline(MAX_ANSWER_BYTES)).endswith(b"\n"):
        answer = _parsed(line)
        if answer is None or answers.qsize() >= MAX_UNREAD:
            return
        answers.put(answer)


def _parsed(line: bytes) -> Answer | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("id"), int):
        return None
    try:
        return Answer(content["id"], decode(Advice, content.get("advice")))
    except ValueError as error:
        return Answer(content["id"], Advice(), str(error))
