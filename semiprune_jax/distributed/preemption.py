"""Preemption: SIGTERM, or the notice of a cluster, ends a run with exit code 42, and nothing is lost.

A training finishes its step and saves first (``should_stop`` in its loop); elsewhere a run ends where it is, because
its files are either whole or not there. Several processes agree on a step to stop at through JAX's runtime.
"""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

from semiprune_jax.distributed import processes
from semiprune_jax.errors import PreemptedError


class _Notice:
    """The notice that this process got."""

    asked = False  # whether it is to stop
    deferred = False  # whether it goes on to the next point at which it may stop
    points = 0  # of these that it has passed


def install_handler() -> None:
    """From now on SIGTERM ends this process in order.

    Call it again once processes have joined: JAX's handler has replaced this one, which is right only if there are
    several.
    """
    if processes.count() > 1:
        from semiprune_jax.distributed.jax_internals import own_sync_points  # it loads JAX

        return own_sync_points()
    signal.signal(signal.SIGTERM, _note)


def ignore_sigterm() -> None:
    """From now on SIGTERM does nothing: this process is ending, with an exit code of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """SIGTERM waits for the next ``should_stop``."""
    _Notice.deferred = True
    try:
        yield
    finally:
        _Notice.deferred = False


def should_stop() -> bool:
    """Whether to stop here. All processes have to ask equally often, and all get the same answer."""
    if processes.count() == 1:
        return _Notice.asked
    from semiprune_jax.distributed.jax_internals import runtime

    _Notice.points += 1
    manager = runtime().preemption_sync_manager
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
        if not _Notice.deferred:
            raise PreemptedError(_WORDS)
