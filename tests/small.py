"""Small pools and configs on which every stage runs in seconds."""

import os
import socket
import tempfile
import time

import numpy as np
from PIL import Image

from semiprune_jax import pipeline
from semiprune_jax.config.schema import base_config
from semiprune_jax.data import sources
from semiprune_jax.data.pools import Pools
from semiprune_jax.data.resize import Resize
from semiprune_jax.data.sizes import Sizes
from semiprune_jax.data.split import Dataset, Split
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.models.networks import NETWORKS, Architecture
from semiprune_jax.stages.context import train_context
from semiprune_jax.train import fixmatch, supervised
from semiprune_jax.train.training import Job
from semiprune_jax.workdir import directory
from semiprune_jax.workdir.metrics import Metrics

# The processes of the suite compile the same programs, and compilation takes most of the time.
COMPILED = {
    "jax_compilation_cache_dir": os.path.join(tempfile.gettempdir(), f"semiprune-tests-{os.getuid()}"),
    "jax_persistent_cache_min_compile_time_secs": 0.1,
}

NETWORKS["tiny"] = Architecture("tests.tiny", "Tiny", {"width": 16})


def config():
    """A config that runs in seconds on the pool of ``write_npz`` or ``write_folder``."""
    c = base_config()
    c.data.source = "arrays"
    c.data.image_size = 8
    c.data.flip = False
    c.data.oracle = True
    c.label.budget = 0.25
    c.label.held_out = 0.0
    c.model.ssl = c.model.proxy = c.model.retrain = "tiny"
    c.ssl.steps = 12
    c.ssl.batch_size = 8
    c.ssl.mu = 2
    c.ssl.threshold = 0.4  # low enough for a network that so few steps have trained
    c.ssl.ema_decay = 0.5
    c.ssl.bn_momentum = 0.5
    c.ssl.eval_every_steps = 6
    c.proxy.epochs = 4
    c.proxy.batch_size = 16
    c.proxy.eval_every_epochs = 2
    c.score.window = 3
    c.score.last = 2
    c.select.names = ("random", "semi_aum", "semi_dual")
    c.select.keep = (0.5, 0.25)
    c.select.semi_aum.cutoff = (0.1,)
    c.select.semi_dual.horizon, c.select.semi_dual.c_d = 4, 4.0
    c.select.include_labelled = False
    c.retrain.epochs = 2
    c.retrain.batch_size = 16
    c.retrain.save_model = False
    c.runtime.log_every_steps = 3
    return c


def pool(n: int, classes: int = 3, size: int = 8, seed: int = 0):
    """Images u8[n, size, size, 3] that show their class, and labels i32[n]."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int32) % classes
    images = rng.integers(0, 60, (n, size, size, 3))
    for c in range(classes):
        images[labels == c, c : c + 3, :, c % 3] += 150
    return images.astype(np.uint8), labels


def dataset(source, *, seed=0, skipped=None, notes=None, **fields):
    """Loads a source with ``fields`` in ``config.data``, by default without a test split."""
    options = base_config().data
    options.source, options.test_split = source, ""
    options.update(fields)
    return sources.load(options, seed=seed, skipped=skipped, notes=notes)


def split(n, size: int = 8, image=None):
    """A split of n images, from ``pool`` or from ``image(id)``."""
    images, labels = pool(n, size=size)
    return Split([f"{i:03d}.png" for i in range(n)], labels, "c", "the pool", image or images.__getitem__)


def squares(split, size: int = 8):
    """All images of a split, resized to squares."""
    return split.read(np.arange(len(split.keys)), Resize(size))


def pools(layout, train, test=None, **options):
    """Pools from pairs of images and labels."""
    parts = [
        part and Split([f"{i:03d}" for i in range(len(part[1]))], part[1], name, name, part[0].__getitem__)
        for name, part in (("train", train), ("test", test))
    ]
    defaults = {"placement": "memory", "memory_share": 1.0, "cache": None, "decoder": "pillow", "workers": 0}
    sizes = options.pop("sizes", Sizes(8, 8, resized=False, exact=True))
    return Pools(Dataset(("ant", "bee", "cat"), parts[0], parts[1]), sizes, layout, **(defaults | options))


def trainer(tmp_path, config, mode="jit", devices=1, n=90):
    """A training context with a pool of n images and a test set of 31, and the pool's labels."""
    train = pool(n)
    made = pools(Layout.of(mode, devices), train, pool(31, seed=1))
    return train_context(config, made, Metrics(tmp_path), tmp_path), train[1]


def proxy(made, config, labels, ids=None):
    """Trains the proxy; returns its dynamics."""
    return supervised.proxy(made, proxy_job(config), labels, ids)[0]


def proxy_training(made, config, labels):
    """The proxy before its first step."""
    return supervised.proxy_training(made, proxy_job(config), labels)


def proxy_job(config):
    return Job("score", config.seed, config.model.proxy, config.proxy)


def predicted(made, config, labels):
    """Trains FixMatch; returns its predictions."""
    return fixmatch.fixmatch(made, fixmatch_job(config), labels)[0]


def fixmatch_training(made, config, labels):
    """FixMatch before its first step."""
    return fixmatch.fixmatch_training(made, fixmatch_job(config), labels)


def fixmatch_job(config):
    return Job("pseudolabel", config.seed, config.model.ssl, config.ssl)


def retrain(made, config, name, labels, ids, *, batch_size, seed):
    """The result of a retraining, and its network."""
    return supervised.retrain(made, retrain_job(config, name, seed), labels, ids, batch_size)


def retrain_training(made, config, name, labels, ids, *, batch_size, seed):
    """A retraining before its first step."""
    steps = supervised.retrain_steps(config.retrain, len(ids), batch_size)
    return supervised.supervised_training(made, retrain_job(config, name, seed), labels, ids, batch_size, steps=steps)


def retrain_job(config, name, seed):
    return Job(name, seed, config.model.retrain, config.retrain)


def write_npz(path, n: int = 64, test: int = 24):
    """Writes a pool and a test set to an .npz; returns the path as text."""
    (x, y), (xt, yt) = pool(n), pool(test, seed=1)
    np.savez(path, x_train=x, y_train=y, x_test=xt, y_test=yt, classes=np.array(["ant", "bee", "cat"]))
    return str(path)


def write_folder(root, n: int = 30, size: int = 10):
    """Writes class folders of PNGs; returns their root as text."""
    images, labels = pool(n, size=size)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = root / ("ant", "bee", "cat")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i:03d}.png")
    return str(root)


def free_port():
    """A free port of the loopback address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def shared_memory():
    """Names of multiprocessing's blocks of shared memory."""
    return {name for name in os.listdir("/dev/shm") if name.startswith("psm_")}


def wait_for_lines(path, count):
    """Waits until another process has written so many lines to a file, at most two minutes."""
    until = time.monotonic() + 120
    while time.monotonic() < until and not (path.exists() and path.read_text().count("\n") >= count):
        time.sleep(0.02)


def run(config, workdir, until="report"):
    """Runs the pipeline in this process; returns its log."""
    lines = []
    directory.open_workdir(workdir, overwrite=False)
    pipeline.run(config, workdir, until=until, log=lines.append)
    return lines
