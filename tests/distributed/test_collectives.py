import jax
import jax.numpy as jnp
import numpy as np

from semiprune_jax.distributed.collectives import psum


def test_sums_are_over_the_devices_of_an_axis():
    tree = {"a": jnp.arange(8.0).reshape(4, 2), "b": jnp.ones(4, jnp.int32)}
    summed = jax.pmap(lambda tree: psum(tree, "data"), "data", devices=jax.devices()[:4])(tree)
    np.testing.assert_array_equal(summed["a"][0], [12, 16])
    assert summed["b"].tolist() == [4] * 4
    assert psum(tree, None) is tree
