"""Being told to stop: SIGTERM, or the runtime's notice, ends a run with exit code 42, and nothing is lost.

A training finishes its step and saves first (``should_stop`` in its loop); elsewhere a run ends where it is, as
everything it writes is whole or not there. Several processes agree on where they stop through JAX's runtime.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from semiprune_jax.distributed import processes
from semiprune_jax.errors import PreemptedError


class _Notice:
    """What this process was told, and how it takes it."""

    asked = False  # to stop
    patient = False  # until the next point
    points = 0  # passed so far


def install_handler() -> None:
    """From now on SIGTERM ends this process in order.

    To be called again once processes have joined: JAX's own handler took over, and is right only if there are several.
    """
    if processes.count() > 1:
        from jax.experimental import multihost_utils

        # Orbax asks it too, with numbers of its own, and where it does so last the agreed point is never met.
        multihost_utils.reached_preemption_sync_point = lambda step_id: False
        return
    signal.signal(signal.SIGTERM, _note)


def ignore_sigterm() -> None:
    """From now on SIGTERM does nothing: this process ends as it is, with the exit code it has."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """SIGTERM waits for the next ``should_stop``."""
    _Notice.patient = True
    try:
        yield
    finally:
        _Notice.patient = False


def should_stop() -> bool:
    """Whether to stop here. All processes ask equally often, and all get the same answer."""
    if processes.count() == 1:
        return _Notice.asked
    _Notice.points += 1
    manager = processes.runtime().preemption_sync_manager  # see ``install_handler``
    return manager is not None and manager.reached_sync_point(_Notice.points)


def check() -> None:
    """Raises PreemptedError if the run is to stop; between two pieces of work."""
    if should_stop():
        raise PreemptedError(_WORDS)


_WORDS = "preempted; run the same command again to go on"


def _note(number: int, frame: Any) -> None:
    del number, frame
    if not _Notice.asked:  # once: an end in order must not be cut short
        _Notice.asked = True
        if not _Notice.patient:
            raise PreemptedError(_WORDS)
