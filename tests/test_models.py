import jax
import jax.numpy as jnp
import numpy as np
import pytest

from semiprune_jax import config, models
from semiprune_jax.models.batch_norm import BatchNorm
from tests.oracles import pytorch


@pytest.mark.parametrize(
    ("name", "classes", "count"),
    [
        ("wrn_28_2", 10, 1_467_626),
        ("wrn_28_8", 100, 23_401_028),
        ("resnet18", 10, 11_173_962),
        ("resnet18", 100, 11_220_132),
    ],
)
def test_parameter_counts(name, classes, count):
    network = models.create(name, num_classes=classes, bn_momentum=0.9)
    params, _ = jax.eval_shape(lambda key: network.init(key, (32, 32, 3)), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize("name", ["wrn_10_1", "wrn_16_2", "resnet8"])
def test_shapes_and_modes(name):
    network = models.create(name, num_classes=7, bn_momentum=0.9)
    params, stats = jax.jit(network.init, static_argnums=1)(jax.random.key(0), (8, 8, 3))
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    logits, features, new_stats = network.apply(params, stats, x, train=True)
    assert logits.shape == (4, 7)
    assert features.shape[0] == 4
    assert logits.dtype == features.dtype == jnp.float32
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a - b))), stats, new_stats)
    assert all(change > 0 for change in jax.tree.leaves(moved))
    _, _, same_stats = network.apply(params, stats, x, train=False)
    assert same_stats is stats


@pytest.mark.parametrize("name", ["wrn_10_1", "resnet8"])
def test_bfloat16_keeps_parameters_statistics_and_outputs_in_float32(name):
    x = jax.random.normal(jax.random.key(1), (16, 8, 8, 3))
    outputs = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        network = models.create(name, num_classes=5, bn_momentum=0.9, dtype=dtype)
        params, stats = network.init(jax.random.key(0), (8, 8, 3))
        logits, features, stats = network.apply(params, stats, x, train=True)
        assert {leaf.dtype for leaf in jax.tree.leaves((params, stats, logits, features))} == {jnp.dtype("float32")}
        outputs[dtype] = logits
    difference = np.abs(outputs[jnp.float32] - outputs[jnp.bfloat16]).max()
    assert 0 < difference < 0.1 * np.abs(outputs[jnp.float32]).max()  # it does compute in bfloat16, and nearly alike


def test_names_are_those_of_the_config():
    for name in ("wrn_10_1", "wrn_28_2", "wrn_40_12", "resnet18", "resnet8"):
        assert config._NETWORK.fullmatch(name)
        models.create(name, num_classes=2, bn_momentum=0.9)
    for name in ("wrn_27_2", "wrn_28", "wrn_4_1", "wrn_28_0", "resnet50", ""):
        assert not config._NETWORK.fullmatch(name)
        with pytest.raises(KeyError):
            models.create(name, num_classes=2, bn_momentum=0.9)


def test_usb_variant_ignores_the_first_norm_of_stages_two_and_three():
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    grads = {}
    for variant in ("usb", "tf"):
        network = models.create("wrn_10_1", num_classes=3, bn_momentum=0.9, variant=variant)
        params, stats = network.init(jax.random.key(0), (8, 8, 3))

        def loss(params, network=network, stats=stats):
            return jnp.sum(network.apply(params, stats, x, train=True)[0] ** 2)

        grads[variant] = jax.grad(loss)(params)
    for stage in ("stage1", "stage2"):
        assert not np.any(grads["usb"][f"{stage}_block0_bn1"]["scale"])
        assert np.any(grads["tf"][f"{stage}_block0_bn1"]["scale"])
    assert np.any(grads["usb"]["stage0_block0_bn1"]["scale"])


def test_initial_weights():
    """Spread of WRN's and ResNet's convolutions as PyTorch would draw them, within 3%."""
    wide, _ = models.create("wrn_10_2", num_classes=10, bn_momentum=0.9).init(jax.random.key(0), (8, 8, 3))
    kernel = np.asarray(wide["stage2_block0_conv2"]["kernel"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.03)
    assert abs(wide["stem"]["bias"]).max() <= 1 / np.sqrt(27)
    head = np.asarray(wide["head"]["kernel"])
    assert head.std() == pytest.approx(np.sqrt(2 / (128 + 10)), rel=0.05)
    basic, _ = models.create("resnet8", num_classes=10, bn_momentum=0.9).init(jax.random.key(0), (8, 8, 3))
    kernel = np.asarray(basic["stage2_block0_conv2"]["kernel"])
    bound = 1 / np.sqrt(9 * 64)
    assert abs(kernel).max() <= bound
    assert kernel.std() == pytest.approx(bound / np.sqrt(3), rel=0.03)
    assert 0 < abs(basic["head"]["bias"]).max() <= 1 / 8


def norm(x, mask=None, train=True, momentum=0.9, variables=None):
    module = BatchNorm(momentum, 1e-5)
    variables = variables or {
        "params": {"scale": jnp.array([1.5, 0.5]), "bias": jnp.array([0.1, -0.2])},
        "batch_stats": {"mean": jnp.array([0.3, 0.4]), "var": jnp.array([2.0, 3.0])},
    }
    return module.apply(variables, x, train=train, mask=mask, axis_name=None, mutable=["batch_stats"]), variables


def test_batch_norm_is_pytorchs(rng):
    x = rng.normal(1, 2, (5, 3, 3, 2)).astype(np.float32)
    (y, new), variables = norm(jnp.array(x))
    p, s = variables["params"], variables["batch_stats"]
    expected = pytorch.batch_norm(
        x, *(np.array(v) for v in (p["scale"], p["bias"], s["mean"], s["var"])), momentum=0.1, eps=1e-5
    )
    np.testing.assert_allclose(y, expected[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["mean"], expected[1], rtol=1e-5)
    np.testing.assert_allclose(new["batch_stats"]["var"], expected[2], rtol=1e-5)


def test_batch_norm_leaves_padding_out(rng):
    x = rng.normal(1, 2, (6, 3, 3, 2)).astype(np.float32)
    mask = jnp.array([True, True, False, True, False, False])
    junk = np.where(np.asarray(mask)[:, None, None, None], x, 1e6).astype(np.float32)
    (y, new), _ = norm(jnp.array(junk), mask)
    (y_alone, new_alone), _ = norm(jnp.array(x[np.asarray(mask)]))
    np.testing.assert_allclose(np.asarray(y)[np.asarray(mask)], y_alone, rtol=1e-4, atol=1e-5)
    for key in ("mean", "var"):
        np.testing.assert_allclose(new["batch_stats"][key], new_alone["batch_stats"][key], rtol=1e-5)


def test_batch_norm_evaluates_with_running_statistics(rng):
    x = rng.normal(size=(2, 3, 3, 2)).astype(np.float32)
    (y, new), variables = norm(jnp.array(x), train=False)
    expected = (x - [0.3, 0.4]) / np.sqrt(np.array([2.0, 3.0]) + 1e-5) * [1.5, 0.5] + [0.1, -0.2]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    assert not new or jax.tree.all(jax.tree.map(jnp.array_equal, new["batch_stats"], variables["batch_stats"]))


def test_an_empty_batch_gives_no_nan():
    (y, new), _ = norm(jnp.ones((2, 3, 3, 2)), jnp.zeros(2, bool))
    assert np.all(np.isfinite(y))
    assert np.all(np.isfinite(new["batch_stats"]["var"]))
