"""The registry of learners, and each of them in a training."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from semiprune_jax import learners
from semiprune_jax.train.fixmatch import images_per_step
from tests import small


def test_the_registry_loads_no_jax():
    code = "import sys, semiprune_jax.learners; print({'jax', 'flax', 'numpy'} & set(sys.modules))"
    root = Path(__file__).parent.parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "set()"


def test_every_view_of_an_image_is_counted():
    options, counts = small.config().fixmatch, {}  # 8 labelled images, and twice as many unlabelled ones
    for options.learner in learners.LEARNERS:
        counts[options.learner] = images_per_step(options)
    assert counts == {"fixmatch": 40, "flexmatch": 40, "freematch": 40, "softmatch": 40, "pseudo_label": 24}


def trained(directory, name, mode, devices, total=4):
    """Takes a training's first steps with the named learner; returns state, record and losses."""
    config = small.config()
    config.ssl.learner, config.ssl.alignment = name, "labelled"
    config.ssl.learning_rate = 0.003  # as in test_steps.py
    directory.mkdir()
    made, labels = small.trainer(directory, config, mode, devices)
    begun = small.fixmatch_training(made, config, np.where(np.arange(90) < 24, labels, -1).astype(np.int32))
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
    """State, memory of each example, and losses equal those of one device."""
    state_one, record_one, losses_one = trained(tmp_path / "one", name, "jit", 1)
    state_many, record_many, losses_many = trained(tmp_path / "many", name, mode, devices)
    assert np.all(np.isfinite(losses_one))
    np.testing.assert_allclose(losses_many, losses_one, rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, record_many, record_one)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-4), state_many, state_one)
    if name == "flexmatch":
        assert np.any(record_one < 3)  # it has remembered the classes of some examples
