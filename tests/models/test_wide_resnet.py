"""The two variants of wide ResNets."""

import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax import models


def test_usb_variant_ignores_the_first_norm_of_stages_two_and_three():
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    networks = {v: models.create("wrn_10_1", num_classes=3, bn_momentum=0.9, variant=v) for v in ("usb", "tf")}
    params, stats = jax.jit(networks["usb"].init, static_argnums=1)(jax.random.key(0), (8, 8, 3))  # for both
    grads = {}
    for variant, network in networks.items():

        def loss(params, network=network):
            return jnp.sum(network.apply(params, stats, x, train=True)[0] ** 2)

        grads[variant] = jax.jit(jax.grad(loss))(params)
    for stage in ("stage1", "stage2"):
        assert not np.any(grads["usb"][f"{stage}_block0_bn1"]["scale"])
        assert np.any(grads["tf"][f"{stage}_block0_bn1"]["scale"])
    assert np.any(grads["usb"]["stage0_block0_bn1"]["scale"])


def test_usb_variant_of_width_1_passes_the_raw_stem_on():
    """With all convolutions of the first block at 0, it adds nothing to its shortcut: USB's is the stem's output."""
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    for variant, activates in (("usb", False), ("tf", True)):
        network = models.create("wrn_10_1", num_classes=3, bn_momentum=0.9, variant=variant)
        params, stats = network.init(jax.random.key(0), (8, 8, 3))
        silent = {name: jax.tree.map(jnp.zeros_like, layer) for name, layer in params.items() if "_conv" in name}
        changed = params | silent
        changed["stage0_block0_bn1"] = {"scale": jnp.zeros(16), "bias": -jnp.ones(16)}  # all activations are -0.1
        features = network.apply(changed, stats, x, train=False)[1]
        shortcuts = [changed[f"stage{stage}_block0_shortcut"]["kernel"] for stage in (1, 2)]
        assert len(shortcuts) == 2
        varies = bool(jnp.max(jnp.std(features, axis=0)) > 1e-6)
        assert varies != activates, variant
