"""Networks by name, as pairs of pure functions. The only package that imports flax.linen; it does so late."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from semiprune_jax.models.networks import architecture

if TYPE_CHECKING:
    import jax
    from jax.typing import DTypeLike


class Network(NamedTuple):
    """A network as two pure functions over the trees of its parameters and batch statistics."""

    # (key, image shape (H, W, 3)) -> (params, batch_stats)
    init: "Callable[[jax.Array, tuple[int, int, int]], tuple[Any, Any]]"
    # (params, batch_stats, x f32[B, H, W, 3], *, train, mask=None, axis_name=None)
    #   -> (logits f32[B, C], features f32[B, D], batch_stats)
    apply: "Callable[..., tuple[jax.Array, jax.Array, Any]]"


def create(
    name: str, *, num_classes: int, bn_momentum: float, variant: str = "usb", dtype: "DTypeLike" = "float32"
) -> Network:
    """The named network.

    Args:
      variant: of wide ResNets, see ``WideResNet``; other networks have none.
      dtype: compute type; parameters and statistics are float32.

    Raises:
      ArgumentError: there is no such network; lists the names.
    """
    module = architecture(name).create(num_classes, bn_momentum=bn_momentum, dtype=dtype, variant=variant)
    return _network(module)


def create_swav(name: str, *, prototypes: int, dtype: "DTypeLike" = "float32") -> Network:
    """The named network under SwAV's head: its logits are scores of prototypes; arguments and errors as above."""
    from semiprune_jax.models.swav import SwavNetwork

    encoder = architecture(name).create(1, bn_momentum=0.9, dtype=dtype)
    return _network(SwavNetwork(encoder, prototypes))


def _network(module: Any) -> Network:
    import jax.numpy as jnp

    def init(key: "jax.Array", image_shape: tuple[int, int, int]):
        variables = module.init(key, jnp.zeros((1, *image_shape), jnp.float32), train=True)
        return variables["params"], variables["batch_stats"]

    def apply(params, batch_stats, x, *, train: bool, mask=None, axis_name=None) -> "tuple[jax.Array, jax.Array, Any]":
        variables = {"params": params, "batch_stats": batch_stats}
        if not train:
            logits, features = module.apply(variables, x, train=False)
            return logits, features, batch_stats
        outputs = module.apply(variables, x, train=True, mask=mask, axis_name=axis_name, mutable=["batch_stats"])
        (logits, features), updated = outputs
        return logits, features, updated["batch_stats"]

    return Network(init, apply)
