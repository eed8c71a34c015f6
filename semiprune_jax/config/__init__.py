"""The config of a run: its settings, whether they fit together, and recipes of experiments.

A config file starts from ``base_config()``, changes fields, may add selections by ``selection(...)``, and takes recipes
that experiments share from ``recipes``.
"""

from semiprune_jax.config import recipes
from semiprune_jax.config.schema import base_config, selection

__all__ = ["base_config", "recipes", "selection"]
