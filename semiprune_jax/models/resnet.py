"""ResNets of basic blocks with the small-image stem (ELFS and SemiPrune, ``model_generator/resnet.py``)."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from semiprune_jax.models.batch_norm import BatchNorm


def _uniform_fan_in(key, shape, dtype=jnp.float32):
    """PyTorch's default for convolution and linear weights: uniform in +-1/sqrt(fan_in)."""
    bound = 1.0 / math.sqrt(math.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -bound, bound)


class ResNet(nn.Module):
    """A 3x3 stem without pooling, then stages of basic blocks; channels double and maps halve between stages.

    Attributes:
      stage_sizes: blocks of each stage; (2, 2, 2, 2) with 64 channels is ResNet-18.
      channels: of the stem and the first stage.
      bn_momentum: see ``BatchNorm``; PyTorch's default is 0.9.
      dtype: compute type; parameters and statistics are float32.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    channels: int
    bn_momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask=None, axis_name=None):
        """x f32[B, H, W, 3] -> (logits f32[B, C], features f32[B, channels * 2^(stages - 1)])."""
        conv = partial(nn.Conv, use_bias=False, kernel_init=_uniform_fan_in, dtype=self.dtype)

        def norm(x, name: str):
            return BatchNorm(self.bn_momentum, name=name)(x, train=train, mask=mask, axis_name=axis_name)

        x = conv(self.channels, (3, 3), padding=1, name="stem")(x.astype(self.dtype))
        x = nn.relu(norm(x, "stem_bn"))
        for stage, blocks in enumerate(self.stage_sizes):
            channels = self.channels * 2**stage
            for block in range(blocks):
                name = f"stage{stage}_block{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                y = conv(channels, (3, 3), strides=stride, padding=1, name=f"{name}_conv1")(x)
                y = conv(channels, (3, 3), padding=1, name=f"{name}_conv2")(nn.relu(norm(y, f"{name}_bn1")))
                if x.shape != y.shape:
                    x = norm(conv(channels, (1, 1), strides=stride, name=f"{name}_shortcut")(x), f"{name}_shortcut_bn")
                x = nn.relu(x + norm(y, f"{name}_bn2"))
        features = jnp.mean(x.astype(jnp.float32), axis=(1, 2))

        def bias_init(key, shape, dtype=jnp.float32):
            return _uniform_fan_in(key, (features.shape[-1], *shape), dtype)[0]

        return nn.Dense(self.num_classes, kernel_init=_uniform_fan_in, bias_init=bias_init, name="head")(
            features
        ), features
