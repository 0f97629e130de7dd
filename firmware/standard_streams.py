"""How a process beside the loop talks: questions on standard input, answers on standard output."""

import contextlib
import os
import sys
from collections.abc import Callable
from typing import TextIO


def talk(serve: Callable[[TextIO, TextIO], None]) -> None:
    """Serve until the end; anything else that prints goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError), answers:  # nobody reads any more: it is the end
        serve(sys.stdin, answers)
