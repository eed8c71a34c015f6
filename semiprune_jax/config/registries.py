"""The names that settings may have and that other modules own. Importing this module does not import JAX.

STAND-INS: the statements between the lines below repeat the contents of registries that cannot be imported without JAX
yet. Each becomes the import that its comment names.
"""

import re

from semiprune_jax.data.sources import SOURCES
from semiprune_jax.field import OneOf, Rule
from semiprune_jax.learners import LEARNERS
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
_RESNETS = ("resnet8", "resnet18_cifar", "resnet50_cifar", "resnet18", "resnet34", "resnet50")
# Names of networks that a run trains; semiprune_jax.models.networks.
NETWORK = Rule(
    " | ".join(("wrn_<depth>_<width> of depth 10, 16, 22, 28, 34 or 40", *_RESNETS)),
    lambda name: name in _RESNETS or re.fullmatch(r"wrn_(10|16|22|28|34|40)_[1-9]\d*", name) is not None,
)
RESNET = OneOf(_RESNETS)  # semiprune_jax.models.networks
# Networks whose weights can be brought, and pixels of a side of their patches; semiprune_jax.models.networks.
PATCHES = {"vit_s16": 16, "vit_b16": 16, "vit_s14": 14, "vit_b14": 14, "resnet50": 32}
# --- stand-ins end
