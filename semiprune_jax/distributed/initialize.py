"""How the processes of a run find each other: by their launcher's environment, or by flags.

JAX's own runtime (``jax.distributed``) does it. This file adds three things: it finds out whether there are other
processes at all, it refuses an address that they cannot reach, and it says who is missing when time is up.
"""

import importlib.util
import ipaddress
import math
import os
import re
import socket
import sys
import time
from collections.abc import Callable

from semiprune_jax.distributed.launch import ALONE, ANYWHERE, Launch, find_launch
from semiprune_jax.distributed.relay import host_and_port
from semiprune_jax.errors import ConfigError, DeviceError

_NOTED_AFTER = 10.0  # seconds without process 0


def join(
    coordinator: str | None,
    count: int | None,
    index: int | None,
    *,
    patience: float,
    lost_after: float,
    reroute: Callable[[str], str],
) -> tuple[int, int]:
    """Joins the other processes, before JAX is used for anything else.

    Args:
      coordinator: "host:port" of process 0, ``ALONE`` or ``ANYWHERE``; None: as JAX_COORDINATOR_ADDRESS or a launcher
        has it.
      count, index: of processes, and of this one; None: as the launcher has them.
      patience: seconds that all of them may take to come.
      lost_after: seconds without a sign of life after which JAX gives one of them up.
      reroute: address of process 0 -> the address under which JAX connects to it.

    Returns:
      The number of this process, and how many there are; (0, 1) where there are no others.

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
    return _initialize(named, count, index, patience=patience, lost_after=lost_after, reroute=reroute)


def _may_be_a_pod() -> bool:
    """Whether this may be one of the machines of a TPU, which only JAX can tell."""
    return importlib.util.find_spec("libtpu") is not None and "cpu" not in os.environ.get("JAX_PLATFORMS", "")


def _check_address(coordinator: str, count: int | None, index: int | None, launch: Launch | None, patience: float):
    """Refuses an address that cannot work; processes but the first wait until process 0 answers there."""
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


def _initialize(
    coordinator: str | None,
    count: int | None,
    index: int | None,
    *,
    patience: float,
    lost_after: float,
    reroute: Callable[[str], str],
) -> tuple[int, int]:
    import jax

    from semiprune_jax.distributed.jax_internals import start_options

    # A process that is ended by another one leaves semaphores and memory to multiprocessing's tracker, which warns.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        with start_options(int(patience), reroute):
            jax.distributed.initialize(
                coordinator,
                count,
                index,
                initialization_timeout=int(patience) + 60,  # later than ours: it aborts the process
                heartbeat_timeout_seconds=int(lost_after),
                shutdown_timeout_seconds=int(lost_after),
            )
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
    # One line for each, after a line that says what is wrong.
    return sorted(map(int, re.findall(r"^\d+$", told, re.MULTILINE)))
