"""The names that settings may have and that other modules own. Importing this module does not import JAX.

STAND-INS: the statements between the lines below repeat the contents of registries that cannot be imported without JAX
yet. Each becomes the import that its comment names.
"""

from semiprune_jax.data.sources import SOURCES
from semiprune_jax.field import Rule, one_of
from semiprune_jax.models.networks import NETWORK_NAMES, NETWORKS, PRETRAINED, is_network
from semiprune_jax.select.scores import SCORES
from semiprune_jax.select.selectors import SELECTORS

__all__ = [
    "LEARNERS",
    "NETWORK",
    "PATCHES",
    "RESNET",
    "SCORES",
    "SELECTORS",
    "SOURCES",
]

# --- stand-ins begin
LEARNERS = ("fixmatch", "flexmatch", "freematch", "softmatch", "pseudo_label")  # semiprune_jax.learners.LEARNERS
# --- stand-ins end

NETWORK = Rule(NETWORK_NAMES, is_network)  # the networks that a run trains
RESNET = one_of(NETWORKS)
PATCHES = {name: record.multiple for name, record in PRETRAINED.items()}  # of sides of images, for weights from a file
