"""Judge: in a benchmark, trains on pseudo-labels too, as a user would who has not bought any label of a coreset yet.

The networks predict the held-out images, and the report judges selections by these. Without an oracle, the retrainings
are these networks.
"""

from collections.abc import Iterator

from semiprune_jax.config.schema import Config
from semiprune_jax.select import coreset
from semiprune_jax.stages import retrain, settings
from semiprune_jax.stages.context import Context
from semiprune_jax.stages.costs import Counts, Work
from semiprune_jax.stages.stage import Stage


def is_wanted(config: Config) -> bool:
    """Whether a run needs networks for the verdict besides those of the retrain stage.

    It does not where no selection needs pseudo-labels, which would then be made for this alone.
    """
    if not config.data.oracle or config.label.held_out == 0 or config.pseudolabel.source == "clusters":
        return False
    reads = frozenset().union(*(coreset.reads(settings.used(config, n)) for n in settings.selection_names(config)))
    learns = config.proxy.examples == "all" and "score" in reads
    embeds = config.embed.source in ("proxy", "fixmatch") and "embed" in reads
    return "pseudolabel" in reads or learns or embeds


def run(context: Context) -> None:
    """Trains on the pseudo-labels of every coreset with every seed, if there are held-out labels."""
    if is_wanted(context.config) and len(context.store.load(retrain.HELD_OUT)["id"]):
        retrain.retrain_on(context, "judge", list(retrain.coresets(context)), truth=False)


def _costs(config: Config, counts: Counts) -> Iterator[Work]:
    if counts.held_out:
        for work in retrain.STAGE.costs(config, counts):
            if work.name.startswith("retrain keep"):
                yield work._replace(name=work.name.replace("retrain", "judge"))


STAGE = Stage("judge", run, reads=lambda config: {"select", "pseudolabel"}, is_goal=is_wanted, costs=_costs)
