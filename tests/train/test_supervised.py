"""The proxy as a whole, on fixed pseudo-labels: the same dynamics and coresets on any devices."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from configs.digits import get_config
from semiprune_jax import models
from semiprune_jax.distributed import processes
from semiprune_jax.distributed.layout import Layout
from semiprune_jax.select import scores, selectors
from semiprune_jax.stages.context import train_context
from semiprune_jax.train.steps import cross_entropy
from semiprune_jax.workdir import checkpoint
from semiprune_jax.workdir.metrics import Metrics
from tests import small


def two_epochs():
    """The learning rate is low: at 0.1, a ReLU flipped by rounding moves a probability by 1e-3."""
    config = small.config()
    config.proxy.epochs, config.proxy.learning_rate = 2, 0.01
    return config


def proxy(tmp_path, config, mode, devices):
    made, labels = small.trainer(tmp_path / f"{mode}{devices}", config, mode, devices)
    (tmp_path / f"{mode}{devices}").mkdir()
    record = small.proxy(made, config, labels)
    made.metrics.close()
    return record


@pytest.fixture(scope="module")
def on_one(tmp_path_factory):
    return proxy(tmp_path_factory.mktemp("proxy"), two_epochs(), "jit", 1)


@pytest.mark.parametrize(("mode", "devices"), [("jit", 4), ("pmap", 3)])
def test_two_proxy_epochs_on_any_devices(tmp_path, mode, devices, on_one):
    record = proxy(tmp_path, two_epochs(), mode, devices)
    for name in ("p_label", "p_other", "el2n"):
        assert record[name].shape == (90, 2)
        np.testing.assert_allclose(record[name], on_one[name], atol=1e-4)
    one, many = (scores.aum(r["p_label"] - r["p_other"]).astype(float) for r in (on_one, record))
    kept_one, kept_many = selectors.double_end(one, 0.3, 0.2), selectors.double_end(many, 0.3, 0.2)
    # Only examples that lie at a cut may change sides.
    cuts = np.sort(one)[[18, 18 + 27 - 1]]
    for example in np.setxor1d(kept_one, kept_many):
        assert np.abs(one[example] - cuts).min() < 2 * 2 * 1e-4  # two epochs, margins of two probabilities


def test_repeatable_bit_for_bit(tmp_path, on_one):
    again = proxy(tmp_path, two_epochs(), "jit", 1)
    for name, value in again.items():
        np.testing.assert_array_equal(value, on_one[name])


def plain(config, params, stats):
    """Logits of the 31 test examples by a plain forward pass, and their labels."""
    network = models.create(config.model.retrain, num_classes=3, bn_momentum=0.9)
    images, truth = small.pool(31, seed=1)
    x = (images / 255 - np.array(config.data.mean)) / np.array(config.data.std)
    return jax.jit(partial(network.apply, train=False))(params, stats, jnp.array(x, jnp.float32))[0], truth


def test_retrainings_share_one_program(tmp_path, tiny_config):
    """A step is traced once per batch shape, for any examples, seed and length. The saved network is the tested one."""
    made, labels = small.trainer(tmp_path, tiny_config)
    first, network = small.retrain(made, tiny_config, "retrain/a_seed0", labels, np.arange(40), batch_size=16, seed=0)
    again = small.retrain_training(made, tiny_config, "retrain/c_seed2", labels, np.arange(9), batch_size=16, seed=2)
    assert again.dispatch._cache_size() == 1
    small.retrain(made, tiny_config, "retrain/b_seed1", labels, np.arange(70), batch_size=16, seed=1)
    assert again.dispatch._cache_size() == 1
    assert first["best_test_accuracy"] >= first["test_accuracy"]
    made.metrics.close()
    checkpoint.save(tmp_path / "model", network)
    saved = checkpoint.restore(tmp_path / "model", network)
    logits, truth = plain(tiny_config, saved["params"], saved["batch_stats"])
    assert first["test_accuracy"] == pytest.approx(np.mean(np.argmax(logits, -1) == truth))


def test_test_accuracy_is_exact(tmp_path, tiny_config):
    """Padded and masked on four devices, it equals a plain forward pass over the 31 test examples."""
    made, labels = small.trainer(tmp_path, tiny_config, devices=4)
    begun = small.retrain_training(made, tiny_config, "retrain/a_seed0", labels, np.arange(90), batch_size=16, seed=0)
    made.metrics.close()
    result = begun.evaluate(begun.state)
    logits, truth = plain(tiny_config, *jax.device_get((begun.state.params, begun.state.batch_stats)))
    assert result["test_accuracy"] == pytest.approx(np.mean(np.argmax(logits, -1) == truth))
    assert result["test_loss"] == pytest.approx(float(np.mean(cross_entropy(logits, jnp.array(truth)))), rel=1e-3)


def test_a_result_does_not_rest_on_lines_that_were_lost(tmp_path, tiny_config):
    made, labels = small.trainer(tmp_path, tiny_config)
    first, _ = small.retrain(made, tiny_config, "retrain/a_seed0", labels, np.arange(40), batch_size=16, seed=0)
    checkpoints = tmp_path / "retrain/a_seed0/checkpoints"
    assert not any(checkpoints.iterdir())
    tiny_config.runtime.checkpoint_every_steps = 3
    made, labels = small.trainer(tmp_path, tiny_config)
    small.retrain(made, tiny_config, "retrain/a_seed0", labels, np.arange(40), batch_size=16, seed=0)
    (tmp_path / "metrics.jsonl").unlink()  # killed after its last checkpoint, and the disk lost the lines
    made, labels = small.trainer(tmp_path, tiny_config)
    again, _ = small.retrain(made, tiny_config, "retrain/a_seed0", labels, np.arange(40), batch_size=16, seed=0)
    made.metrics.close()
    assert again["test_loss"] == pytest.approx(first["test_loss"], rel=1e-6)


def test_only_the_process_that_writes_metrics_knows_a_result(tmp_path, tiny_config, monkeypatch):
    made, labels = small.trainer(tmp_path, tiny_config)
    monkeypatch.setattr(processes, "is_lead_host", lambda: False)
    assert small.retrain(made, tiny_config, "retrain/a_seed0", labels, np.arange(40), batch_size=16, seed=0)[0] == {}
    made.metrics.close()


def test_without_a_test_set(tmp_path, tiny_config):
    layout, (images, labels) = Layout.of("jit", 1), small.pool(90)
    pools = small.pools(layout, (images, labels))
    made = train_context(tiny_config, pools, Metrics(tmp_path), tmp_path)
    assert small.retrain(made, tiny_config, "retrain/a_seed0", labels, np.arange(30), batch_size=16, seed=0)[0] == {}
    made.metrics.close()


def test_more_on_request(tmp_path, tiny_config):
    """The record gets more arrays [rows, epochs]; test_dynamics.py tests their values."""
    made, labels = small.trainer(tmp_path, tiny_config)
    for name in ("entropy", "grad_norm"):
        assert getattr(small.proxy_training(made, tiny_config, labels).record, name) is None
        tiny_config.proxy[f"record_{name}"] = True
        assert getattr(small.proxy_training(made, tiny_config, labels).record, name).shape == (1024, 4)
    made.metrics.close()


def test_a_proxy_of_some_examples_alone(tmp_path, tiny_config):
    """Every epoch writes the rows of those examples, gradient norms included, and never other rows."""
    tiny_config.proxy.record_grad_norm, tiny_config.proxy.epochs = True, 2
    made, labels = small.trainer(tmp_path, tiny_config)
    ids = np.arange(90)[::4]
    record = small.proxy(made, tiny_config, np.where(np.isin(np.arange(90), ids), labels, -1), ids)
    for name, values in record.items():
        assert np.all(values[ids] > 0) or name == "correct", name
        assert not np.any(np.delete(values, ids, axis=0)), name
    made.metrics.close()


@pytest.mark.long
def test_whole_runs_on_other_devices_select_nearly_the_same(tmp_path, digits, capsys):
    """Rounding flips a ReLU sooner or later, and a learning rate of 0.1 amplifies it; prints the drift."""
    config = get_config()
    records = {}
    for devices in (1, 3, 4):
        layout = Layout.of("jit", devices)
        pools = small.pools(layout, (small.squares(digits.train), digits.train.labels))
        work = tmp_path / str(devices)
        work.mkdir()
        made = replace(train_context(config, pools, Metrics(work), work), classes=tuple("0123456789"))
        records[devices] = small.proxy(made, config, digits.train.labels)
        made.metrics.close()
    one = records[1]
    aum_one = scores.aum(one["p_label"] - one["p_other"])
    for devices in (3, 4):
        other = records[devices]
        aum = scores.aum(other["p_label"] - other["p_other"])
        drift = np.abs(other["p_label"][:, :2] - one["p_label"][:, :2]).max()
        rank = float(spearmanr(aum, aum_one).statistic)
        kept = [set(selectors.double_end(a, 0.3, 0.1)) for a in (aum, aum_one)]
        shared = len(kept[0] & kept[1]) / len(kept[0])
        with capsys.disabled():
            print(f"\n1 and {devices} devices: p(label) apart by {drift:.2g} after two epochs;", end=" ")
            print(f"after all: rank correlation of AUM {rank:.3f}, {100 * shared:.0f}% of the coreset shared")
        assert rank > 0.9
        assert shared > 0.7
