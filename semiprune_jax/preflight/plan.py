"""Estimates of a run's costs: steps, FLOPs, memory, disk, decoding, time. No accelerator is needed."""

import io
import math
import time
from collections.abc import Iterator

import jax
import numpy as np
from PIL import Image

from semiprune_jax import pipeline
from semiprune_jax.config.schema import Config
from semiprune_jax.data.budget import budget_size
from semiprune_jax.data.decode import decode
from semiprune_jax.data.resize import Fit, RandomResizedCrop, Resize
from semiprune_jax.stages import images
from semiprune_jax.stages.costs import Counts, Work
from semiprune_jax.stages.score import dynamics_bytes, record_bytes

_SECONDS = 0.5  # how long decoding is measured


def plan(config: Config, images_per_second: float = 0.0) -> str:
    """The plan as text.

    Args:
      images_per_second: images trained per second on all devices together; 0: the plan has no times.

    Raises:
      DataError: ``data.expected`` is empty, and there is no data to count.
    """
    jax.config.update("jax_platforms", "cpu")
    if config.data.expected:
        n, tests, classes = config.data.expected
        given = n
    else:
        dataset = images.load(config)
        n, tests, classes = len(dataset.train.keys), len(dataset.test.keys) if dataset.test else 0, len(dataset.classes)
        given = int(np.sum(dataset.train.labels >= 0))
    known = given if config.label.rule == "given" else budget_size(config.label.budget, n)
    held_out = 0 if known == n else budget_size(config.label.held_out, known)  # a few more where classes are small
    counts = Counts(n, known - held_out, held_out, tests, classes)
    works = [work for stage in pipeline.needed_stages(config) for work in stage.costs(config, counts)]
    head = f"{n:,} images, {tests:,} to test, {classes:,} classes; networks see {config.data.image_size} pixels"
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            [head],
            _stages(works, images_per_second),
            _memory(config, works, counts),
            _disk(config, works, counts),
            _decoding(config, works, images_per_second),
        )
    )


def decode_rate(config: Config) -> float:
    """Images/s of one core of this machine: JPEGs of 500x375 pixels, cut as the supervised stages need them."""
    sizes = images.sizes(config)
    fit: Fit = RandomResizedCrop(0, "rate", sizes.image) if sizes.resized else Resize(sizes.square)
    noise = np.random.default_rng(0).integers(0, 256, (94, 125, 3)).astype(np.uint8)
    buffer = io.BytesIO()  # enlarged noise takes as many bytes as a photograph: 95 kB
    Image.fromarray(noise).resize((500, 375), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < _SECONDS:
        fit(decode(buffer.getvalue(), config.data.decoder), (0, count))
        count += 1
    return count / passed


def _stages(works: list[Work], images_per_second: float) -> Iterator[str]:
    title = f"h at {images_per_second:,g}/s" if images_per_second else ""
    yield f"{'':<26}{'steps':>11}{'images trained':>16}{'predicted':>12}{'PFLOP':>11}{title:>15}".rstrip()
    for work in works:
        passes = work.trained + work.predicted / 3
        hours = f"{passes / images_per_second / 3600:15,.2f}" if images_per_second else ""
        petaflops = 3 * passes * work.cost.flops / 1e15
        counts = f"{work.steps:11,}{work.trained:16,.0f}{work.predicted:12,.0f}{petaflops:11,.4g}"
        yield f"{work.name:<26}{counts}{hours}"


def _memory(config: Config, works: list[Work], counts: Counts) -> Iterator[str]:
    devices = config.runtime.devices or 1
    record = record_bytes(config, counts)
    pool = images.cache_bytes(config, counts.n, counts.tests)
    yield f"memory of each device, of {devices} (runtime.devices), about"
    kinds = {work.name.split()[0]: work for work in reversed(works) if work.batch}  # the first of each stage
    for name, work in reversed(kinds.items()):
        share, cost = math.ceil(work.batch / devices), work.cost
        copies = 4 if name == "pseudolabel" else 3  # parameters, gradients, momentum, average
        recorded = record / devices if name == "score" else 0
        total = copies * 4 * cost.parameters + share * cost.held + recorded
        what = f"{share:,} images a step, {cost.parameters / 1e6:.1f} M parameters"
        yield _line(name, total, what + f", a record of {_size(recorded)}" * bool(recorded))
    yield _line("pool and test set", pool, "if they are resident, not streamed")
    yield "memory of the host, about"
    yield _line("pool and record", pool + record, "resident; the record alone if streamed")
    yield _line("/dev/shm", images.worker_bytes(config), "for each decoding worker, if streamed")


def _disk(config: Config, works: list[Work], counts: Counts) -> Iterator[str]:
    record = dynamics_bytes(config, counts.n)
    logits = 2 * counts.classes * counts.n * config.proxy.epochs
    state = max(4 * work.cost.parameters * (3 if work.name == "pseudolabel" else 2) for work in works)
    yield "disk"
    yield _line("dynamics", record, f"logits in half precision: {_size(logits)}, {logits / record:,.1f} times as much")
    yield _line("checkpoints", 2 * (state + record), "two at a time, until their stage is done")
    if config.data.cache:
        yield _line("data.cache", images.cache_bytes(config, counts.n, counts.tests), "on each host, once")


def _decoding(config: Config, works: list[Work], images_per_second: float) -> Iterator[str]:
    rate = decode_rate(config)
    yield f"decoding, at {rate:,.0f} JPEGs/s of 500x375 pixels on a core of this machine, unless cached or resident"
    for work in works:
        if not work.trained or work.name.startswith(("search", "retrain", "judge")):
            continue
        share = work.decoded / (work.trained + work.predicted / 3)
        cores = f", {share * images_per_second / rate:,.1f} cores" if images_per_second else ""
        yield f"  {work.name:<20}{share:10.2f} images for each one trained{cores}"


def _line(name: str, size: float, what: str) -> str:
    return f"  {name:<20}{_size(size):>10}  {what}"


def _size(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
