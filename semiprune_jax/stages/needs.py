"""Which stages a run needs: what no selection and no retraining reads is not made."""

from typing import NamedTuple

from semiprune_jax.config.schema import Config, settings
from semiprune_jax.select import coreset


class Needs(NamedTuple):
    """Stages that are needed."""

    pseudolabel: bool
    score: bool
    embed: bool
    embed_first: bool  # before pseudo-labels, which are made from embeddings


def of(config: Config) -> Needs:
    """What this config's selections and retrainings go by.

    >>> from semiprune_jax.config.schema import base_config
    >>> config = base_config()
    >>> config.data.oracle, config.select.names, config.embed.source = True, ("random", "zcore"), "file"
    >>> of(config)
    Needs(pseudolabel=False, score=False, embed=True, embed_first=True)
    """
    specs = [settings(config.select[name]) | {"name": name, "keep": 1.0, "seed": 0} for name in config.select.names]
    read = frozenset().union(*(coreset.reads(coreset.relevant(spec)) for spec in specs))
    of_images = config.embed.source in ("file", "weights", "swav")  # rather than of a network that the run trains
    embed = "embed" in read
    score = "score" in read or (embed and config.embed.source == "proxy")
    pseudolabel = (
        not config.data.oracle  # what retrainings train on
        or "pseudolabel" in read
        or bool(config.search.names)
        or (score and config.proxy.examples == "all")
        or (embed and config.embed.source == "fixmatch")
    )
    embed = embed or (pseudolabel and config.pseudolabel.source == "clusters")
    return Needs(pseudolabel, score, embed, embed and of_images)
