"""Selectors: functions from scores, classes or embeddings to the ids that are kept; numpy in and out.

Every selector returns the kept ids, sorted, int64, exactly ``coreset_size(N, keep)`` of them. It raises ArgumentError,
a ValueError whose message gives the value, the allowed values and the remedy. ``keep`` is the fraction kept.

Ties and random draws can follow examples instead of positions: ``tiebreak`` is any sortable array [N] (smaller first),
``noise`` f64[N] in (0, 1). The pipeline passes hashes of (seed, key), so that a new image changes no other draw.
Without them ties are broken by position, and draws follow ``seed``.

To add a selector, write a function and a record in a file of this folder, and add a line to ``SELECTORS``.
"""

from collections.abc import Iterator

from semiprune_jax.field import Field
from semiprune_jax.select.scores import PER_SELECTION, SCORES
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
from semiprune_jax.select.selectors.selector import (
    EXTRAPOLATE,
    NEIGHBOURS,
    SCORE,
    Read,
    Search,
    Selector,
    Shared,
    Spec,
    Sweep,
)
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
    "Read",
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
    "readers",
    "settings",
    "stratified",
    "top",
    "used_fields",
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
    """The settings of a selection: those of all selectors, and those that come with a score.

    The help of a selector's setting begins with the names of its readers.

    >>> settings()["samples"].help
    'zcore: the number of points drawn.'
    """
    fields: dict[str, Field] = {"score": SCORE}
    told: dict[str, dict[str, list[str]]] = {}  # setting -> help -> names of readers
    for reader, name, field in _readers():
        fields.setdefault(name, field)
        told.setdefault(name, {}).setdefault(field.help, []).append(reader)
    for name, texts in told.items():
        lines = [f"{', '.join(names)}: {text}" for text, names in texts.items()]
        fields[name] = fields[name]._replace(help=" ".join(lines))
    return fields | {"extrapolate": EXTRAPOLATE}


def _readers() -> Iterator[tuple[str, str, Field]]:
    """Yields (reader, setting, field), where the help of the field is about this reader."""
    for name, score in SCORES.items():
        for option, field in PER_SELECTION.items():
            if option in score.options:
                yield name, option, field
    for selector in SELECTORS.values():
        if "mean_probability" in selector.reads:
            yield selector.name, "horizon", PER_SELECTION["horizon"]
        for name, field in selector.fields().items():
            yield selector.name, name, field
    yield "extrapolated scores", "neighbours", NEIGHBOURS


def readers(read: Read) -> list[str]:
    """The names of the selectors that read an argument.

    >>> readers("probabilities")
    ['badge']
    """
    return [name for name, selector in SELECTORS.items() if read in selector.reads]


def used_fields(spec: Spec) -> set[str]:
    """The fields of a selection and of config.score that its selector and its score use.

    >>> sorted(used_fields({"selector": "double_end", "score": "dual"}))
    ['cutoff', 'exponent', 'horizon', 'score', 'window']
    """
    selector = SELECTORS[spec["selector"]]
    used = set(selector.fields())
    if "score" in selector.reads:
        used |= {"score", *SCORES[spec["score"]].options}
        used |= {"horizon"} if "mean_probability" in selector.reads else set()
        used |= {"extrapolate", "neighbours"} if spec.get("extrapolate", "none") != "none" else set()
    return used
