"""Vision transformers of DINO and DINOv2, for features; they are not trained here."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class VisionTransformer(nn.Module):
    """Patches, a class token, positions, and pre-norm blocks; features are the class token after the last norm.

    Attributes:
      patch: side of a patch in pixels.
      width: dimensions of a token; the hidden layer of a block has four times as many.
      grid: patches along a side of the images that the positions are made for; positions are resized to other grids.
      layer_scale: whether the two residuals of each block are scaled (DINOv2).
    """

    patch: int
    width: int
    depth: int
    heads: int
    grid: int
    layer_scale: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x f32[B, H, W, 3], sides multiples of ``patch`` -> f32[B, width]."""
        size = (self.patch, self.patch)
        x = nn.Conv(self.width, size, size, "VALID", name="patches")(x)
        rows, columns = x.shape[1:3]
        positions = self.param("positions", nn.initializers.zeros, (1 + self.grid**2, self.width))
        x = x.reshape(len(x), rows * columns, self.width) + self._resized(positions[1:], rows, columns)[None]
        first = self.param("class_token", nn.initializers.zeros, (self.width,)) + positions[0]
        x = jnp.concatenate([jnp.broadcast_to(first[None, None], (len(x), 1, self.width)), x], axis=1)
        for block in range(self.depth):
            x = x + self._scaled(self._attention(self._norm(x, f"block{block}_norm1"), block), f"block{block}_scale1")
            x = x + self._scaled(self._hidden(self._norm(x, f"block{block}_norm2"), block), f"block{block}_scale2")
        return self._norm(x[:, :1], "norm")[:, 0]

    def _attention(self, x: jax.Array, block: int) -> jax.Array:
        qkv = nn.Dense(3 * self.width, name=f"block{block}_qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(*x.shape[:2], 3, self.heads, -1), 2, 0)
        mixed = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        return nn.Dense(self.width, name=f"block{block}_out")(mixed)

    def _hidden(self, x: jax.Array, block: int) -> jax.Array:
        x = nn.gelu(nn.Dense(4 * self.width, name=f"block{block}_fc1")(x), approximate=False)
        return nn.Dense(self.width, name=f"block{block}_fc2")(x)

    def _norm(self, x: jax.Array, name: str) -> jax.Array:
        return nn.LayerNorm(1e-6, name=name)(x)

    def _scaled(self, x: jax.Array, name: str) -> jax.Array:
        if not self.layer_scale:
            return x
        return x * self.param(name, nn.initializers.ones, (self.width,))[None, None]

    def _resized(self, positions: jax.Array, rows: int, columns: int) -> jax.Array:
        """Positions [grid^2, width] resized to another grid of patches by PyTorch's bicubic interpolation."""
        if (rows, columns) == (self.grid, self.grid):
            return positions
        square = positions.reshape(self.grid, self.grid, self.width)
        square = jnp.einsum("ra,cb,abw->rcw", bicubic(self.grid, rows), bicubic(self.grid, columns), square)
        return square.reshape(rows * columns, self.width)


def bicubic(old: int, new: int) -> np.ndarray:
    """The matrix f32[new, old] that resizes a line of ``old`` numbers to ``new``, as DINO and DINOv2 resize positions.

    PyTorch's bicubic kernel (a = -0.75) without a filter, with repeated borders. The scale is (new + 0.1) / old, which
    both chose so that rounding does not lose a patch, and which they trained with.
    """
    centre = (np.arange(new) + 0.5) * old / (new + 0.1) - 0.5
    first = np.floor(centre).astype(int)
    weights = np.zeros((new, old))
    for offset in range(-1, 3):
        away = np.abs(centre - (first + offset))
        near = (1.25 * away - 2.25) * away**2 + 1.0
        far = -0.75 * (((away - 5.0) * away + 8.0) * away - 4.0)
        at = np.clip(first + offset, 0, old - 1)
        np.add.at(weights, (np.arange(new), at), np.where(away <= 1.0, near, far))
    return weights.astype(np.float32)
