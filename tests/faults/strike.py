"""The program, struck from within: ``python -m tests.faults.strike BLOW -- FLAGS``.

A blow is PLACE:NTH:DELAY:DEED. So many seconds after the program comes to the place for the nth time, the deed is done:
a signal's number, which the process sends itself; "crash", an error that nobody expects; or "full", from which on
nothing can be flushed to the disk. "clock" as a place takes an hour from the clock at the nth look.
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
    """Makes the blow wait at its place."""
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
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which programs started in the background ignore
    prepare(sys.argv.pop(1))
    sys.argv.remove("--")
    runpy.run_module("semiprune_jax.main", run_name="__main__")
