"""The steps: losses and updates from first principles, masks, records, and equality over devices."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import learners, models
from semiprune_jax.augment import views
from semiprune_jax.data.memory import MemoryArrays, fetch
from semiprune_jax.data.pools import paired
from semiprune_jax.data.samplers import EpochSampler
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.learners.learner import Options
from semiprune_jax.randomness import stream_key
from semiprune_jax.train import dynamics, state, steps
from tests import small
from tests.oracles import pytorch
from tests.train import batch_of, begin, linear, optimizer, scaled


def layouts(*quick):
    """Ways to run a step on devices; all but those named are marked long."""
    everywhere = [("jit", 3), ("jit", 4), ("pmap", 1), ("pmap", 3), ("pmap", 4)]
    return [pytest.param(*way, marks=() if way in quick else pytest.mark.long) for way in everywhere]


def fixmatch(threshold):
    return learners.create("fixmatch", Options(classes=3, n=40, steps=100, threshold=threshold))


def test_cross_entropy(rng):
    logits, label = rng.normal(0, 5, (9, 4)).astype(np.float32), rng.integers(0, 4, 9)
    expected = [pytorch.cross_entropy(row, y) for row, y in zip(logits.astype(float), label, strict=True)]
    np.testing.assert_allclose(steps.cross_entropy(jnp.array(logits), jnp.array(label)), expected, rtol=1e-5)


def test_cross_entropy_is_float32_and_spares_unknown_labels():
    logits = jnp.array([[50.0, 0.0], [0.0, 0.0]], jnp.bfloat16)
    got = steps.cross_entropy(logits, jnp.array([0, -1]))
    assert got.dtype == jnp.float32
    assert got[1] == 0


def test_oracle_fixmatch_loss_by_hand():
    confident, unsure = [9.0, 0.0], [0.1, 0.0]
    total, loss_l, loss_u = pytorch.fixmatch_loss([[0.0, 0.0]], [0], [confident, unsure], [[0.0, 0.0]] * 2, 0.95, 2.0)
    assert loss_l == pytest.approx(np.log(2))
    assert loss_u == pytest.approx(np.log(2) / 2)  # the mean is over the whole batch
    assert total == pytest.approx(2 * np.log(2))


@pytest.mark.parametrize("besides", [0.0, 3.0])
def test_fixmatch_step_from_first_principles(besides):
    """A learner may add a loss: ``besides`` times the mean of the strong views' first logits."""
    images, labels = small.pool(40)
    network, tx = linear(), optimizer(weight_decay=0.0)
    fresh = begin(network, tx, jax.random.key(1), ema=True)
    lab, unl = np.arange(4), np.arange(4, 16)
    batch = {"labelled": batch_of(images, labels, lab), "unlabelled": batch_of(images, np.full(40, -1), unl)}
    threshold, weight = 0.4, 0.7
    learner = fixmatch(threshold)
    if besides:
        learner = learner._replace(aux_loss=lambda shared, student, targets, seen: besides * jnp.mean(student[:, 0]))
    new, _, metrics = steps.fixmatch_step(
        fresh,
        None,
        batch,
        jax.random.key(0),
        model=network,
        tx=tx,
        weak=scaled(1.0),
        strong=scaled(0.5),
        learner=learner,
        unsupervised_weight=weight,
        ema_decay=0.9,
    )
    w = np.asarray(fresh.params["w"], np.float64)
    flat = images.reshape(40, -1) / 255

    def loss_at(w):
        weak = flat[unl] @ np.asarray(fresh.params["w"], np.float64)  # targets do not move with the weights
        strong = 0.5 * flat[unl] @ w
        whole, *parts = pytorch.fixmatch_loss(
            (flat[lab] @ w).tolist(), labels[lab], weak.tolist(), strong.tolist(), threshold, weight
        )
        return whole + besides * strong[:, 0].mean(), *parts

    loss, loss_l, loss_u = loss_at(w)
    assert float(metrics["loss"]) == pytest.approx(loss, rel=1e-5)
    assert float(metrics["loss_labelled"]) == pytest.approx(loss_l, rel=1e-5)
    assert float(metrics["loss_unlabelled"]) == pytest.approx(loss_u, rel=1e-5)
    confident = [max(pytorch.softmax(row)) >= threshold for row in (flat[unl] @ w).tolist()]
    assert 0 < sum(confident) < len(confident)
    assert float(metrics["mask_rate"]) == pytest.approx(np.mean(confident))
    # The first Nesterov step is w - lr * 1.9 * gradient; finite differences check three entries.
    for index in [(0, 0), (77, 1), (191, 2)]:
        e = np.zeros_like(w)
        e[index] = 1e-4
        slope = (loss_at(w + e)[0] - loss_at(w - e)[0]) / 2e-4
        moved = float(new.params["w"][index]) - w[index]
        assert moved == pytest.approx(-0.1 * 1.9 * slope, rel=1e-2, abs=1e-6)
    np.testing.assert_allclose(
        new.ema_params["w"], 0.9 * fresh.params["w"] + 0.1 * new.params["w"], rtol=1e-5, atol=1e-7
    )


def test_fixmatch_never_reads_unlabelled_labels():
    images, labels = small.pool(30)
    pool = MemoryArrays.of(images, labels)
    batch = paired(fetch)(pool, {"labelled": jnp.arange(3), "unlabelled": jnp.arange(3, 9)})
    assert batch["unlabelled"]["label"].tolist() == [-1] * 6
    assert batch["labelled"]["label"].tolist() == labels[:3].tolist()


def test_weak_rows_shape_the_statistics_of_the_others():
    """In the joint forward pass, the labelled loss sees the weak images only through batch norm."""
    network = models.create("wrn_10_1", num_classes=3, bn_momentum=0.9)
    images, labels = small.pool(40)
    tx = optimizer()
    fresh = begin(network, tx, jax.random.key(0), ema=True)
    run = partial(
        steps.fixmatch_step,
        fresh,
        None,
        key=jax.random.key(0),
        model=network,
        tx=tx,
        strong=scaled(1.0),
        learner=fixmatch(1.1),
        unsupervised_weight=1.0,
        ema_decay=0.9,
    )
    batch = {
        "labelled": batch_of(images, labels, np.arange(4)),
        "unlabelled": batch_of(images, labels, np.arange(4, 12)),
    }
    step = jax.jit(partial(run, weak=scaled(1.0)))
    first, _, one = step(batch=batch)
    batch["unlabelled"]["image"] = batch["unlabelled"]["image"] // 2
    second, _, two = step(batch=batch)
    assert one["mask_rate"] == two["mask_rate"] == 0
    assert one["loss_labelled"] != two["loss_labelled"]
    assert not np.allclose(first.batch_stats["bn"]["mean"], second.batch_stats["bn"]["mean"])


def test_at_a_weight_of_zero_the_labelled_examples_stand_alone():
    network = models.create("wrn_10_1", num_classes=3, bn_momentum=0.9)
    images, labels = small.pool(40)
    tx = optimizer()
    fresh = begin(network, tx, jax.random.key(0), ema=True)
    step = partial(
        steps.fixmatch_step,
        model=network,
        tx=tx,
        weak=scaled(1.0),
        strong=scaled(1.0),
        learner=fixmatch(0.1),
        unsupervised_weight=0.0,
        ema_decay=0.9,
    )
    step, outcomes = jax.jit(step), []
    for unlabelled in (np.arange(4, 12), np.arange(20, 28)):
        batch = {"labelled": batch_of(images, labels, np.arange(4)), "unlabelled": batch_of(images, labels, unlabelled)}
        outcomes.append(step(fresh, None, batch, jax.random.key(0))[0])
    jax.tree.map(np.testing.assert_array_equal, *outcomes)


def test_supervised_step_masks_padding_and_records():
    images, labels = small.pool(20)
    network, tx = linear(), optimizer()
    fresh = begin(network, tx, jax.random.key(1), ema=False).replace(step=jnp.int32(7))
    record = dynamics.init(20, 4, entropy=True)
    run = partial(steps.supervised_step, model=network, tx=tx, augment=scaled(1.0), steps_per_epoch=3)
    ids = np.array([5, 2, 9])
    new, seen, metrics = run(fresh, record, batch_of(images, labels, ids), jax.random.key(0))
    padded = batch_of(images, labels, np.array([5, 2, 9, 0, 0]), [True, True, True, False, False])
    padded["id"] = jnp.array([5, 2, 9, 20, 20])
    new_padded, seen_padded, metrics_padded = run(fresh, record, padded, jax.random.key(0))
    close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7)  # sums of another length round differently
    jax.tree.map(close, (new, seen, metrics), (new_padded, seen_padded, metrics_padded))
    p = [pytorch.softmax(row) for row in (images.reshape(20, -1)[ids] / 255.0 @ np.asarray(fresh.params["w"])).tolist()]
    column = np.zeros(20)
    column[ids] = [row[y] for row, y in zip(p, labels[ids], strict=True)]
    np.testing.assert_allclose(seen.p_label[:, 2], column, rtol=1e-4)  # step 7 is in the third epoch of 3 steps
    assert not np.any(seen.p_label[:, [0, 1, 3]])
    losses = [-np.log(row[y]) for row, y in zip(p, labels[ids], strict=True)]
    assert float(metrics["loss"]) == pytest.approx(np.mean(losses), rel=1e-4)


def test_evaluation_sums_and_predictions():
    images, labels = small.pool(10)
    network = linear()
    fresh = begin(network, optimizer(), jax.random.key(1), ema=True)
    averaged = fresh.replace(params=jax.tree.map(jnp.zeros_like, fresh.params))  # only the average is read
    ids = np.arange(6)
    batch = batch_of(images, labels, ids, [True] * 4 + [False] * 2)
    sums = steps.evaluation_step(averaged, batch, model=network, view=scaled(1.0))
    logits = images.reshape(10, -1)[:4] / 255.0 @ np.asarray(fresh.params["w"])
    assert sums["count"] == 4
    assert sums["correct"] == np.sum(logits.argmax(-1) == labels[:4])
    found = steps.prediction_step(averaged, batch, model=network, view=scaled(1.0))
    np.testing.assert_array_equal(found["prediction"][:4], logits.argmax(-1))
    np.testing.assert_allclose(
        found["confidence"][:4], [max(pytorch.softmax(row)) for row in logits.tolist()], rtol=1e-4
    )


RECIPE = views.Recipe((0.3,) * 3, (0.3,) * 3, 0.125, flip=True)


def run_fixmatch(directory, mode, count, per_dispatch=1, total=3):
    """Three steps of FixMatch, with a labelled batch that is no multiple of three devices."""
    config = small.config()
    config.ssl.learning_rate = 0.003  # at 0.03, a ReLU flipped by rounding moves a weight by 6e-5
    made, labels = small.trainer(directory, config, mode, count)
    begun = small.fixmatch_training(made, config, np.where(np.arange(90) < 24, labels, -1).astype(np.int32))
    current, collected = begun.state, []
    with begun.feed as read:
        for at in range(0, total, per_dispatch):
            feed = made.layout.put_feed(read(at, per_dispatch))
            current, _, metrics = begun.dispatch(current, None, begun.pool, feed, begun.key)
            collected.append(jax.device_get(metrics))  # one at a time, as the loop does
    made.metrics.close()
    return jax.device_get(current), jax.tree.map(lambda *m: np.concatenate(m), *collected)


@pytest.fixture(scope="module")
def fixmatch_on_one(tmp_path_factory):
    return run_fixmatch(tmp_path_factory.mktemp("fixmatch"), "jit", 1)


@pytest.mark.parametrize(("mode", "count"), layouts(("jit", 4), ("pmap", 3)))
def test_fixmatch_is_the_same_on_any_devices(tmp_path, mode, count, fixmatch_on_one):
    one, metrics_one = fixmatch_on_one
    many, metrics_many = run_fixmatch(tmp_path, mode, count)
    assert metrics_one["mask_rate"].min() > 0
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-4), many, one)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-4), metrics_many, metrics_one)


def test_steps_per_dispatch_change_nothing(tmp_path, fixmatch_on_one):
    one, metrics_one = fixmatch_on_one
    many, metrics_many = run_fixmatch(tmp_path, "jit", 2, per_dispatch=3)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-4), many, one)
    assert metrics_many["loss"].shape == (3,)
    np.testing.assert_allclose(metrics_many["loss"], metrics_one["loss"], rtol=1e-4)


def run_supervised(mode, count, total=4):
    """Two recorded epochs of 2 steps over 20 of 24 examples, and the compilations after each step."""
    layout = Layout.of(mode, count)
    images, labels = small.pool(24)
    network = models.create("resnet8", num_classes=3, bn_momentum=0.9)
    tx = optimizer(lr=0.05, decay_matrices_only=False)
    view = layout.per_shard(jax.vmap(views.weak_view(RECIPE)))
    step = partial(steps.supervised_step, model=network, tx=tx, augment=view, steps_per_epoch=2)
    current = layout.compile_init(lambda key: state.create(network, tx, key, (8, 8, 3), ema=False))(stream_key(0, "i"))
    record = layout.create_record(lambda: dynamics.init(layout.record_rows(24), 2))
    dispatch = layout.compile(step, fetch)
    pool = layout.replicate(MemoryArrays.of(images, labels))
    feed = EpochSampler(0, "o", np.arange(20), batch_size=11, rows=layout.padded(11), pad_id=24)
    compiled, events = [], []

    def listen(event, duration, **kwargs):
        if event == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    for at in range(total):
        current, record, metrics = dispatch(current, record, pool, layout.put_feed(feed(at, 1)), stream_key(0, "v"))
        jax.block_until_ready(metrics)
        compiled.append(len(events))
    jax.monitoring.unregister_event_duration_listener(listen)
    return jax.device_get(current), layout.save_record(record), compiled


@pytest.fixture(scope="module")
def supervised_on_one():
    return run_supervised("jit", 1)


@pytest.mark.parametrize(("mode", "count"), layouts())  # test_supervised.py has whole trainings
def test_records_are_the_same_on_any_devices(mode, count, supervised_on_one):
    one, record_one, _ = supervised_on_one
    many, record_many, compiled = run_supervised(mode, count)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-4), many, one)
    assert record_many.p_label.shape == record_one.p_label.shape
    for name in ("p_label", "p_other", "el2n"):
        np.testing.assert_allclose(getattr(record_many, name), getattr(record_one, name), atol=1e-5)
    assert 0 < compiled[0] == compiled[-1]  # nothing compiles after the first step


def test_every_visited_example_is_recorded_and_no_other(supervised_on_one):
    record = supervised_on_one[1]
    assert np.all(record.p_label[:20] > 0)
    assert not np.any(record.p_label[20:])
