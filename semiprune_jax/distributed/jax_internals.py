"""Everything that this package reads or replaces inside JAX where JAX has no public name for it.

It is known to work with ``VERSIONS``. With any other version JAX is left as it is: a run of several processes works the
same, but where one of them is missing or lost, the others may be aborted with JAX's messages instead of ours.
``tests/distributed/test_jax_internals.py`` says which version is not known, and which name is gone.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from semiprune_jax.errors import DeviceError

VERSIONS = ("0.10.2",)


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
            f"JAX {jax.__version__} does not show its runtime of several processes; install JAX {VERSIONS[-1]}"
        ) from None
    return state


@contextlib.contextmanager
def start_options(register_timeout: int, reroute: Callable[[str], str]) -> Iterator[None]:
    """Gives ``jax.distributed.initialize`` options that it does not take.

    Process 0 waits ``register_timeout`` seconds for the others before it says who is missing: by default it waits for
    an hour. A start that fails raises an exception: without a callback, it aborts the process. Processes but the first
    connect to ``reroute(address)`` instead of the address of process 0.
    """
    if not is_known():
        yield
        return
    from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue]

    service, client = _jax.get_distributed_runtime_service, _jax.get_distributed_runtime_client

    def connected(address: str, index: int, **options: Any) -> Any:
        address = reroute(address) if index else address
        return client(address, index, missed_heartbeat_callback=lambda status: None, **options)

    _jax.get_distributed_runtime_service = partial(service, cluster_register_timeout=register_timeout)
    _jax.get_distributed_runtime_client = connected
    try:
        yield
    finally:
        _jax.get_distributed_runtime_service, _jax.get_distributed_runtime_client = service, client


def own_sync_points() -> None:
    """Keeps Orbax from asking JAX's preemption manager, which is then asked through ``runtime`` alone.

    Orbax asks with numbers of its own; where it was the last to ask, the point that processes agree on never comes.
    """
    from jax.experimental import multihost_utils

    multihost_utils.reached_preemption_sync_point = lambda step_id: False
