"""The program with a fault from within: ``python -m tests.faults.strike BLOW -- FLAGS``.

BLOW is PLACE:NTH:DELAY:DEED. When the program comes to PLACE for the NTH time, the deed follows after DELAY seconds. A
number is a signal that the process sends to itself; "crash" is an unexpected error; after "full" nothing can be flushed
to the disk. The place "clock" sets the clock back by an hour from its NTH reading on.
"""

import errno
import os
import runpy
import signal
import sys
import threading
import time
from typing import Any

from semiprune_jax.data import stream
from semiprune_jax.train import meter
from semiprune_jax.workdir import checkpoint, formats

PLACES: dict[str, tuple[Any, str]] = {
    "step": (meter.Meter, "collect"),
    "checkpoint": (checkpoint.Checkpoints, "save"),
    "write": (formats, "write_atomically"),
    "rename": (os, "replace"),
    "flush": (os, "fsync"),
    "prefetch": (stream.StreamFeed, "__call__"),
}


def prepare(blow: str) -> None:
    """Replaces the function at the place by one that causes the fault."""
    place, nth, delay, deed = blow.split(":")
    if place == "clock":
        return _turn_back(int(nth))
    owner, name = PLACES[place]
    real, seen = getattr(owner, name), [0]

    def struck(*args, **options):
        seen[0] += 1
        if deed == "full" and seen[0] >= int(nth):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if seen[0] == int(nth):
            if deed == "crash":
                raise ZeroDivisionError("struck")
            if float(delay):
                threading.Timer(float(delay), os.kill, [os.getpid(), int(deed)]).start()
            else:
                os.kill(os.getpid(), int(deed))
        return real(*args, **options)

    setattr(owner, name, struck)


def _turn_back(nth: int) -> None:
    real, seen = time.time, [0]

    def told() -> float:
        seen[0] += 1
        return real() - 3600 * (seen[0] >= nth)

    time.time = told


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # programs that are started in the background ignore it
    prepare(sys.argv.pop(1))
    sys.argv.remove("--")
    runpy.run_module("semiprune_jax.main", run_name="__main__")
