"""Each learner against a loop, over steps with padding and repeated examples; and all of them in a training."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import learners
from semiprune_jax.config.schema import fixmatch_images
from semiprune_jax.learners import Memory, Options, Seen
from tests import small
from tests.oracles import learners as oracle

N, C, BATCH, STEPS = 12, 3, 8, 30
OPTIONS = Options(classes=C, n=N, steps=STEPS, threshold=0.7)


def batches(rng):
    """Probabilities f32[B, C] that grow surer, ids (some twice), and a mask that leaves the last two rows out."""
    for step in range(STEPS):
        logits = rng.normal(size=(BATCH, C)) * (1 + step / 5)
        logits[:, 0] += 1.0  # a class that is found sooner
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        yield p.astype(np.float32), rng.integers(0, N, BATCH), np.arange(BATCH) < BATCH - 2


def seen(p, ids, mask, step=0):
    def locate(rows, values):
        return jnp.where(mask, ids, rows + jnp.arange(len(ids))), values

    return Seen(jnp.asarray(p), jnp.asarray(ids), jnp.asarray(mask, jnp.float32), jnp.int32(step), lambda x: x, locate)


def run(name, rng, alignment=None, **later):
    """The learner's targets, step by step, and what it was shown; ``later`` is what it remembers after many more."""
    learner = learners.create(name, OPTIONS, alignment)
    begun = learner.init() | jax.tree.map(jnp.asarray, later) if later else learner.init()
    memory = Memory(begun, learner.init_examples(N) if learner.init_examples else None)
    weigh = jax.jit(lambda memory, p, ids, mask, step: learner.targets(memory, seen(p, ids, mask, step)))
    for step, (p, ids, mask) in enumerate(batches(rng)):
        memory, targets = weigh(memory, p, ids, mask, step)
        yield learner, memory, targets, (p.astype(float)[mask].tolist(), ids[mask].tolist(), mask)


def assert_same(targets, mask, labels, weights):
    np.testing.assert_array_equal(targets.label[mask], labels)
    np.testing.assert_allclose(targets.weight[mask], weights, rtol=1e-4, atol=1e-6)


def test_fixmatch_counts_from_the_threshold_on(rng):
    for _, _, targets, (p, _, mask) in run("fixmatch", rng):
        assert_same(targets, mask, [oracle.argmax(row) for row in p], [float(max(row) >= 0.7) for row in p])
    learner = learners.create("fixmatch", OPTIONS._replace(threshold=0.5))
    assert learner.targets(Memory(), seen([[0.5, 0.5, 0.0]], [0], [True]))[1].weight == 1


def test_the_config_knows_who_has_strong_views():
    options = small.config().fixmatch  # 8 labelled, and twice as many unlabelled
    for name in learners.LEARNERS:
        options.learner = name
        views = 1 + (learners.create(name, OPTIONS).student == "strong")
        assert fixmatch_images(options) == 8 * (1 + 2 * views)


def test_pseudo_labels_count_more_and_more(rng):
    for step, (learner, _, targets, (p, _, mask)) in enumerate(run("pseudo_label", rng)):
        assert learner.student == "weak"
        ramp = min(step / (0.4 * STEPS), 1)
        assert_same(targets, mask, [oracle.argmax(row) for row in p], [ramp * (max(row) >= 0.7) for row in p])


def test_flexmatch(rng):
    expected, weights = oracle.FlexMatch(C, N, 0.7), []
    for _, memory, targets, (p, ids, mask) in run("flexmatch", rng):
        labels, weight = expected.step(p, ids)
        assert_same(targets, mask, labels, weight)
        weights += [(w, max(row) >= 0.7) for w, row in zip(weight, p, strict=True)]
        np.testing.assert_array_equal(memory.examples, [c if c >= 0 else C for c in expected.selected])
        np.testing.assert_array_equal(memory.shared, np.bincount(memory.examples, minlength=C + 1))
    assert any(w and not confident for w, confident in weights)  # its thresholds are lower ones


def test_freematch(rng):
    expected, fairness, counted = oracle.FreeMatch(C), [], []
    later = {"tau": 0.7, "p": np.array([0.5, 0.3, 0.2], np.float32), "h": np.array([0.6, 0.3, 0.1], np.float32)}
    expected.tau, expected.p, expected.h = later["tau"], later["p"].tolist(), later["h"].tolist()
    for learner, memory, targets, (p, _, mask) in run("freematch", rng, **later):
        labels, weights = expected.step(p)
        counted += weights
        assert_same(targets, mask, labels, weights)
        np.testing.assert_allclose(memory.shared["tau"], expected.tau, rtol=1e-5)
        strong = rng.normal(size=(BATCH, C)).astype(np.float32)
        q = (np.exp(strong) / np.exp(strong).sum(-1, keepdims=True))[mask].tolist()
        fairness.append(expected.fairness(q, weights))
        full = np.zeros(BATCH, int), mask
        got = learner.aux_loss(memory.shared, jnp.asarray(strong), targets, seen(np.ones((BATCH, C)), *full))
        assert got == pytest.approx(fairness[-1], rel=1e-4)
    assert len(set(fairness)) > 1
    assert 0.2 < np.mean(counted) < 0.9
    nothing = targets._replace(weight=jnp.zeros(BATCH))
    loss, gradient = jax.value_and_grad(
        lambda x: learner.aux_loss(memory.shared, x, nothing, seen(np.ones((BATCH, C)), *full))
    )(jnp.asarray(strong))
    assert loss == 0
    assert not np.any(gradient)  # nor NaN, where no image counts


def test_softmatch(rng):
    expected, counted = oracle.SoftMatch(C), []
    expected.mean, expected.var = 0.8, 0.04
    for _, memory, targets, (p, _, mask) in run("softmatch", rng, mean=0.8, var=0.04):
        labels, weights = expected.step(p)
        counted += weights
        assert_same(targets, mask, labels, weights)
        np.testing.assert_allclose(memory.shared["var"], expected.var, rtol=1e-4)
    assert 0.2 < np.mean(counted) < 0.9


@pytest.mark.parametrize("target", [(1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1)])
def test_alignment(rng, target):
    expected, moved = oracle.Alignment(target), 0
    for _, _, targets, (p, _, mask) in run("fixmatch", rng, np.array(target)):
        rows = expected.step(p)
        assert_same(targets, mask, [oracle.argmax(row) for row in rows], [float(max(row) >= 0.7) for row in rows])
        moved += sum(oracle.argmax(a) != oracle.argmax(b) for a, b in zip(p, rows, strict=True))
    assert moved  # it does change what images are taken for


def test_alignment_reaches_what_a_learner_remembers(rng):
    """FlexMatch's memory is its own, under alignment too, and so is FreeMatch's loss."""
    *_, (_, memory, _, _) = run("flexmatch", rng, np.full(C, 1 / C))
    np.testing.assert_array_equal(memory.shared["learner"], np.bincount(memory.examples, minlength=C + 1))
    *_, (learner, memory, targets, (*_, mask)) = run("freematch", rng, np.full(C, 1 / C))
    plain = learners.create("freematch", OPTIONS)
    strong, given = jnp.asarray(rng.normal(size=(BATCH, C))), seen(np.ones((BATCH, C)), np.zeros(BATCH, int), mask)
    expected = plain.aux_loss(memory.shared["learner"], strong, targets, given)
    assert learner.aux_loss(memory.shared, strong, targets, given) == expected


def trained(directory, name, mode, devices, total=4):
    """A training's first steps under the named learner: its state, record and metrics on the host."""
    config = small.config()
    config.fixmatch.learner, config.fixmatch.alignment = name, "labelled"
    config.fixmatch.learning_rate = 0.003  # as in test_steps.py
    directory.mkdir()
    made, labels = small.trainings(directory, config, mode, devices)
    begun = made.fixmatch_training("pseudolabel", np.where(np.arange(90) < 24, labels, -1).astype(np.int32))
    current, record, losses = begun.state, begun.record, []
    with begun.feed as read:
        for at in range(total):
            feed = made.layout.put_feed(read(at, 1))
            current, record, metrics = begun.dispatch(current, record, begun.pool, feed, begun.key)
            losses.append(jax.device_get(metrics)["loss"])
    made.metrics.close()
    return jax.device_get(current), made.layout.save_record(record), np.concatenate(losses)


EVERYWHERE = [(name, mode, devices) for name in learners.LEARNERS for mode, devices in (("jit", 4), ("pmap", 3))]
QUICK = [("flexmatch", "pmap", 3)]


@pytest.mark.parametrize(
    ("name", "mode", "devices"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.long) for case in EVERYWHERE],
)
def test_a_learner_on_any_devices(tmp_path, name, mode, devices):
    """Its state, what it remembers of each example, and its loss are those of one device."""
    state_one, record_one, losses_one = trained(tmp_path / "one", name, "jit", 1)
    state_many, record_many, losses_many = trained(tmp_path / "many", name, mode, devices)
    assert np.all(np.isfinite(losses_one))
    np.testing.assert_allclose(losses_many, losses_one, rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, record_many, record_one)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-4), state_many, state_one)
    if name == "flexmatch":
        assert np.any(record_one < 3)  # something was learned of some
