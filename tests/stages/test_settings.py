"""The settings that each stage depends on: every field of the config is changed alone."""

import re

import pytest
from ml_collections import ConfigDict

from semiprune_jax.config.schema import base_config
from semiprune_jax.stages import embed, label, pseudolabel, retrain, score, search
from semiprune_jax.stages.settings import SUPERVISED_VIEWS, VIEWS

NOTHING = frozenset()
NETWORKS = frozenset({"pseudolabel", "score", "search", "retrain"})  # stages that train one of the config's networks
STAGES = {
    "label": label.settings,
    "pseudolabel": pseudolabel.settings,
    "score": score.settings,
    "embed": embed.settings,
    "search": lambda config: search.search_settings(config, "semi_dual", config.select.keep),
    "retrain": lambda config: retrain.retrain_settings(config, 0.3, "true labels", 1),
}


def each(section, *names):
    return [f"{section}.{name}" for name in names]


# Field -> the stages that depend on it. A section's entry holds for its fields without an entry.
EXPECTED = {
    "seed": {"label", "pseudolabel", "score", "search"},
    "data": {"label"},
    **dict.fromkeys(each("data", *label.PLACES), NOTHING),
    **dict.fromkeys(each("data", *VIEWS), NETWORKS),
    **dict.fromkeys(each("data", *SUPERVISED_VIEWS), NETWORKS - {"pseudolabel"}),
    "label": {"label"},
    "pseudolabel": {"pseudolabel"},
    "model.ssl": {"pseudolabel"},
    "model.proxy": {"score"},
    "model.retrain": {"retrain", "search"},
    "model.wide_resnet": NETWORKS,
    "ssl": {"pseudolabel"},
    "ssl.eval_every_steps": NOTHING,
    "temi": NOTHING,
    "proxy": {"score"},
    "proxy.epochs": {"score", "search"},  # the search tries horizons up to it
    "proxy.eval_every_epochs": NOTHING,
    "score": NOTHING,
    "score.window": {"search"},  # for DUAL
    "embed": NOTHING,
    "embed.source": {"embed"},
    "swav": NOTHING,
    "select": NOTHING,
    "select.semi_dual": {"search"},
    **dict.fromkeys(each("select.semi_dual", "cutoff", "strata", "end", "balanced"), NOTHING),
    **dict.fromkeys(each("select.semi_dual", "neighbours", "gamma", "samples"), NOTHING),
    "select.keep": {"search"},
    "select.include_labelled": {"search"},
    "search": {"search"},
    "search.exponents": NOTHING,  # the exponent has a value
    "retrain": {"retrain", "search"},
    **dict.fromkeys(each("retrain", "seeds", "full", "labelled_only", "save_model", "eval_every_epochs"), NOTHING),
    "retrain.batch_rule": {"search"},  # at keep = 0.3 there is nothing to halve
    "report": NOTHING,
    "runtime": NOTHING,
}


# Other values for fields that accept only certain texts.
OTHERS = {
    "embed.source": "swav",
    "pseudolabel.source": "clusters",
    "retrain.batch_rule": "fixed",
    "select.selector": "double_end",
    "select.score": "dyn_unc",
    "select.extrapolate": "graph",
}


def leaves(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def changed(config, field):
    """A copy of the config with another value of the field."""
    config = section = config.copy_and_resolve_references()
    config.unlock()
    *sections, name = field.split(".")
    for part in sections:
        section = section[part]
    value = section[name]
    if isinstance(value, bool):
        section[name] = not value
    elif isinstance(value, tuple):
        section[name] = (*value, *(value[:1] or (1,)))
    elif isinstance(value, str):
        section[name] = OTHERS.get(re.sub(r"^select\.\w+\.", "select.", field), value + "x")
    else:
        section[name] = value + 1
    return config


def expected(field):
    parts = field.split(".")
    return next(EXPECTED[name] for i in range(len(parts), 0, -1) if (name := ".".join(parts[:i])) in EXPECTED)


def test_what_depends_on_each_field():
    before = {name: settings(base_config()) for name, settings in STAGES.items()}
    wrong = {}
    for field in leaves(base_config()):
        after = changed(base_config(), field)
        found = {name for name, settings in STAGES.items() if settings(after) != before[name]}
        if found != expected(field):
            wrong[field] = found
    assert wrong == {}


@pytest.mark.parametrize(
    ("stage", "section", "source", "but"),
    [("pseudolabel", "temi", "clusters", ""), ("embed", "swav", "swav", ""), ("embed", "embed", "weights", "path")],
)
def test_other_ways_depend_on_their_own_fields(stage, section, source, but):
    config = base_config()
    config["pseudolabel" if section == "temi" else "embed"].source = source
    for field in leaves(config[section], f"{section}."):
        settings = [STAGES[stage](one) for one in (config, changed(config, field))]
        assert (settings[0] == settings[1]) == (field == f"embed.{but}"), field
