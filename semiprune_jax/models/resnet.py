"""ResNets with torchvision's stem, or with the stem for CIFAR (ELFS and SemiPrune, ``model_generator/resnet.py``)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from semiprune_jax.models import initializers
from semiprune_jax.models.batch_norm import BatchNorm


class ResNet(nn.Module):
    """A stem, then stages of residual blocks; channels double and maps halve between stages.

    Attributes:
      stage_sizes: the number of blocks of each stage; (2, 2, 2, 2) basic blocks with 64 channels make ResNet-18.
      channels: of the stem and of the first stage; with bottlenecks the output of a stage has four times as many.
      stem: "cifar", a 3x3 convolution; "torchvision", a 7x7 convolution and a 3x3 max pool, both at stride 2.
      bottleneck: whether a block has 1x1, 3x3 (with the stride, as in torchvision's "v1.5") and 1x1 convolutions
        instead of two 3x3 convolutions.
      bn_momentum: see ``BatchNorm``; PyTorch's default is 0.9.
      dtype: compute type; parameters and statistics are float32.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    channels: int
    stem: str = "cifar"
    bottleneck: bool = False
    bn_momentum: float = 0.9
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask=None, axis_name=None):
        """x f32[B, H, W, 3] -> (logits f32[B, C], features f32[B, D]); the last stage has D output channels."""
        # The networks for CIFAR keep PyTorch's default initialisation.
        kernel_init = initializers.he_fan_out if self.stem == "torchvision" else initializers.uniform_fan_in

        def conv(x, channels: int, size: int, name: str, stride: int = 1):
            options = {"use_bias": False, "kernel_init": kernel_init, "dtype": self.dtype}
            return nn.Conv(channels, (size, size), stride, size // 2, **options, name=name)(x)

        def norm(x, name: str):
            return BatchNorm(self.bn_momentum, name=name)(x, train=train, mask=mask, axis_name=axis_name)

        def basic(x, channels: int, stride: int, name: str):
            y = conv(x, channels, 3, f"{name}_conv1", stride)
            y = conv(nn.relu(norm(y, f"{name}_bn1")), channels, 3, f"{name}_conv2")
            return norm(y, f"{name}_bn2")

        def bottleneck(x, channels: int, stride: int, name: str):
            y = conv(x, channels, 1, f"{name}_conv1")
            y = conv(nn.relu(norm(y, f"{name}_bn1")), channels, 3, f"{name}_conv2", stride)
            y = conv(nn.relu(norm(y, f"{name}_bn2")), 4 * channels, 1, f"{name}_conv3")
            return norm(y, f"{name}_bn3")

        x = x.astype(self.dtype)
        if self.stem == "torchvision":
            x = nn.relu(norm(conv(x, self.channels, 7, "stem", 2), "stem_bn"))
            x = nn.max_pool(x, (3, 3), (2, 2), [(1, 1), (1, 1)])  # pyright: ignore[reportArgumentType]  (its hint is str)
        else:
            x = nn.relu(norm(conv(x, self.channels, 3, "stem"), "stem_bn"))
        residual = bottleneck if self.bottleneck else basic
        for stage, blocks in enumerate(self.stage_sizes):
            for block in range(blocks):
                name = f"stage{stage}_block{block}"
                stride = 2 if stage > 0 and block == 0 else 1
                y = residual(x, self.channels * 2**stage, stride, name)
                if x.shape != y.shape:
                    x = norm(conv(x, y.shape[-1], 1, f"{name}_shortcut", stride), f"{name}_shortcut_bn")
                x = nn.relu(x + y)
        features = jnp.mean(x, axis=(1, 2), dtype=jnp.promote_types(x.dtype, jnp.float32))
        bias_init = partial(initializers.uniform, fan_in=features.shape[-1])
        head = nn.Dense(self.num_classes, kernel_init=initializers.uniform_fan_in, bias_init=bias_init, name="head")
        return head(features), features
