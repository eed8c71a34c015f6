"""Launchers of several processes, as their environment shows them."""

import os
from typing import NamedTuple

from semiprune_jax.errors import ConfigError

ALONE = "none"  # as a coordinator: one process, whatever the environment says
ANYWHERE = "auto"  # as a coordinator: any environment that JAX knows, such as Kubernetes with jax[k8s]


class Launch(NamedTuple):
    """The settings of a launcher in the environment of its processes."""

    launcher: str
    count: int
    index: int | None  # None: JAX finds it
    machines: int


def find_launch() -> Launch | None:
    """The launcher that started this process among others; None if it is alone.

    Raises:
      ConfigError: a variable of the launcher is missing or is not a number.
    """
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
