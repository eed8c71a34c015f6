"""The sections ``score``, ``select`` and ``search``: scores of examples, and the selections that use them."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from semiprune_jax.config.trainings import SEEDS
from semiprune_jax.field import NOT_NEGATIVE, SEVERAL_POSITIVE, Field, OneOf, Rule, Section
from semiprune_jax.select import scores, selectors
from semiprune_jax.select.selectors import SELECTORS

SCORE = Section(
    "Scores, which are computed from the proxy's dynamics; a change of these settings repeats no training.",
    scores.settings(),
)


def selection_section() -> Section:
    """The fields of every named selection: its selector, its score, and the settings of all selectors."""
    return Section(
        "A selection: how to choose examples. Each setting is read by the selectors or scores that its help names.",
        {
            "selector": Field(
                "random",
                f"How examples are chosen. These read embeddings: {', '.join(selectors.readers('features'))}.",
                OneOf(SELECTORS),
            ),
            **selectors.settings(),
        },
    )


class Named(NamedTuple):
    """A selection that every config has."""

    help: str
    fields: Mapping[str, Any]  # those that differ from the defaults


UNIFORM = "random"  # the selection, and its selector, that others are compared with

NAMED = {
    UNIFORM: Named("A uniform draw; it is always made.", {"selector": "random"}),
    "semi_aum": Named(
        "SemiPrune's double-end cutoff by AUM.",
        {"selector": "double_end", "score": "aum"},
    ),
    "semi_forgetting": Named("Double-end cutoff by forgetting.", {"selector": "double_end", "score": "forgetting"}),
    "semi_el2n": Named("Double-end cutoff by EL2N.", {"selector": "double_end", "score": "el2n"}),
    "semi_dual": Named(
        "SemiPrune's DUAL score with Beta sampling.",
        {"selector": "beta", "score": "dual", "horizon": -1},
    ),
    "ccs": Named("CCS: strata of AUM.", {"selector": "stratified", "score": "aum"}),
    "hardest": Named("The hardest examples by AUM.", {"selector": "top", "score": "aum"}),
    "balanced_random": Named(
        "A uniform draw from each class, known or predicted, in proportion to its size.",
        {"selector": "balanced_random"},
    ),
    "balanced_hardest": Named(
        "The hardest examples of each class, in proportion to its size.", {"selector": "balanced_top", "score": "aum"}
    ),
    "dual_hardest": Named("The most uncertain examples by DUAL.", {"selector": "top", "score": "dual", "horizon": 30}),
    "tdds": Named("The highest TDDS scores.", {"selector": "top", "score": "tdds"}),
    "extrapolated": Named(
        "The highest Dyn-Unc scores, carried over from labelled images to all by a graph network; with "
        "proxy.examples = 'labelled'.",
        {"selector": "top", "score": "dyn_unc", "extrapolate": "graph"},
    ),
    "moderate": Named(
        "Moderate: examples in the middle, by distance from the median of their class.", {"selector": "moderate"}
    ),
    "prototypicality": Named(
        "The examples farthest from the centre of their cluster.", {"selector": "prototypicality"}
    ),
    "balanced_prototypicality": Named(
        "The examples farthest from their centre, from each cluster in proportion to its size.",
        {"selector": "prototypicality", "balanced": True},
    ),
    "k_centre": Named("Greedy k-centre: in turn, the example farthest from those kept.", {"selector": "k_centre"}),
    "d2": Named("D2 pruning by forgetting.", {"selector": "d2", "score": "forgetting"}),
    "badge": Named("BADGE: k-means++ on the gradients of the last layer.", {"selector": "badge"}),
    "zcore": Named("ZCore: the examples that cover most of the embedding space.", {"selector": "zcore"}),
}

SELECT = Section(
    "Which selections to make, and the settings of each. A config may add selections of its own with selection(...).",
    {
        "names": Field(
            ("random", "semi_aum", "semi_dual"),
            "The selections to make, each at each kept fraction.",
            element=str,
        ),
        "keep": Field(
            (0.7, 0.5, 0.3, 0.2, 0.1),
            "The kept fractions: 0.1 is 90% pruned.",
            Rule("fractions kept, each in (0, 1]", lambda keeps: len(keeps) > 0 and all(0 < k <= 1 for k in keeps)),
        ),
        "include_labelled": Field(
            True,
            "Whether every coreset holds the whole label budget, which is paid for, so that a selector chooses only "
            "the rest. The configs of the paper's experiments choose from the whole pool.",
        ),
    },
)

_SEARCHED = "; ".join(
    f"{name}: {' and '.join(sweep.field for sweep in selector.search.sweeps)}"
    for name, selector in SELECTORS.items()
    if selector.search
)

SEARCH = Section(
    "Search: trials that are trained and tested on pseudo-labels of the pool choose those settings of a selection that "
    f"have no value ({_SEARCHED}).",
    {
        "cost": Field(
            1.0,
            "What all trials of a run may cost, as a multiple of its retrainings on coresets with one seed: short "
            "trials compare all values, longer ones the best. 0: no limit; all values are tried at full length, as in "
            "the paper.",
            NOT_NEGATIVE,
        ),
        "held_out": Field(
            0.1, "Part of the pool that trials are tested on.", Rule("0 < x < 1", lambda value: 0 < value < 1)
        ),
        "horizons": Field((), "beta: horizons to try; empty: every 10 epochs from score.window on.", element=int),
        "c_d": Field(
            (3.0, 4.0, 5.0, 6.0),
            "beta: values of c_D to try.",
            SEVERAL_POSITIVE,
        ),
        "exponents": Field(
            (0.5, 1.0, 2.0),
            "beta: exponents of DUAL to try.",
            SEVERAL_POSITIVE,
        ),
        "seeds": Field((0,), "Each trial is made with each seed.", SEEDS, element=int),
    },
)
