"""Networks and trainings against PyTorch, whose results ``python -m tests.goldens`` writes to files."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import learners, models
from semiprune_jax.augment import views
from semiprune_jax.data.memory import MemoryArrays, fetch
from semiprune_jax.learners.learner import Options
from semiprune_jax.randomness import stream_key
from semiprune_jax.train import dynamics, state, steps
from semiprune_jax.train.steps import cross_entropy
from tests import goldens

RECIPE = views.Recipe(goldens.MEAN, goldens.STD, goldens.PADDING, flip=True)


def load(name):
    with np.load(goldens.DIRECTORY / f"{name}.npz") as file:
        return dict(file)


def flat(tree):
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def assert_samples(golden, prefix, *trees):
    """Every tensor's root mean square, mean and eight values agree within 1e-4.

    The tolerance is relative to the value or, where larger, to the tensor's root mean square, since sums of terms that
    nearly cancel keep the terms' rounding. A gradient that is 0 but for rounding (of a bias before a batch norm) is
    compared with the largest tensor's.
    """
    got = goldens.samples(prefix, {path: leaf for tree in trees for path, leaf in flat(tree).items()})
    assert got[f"{prefix}/path"].tolist() == golden[f"{prefix}/path"].tolist()
    ours, theirs = got[prefix], golden[prefix]
    allowed = 1e-4 * np.maximum(np.maximum(np.abs(theirs), theirs[:, :1]), 1e-6 * theirs[:, 0].max())
    excess = np.abs(ours - theirs) / allowed
    wrong = golden[f"{prefix}/path"][(excess > 1).any(axis=1)]
    assert not len(wrong), f"{prefix}: {wrong.tolist()}, worst {1e-4 * excess.max():.1e}"


def network(name, classes, pixels, dtype=jnp.float32):
    """A network with the shared weights and statistics instead of its own."""
    made = models.create(name, num_classes=classes, bn_momentum=goldens.BN_MOMENTUM, dtype=dtype)
    shapes = jax.eval_shape(lambda key: made.init(key, (pixels, pixels, 3)), jax.random.key(0))

    def value(path, leaf):
        return jnp.asarray(goldens.weight(jax.tree_util.keystr(path, simple=True, separator="/"), leaf.shape), dtype)

    params, stats = (jax.tree_util.tree_map_with_path(value, tree) for tree in shapes)
    return made, params, stats


def start(params, batch_stats, tx, ema):
    copy = jax.tree.map(jnp.copy, params) if ema else None
    return state.TrainState(jnp.int32(0), params, batch_stats, tx.init(params), copy)


def sgd(schedule, *, matrices_only, total=1):
    return state.sgd(schedule, total_steps=total, decay_matrices_only=matrices_only, **goldens.STEP)


def inputs(golden, dtype):
    return jnp.asarray((golden["image"] / 255 - goldens.MEAN) / goldens.STD, dtype)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * np.sqrt(np.mean(expected**2)))


DEEPER_OR_WIDER = ("wrn_28_8", "resnet34")  # than another tested network with the same blocks


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(name, shape, id=name, marks=pytest.mark.long if name in DEEPER_OR_WIDER else ())
        for name, shape in goldens.NETWORKS.items()
    ],
)
def test_network(name, shape):
    """Checks both forward modes, the cross entropy's gradient, statistics, and one step of SGD and of the average.

    This needs float64: in float32, PyTorch's own gradients of single weights are wrong by their size (measured),
    because rounding decides on which side of 0 some input of a ReLU falls.
    """
    golden = load(name)
    with jax.enable_x64(True):
        made, params, stats = network(name, *shape, jnp.float64)
        image, label = inputs(golden, jnp.float64), goldens.labels(4, shape[0])
        tx = sgd(lambda step, peak, total: peak, matrices_only=name.startswith("wrn"))

        @jax.jit
        def run(params, stats):
            def loss(params):
                logits, _, new = made.apply(params, stats, image, train=True)
                return jnp.mean(cross_entropy(logits, label)), (logits, new)

            evaluated = made.apply(params, stats, image, train=False)[0]
            gradient, (trained, new) = jax.grad(loss, has_aux=True)(params)
            after = state.advance(start(params, stats, tx, True), tx, gradient, new, goldens.EMA_DECAY)
            return evaluated, trained, gradient, after

        evaluated, trained, gradient, after = run(params, stats)
        assert trained.dtype == jnp.float64
        close(evaluated, golden["evaluation"])
        close(trained, golden["training"])
        assert_samples(golden, "gradient", gradient)
        assert_samples(golden, "after", after.params, after.batch_stats)
        assert_samples(golden, "average", after.ema_params)


@pytest.mark.parametrize("name", ["wrn_28_2", "resnet18_cifar", "resnet50"])
def test_network_in_float32(name):
    """A run on a CPU uses float32. Only the wide network is compared in training mode too.

    In the others, batch norms over four values lose too many digits.
    """
    golden, (made, params, stats) = load(name), network(name, *goldens.NETWORKS[name])
    image = inputs(golden, jnp.float32)
    run = jax.jit(lambda train: made.apply(params, stats, image, train=train)[0], static_argnums=0)
    close(run(False), golden["evaluation"])
    if name == "wrn_28_2":
        close(run(True), golden["training"])


def rows(ids, count, pad):
    return np.r_[ids, np.full(count - len(ids), pad)].astype(np.int32)


def test_five_fixmatch_steps():
    """Given the same batches and draws, Pillow's views and PyTorch's steps reach the same state as ours."""
    options, golden = goldens.FIXMATCH, load("fixmatch")
    made, params, stats = network("wrn_10_1", options["classes"], options["pixels"])
    tx = sgd(state.cosine_sevenths, matrices_only=True, total=7)
    pool = MemoryArrays.of(golden["image"], goldens.labels(options["pool"], options["classes"]))
    step = jax.jit(
        partial(
            steps.fixmatch_step,
            model=made,
            tx=tx,
            weak=jax.vmap(views.weak_view(RECIPE)),
            strong=views.strong_views(RECIPE, sequential=True),
            learner=learners.create("fixmatch", Options(3, options["pool"], 5, options["threshold"])),
            unsupervised_weight=options["weight"],
            ema_decay=goldens.EMA_DECAY,
        )
    )
    now, key = start(params, stats, tx, True), stream_key(int(golden["seed"]), "goldens")
    for number in range(options["steps"]):
        ids = goldens.fixmatch_feed(number)
        batch = {part: fetch(pool, jnp.asarray(ids[part], jnp.int32)) for part in ("labelled", "unlabelled")}
        now, _, metrics = step(now, None, batch, key)
        for name in ("loss", "loss_labelled", "loss_unlabelled", "mask_rate"):
            assert metrics[name] == pytest.approx(golden[f"metric/{name}"][number], rel=1e-4), (name, number)
    assert 0 < golden["metric/mask_rate"].mean() < 1  # otherwise the comparison would show little
    assert_samples(golden, "after", now.params, now.batch_stats)
    assert_samples(golden, "average", now.ema_params)


def test_five_proxy_steps():
    """Compares one epoch with a short last batch: its losses, record and final state."""
    options, golden = goldens.PROXY, load("proxy")
    made, params, stats = network("resnet8", options["classes"], options["pixels"])
    tx = sgd(state.cosine_to(1e-4), matrices_only=False, total=7)
    pool = MemoryArrays.of(golden["image"], goldens.labels(options["pool"], options["classes"]))
    weak = jax.vmap(views.weak_view(RECIPE))
    step = jax.jit(partial(steps.supervised_step, model=made, tx=tx, augment=weak, steps_per_epoch=options["steps"]))
    now, record, key = start(params, stats, tx, False), dynamics.init(options["pool"], 1), stream_key(0, "goldens")
    for number in range(options["steps"]):
        ids = rows(goldens.proxy_feed(number), options["batch"], options["pool"])
        now, record, metrics = step(now, record, fetch(pool, jnp.asarray(ids)), key)
        assert metrics["loss"] == pytest.approx(golden["metric/loss"][number], rel=1e-4), number
    for name in ("p_label", "p_other", "el2n"):
        np.testing.assert_allclose(getattr(record, name)[:, 0], golden[f"record/{name}"], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(record.correct[:, 0], golden["record/correct"])
    assert_samples(golden, "after", now.params, now.batch_stats)


@pytest.mark.long
def test_pytorch_still_makes_the_goldens(tmp_path):
    """This needs the extra bench."""
    subprocess.run([sys.executable, "-m", "tests.goldens", str(tmp_path)], check=True, cwd=Path(__file__).parents[2])
    for path in sorted(tmp_path.iterdir()):
        with np.load(path) as new:
            old = load(path.stem)
            assert sorted(old) == sorted(new)
            for name, array in old.items():
                if array.dtype.kind == "f":
                    np.testing.assert_allclose(new[name], array, rtol=1e-6, atol=1e-7, err_msg=f"{path.stem} {name}")
                else:
                    np.testing.assert_array_equal(new[name], array, err_msg=f"{path.stem} {name}")
