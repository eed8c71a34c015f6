"""The names that settings may have and that other modules own. Importing this module does not import JAX.

STAND-INS: the statements between the lines below repeat the contents of registries that cannot be imported without JAX
yet. Each becomes the import that its comment names.
"""

import re
from collections.abc import Iterator
from typing import Any

from semiprune_jax.field import AT_LEAST_ONE, NOT_NEGATIVE, POSITIVE, Field, Rule, one_of
from semiprune_jax.select.scores import SCORES
from semiprune_jax.select.selectors import SELECTORS

__all__ = [
    "LEARNERS",
    "NETWORK",
    "PATCHES",
    "RESNET",
    "SCORES",
    "SEARCHED",
    "SELECTORS",
    "SETTINGS",
    "SOURCES",
    "source_problems",
]

# --- stand-ins begin
LEARNERS = ("fixmatch", "flexmatch", "freematch", "softmatch", "pseudo_label")  # semiprune_jax.learners.LEARNERS
SOURCES = ("digits", "arrays", "folder", "tfds")  # semiprune_jax.data.sources.SOURCES
_RESNETS = ("resnet8", "resnet18_cifar", "resnet50_cifar", "resnet18", "resnet34", "resnet50")
# Names of networks that a run trains; semiprune_jax.models.networks.
NETWORK = Rule(
    " | ".join(("wrn_<depth>_<width> of depth 10, 16, 22, 28, 34 or 40", *_RESNETS)),
    lambda name: name in _RESNETS or re.fullmatch(r"wrn_(10|16|22|28|34|40)_[1-9]\d*", name) is not None,
)
RESNET = one_of(_RESNETS)  # semiprune_jax.models.networks
# Networks whose weights can be brought, and pixels of a side of their patches; semiprune_jax.models.networks.
PATCHES = {"vit_s16": 16, "vit_b16": 16, "vit_s14": 14, "vit_b14": 14, "resnet50": 32}
SEARCHED = ("double_end", "stratified", "beta")  # selectors that have something to search for; their records
# The selectors' own settings; semiprune_jax.select.selectors.SETTINGS.
SETTINGS: dict[str, Field] = {
    "cutoff": Field(
        (0.0,),
        "double_end, stratified: the fraction of the pool dropped at the hard end. d2: the fraction of lowest AUM "
        "dropped. One cutoff, or one for each kept fraction.",
    ),
    "c_d": Field(
        4.0, "beta: how fast the preference moves from uncertain to easy examples as more is pruned.", POSITIVE
    ),
    "concentration": Field(15.0, "beta: C.", POSITIVE),
    "form": Field(
        "code",
        "beta: code sets a = C + 1 - b, which DUAL's numbers were made with; paper sets a = C - b.",
        one_of(("code", "paper")),
    ),
    "strata": Field(50, "stratified: the number of strata.", AT_LEAST_ONE),
    "end": Field("hard", "top, balanced_top, d2: which end of the score is kept.", one_of(("hard", "easy"))),
    "balanced": Field(False, "prototypicality: whether each cluster gives its share."),
    "neighbours": Field(
        10, "d2 and extrapolated scores: the number of neighbours of each example in the graph.", AT_LEAST_ONE
    ),
    "gamma": Field(0.1, "d2: how far a choice reaches; 0 silences all neighbours.", NOT_NEGATIVE),
    "samples": Field(1_000_000, "zcore: the number of points drawn.", AT_LEAST_ONE),
}


def source_problems(data: Any) -> Iterator[tuple[str, str]]:
    """Fields of the section ``data`` that do not fit its source; ``SOURCES[data.source].problems(data)``."""
    if data.source == "tfds" and not data.name:
        yield "name", "the name of a dataset, for data.source = 'tfds'"
    if data.source == "tfds" and not data.split:
        yield "split", "the split of the pool, for data.source = 'tfds'"
    needs_path = data.source == "arrays" or (data.source == "folder" and not data.labels)
    if needs_path and not data.path:
        yield "path", f"where the data lies, for data.source = {data.source!r}"
    if data.classes and data.source != "folder":
        yield "classes", "none, but for data.source = 'folder'"


# --- stand-ins end
