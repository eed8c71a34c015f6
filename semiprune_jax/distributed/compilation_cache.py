"""Compiled programs that later runs find again."""

import os

import jax


def enable_compilation_cache(directory: str) -> None:
    """Keeps compiled programs in a directory, for later runs on this machine or on machines of its kind.

    Does nothing if ``directory`` is empty or cannot be made, or if JAX has been given another one already
    (JAX_COMPILATION_CACHE_DIR). JAX warns of a damaged entry and compiles it again.
    """
    if not directory or jax.config.jax_compilation_cache_dir:  # pyright: ignore[reportAttributeAccessIssue]
        return
    path = os.path.expanduser(directory)
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:  # a home that cannot be written to, as in some containers
        return
    jax.config.update("jax_compilation_cache_dir", path)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
