"""The config of a run: its settings, their validation, and recipes of experiments.

A config file starts from ``base_config()`` and changes fields. It may add selections with ``selection(...)``, and apply
recipes that experiments share, from ``recipes``.
"""

from semiprune_jax.config import recipes
from semiprune_jax.config.schema import base_config, selection

__all__ = ["base_config", "recipes", "selection"]
