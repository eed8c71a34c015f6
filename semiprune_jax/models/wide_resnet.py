"""Wide ResNet for small images, as USB trains it under FixMatch (``semilearn/nets/wrn/wrn.py``)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from semiprune_jax.models import initializers
from semiprune_jax.models.batch_norm import BatchNorm


class WideResNet(nn.Module):
    """WRN-``depth``-``width``: a 3x3 stem of 16 channels and three stages of (depth - 4) / 6 blocks.

    Attributes:
      variant: with "usb" the first convolution of stages 2 and 3 gets the raw input, and the result of the batch norm
        before it is thrown away, as in USB's code; with "tf" it gets the activated input, as in TensorFlow's original.
        With "usb" the shortcut of the first block is activated only where it has a convolution, at widths above 1.
      bn_momentum: see ``BatchNorm``; USB uses 0.999.
      dtype: compute type; parameters and statistics are float32.
    """

    num_classes: int
    depth: int
    width: int
    variant: str = "usb"
    bn_momentum: float = 0.999
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask=None, axis_name=None):
        """x f32[B, H, W, 3] -> (logits f32[B, C], features f32[B, 64 * width])."""
        # USB does not pass the slope of its leaky ReLU on, so the variance is He's for a plain ReLU.
        conv = partial(nn.Conv, use_bias=False, kernel_init=initializers.he_fan_out, dtype=self.dtype)
        stem_bias = partial(initializers.uniform, fan_in=27)

        def activate(x, name: str, epsilon: float = 1e-5):
            norm = BatchNorm(self.bn_momentum, epsilon, name=name)
            return nn.leaky_relu(norm(x, train=train, mask=mask, axis_name=axis_name), 0.1)

        x = conv(16, (3, 3), padding=1, use_bias=True, bias_init=stem_bias, name="stem")(x.astype(self.dtype))
        for stage in range(3):
            channels = 16 * self.width * 2**stage
            for block in range((self.depth - 4) // 6):
                name = f"stage{stage}_block{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                activated = activate(x, f"{name}_bn1")
                raw = x
                if stage == 0 and block == 0:  # it activates before the shortcut too
                    if channels != 16 or self.variant == "tf":
                        raw = activated
                elif block == 0 and self.variant == "usb":
                    activated = raw
                y = conv(channels, (3, 3), strides=stride, padding=1, name=f"{name}_conv1")(activated)
                y = conv(channels, (3, 3), padding=1, name=f"{name}_conv2")(activate(y, f"{name}_bn2"))
                if raw.shape[-1] != channels:
                    raw = conv(channels, (1, 1), strides=stride, name=f"{name}_shortcut")(raw)
                x = raw + y
        features = jnp.mean(activate(x, "bn", 1e-3), axis=(1, 2), dtype=jnp.promote_types(self.dtype, jnp.float32))
        head = nn.Dense(self.num_classes, kernel_init=initializers.xavier_normal, name="head")
        return head(features), features
