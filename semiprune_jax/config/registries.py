"""The names that settings may have and that other modules own. Importing this module does not import JAX."""

from semiprune_jax.data.sources import SOURCES
from semiprune_jax.field import OneOf, Rule
from semiprune_jax.learners import LEARNERS
from semiprune_jax.models.networks import NETWORK_NAMES, NETWORKS, PRETRAINED, is_network
from semiprune_jax.select.scores import SCORES
from semiprune_jax.select.selectors import SELECTORS

__all__ = [
    "LEARNERS",
    "NETWORK",
    "PRETRAINED",
    "RESNET",
    "SCORES",
    "SELECTORS",
    "SOURCES",
]

NETWORK = Rule(NETWORK_NAMES, is_network)  # a network that a run trains
RESNET = OneOf(NETWORKS)
