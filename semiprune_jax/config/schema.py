"""The schema of a run's config: every setting once, with its default, its meaning and its rule.

The defaults are the paper's CIFAR-10 recipe. A file in ``configs/`` starts from ``base_config()`` and sets the fields
that differ. Importing this module does not import JAX.
"""

import math
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from semiprune_jax.config.aliases import AliasedDict
from semiprune_jax.config.data import DATA, LABEL
from semiprune_jax.config.embeddings import EMBED, PSEUDOLABEL, SWAV, TEMI
from semiprune_jax.config.runtime import REPORT, RUNTIME
from semiprune_jax.config.selections import NAMED, SCORE, SEARCH, SELECT, selection_section
from semiprune_jax.config.trainings import MODEL, PROXY, RETRAIN, SSL
from semiprune_jax.field import Field, Rule, Section
from semiprune_jax.select.selectors import SELECTORS

# A ConfigDict; Any, because the union that it declares for its attributes fits none of their uses.
Config: TypeAlias = Any


SEED = Field(
    0,
    "Seed of everything but the retrainings, which have retrain.seeds.",
    Rule("a whole number, 0 or more", lambda value: value >= 0),
)

SECTIONS: dict[str, Section] = {
    "data": DATA,
    "label": LABEL,
    "pseudolabel": PSEUDOLABEL,
    "model": MODEL,
    "ssl": SSL,
    "temi": TEMI,
    "proxy": PROXY,
    "score": SCORE,
    "embed": EMBED,
    "swav": SWAV,
    "select": SELECT,
    "search": SEARCH,
    "retrain": RETRAIN,
    "report": REPORT,
    "runtime": RUNTIME,
}


def base_config() -> Config:
    """All fields with their defaults. Batch sizes are global, whatever the number of devices."""
    config: Config = AliasedDict({"seed": SEED.default})
    for name, section in SECTIONS.items():
        config[name] = AliasedDict(section.defaults()) if name == "model" else ConfigDict(section.defaults())
    for name, named in NAMED.items():
        config.select[name] = selection(**named.fields)
    config.lock()  # a misspelled field is an error, ...
    config.select.unlock()  # ... but a config may add selections of its own (whose fields are locked again)
    for value in config.select.values():
        if isinstance(value, ConfigDict):
            value.lock()
    return config


def selection(*, selector: str, **fields: Any) -> Config:
    """One named selection.

    Args:
      selector: one of ``select.selectors.SELECTORS``.
      **fields: those of ``selection_section()`` that differ from the selector's defaults.

    Raises:
      TypeError: there is no such field.

    >>> selection(selector="double_end", cutoff=(0.1,)).score
    'aum'
    """
    if unknown := sorted(set(fields) - set(selection_section().fields)):
        raise TypeError(f"selection() has no field {unknown[0]!r}; expected {', '.join(selection_section().fields)}")
    own = SELECTORS[selector].settings if selector in SELECTORS else {}
    defaults = selection_section().defaults() | {name: field.default for name, field in own.items()}
    return ConfigDict(defaults | {"selector": selector} | fields).lock()


def settings(section: Config, *without: str) -> dict[str, Any]:
    """A section as plain values, for fingerprints and manifests, without the named fields."""
    plain = {key: value for key, value in section.to_dict().items() if key not in without}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}


def paper_batch_size(batch_size: int, keep: float, rule: str) -> int:
    """The retraining batch at a kept fraction: halved at 80% pruned, quartered at 90% (SemiPrune table 8).

    >>> [paper_batch_size(128, keep, "paper") for keep in (0.3, 0.2, 0.1)]
    [128, 64, 32]
    """
    if rule == "fixed" or keep > 0.2 + 1e-9:
        return batch_size
    return max(1, math.floor(batch_size / (4 if keep <= 0.1 + 1e-9 else 2)))
