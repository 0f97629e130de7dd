"""What keeps the loop punctual on a stock kernel: scheduling class, locked memory, a quiet heap."""

import contextlib
import ctypes
import gc
import os
import resource
import sys
import threading

SWITCH_INTERVAL_S = 0.0005  # how long the loop waits at most for a busy bus thread's GIL
MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT = 1, 2, 4  # <sys/mman.h>


def go_realtime(priority: int) -> str:
    """Prepare the calling thread for punctual work; return what was not permitted.

    Priority 0 leaves ordinary scheduling. Threads and processes started later do not inherit the
    class: a bus thread must not preempt the loop, nor the planner. From now on garbage is collected
    where the loop says so, by `tidy`: a collection holds the interpreter until it is done.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.disable()
    if priority <= 0:
        return ""
    problems = []
    try:
        os.sched_setscheduler(
            threading.get_native_id(),
            os.SCHED_FIFO | os.SCHED_RESET_ON_FORK,
            os.sched_param(priority),
        )
    except PermissionError:
        problems.append("SCHED_FIFO is not permitted (LimitRTPRIO)")
    if not _lock_memory():
        problems.append("locking memory is not permitted (LimitMEMLOCK=infinity)")
    return "; ".join(problems)


def raise_other_threads(priority: int) -> None:
    """Give all other threads of the process the class just below the loop's.

    A bus thread that holds the interpreter's lock must not be put aside for some other process
    while the loop waits for that lock. Does nothing where `go_realtime` was refused.
    """
    if os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK != os.SCHED_FIFO:
        return
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.native_id is not None:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(
                    thread.native_id,
                    os.SCHED_FIFO | os.SCHED_RESET_ON_FORK,
                    os.sched_param(max(1, priority - 1)),
                )


def tidy() -> None:
    """Collect garbage while there is time: what existed before `go_realtime` is not looked at."""
    gc.collect()


def _lock_memory() -> bool:
    """Lock what is and will be; not below a limit, where a later allocation would fail instead."""
    limited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY
    if limited and os.geteuid() != 0:
        return False
    flags = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT
    return bool(ctypes.CDLL(None, use_errno=True).mlockall(flags) == 0)
