"""Exponential moving averages."""

from typing import Any

import jax


def ema_update(average: Any, new: Any, decay: float) -> Any:
    """decay * average + (1 - decay) * new, for each array of two trees of one structure.

    >>> ema_update({"w": 1.0}, {"w": 0.0}, decay=0.75)
    {'w': 0.75}
    """
    # optax.incremental_update adds the terms in the other order. Where the compiler fuses a product with the sum, a
    # quarter of a network's weights then rounds differently (decay 0.999, CPU), and a run no longer repeats its bits.
    return jax.tree.map(lambda old, value: decay * old + (1.0 - decay) * value, average, new)
