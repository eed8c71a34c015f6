"""The processes of a run: which of them writes, how they wait for each other, and how one that fails tells the others.

They are those of JAX's runtime (``jax.distributed``), all on the same work directory. A run of one process needs none
of this.
"""

import atexit
import contextlib
import json
import os
import re
import sys
import threading
import time
import traceback
from typing import Any

from semiprune_jax.distributed import initialize, relay

_FAILURE = "semiprune/failure"
_ENDED = "semiprune/ended"
_BEAT = "semiprune/beat"
_BEATS = 10  # in the seconds after which a silent process is given up
_PAUSE = 500  # milliseconds between two looks at whether the run is over
_PATIENCE = 10.0  # seconds that a process gives the others to hear of a failure
# Messages of collectives whose other end is gone: of gloo, of NCCL, and of JAX's runtime.
_GONE = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket closed|UNAVAILABLE|heartbeat", re.I)
_AGAIN = "see its own messages, and start all processes again: the run goes on from its last checkpoint"


class _Run:
    """What this process knows of the others."""

    index, count = 0, 1
    lost_after = 0.0
    over = threading.Event()


_ends = threading.Lock()  # taken by the first failure that ends this process: its own, or another one's


def start(coordinator: str | None, count: int | None, index: int | None, patience: float, lost_after: float) -> None:
    """Joins the run's other processes, if there are any, before JAX is used for anything else; see ``initialize.join``.

    Args:
      lost_after: seconds without a sign of life after which one of them is given up, and with it the run.
    """

    def reroute(address: str) -> str:
        return relay.start(address, _lead_host_lost, silence=lost_after)

    # JAX gives a process up later than we do, so that ours is the message.
    _Run.index, _Run.count = initialize.join(
        coordinator, count, index, patience=patience, lost_after=2 * lost_after, reroute=reroute
    )
    _Run.lost_after = lost_after
    if _Run.count == 1:
        return
    duties = [_watch_failures, _beat, *([] if _Run.index else [_watch_peers])]
    watches = [threading.Thread(target=duty, args=[_Run.over], daemon=True) for duty in duties]
    for watch in watches:
        watch.start()

    def stop() -> None:  # before JAX's own end: a thread inside its runtime would abort the process
        # Together, since one that ends sooner would be missed by the others. They may have a report to write.
        with contextlib.suppress(Exception):
            _client().wait_at_barrier("semiprune/over", 3_600_000)
        _Run.over.set()
        for watch in watches:
            watch.join()

    atexit.register(stop)


def index() -> int:
    """The number of this process, from 0."""
    return _Run.index


def count() -> int:
    """How many processes there are."""
    return _Run.count


def is_lead_host() -> bool:
    """Whether this process is the one that writes."""
    return _Run.index == 0


def barrier(name: str) -> None:
    """Waits until every process has come here. All must come to the same barriers in the same order."""
    if _Run.count > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def broadcast(value: Any) -> Any:
    """The number that process 0 has passed."""
    if _Run.count == 1:
        return value
    from jax.experimental import multihost_utils

    return type(value)(multihost_utils.broadcast_one_to_all(value))


def fail(message: str, code: int) -> None:
    """Prints the message and ends all processes, with the exit code; returns at once if there is only this one."""
    if _Run.count == 1:
        return
    if code == 1 and _GONE.search(message):
        time.sleep(2 * _Run.lost_after)  # a watch is about to say who is gone, and to end this process
    if not _ends.acquire(blocking=False):
        threading.Event().wait()  # another process was quicker, and this one is being ended
    if code == 1:  # a bug of ours
        traceback.print_exc()
    _tell(message, code)
    _end(code)


def _tell(message: str, code: int) -> None:
    """Says what went wrong, here and to the other processes."""
    print(f"semiprune: {message}", file=sys.stderr)
    with contextlib.suppress(Exception):  # the failure of another one is there already, or the runtime is gone
        _client().key_value_set(_FAILURE, json.dumps([_Run.index, message, code]))


def _watch_failures(over: threading.Event) -> None:
    """Ends this process when another one has failed: it may be waiting for that one, and would wait for ever."""
    while not over.is_set():
        try:
            failed, message, code = json.loads(_client().blocking_key_value_get(_FAILURE, _PAUSE))
        except Exception as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                over.wait(_PAUSE / 1000)
            continue
        if _ends.acquire(blocking=False):
            print(f"semiprune: process {failed}: {message}", file=sys.stderr)
            _end(code)
        return


def _beat(over: threading.Event) -> None:
    """Shows the others that this process is there."""
    beat = 0
    while not over.wait(_Run.lost_after / _BEATS):
        with contextlib.suppress(Exception):  # a beat or two may be lost
            _client().key_value_set(f"{_BEAT}/{_Run.index}", str(beat := beat + 1), True)


def _watch_peers(over: threading.Event) -> None:
    """Ends the run when one of the others shows nothing any more; on process 0.

    It counts looks, not seconds: when all machines stand still for a while, nobody is gone.
    """
    shown, unchanged = ["0"] * _Run.count, [0] * _Run.count
    while not over.wait(_Run.lost_after / _BEATS):
        try:
            found = {key.rpartition("/")[2]: beat for key, beat in _client().key_value_dir_get(_BEAT)}
        except Exception:  # this look does not count
            continue
        for i, before in enumerate(shown):
            shown[i] = found.get(str(i), "0")
            unchanged[i] = unchanged[i] + 1 if shown[i] == before else 0
        missing = [i for i in range(1, _Run.count) if unchanged[i] >= _BEATS - 2]
        if missing and _ends.acquire(blocking=False):
            who = f"process {', '.join(map(str, missing))} of {_Run.count}"
            silent = f"no sign of life for {_Run.lost_after:g} s, runtime.peer_timeout_seconds"
            _tell(f"{who} is gone ({silent}); {_AGAIN}", 4)
            _end(4, len(missing))


def _lead_host_lost() -> None:
    """Ends this process where process 0 is gone, and JAX's runtime with it; called by the relay."""
    if _Run.count == 1 or _Run.over.is_set():
        return  # before the start is complete, or after the end
    if not _ends.acquire(blocking=False):
        threading.Event().wait()  # this process is ending already, with a message and a code of its own
    print(f"semiprune: process 0, which keeps the run together, is gone; {_AGAIN}", file=sys.stderr, flush=True)
    os._exit(4)


def _end(code: int, missing: int = 0) -> None:
    """Ends this process. sys.exit would wait for all of them, some of which wait for this one."""
    with contextlib.suppress(Exception):
        client = _client()
        client.key_value_set(f"{_ENDED}/{_Run.index}", "1")
        until = time.monotonic() + _PATIENCE
        # All end together, or the collectives of the others would fail first; process 0, with the runtime, is the last.
        while time.monotonic() < until and len(client.key_value_dir_get(_ENDED)) < _Run.count - missing:
            time.sleep(0.05)
        time.sleep(0.2 * is_lead_host())
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _client() -> Any:
    from semiprune_jax.distributed.jax_internals import runtime  # it loads JAX

    return runtime().client
