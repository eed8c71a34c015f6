"""Everything that this package reads or replaces inside JAX where JAX has no public name for it.

It is known to work with ``VERSIONS``. With any other version JAX is left as it is: a run of several processes works the
same, but where one of them is missing or lost, the others may be aborted with JAX's messages instead of ours.
``tests/distributed/test_jax_internals.py`` says which version is not known, and which name is gone.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
from packaging.specifiers import SpecifierSet

from semiprune_jax.errors import DeviceError

VERSIONS = SpecifierSet(">=0.10.2,<0.13")


def is_known() -> bool:
    """Whether the installed JAX is one of ``VERSIONS``."""
    return jax.__version__ in VERSIONS


def runtime() -> Any:
    """JAX's state of several processes: its ``client`` and its ``preemption_sync_manager``.

    Raises:
      DeviceError: this version of JAX keeps them elsewhere.
    """
    try:
        from jax._src import distributed

        state = distributed.global_state
        _ = state.client, state.preemption_sync_manager
    except (ImportError, AttributeError):
        raise DeviceError(
            f"JAX {jax.__version__} does not show its runtime of several processes; install JAX {VERSIONS}"
        ) from None
    return state


@contextlib.contextmanager
def start_options(register_timeout: int, on_loss: Callable[[Any], None]) -> Iterator[None]:
    """Gives ``jax.distributed.initialize`` two options that it does not take.

    Process 0 waits ``register_timeout`` seconds for the others before it says who is missing: by default it waits for
    an hour. And a start that fails raises an exception: without a callback, it aborts the process.
    """
    if not is_known():
        yield
        return
    from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue]

    service, client = _jax.get_distributed_runtime_service, _jax.get_distributed_runtime_client
    _jax.get_distributed_runtime_service = partial(service, cluster_register_timeout=register_timeout)
    _jax.get_distributed_runtime_client = partial(client, missed_heartbeat_callback=on_loss)
    try:
        yield
    finally:
        _jax.get_distributed_runtime_service, _jax.get_distributed_runtime_client = service, client


def on_abort(callback: Callable[[], None]) -> None:
    """Calls back where JAX's runtime is about to abort this process, as it does when process 0 is gone.

    JAX hands its status to the callback of ``start_options`` in C++, which fails for a Python function and ends in
    std::terminate; that aborts the process unless another handler is set.
    """
    if is_known():
        _kept.append(ctypes.CFUNCTYPE(None)(callback))  # the C++ library keeps a bare pointer to it
        with contextlib.suppress(OSError, AttributeError):  # with another C++ library JAX's message stands alone
            ctypes.CDLL("libstdc++.so.6")["_ZSt13set_terminatePFvvE"](_kept[-1])


_kept: list[Any] = []


def own_sync_points() -> None:
    """Keeps Orbax from asking JAX's preemption manager, which is then asked through ``runtime`` alone.

    Orbax asks with numbers of its own; where it was the last to ask, the point that processes agree on never comes.
    """
    from jax.experimental import multihost_utils

    multihost_utils.reached_preemption_sync_point = lambda step_id: False
