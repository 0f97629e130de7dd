"""What the service asks of the kernel, in processes of their own: it stays with the process."""

import os
import subprocess
import sys

import pytest


def in_process(body: str) -> "subprocess.CompletedProcess[str]":
    script = "import gc, os, sys, threading\nfrom firmware.realtime import *\n" + body
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


def fifo_permitted() -> bool:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return True


def test_priority_0_asks_for_nothing() -> None:
    done = in_process(
        "print(repr(go_realtime(0)), os.sched_getscheduler(0) == os.SCHED_OTHER, gc.isenabled())\n"
        "raise_other_threads(0)\n"
        "print(sys.getswitchinterval())"
    )
    assert done.stdout.split() == ["''", "True", "False", "0.0005"]


@pytest.mark.skipif(not fifo_permitted(), reason="SCHED_FIFO is not permitted here")
def test_the_loop_comes_first_then_its_threads_and_no_child() -> None:
    done = in_process(
        """
def classes():
    threads = {thread.native_id: thread.name for thread in threading.enumerate()}
    return {
        name: (os.sched_getscheduler(tid) & ~os.SCHED_RESET_ON_FORK, os.sched_getparam(tid))
        for tid, name in threads.items()
    }
gate = threading.Event()
threading.Thread(target=gate.wait, name="before").start()
go_realtime(50)
threading.Thread(target=gate.wait, name="bus").start()
raise_other_threads(50)
threading.Thread(target=gate.wait, name="later").start()
for name, (kind, parameters) in classes().items():
    print(name, kind == os.SCHED_FIFO, parameters.sched_priority, flush=True)
gate.set()
import subprocess
subprocess.run([sys.executable, "-c", "import os; print('child', os.sched_getscheduler(0))"])
"""
    )
    assert set(done.stdout.splitlines()) == {
        "MainThread True 50",
        "before True 49",
        "bus True 49",
        "later False 0",
        f"child {os.SCHED_OTHER}",
    }


def test_what_is_not_permitted_is_said_and_the_service_goes_on() -> None:
    done = in_process(
        """
import resource
def refuse(*_): raise PermissionError
os.geteuid, os.sched_setscheduler = lambda: 1000, refuse
hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
finite = 2**40 if hard == resource.RLIM_INFINITY else hard
resource.setrlimit(resource.RLIMIT_MEMLOCK, (finite, hard))
print(go_realtime(50))
raise_other_threads(50)
bytearray(50_000_000)
threading.Thread(target=print, args=("alive",)).start()
"""
    )
    assert done.stdout.splitlines() == [
        "SCHED_FIFO is not permitted (LimitRTPRIO);"
        " locking memory is not permitted (LimitMEMLOCK=infinity)",
        "alive",
    ]


def test_garbage_is_collected_where_the_loop_says() -> None:
    done = in_process(
        """
import weakref
class Ring: pass
go_realtime(0)
def litter():
    ring = Ring()
    ring.me = ring
    return weakref.ref(ring)
left = [litter() for _ in range(5000)]
print(sum(ref() is not None for ref in left))
tidy()
print(sum(ref() is not None for ref in left))
"""
    )
    assert done.stdout.split() == ["5000", "0"]
