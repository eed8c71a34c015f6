"""Selectors: functions from scores, and some from embeddings, to the ids that are kept; numpy in and out.

Every selector returns the kept ids, sorted, int64, exactly ``coreset_size(N, keep)`` of them. It raises ArgumentError,
a ValueError that says what it got, what it allows and what to do. ``keep`` is the fraction kept.

Ties and random draws can be tied to examples instead of positions: ``tiebreak`` is any sortable array [N] (smaller
first), ``noise`` f64[N] in (0, 1). The pipeline passes hashes of (seed, key), so that a new image changes nothing that
was drawn for the others; without them ties go by position and draws by ``seed``.

Another selector is a function and a record in a file of this folder, and a line in ``SELECTORS``.
"""

from semiprune_jax.field import Field
from semiprune_jax.select.selectors.embedding import (
    BADGE,
    D2,
    K_CENTRE,
    MODERATE,
    PROTOTYPICALITY,
    ZCORE,
    badge,
    d2,
    k_centre,
    moderate,
    prototypicality,
    zcore,
)
from semiprune_jax.select.selectors.ranks import coreset_size
from semiprune_jax.select.selectors.sampling import (
    BALANCED_RANDOM,
    BETA,
    RANDOM,
    balanced_random,
    beta,
    beta_parameters,
    horizons,
    random,
)
from semiprune_jax.select.selectors.selector import Search, Selector, Shared, Spec, Sweep
from semiprune_jax.select.selectors.threshold import (
    BALANCED_TOP,
    DOUBLE_END,
    STRATIFIED,
    TOP,
    balanced_top,
    cutoffs,
    double_end,
    stratified,
    top,
)

__all__ = [
    "SELECTORS",
    "Search",
    "Selector",
    "Shared",
    "Spec",
    "Sweep",
    "badge",
    "balanced_random",
    "balanced_top",
    "beta",
    "beta_parameters",
    "coreset_size",
    "cutoffs",
    "d2",
    "double_end",
    "horizons",
    "k_centre",
    "moderate",
    "prototypicality",
    "random",
    "settings",
    "stratified",
    "top",
    "zcore",
]

SELECTORS: dict[str, Selector] = {
    selector.name: selector
    for selector in (
        RANDOM,
        TOP,
        BALANCED_RANDOM,
        BALANCED_TOP,
        DOUBLE_END,
        STRATIFIED,
        BETA,
        MODERATE,
        PROTOTYPICALITY,
        K_CENTRE,
        D2,
        ZCORE,
        BADGE,
    )
}


def settings() -> dict[str, Field]:
    """The settings of all selectors: every configured selection has each of them.

    >>> list(settings())[:3]
    ['end', 'cutoff', 'strata']
    """
    return {name: field for selector in SELECTORS.values() for name, field in selector.settings.items()}
