"""Environment variables that a config needs; JAX reads them when it starts."""

import os

from semiprune_jax.config.schema import Config

_DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def prepare(config: Config) -> None:
    """Sets the variables; JAX must not have used a device yet."""
    flags = os.environ.get("XLA_FLAGS", "")
    if config.runtime.deterministic and _DETERMINISTIC not in flags.split():
        os.environ["XLA_FLAGS"] = f"{flags} {_DETERMINISTIC}"
