"""Makes the golden files with PyTorch, in float64, and Pillow: ``python -m tests.goldens [directory]``."""

import sys
import zlib
from pathlib import Path

import jax
import numpy as np
import torch
from PIL import Image

from benchmarks.reference import augmentation, networks, training
from benchmarks.reference.naming import flax_path, from_flax, to_flax
from semiprune_jax.augment import randaugment, views
from semiprune_jax.randomness import example_keys, stream_key
from tests import goldens
from tests.goldens.vit import VisionTransformer

torch.set_default_dtype(torch.float64)
VIEWS = views.Recipe(goldens.MEAN, goldens.STD, goldens.PADDING, flip=True)


def create(name: str, classes: int) -> torch.nn.Module:
    """The network with the shared weights and statistics."""
    model = networks.create(name, classes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1 - goldens.BN_MOMENTUM
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if "num_batches" not in key:
                tensor.copy_(from_flax(goldens.weight(flax_path(key), to_flax(tensor).shape)))
    return model


def samples(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    named = {flax_path(key): to_flax(value) for key, value in tensors.items() if "num_batches" not in key}
    return goldens.samples(prefix, named)


def network(name: str, classes: int, pixels: int) -> dict[str, np.ndarray]:
    """Forward passes in both modes, gradients, and one step."""
    images = goldens.natural_images(4, pixels)
    x = tensor([Image.fromarray(image) for image in images])
    label = torch.from_numpy(goldens.labels(4, classes)).long()
    model = create(name, classes)
    with torch.no_grad():
        made = {"image": images, "evaluation": model.eval()(x).numpy()}
    matrices_only = name.startswith("wrn")
    optimizer = training.sgd(model, **goldens.STEP, matrices_only=matrices_only)
    average = training.Average(model, goldens.EMA_DECAY)
    logits = model.train()(x)
    torch.nn.functional.cross_entropy(logits, label).backward()
    # A batch norm whose output is thrown away has no gradient at all.
    gradients = {k: torch.zeros_like(p) if p.grad is None else p.grad for k, p in model.named_parameters()}
    made |= {"training": logits.detach().numpy(), **samples("gradient", gradients)}
    optimizer.step()
    average.update(model)
    return made | samples("after", dict(model.state_dict())) | samples("average", average.shadow)


def pretrained(name: str) -> dict[str, np.ndarray]:
    """Features of a network under PyTorch's names of weights, with these names and their shapes."""
    model = VisionTransformer(*goldens.VITS[name]) if name in goldens.VITS else networks.create(name, 1000)
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if "num_batches" not in key:
                value.copy_(torch.from_numpy(goldens.named_weight(key, tuple(value.shape))))
        made = {}
        for side in goldens.VIT_PIXELS.get(name, (32,)):
            images = goldens.natural_images(2, side)
            x = tensor([Image.fromarray(image) for image in images])
            if name not in goldens.VITS:
                model.fc = torch.nn.Identity()
            made |= {f"image/{side}": images, f"features/{side}": model.eval()(x).numpy()}
    names = {key: value.shape for key, value in model.state_dict().items()}
    made["names"] = np.array(list(names))
    made["shapes"] = np.array([",".join(map(str, shape)) for shape in names.values()])
    return made


def crops(images: np.ndarray, drawn: views.RandomCropParams) -> list[Image.Image]:
    offsets, flips = np.asarray(drawn.offset), np.asarray(drawn.flip)
    return [
        augmentation.crop_flip(Image.fromarray(image), tuple(offset), bool(flip), goldens.PADDING)
        for image, offset, flip in zip(images, offsets.tolist(), flips, strict=True)
    ]


def tensor(images: list[Image.Image]) -> torch.Tensor:
    return torch.from_numpy(np.stack([augmentation.normalise(i, goldens.MEAN, goldens.STD) for i in images]))


def draw(keys, shape, strong: bool):
    function = views.strong_params if strong else views.random_crop_params
    return jax.vmap(lambda key: function(key, shape, VIEWS))(keys)


def fixmatch_keys(seed: int, step: int):
    """Keys in the order of the step: for each labelled row its own view, then mu weak and mu strong views."""
    size, mu = goldens.FIXMATCH["batch"], goldens.FIXMATCH["mu"]
    keys = example_keys(stream_key(seed, "goldens"), step, np.arange(size * (1 + 2 * mu))).reshape(size, -1)
    return keys[:, 0], keys[:, 1 : 1 + mu].reshape(-1), keys[:, 1 + mu :].reshape(-1)


def seed_without_auto_contrast() -> int:
    """The first seed whose strong views never draw AutoContrast, in which Pillow may differ by a grey level."""
    shape, which = (goldens.FIXMATCH["pixels"],) * 2 + (3,), list(randaugment.OPERATIONS).index("AutoContrast")

    @jax.jit
    def drawn(seed):
        root = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), stream)
        rows = goldens.FIXMATCH["batch"] * (1 + 2 * goldens.FIXMATCH["mu"])
        keys = jax.vmap(lambda step: example_keys(root, step, np.arange(rows)))(np.arange(goldens.FIXMATCH["steps"]))
        keys = keys.reshape(goldens.FIXMATCH["steps"], goldens.FIXMATCH["batch"], -1)
        strong = keys[:, :, 1 + goldens.FIXMATCH["mu"] :].reshape(-1)
        return draw(strong, shape, True).operation

    stream = zlib.crc32(b"goldens")
    return next(seed for seed in range(1_000_000) if not np.any(drawn(seed) == which))


def fixmatch() -> dict[str, np.ndarray]:
    """Five steps on the shared batches, with the draws that the package makes."""
    options, names = goldens.FIXMATCH, list(randaugment.OPERATIONS)
    pool = goldens.natural_images(options["pool"], options["pixels"])
    label = goldens.labels(options["pool"], options["classes"])
    model, seed, shape = create("wrn_10_1", options["classes"]), seed_without_auto_contrast(), pool.shape[1:]
    optimizer = training.sgd(model, **goldens.STEP, matrices_only=True)
    schedule = training.fixmatch_schedule(optimizer, 7)
    average = training.Average(model, goldens.EMA_DECAY)
    metrics: dict[str, list[float]] = {}
    for step in range(options["steps"]):
        ids = goldens.fixmatch_feed(step)
        labelled_keys, weak_keys, strong_keys = fixmatch_keys(seed, step)
        strong = draw(strong_keys, shape, True)
        views = [
            augmentation.strong(
                image,
                [(names[int(o)], float(m)) for o, m in zip(strong.operation[i], strong.magnitude[i], strict=True)],
                tuple(float(v) for v in strong.cutout[i]),
            )
            for i, image in enumerate(crops(pool[ids["unlabelled"]], strong.crop))
        ]
        batch = {
            "labelled": tensor(crops(pool[ids["labelled"]], draw(labelled_keys, shape, False))),
            "label": torch.from_numpy(label[ids["labelled"]]).long(),
            "weak": tensor(crops(pool[ids["unlabelled"]], draw(weak_keys, shape, False))),
            "strong": tensor(views),
        }
        taken = training.fixmatch_step(
            model, optimizer, schedule, average, batch, threshold=options["threshold"], weight=options["weight"]
        )
        for key, value in taken.items():
            metrics.setdefault(key, []).append(value)
    made = {f"metric/{key}": np.array(values) for key, values in metrics.items()}
    made |= {"image": pool, "seed": np.array(seed)}
    return made | samples("after", dict(model.state_dict())) | samples("average", average.shadow)


def proxy() -> dict[str, np.ndarray]:
    """One epoch of five steps, its dynamics, and the state it ends in."""
    options = goldens.PROXY
    pool = goldens.natural_images(options["pool"], options["pixels"])
    label = goldens.labels(options["pool"], options["classes"])
    model = create("resnet8", options["classes"])
    optimizer = training.sgd(model, **goldens.STEP, matrices_only=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 7, 1e-4)
    record = {key: np.zeros(options["pool"]) for key in ("p_label", "p_other", "correct", "el2n")}
    losses = []
    for step in range(options["steps"]):
        ids = goldens.proxy_feed(step)
        keys = example_keys(stream_key(0, "goldens"), step, np.arange(len(ids)))
        image = tensor(crops(pool[ids], draw(keys, pool.shape[1:], False)))
        truth = torch.from_numpy(label[ids]).long()
        loss, logits, _ = training.supervised_step(model, optimizer, schedule, image, truth)
        losses.append(loss)
        for key, value in training.observe(logits, truth).items():
            record[key][ids] = value.numpy()
    made = {"image": pool, "metric/loss": np.array(losses), **{f"record/{key}": v for key, v in record.items()}}
    return made | samples("after", dict(model.state_dict()))


def main(directory: Path) -> None:
    """Writes one file for each network and each training."""
    made = {name: network(name, *shape) for name, shape in goldens.NETWORKS.items()}
    made |= {f"pretrained_{name}": pretrained(name) for name in (*goldens.VITS, "resnet50")}
    made |= {"fixmatch": fixmatch(), "proxy": proxy()}
    for name, arrays in made.items():
        np.savez_compressed(directory / f"{name}.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else goldens.DIRECTORY)
