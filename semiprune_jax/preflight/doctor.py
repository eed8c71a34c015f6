"""Checks whether a run would work here: versions, devices, data, decoding, disks. A failed check names its remedy."""

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from packaging.requirements import Requirement

from semiprune_jax import pipeline
from semiprune_jax.config.schema import Config
from semiprune_jax.data.budget import draw
from semiprune_jax.data.decode import check_decoder
from semiprune_jax.data.pools import worker_count
from semiprune_jax.data.resize import Resize
from semiprune_jax.data.sources import Dataset
from semiprune_jax.distributed import processes
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.errors import ConfigError, DataError, DeviceError, UserError
from semiprune_jax.features import embeddings
from semiprune_jax.models import pretrained
from semiprune_jax.preflight.plan import decode_rate
from semiprune_jax.stages import images
from semiprune_jax.stages.score import dynamics_bytes

_SAMPLE = 64  # images that are decoded as a test


def examine(config: Config, workdir: Path, log: Callable[[str], None] = print) -> int:
    """Logs one line per check; returns the exit code of the first check that fails, or 0.

    If there are several processes, each checks its own machine.
    """
    dataset: list[Dataset] = []

    def data() -> str:
        dataset.append(images.load(config))
        return _data(config, dataset[0])

    checks = {
        "versions": _versions,
        "devices": lambda: _devices(config),
        "data": data,
        "decoding": lambda: _decoding(config),
        "disk": lambda: _disk(config, workdir, dataset),
        "shared memory": lambda: _shared_memory(config),
        "embeddings": lambda: _embeddings(config, dataset),
    }
    code, who = 0, f"process {processes.index()}  " if processes.count() > 1 else ""
    for name, check in checks.items():
        try:
            log(f"{who}ok       {name:<15}{check()}")
        except UserError as error:
            log(f"{who}PROBLEM  {name:<15}{error}")
            code = code or error.exit_code
    return code


def _versions() -> str:
    wrong = []
    for text in importlib.metadata.requires("semiprune_jax") or ():
        need = Requirement(text)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found == "none" or not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need.name} {need.specifier} (found {found})")
    if wrong:
        raise ConfigError(f"needed: {', '.join(wrong)}; install with pip install -e .")
    shown = ("jax", "jaxlib", "flax", "grain", "orbax-checkpoint")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in shown)
    return f"Python {sys.version.split()[0]}, {versions}"


def _devices(config: Config) -> str:
    layout = Layout.of(config.runtime.parallel, config.runtime.devices)
    if layout.platform == "cpu" and any(Path("/dev").glob("nvidia[0-9]*")):
        raise DeviceError("there is an NVIDIA GPU, but JAX sees none; pip install -e '.[cuda13]' (or cuda12)")
    for device in layout.own_devices:
        total = float(jnp.sum(jax.device_put(jnp.ones((64, 64)), device)))
        if total != 64 * 64:
            raise DeviceError(f"{device} adds 4,096 ones up to {total:g}; replace it")
    memory = f"{layout.memory / 1e9:.1f} GB each"
    return f"{len(layout.devices)} x {layout.devices[0].device_kind} ({layout.platform}), {memory}"


def _data(config: Config, dataset: Dataset) -> str:
    pool, test = dataset.train, dataset.test
    for split in filter(None, (pool, test)):
        rows = np.random.default_rng(0).choice(len(split.keys), min(_SAMPLE, len(split.keys)), replace=False)
        split.read(np.sort(rows), Resize(images.sizes(config).square))
    try:
        known = draw(config.label.rule, pool.labels, pool.keys, config.label.budget, config.seed)
    except ValueError as error:
        raise DataError(str(error)) from None
    return (
        f"{len(pool.keys):,} images, {len(dataset.classes):,} classes, {len(known):,} labelled; "
        f"{len(test.keys) if test else 0:,} to test; a sample decodes"
    )


def _embeddings(config: Config, dataset: list[Dataset]) -> str:
    options = config.embed
    if not any(stage.name == "embed" for stage in pipeline.needed_stages(config)) or options.source not in (
        "file",
        "weights",
    ):
        return "none are brought"
    path = embeddings.existing(options.path, options.source, options.network)
    if options.source == "weights":
        pretrained.load(options.network, path)
        return f"{path} holds the weights of {options.network}"
    if not dataset:
        return f"{path}; it cannot be checked without the data"
    return f"{path} has {embeddings.read(path, list(dataset[0].train.keys)).shape[1]:,} numbers for each image"


def _decoding(config: Config) -> str:
    check_decoder(config.data.decoder)
    rate, cores = decode_rate(config), os.cpu_count() or 1
    return f"{rate:,.0f} JPEGs/s of 500x375 pixels on a core, {cores} cores (data.decoder = {config.data.decoder!r})"


def _disk(config: Config, workdir: Path, dataset: list[Dataset]) -> str:
    cache, counts = config.data.cache, tuple(config.data.expected[:2]) or (0, 0)
    if dataset:
        test = dataset[0].test
        counts = len(dataset[0].train.keys), len(test.keys) if test else 0
    asked = {
        "--workdir": (workdir, 3 * dynamics_bytes(config, counts[0])),  # the dynamics and two checkpoints of them
        "data.cache": (Path(cache) if cache else None, images.cache_bytes(config, *counts)),
    }
    shown = []
    for name, (path, need) in asked.items():
        if path is None:
            continue
        there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
        free = shutil.disk_usage(there).free
        if free < need:
            raise DeviceError(
                f"{name} = {path} needs {need / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free; name a larger disk"
            )
        shown.append(f"{name} needs {need / 1e9:.1f} GB of {free / 1e9:.1f} GB free")
    return ", ".join(shown)


def _shared_memory(config: Config) -> str:
    workers = worker_count(config.runtime.workers)
    need = workers * images.worker_bytes(config)
    place = Path("/dev/shm")
    if config.data.pool == "memory" or not workers or not place.exists():
        return "not needed"
    free = shutil.disk_usage(place).free
    if free < need:
        raise DeviceError(
            f"/dev/shm has {free / 1e9:.2f} GB free; streaming needs up to {need / 1e9:.2f} GB; lower runtime.workers, "
            "or enlarge it (docker run --shm-size)"
        )
    return f"up to {need / 1e9:.2f} GB of {free / 1e9:.1f} GB free, if streamed"
