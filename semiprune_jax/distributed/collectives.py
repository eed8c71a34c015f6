"""Sums over the devices of a step."""

from typing import TypeVar

import jax

Tree = TypeVar("Tree")


def psum(tree: Tree, axis_name: str | None) -> Tree:
    """The tree's arrays, summed over the devices of a mapped axis; without one, as they are.

    Under ``jit`` a step sees the global batch, so ``axis_name`` is None and its sums are complete. Under ``pmap`` it
    sees one device's share.
    """
    return jax.lax.psum(tree, axis_name) if axis_name else tree
