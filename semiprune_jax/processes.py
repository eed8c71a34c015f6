"""The processes of a run: which of them writes, how they wait for each other, and that one that fails tells the others.

They are JAX's own (``jax.distributed``), all on the same work directory. A run of one process pays nothing for this.
"""

import atexit
import contextlib
import json
import multiprocessing
import os
import sys
import threading
import time
import traceback
from typing import Any

_FAILURE = "semiprune/failure"
_ENDED = "semiprune/ended"
_PAUSE = 500  # milliseconds between two looks at whether the run is over
_PATIENCE = 10.0  # seconds that a process gives the others to hear of a failure

_index, _count = 0, 1
_ends = threading.Lock()  # taken by what ends this process first: its own failure, or another one's


def start(coordinator: str, count: int, index: int) -> None:
    """Joins the run's other processes; before JAX is used for anything else.

    Args:
      coordinator: "host:port" of process 0.
      count, index: of processes, and of this one.
    """
    global _index, _count
    import jax

    # A process that is ended by another one leaves semaphores and memory to multiprocessing's tracker, which says so.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    jax.distributed.initialize(coordinator, count, index)
    _index, _count = index, count
    over, watch = threading.Event(), threading.Thread(target=lambda: _watch(over), daemon=True)
    watch.start()

    def stop() -> None:  # before JAX's own end: a thread inside its runtime would abort the process
        over.set()
        watch.join()

    atexit.register(stop)


def index() -> int:
    """The number of this process, from 0."""
    return _index


def count() -> int:
    """How many processes there are."""
    return _count


def leads() -> bool:
    """Whether this process is the one that writes."""
    return _index == 0


def wait(name: str) -> None:
    """Waits until every process has come here. All come here in the same order."""
    if _count > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def from_leader(value: Any) -> Any:
    """A number, as process 0 has it."""
    if _count == 1:
        return value
    from jax.experimental import multihost_utils

    return type(value)(multihost_utils.broadcast_one_to_all(value))


def fail(message: str, code: int) -> None:
    """Says the message, and ends all processes with it and the exit code; returns at once if there is only this one."""
    if _count == 1:
        return
    if not _ends.acquire(blocking=False):
        threading.Event().wait()  # another process was quicker, and this one is being ended
    if code == 1:  # a bug of ours
        traceback.print_exc()
    print(f"semiprune: {message}", file=sys.stderr)
    with contextlib.suppress(Exception):  # another one's failure is there already, or the runtime is gone
        _client().key_value_set(_FAILURE, json.dumps([_index, message, code]))
    _end(code)


def _watch(over: threading.Event) -> None:
    """Ends this process when another one has failed: it may be waiting for that one, and would for ever."""
    while not over.is_set():
        try:
            failed, message, code = json.loads(_client().blocking_key_value_get(_FAILURE, _PAUSE))
        except Exception as error:
            if "DEADLINE_EXCEEDED" in str(error):
                continue
            return  # the runtime itself is gone, and says so
        if not _ends.acquire(blocking=False):
            return
        print(f"semiprune: process {failed}: {message}", file=sys.stderr)
        _end(code)


def _end(code: int) -> None:
    """Ends this process. sys.exit would wait for all of them, some of which wait for this one."""
    for child in multiprocessing.active_children():
        child.kill()  # workers that decode would outlive this process
    with contextlib.suppress(Exception):
        client = _client()
        client.key_value_set(f"{_ENDED}/{_index}", "1")
        until = time.monotonic() + _PATIENCE
        # All end together, or the collectives of those left would fail first; process 0, with the runtime, last.
        while time.monotonic() < until and len(client.key_value_dir_get(_ENDED)) < _count:
            time.sleep(0.05)
        time.sleep(0.2 * leads())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _client() -> Any:
    from jax._src import distributed  # its key-value store has no public name

    return distributed.global_state.client
