"""How the processes of a run find each other: as their launcher's environment says, or by flags.

JAX's own runtime (``jax.distributed``) does it. Here is what it leaves open: whether there are others at all, an
address that they cannot reach, and who is missing when time is up.
"""

import contextlib
import importlib.util
import ipaddress
import math
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

from semiprune_jax.errors import ConfigError, DeviceError

ALONE = "none"  # as a coordinator: one process, whatever the environment says
_NOTED_AFTER = 10.0  # seconds without process 0
ANYWHERE = "auto"  # whatever environment JAX knows, such as Kubernetes with jax[k8s]


class Launch(NamedTuple):
    """What a launcher says in its processes' environment."""

    launcher: str
    count: int
    index: int | None  # None: JAX finds it
    machines: int


def find_launch() -> Launch | None:
    """The launcher that started this process among others; None if it is alone."""
    e, found = os.environ, None
    try:
        if "SLURM_STEP_NODELIST" in e:
            count = int(e.get("SLURM_STEP_NUM_TASKS", e["SLURM_NTASKS"]))
            found = Launch("SLURM", count, int(e["SLURM_PROCID"]), int(e.get("SLURM_STEP_NUM_NODES", 1)))
        elif "OMPI_COMM_WORLD_SIZE" in e:
            count = int(e["OMPI_COMM_WORLD_SIZE"])
            machines = -(-count // int(e.get("OMPI_COMM_WORLD_LOCAL_SIZE", count)))
            found = Launch("Open MPI", count, int(e["OMPI_COMM_WORLD_RANK"]), machines)
        elif hosts := e.get("TPU_PROCESS_ADDRESSES") or e.get("TPU_WORKER_HOSTNAMES"):
            count = hosts.count(",") + 1
            found = Launch("TPU", count, None, count)
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"the environment is a launcher's, but incomplete ({error}); use --coordinator={ALONE} for one process"
        ) from None
    return found if found and found.count > 1 else None


def join(
    coordinator: str | None,
    count: int | None,
    index: int | None,
    *,
    patience: float,
    lost_after: float,
    on_loss: Callable[[Any], None],
) -> tuple[int, int]:
    """Joins the other processes, before JAX is used for anything else; (0, 1) where there are none.

    Args:
      coordinator: "host:port" of process 0, ``ALONE`` or ``ANYWHERE``; None: as JAX_COORDINATOR_ADDRESS or a launcher
        has it.
      count, index: of processes, and of this one; None: as the launcher has them.
      patience: seconds that all of them may take to come.
      lost_after: seconds without a sign of life after which JAX gives one of them up.
      on_loss: called by JAX's runtime, on a thread of its own, when it gives up.

    Returns:
      The number of this process, and how many there are.

    Raises:
      ConfigError: the flags contradict each other, or leave something open.
      DeviceError: the others cannot reach the coordinator, or one has not come in time.
    """
    launch = find_launch()
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    if coordinator == ALONE or not (coordinator or launch or _may_be_a_pod()):
        if coordinator is None and (count or 1) > 1:
            raise ConfigError(f"--num_processes={count} needs --coordinator=HOST:PORT of process 0; see --help")
        return 0, 1
    if launch and coordinator != ANYWHERE:
        count, index = launch.count if count is None else count, launch.index if index is None else index
    named = coordinator if coordinator != ANYWHERE else None
    if named:
        _check_address(named, count, index, launch, patience)
    return _initialise(named, count, index, patience, lost_after, on_loss)


def _may_be_a_pod() -> bool:
    """Whether this may be one of the machines of a TPU, which only JAX can tell."""
    return importlib.util.find_spec("libtpu") is not None and "cpu" not in os.environ.get("JAX_PLATFORMS", "")


def _check_address(coordinator: str, count: int | None, index: int | None, launch: Launch | None, patience: float):
    try:
        host, port = host_and_port(coordinator)
    except ValueError:
        raise ConfigError(
            f"--coordinator={coordinator}: expected HOST:PORT of process 0, {ANYWHERE} or {ALONE}"
        ) from None
    if count is None or index is None:
        raise ConfigError(f"--coordinator={coordinator} needs --num_processes and --process_id; no launcher has them")
    if not 0 <= index < count:
        raise ConfigError(f"--process_id={index}, but --num_processes={count}; expected 0 to {count - 1}")
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise DeviceError(f"--coordinator={coordinator}: no host of that name ({error})") from None
    local = all(ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in found)
    if local and launch and launch.machines > 1:
        own = ", ".join(map(str, sorted(found)))
        raise DeviceError(
            f"--coordinator={coordinator} is each machine's own address ({own}), but {launch.launcher} runs "
            f"{launch.count} processes on {launch.machines} machines, which cannot reach process 0 there; name its "
            "host as the others see it"
        )
    if index:
        _reach(host, port, patience, local)


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of "host:port", where an IPv6 host has brackets; ValueError if one is missing."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(address)
    return host.strip("[]"), int(port)


def _reach(host: str, port: int, patience: float, local: bool) -> None:
    """Waits until process 0 answers; says what may be wrong long before it gives up."""
    until, noted_at = time.monotonic() + patience, time.monotonic() + _NOTED_AFTER
    here = "that address is this machine alone, so process 0 has to run here"
    while True:
        try:
            return socket.create_connection((host, port), timeout=max(until - time.monotonic(), 0.1)).close()
        except OSError as error:
            if local and time.monotonic() >= noted_at:
                noted_at = math.inf
                print(f"semiprune: nothing answers at {host}:{port} yet; {here}", file=sys.stderr)
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            where = f"; {here}" if local else ""
            raise DeviceError(
                f"process 0 has not come within {patience:g} s (runtime.join_timeout_seconds): nothing answers at "
                f"{host}:{port} ({error.strerror or error}){where}"
            ) from None


def _initialise(
    coordinator: str | None, count: int | None, index: int | None, patience: float, lost_after: float,
    on_loss: Callable[[Any], None],
):  # fmt: skip
    import jax

    # A process that is ended by another one leaves semaphores and memory to multiprocessing's tracker, which says so.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        with _patient(int(patience), on_loss):
            # JAX's own patience ends later, and aborts the process.
            jax.distributed.initialize(
                coordinator, count, index, initialization_timeout=int(patience) + 60,
                heartbeat_timeout_seconds=int(lost_after), shutdown_timeout_seconds=int(lost_after),
            )  # fmt: skip
    except ValueError as error:
        if coordinator is None and count is None:  # libtpu, but no pod; or an environment that JAX does not know
            return 0, 1
        raise ConfigError(f"{error} Give --coordinator=HOST:PORT, --num_processes and --process_id") from None
    except RuntimeError as error:
        missing = f"{', '.join(map(str, _missing(error))) or 'not known which'} of {count or 'them'}"
        raise DeviceError(
            f"not all processes have come within {patience:g} s (runtime.join_timeout_seconds), missing: {missing}; "
            "start all of them at the same time, with the same --coordinator and --num_processes"
        ) from None
    return jax.process_index(), jax.process_count()


def _missing(error: Exception) -> list[int]:
    """The numbers of the processes that have not come, which JAX names when it is shut down after such a failure."""
    import jax

    told = str(error)
    try:
        jax.distributed.shutdown()
    except RuntimeError as ended:
        told += str(ended)
    # A line each, after one that says what is wrong.
    return sorted(map(int, re.findall(r"^\d+$", told, re.MULTILINE)))


@contextlib.contextmanager
def _patient(seconds: int, on_loss: Callable[[Any], None]) -> Iterator[None]:
    """JAX's runtime with two options that ``jax.distributed.initialize`` does not hand on.

    How long process 0 waits for the others before it says who is missing; and a callback, with which a failed start is
    an exception, where without one it aborts the process.
    """
    from jaxlib import _jax  # pyright: ignore[reportAttributeAccessIssue]

    service, client = _jax.get_distributed_runtime_service, _jax.get_distributed_runtime_client
    _jax.get_distributed_runtime_service = partial(service, cluster_register_timeout=seconds)
    _jax.get_distributed_runtime_client = partial(client, missed_heartbeat_callback=on_loss)
    try:
        yield
    finally:
        _jax.get_distributed_runtime_service, _jax.get_distributed_runtime_client = service, client
