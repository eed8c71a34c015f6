"""Soft targets: steps with them against numpy, and a learner that is added from outside by its name."""

import json
from functools import partial

import jax
import numpy as np
import pytest

from semiprune_jax import learners
from semiprune_jax.config import validation
from semiprune_jax.errors import ConfigError
from semiprune_jax.learners import LEARNERS, LearnerSpec
from semiprune_jax.train import steps
from semiprune_jax.workdir import formats
from tests import small
from tests.learners import OPTIONS
from tests.learners.sharpening import TEMPERATURE
from tests.oracles import pytorch
from tests.train import batch_of, begin, linear, optimizer, scaled

LABELLED, UNLABELLED, WEIGHT, STEPS = np.arange(4), np.arange(4, 16), 0.7, 4


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(LEARNERS, "sharpening", LearnerSpec("tests.learners.sharpening"))


def softmax(logits):
    return np.array([pytorch.softmax(row) for row in logits.tolist()])


def loop(w, flat, labels):
    """Weights and metrics at each step; the cross entropy's gradient is the inputs times p - target."""
    gradients = []
    for step in range(STEPS):
        lrs = [pytorch.cosine_annealing(t, 0.1, 0.0, 100) for t in range(step)]
        now = pytorch.sgd(w, gradients, lrs=lrs, momentum=0.9, nesterov=True, weight_decay=0.0)
        x_l, x_w, x_s = flat[LABELLED], flat[UNLABELLED], 0.5 * flat[UNLABELLED]
        p_l, p_w, p_s = softmax(x_l @ now), softmax(x_w @ now), softmax(x_s @ now)
        target = np.array([row ** (1 / TEMPERATURE) / sum(row ** (1 / TEMPERATURE)) for row in p_w])
        weight = p_w.max(axis=1)
        hard = np.eye(3)[labels[LABELLED]]
        loss_u = -np.mean(weight * np.sum(target * np.log(p_s), axis=1))
        loss = -np.mean(np.sum(hard * np.log(p_l), axis=1)) + WEIGHT * loss_u
        gradient_u = x_s.T @ (weight[:, None] * (p_s - target)) / len(x_s)
        gradients.append(x_l.T @ (p_l - hard) / len(x_l) + WEIGHT * gradient_u)
        share = target.mean(axis=0)
        entropy = -np.sum(share * np.log(share)) / np.log(3)
        metrics = {"loss": loss, "loss_unlabelled": loss_u, "mask_rate": weight.mean()}
        yield now, metrics | {"class_share": share, "class_entropy": entropy}


def test_steps_with_soft_targets_are_those_of_a_loop(registered):
    images, labels = small.pool(40)
    network, tx = linear(), optimizer(weight_decay=0.0)
    state = begin(network, tx, jax.random.key(1), ema=True)
    batch = {
        "labelled": batch_of(images, labels, LABELLED),
        "unlabelled": batch_of(images, np.full(40, -1), UNLABELLED),
    }
    step = jax.jit(
        partial(
            steps.fixmatch_step,
            model=network,
            tx=tx,
            weak=scaled(1.0),
            strong=scaled(0.5),
            learner=learners.create("sharpening", OPTIONS),
            unsupervised_weight=WEIGHT,
            ema_decay=0.9,
        )
    )
    expected = loop(np.asarray(state.params["w"], np.float64), images.reshape(40, -1) / 255, labels)
    for w, values in expected:
        np.testing.assert_allclose(state.params["w"], w, rtol=1e-4, atol=1e-6)
        state, _, metrics = step(state, None, batch, jax.random.key(0))
        for name, value in values.items():
            np.testing.assert_allclose(metrics[name], value, rtol=1e-4, err_msg=name)


def test_a_config_names_a_learner_from_outside(tmp_path, registered, tiny_config):
    tiny_config.data.path = small.write_npz(tmp_path / "pool.npz")
    tiny_config.ssl.learner = "sharpening"
    tiny_config.ssl.threshold = 1.0  # FixMatch would learn nothing; this learner reads no threshold
    validation.validate(tiny_config)
    small.run(tiny_config, tmp_path / "work", until="pseudolabel")
    lines = [json.loads(line) for line in formats.read_lines(tmp_path / "work/metrics.jsonl")]
    assert min(line["mask_rate"] for line in lines if "mask_rate" in line) > 1 / 3


def test_a_learner_that_nobody_registered(tiny_config):
    tiny_config.data.path, tiny_config.ssl.learner = "x", "sharpening"
    with pytest.raises(ConfigError, match=r"config\.ssl\.learner = 'sharpening': expected fixmatch \| flexmatch \|"):
        validation.validate(tiny_config)
