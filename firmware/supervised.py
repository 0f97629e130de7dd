"""The loop's side of a process beside it: one question at a time, and it outlives the process."""

import queue
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from control.records import Event, Severity
from firmware.worker_process import Answer, WorkerProcess

T = TypeVar("T")
KEPT_EVENTS = 100
LOCKSTEP_S = 600.0  # of real time: beyond it a run in virtual time is given up
STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Manners:
    """How a process is dealt with."""

    name: str  # as people say it: "planning process"
    word: str  # for what it answers: "advice"
    restart_s: float  # before it is started again when it failed; doubles ...
    last_restart_s: float  # ... up to this, until one has answered for `steady_s`
    patience_s: float  # for an answer
    steady_s: float = 0.0
    first_s: float = 0.0  # more patience for a process's first answer


class Supervised(ABC, Generic[T]):
    """Starts the process, asks it, takes its answers, starts it anew. No call waits for it."""

    def __init__(
        self,
        kind: type[T],
        manners: Manners,
        command: tuple[str, ...],
        hello: Mapping[str, Any],
    ) -> None:
        """`start` brings the process up; `hello` is the first line that it gets."""
        self._kind = kind
        self._manners = manners
        self._command = command
        self._hello = hello
        self._process: WorkerProcess[T] | None = None
        self._asked_t_s: float | None = None  # of the request under way
        self._last_t_s = float("-inf")  # of the last request
        self._request = 0
        self._restart_t_s: float | None = None  # None: it has not failed
        self._restart_s = manners.restart_s
        self._answers_since_s: float | None = None  # monotonic, of the process that runs
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)

    def start(self) -> None:
        """Start the process; it gets ready while the loop already runs."""
        self._process = WorkerProcess(
            self._command, self._hello, self._kind, self._manners.word, self._manners.name
        )
        self._restart_t_s = None
        self._answers_since_s = None

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.join(STOP_S)

    @property
    def pid(self) -> int | None:
        """The process's id while it lives."""
        return self._process.pid if self._process and not self._process.ended else None

    def notices(self) -> tuple[Event, ...]:
        """What has changed since the last time."""
        events = tuple(self._events)
        self._events.clear()
        return events

    @abstractmethod
    def _accept(self, content: T, asked_t_s: float) -> str:
        """Take an answer; return what is wrong with it if it is nonsense."""

    @abstractmethod
    def _fault(self, why: str, now_s: float) -> None:
        """Something is wrong with the process or with what it says."""

    @property
    def _is_away(self) -> bool:
        return self._process is None or self._restart_t_s is not None

    @property
    def _may_ask(self) -> bool:
        return not self._is_away and self._asked_t_s is None

    def _put(self, question: Mapping[str, Any], now_s: float) -> None:
        """Ask; the values of `question` are plain or frozen records."""
        assert self._process is not None
        self._request += 1
        self._asked_t_s = self._last_t_s = now_s
        self._process.ask({"id": self._request, **question})

    def _await(self, now_s: float) -> None:
        """Wait for the answer; that this takes real time must not show in the result."""
        assert self._process is not None
        try:
            self._take(self._process.answers.get(timeout=LOCKSTEP_S), now_s)
        except queue.Empty:
            raise TimeoutError(f"no answer within {LOCKSTEP_S:g} s of real time") from None

    def _supervise(self, now_s: float) -> None:
        """Take what was answered; give up a process that hangs, start one that ended."""
        process = self._process
        while process is not None and not process.answers.empty():
            self._take(process.answers.get(), now_s)
        patience_s = self._manners.patience_s
        if self._answers_since_s is None:
            patience_s += self._manners.first_s
        if self._asked_t_s is not None and now_s - self._asked_t_s > patience_s:
            self._fail(now_s, f"the {self._manners.name} does not answer")
        gone = self._process is not None and self._process.ended
        if gone and self._restart_t_s is not None and now_s >= self._restart_t_s:
            self.start()

    def _take(self, answer: Answer[T] | None, now_s: float) -> None:
        if self._is_away:  # what a process still says that was given up
            return
        if answer is None:
            self._fail(now_s, f"the {self._manners.name} died")
            return
        if answer.request != self._request or self._asked_t_s is None:
            return
        asked_t_s, self._asked_t_s = self._asked_t_s, None
        self._is_alive(now_s)
        word = self._manners.word
        if answer.content is None:
            self._fault(f"unreadable {word} refused: {answer.problem}", now_s)
        elif nonsense := self._accept(answer.content, asked_t_s):
            self._fault(f"nonsensical {word} refused: {nonsense}", now_s)

    def _is_alive(self, now_s: float) -> None:
        if self._answers_since_s is None:
            self._answers_since_s = now_s
        if now_s - self._answers_since_s >= self._manners.steady_s:
            self._restart_s = self._manners.restart_s

    def _fail(self, now_s: float, why: str) -> None:
        if self._process is not None:
            self._process.kill()
        self._asked_t_s = None
        self._restart_t_s = now_s + self._restart_s
        self._restart_s = min(2.0 * self._restart_s, self._manners.last_restart_s)
        self._fault(why, now_s)

    def _tell(self, severity: Severity, key: str, text: str) -> None:
        self._events.append(Event(severity, key, text))
