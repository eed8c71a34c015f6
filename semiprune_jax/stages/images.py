"""The images that a config names: the dataset they come from, the sizes they are seen at, and where they lie."""

from collections.abc import Iterable
from pathlib import Path

from semiprune_jax.config.schema import Config
from semiprune_jax.data import sources
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.sizes import Sizes
from semiprune_jax.data.split import Dataset, Skipped
from semiprune_jax.distributed.compilation_cache import enable_compilation_cache
from semiprune_jax.distributed.layout import Layout


def load(config: Config, *, skipped: Iterable[Skipped] | None = None, notes: Path | None = None) -> Dataset:
    """Lists the pool and the test set, see ``sources.load``; decodes nothing."""
    return sources.load(config.data, seed=config.seed, skipped=skipped, notes=notes)


def sizes(config: Config) -> Sizes:
    """The pixels that stages see."""
    return Sizes.of(config.data)


def pools(config: Config, dataset: Dataset) -> Pools:
    """The pools of images, on the devices that the config asks for."""
    data, runtime = config.data, config.runtime
    enable_compilation_cache(runtime.compilation_cache)
    return Pools(
        dataset,
        sizes(config),
        Layout.of(runtime.parallel, runtime.devices),
        placement=data.pool,
        memory_share=runtime.memory_share,
        cache=Path(data.cache) if data.cache else None,
        decoder=data.decoder,
        workers=runtime.workers,
    )
