"""What a run will take, before it begins: steps, FLOPs, memory, disk, decoding, time. Touches no accelerator.

FLOPs are XLA's count of a forward pass; a training pass is three of them. Memory is that of parameters and their kin,
and of what convolutions read and make of each image. For gradients of a WRN-28-2, WRN-28-8, ResNet-18 and ResNet-50 XLA
takes 0.93, 0.94, 1.07 and 1.1 times as much on a CPU; FixMatch's step of 960 images on a WRN-28-8 took 7.6 GB of an
H200 where it is 7.9.
"""

import io
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxprs_in_params
from PIL import Image

from semiprune_jax import models
from semiprune_jax.config.schema import Config, fixmatch_images, paper_batch_size
from semiprune_jax.data.budget import budget_size
from semiprune_jax.data.decode import decode
from semiprune_jax.data.resize import Fit, RandomResizedCrop, Resize
from semiprune_jax.models import pretrained
from semiprune_jax.select import search
from semiprune_jax.select.selectors import coreset_size
from semiprune_jax.stages import images, needs

_RECORD = 13  # bytes of dynamics an example and epoch: two probabilities, a hit or miss, EL2N
_SECONDS = 0.5  # of decoding, to see how fast it is


class Work(NamedTuple):
    """One stage, or several trainings alike."""

    name: str
    batch: int  # images through forward and backward in a step
    steps: int
    trained: float  # images through forward and backward
    predicted: float  # images through forward only
    decoded: float  # images decoded, if nothing is cached or resident
    cost: "Cost"


class Cost(NamedTuple):
    """What a network takes."""

    flops: float  # of a forward pass of one image
    parameters: int
    held: int  # bytes that a training step holds of one image until its gradients are made


def plan(config: Config, images_per_second: float = 0.0) -> str:
    """The plan as text.

    Args:
      images_per_second: through forward and backward, on all devices; 0: no times.

    Raises:
      DataError: ``data.expected`` is empty, and the data is not there to be counted.
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
    works = list(_works(config, n, known, tests, classes))
    head = f"{n:,} images, {tests:,} to test, {classes:,} classes; networks see {config.data.image_size} pixels"
    return "\n\n".join(
        "\n".join(lines)
        for lines in (
            [head],
            _stages(works, images_per_second),
            _memory(config, works, n, tests, classes),
            _disk(config, works, n, tests, classes),
            _decoding(config, works, images_per_second),
        )
    )


def dynamics_bytes(config: Config, n: int) -> int:
    """Bytes of the dynamics of ``n`` examples."""
    asked = config.proxy.record_entropy + config.proxy.record_kl + config.proxy.record_grad_norm
    return (_RECORD + 4 * asked) * n * config.proxy.epochs


def _record_bytes(config: Config, n: int, classes: int) -> int:
    """Bytes of the record of ``n`` examples on the devices: the dynamics, and what TDDS compares each visit with."""
    return dynamics_bytes(config, n) + 4 * config.proxy.record_kl * n * classes


def cache_bytes(config: Config, n: int, tests: int) -> int:
    """Bytes of the squares of ``n`` examples and the views of ``tests``: in memory, or in ``data.cache``."""
    sizes = images.sizes(config)
    return 3 * (n * sizes.square**2 + tests * sizes.image**2)


def worker_bytes(config: Config) -> int:
    """Bytes of shared memory that a decoding worker fills: batches it has ready, is making, and has handed over."""
    sizes, f = images.sizes(config), config.fixmatch
    return 4 * 3 * max(f.batch_size * (1 + f.mu) * sizes.square**2, config.proxy.batch_size * sizes.image**2)


def decode_rate(config: Config) -> float:
    """Images/s of one core of this machine: JPEGs of 500x375 pixels, cut as the supervised stages need them."""
    sizes = images.sizes(config)
    fit: Fit = RandomResizedCrop(0, "rate", sizes.image) if sizes.resized else Resize(sizes.square)
    noise = np.random.default_rng(0).integers(0, 256, (94, 125, 3)).astype(np.uint8)
    buffer = io.BytesIO()  # of noise drawn out, which takes as many bytes as a photograph: 95 kB
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


def _works(config: Config, n: int, known: int, tests: int, classes: int) -> Iterator[Work]:
    def evaluations(steps: int, every: int) -> int:
        return tests * math.ceil(steps / every)

    f, model, needed = config.fixmatch, config.model, needs.of(config)
    costs = {name: _cost(config, name, classes) for name in {model.fixmatch, model.proxy, model.retrain}}
    seen = f.steps * f.batch_size
    if needed.pseudolabel and config.pseudolabel.source == "fixmatch" and known < n:
        yield Work(
            "pseudolabel", fixmatch_images(f), f.steps, f.steps * fixmatch_images(f),
            n + evaluations(f.steps, f.eval_every_steps), seen * (1 + f.mu) + n, costs[model.fixmatch],
        )  # fmt: skip
    if needed.embed and config.embed.source != "file":
        yield _embedding(config, n, classes, costs)
    of_all = config.proxy.examples == "all"
    parts = [("score", n if of_all else known, config.proxy.batch_size, 1)] if needed.score else []
    for name, size, batch, times in [*parts, *_trials(config, n), *_retrainings(config, n, known)]:
        recipe = config.proxy if name == "score" else config.retrain
        network = model.proxy if name == "score" else model.retrain
        steps = recipe.epochs * math.ceil(size / batch)
        every = recipe.eval_every_epochs * math.ceil(size / batch)
        trained = times * recipe.epochs * size
        tested = math.ceil(config.search.held_out * n) if name.startswith("search") else evaluations(steps, every)
        yield Work(name, batch, times * steps, trained, times * tested, trained, costs[network])


def _embedding(config: Config, n: int, classes: int, costs: dict[str, Cost]) -> Work:
    options = config.swav
    if config.embed.source == "swav":
        cost, seen = _cost(config, options.network, classes), options.epochs * n
        # Crops of an image; a small one takes as much less as it has fewer pixels.
        crops = 2 + options.small_crops * (options.small_crop_size / config.data.image_size) ** 2
        return Work(
            "embed", round(options.batch_size * crops), options.epochs * math.ceil(n / options.batch_size),
            seen * crops, n, seen + n, cost,
        )  # fmt: skip
    if config.embed.source == "weights":
        return Work("embed", 0, 0, 0, n, n, _pretrained_cost(config))
    return Work("embed", 0, 0, 0, n, n, costs[config.model[config.embed.source]])


def _trials(config: Config, n: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, examples, batch size and how often, of the search's trainings at each kept fraction."""
    options, counts = config.search, dict.fromkeys(config.select.keep, 0)
    for name in options.names:
        for keep in config.select.keep:
            if config.select[name].selector == "beta":
                horizons = len(options.horizons or search.horizons(config.score.window, config.proxy.epochs))
                counts[keep] += len(options.c_d) + horizons * (keep == max(config.select.keep))
            else:
                counts[keep] += len(search.cutoffs(keep))
    for keep, count in counts.items():
        if count:
            batch = paper_batch_size(config.retrain.batch_size, keep, config.retrain.batch_rule)
            times = count * len(options.seeds)
            yield f"search keep {keep:g} x {times}", coreset_size(n - int(n * options.held_out), keep), batch, times


def _retrainings(config: Config, n: int, known: int) -> Iterator[tuple[str, int, int, int]]:
    """Name, examples, batch size and how often, of the trainings of each coreset size."""
    seeds, options = len(config.retrain.seeds), config.retrain
    parts = [(f"retrain keep {keep:g}", keep, len(config.select.names)) for keep in config.select.keep]
    parts += [("retrain full", 1.0, 1)] if options.full else []
    if options.labelled_only:
        parts.append(("retrain labelled_only", known / n, 1))
    for name, keep, times in parts:
        batch = paper_batch_size(options.batch_size, keep, options.batch_rule)
        yield f"{name} x {times * seeds}", coreset_size(n, keep), batch, times * seeds


def _cost(config: Config, name: str, classes: int) -> Cost:
    side = config.data.image_size
    dtype = config.runtime.compute_dtype
    network = models.create(
        name, num_classes=classes, bn_momentum=0.9, variant=config.model.wide_resnet,
        dtype=jnp.dtype("bfloat16" if dtype == "auto" else dtype),
    )  # fmt: skip
    params, stats = jax.eval_shape(lambda key: network.init(key, (side, side, 3)), jax.random.key(0))

    x = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    forward = jax.jit(lambda params, stats, x: network.apply(params, stats, x, train=False)[0])
    counted: Any = forward.lower(params, stats, x).cost_analysis()
    training = jax.make_jaxpr(lambda params, stats, x: network.apply(params, stats, x, train=True)[0])
    held = sum(_convolved(training(params, stats, x).jaxpr).values())
    return Cost(counted["flops"], sum(leaf.size for leaf in jax.tree.leaves(params)), held)


def _convolved(jaxpr: Any) -> dict[Any, int]:
    """Bytes of each array that a convolution reads or makes.

    These are what a compiled step holds for its gradients: XLA makes the rest, norms and ReLUs, again from them. What
    autodiff lists as kept is up to three times as much.
    """
    found = {}
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            for array in (equation.invars[0], equation.outvars[0]):
                found[array] = array.aval.size * array.aval.dtype.itemsize
        for inner in jaxprs_in_params(equation.params):
            found |= _convolved(inner)
    return found


def _pretrained_cost(config: Config) -> Cost:
    side = config.embed.image_size
    apply, variables = pretrained.shapes(config.embed.network)
    forward = jax.jit(apply)
    counted: Any = forward.lower(variables, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)).cost_analysis()
    return Cost(counted["flops"], sum(leaf.size for leaf in jax.tree.leaves(variables)), 0)


def _memory(config: Config, works: list[Work], n: int, tests: int, classes: int) -> Iterator[str]:
    devices = config.runtime.devices or 1
    record = _record_bytes(config, n, classes)
    pool = cache_bytes(config, n, tests)
    yield f"memory of each device, of {devices} (runtime.devices), about"
    kinds = {work.name.split()[0]: work for work in reversed(works) if work.batch}  # the first of each
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
    yield _line("/dev/shm", worker_bytes(config), "for each decoding worker, if streamed")


def _disk(config: Config, works: list[Work], n: int, tests: int, classes: int) -> Iterator[str]:
    record, logits = dynamics_bytes(config, n), 2 * classes * n * config.proxy.epochs
    state = max(4 * work.cost.parameters * (3 if work.name == "pseudolabel" else 2) for work in works)
    yield "disk"
    yield _line("dynamics", record, f"logits in half precision: {_size(logits)}, {logits / record:,.1f} times as much")
    yield _line("checkpoints", 2 * (state + record), "two at a time, until their stage is done")
    if config.data.cache:
        yield _line("data.cache", cache_bytes(config, n, tests), "on each host, once")


def _decoding(config: Config, works: list[Work], images_per_second: float) -> Iterator[str]:
    rate = decode_rate(config)
    yield f"decoding, at {rate:,.0f} JPEGs/s of 500x375 pixels on a core of this machine, unless cached or resident"
    for work in works:
        if not work.trained or work.name.startswith(("search", "retrain")):
            continue
        share = work.decoded / (work.trained + work.predicted / 3)
        cores = f", {share * images_per_second / rate:,.1f} cores" if images_per_second else ""
        yield f"  {work.name:<20}{share:10.2f} images for each one trained{cores}"


def _line(name: str, size: float, what: str) -> str:
    return f"  {name:<20}{_size(size):>10}  {what}"


def _size(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
