"""Validation of configs: one line for each problem, which names the field."""

from functools import reduce
from operator import getitem

import pytest
from ml_collections import ConfigDict

from semiprune_jax.config import schema, validation
from semiprune_jax.errors import ConfigError


def test_tdds_needs_two_visits_to_a_window():
    config = change("score.window", 1)
    validation.validate(config)
    config.proxy.record_kl = True
    with pytest.raises(ConfigError, match=r"score\.window = 1: expected 2 \.\. proxy\.epochs"):
        validation.validate(config)


def test_base_config_is_valid():
    validation.validate(schema.base_config())


def change(path, value):
    config = schema.base_config()
    config.select.names = (*config.select.names, "dual_hardest")
    put(config, path, value)
    return config


def put(config, path, value):
    *parts, last = path.split(".")
    reduce(getitem, parts, config)[last] = value


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", -1),
        ("data.source", "imagenet"),
        ("data.source", "folder"),  # without data.path
        ("data.image_size", 0),
        ("data.std", (1.0, 0.0, 1.0)),
        ("data.mean", (1.0,)),
        ("data.test_fraction", 1.0),
        ("label.budget", 0.0),
        ("label.budget", 1.0),  # a fraction or a count?
        ("label.budget", 1.5),
        ("report.examples", 0),
        ("select.semi_dual.exponent", 0.0),
        ("select.dual_hardest.horizon", -1),  # there are no trials for it
        ("label.held_out", 1.0),
        ("search.cost", -1.0),
        ("retrain.seeds", (0, -1)),
        ("select.semi_dual.score", "aum"),  # beta weights by the score, and AUM may be negative
        ("label.rule", "best"),
        ("model.ssl", "wrn_27_2"),
        ("model.proxy", "resnet19"),
        ("model.wide_resnet", "jax"),
        ("ssl.steps", 0),
        ("ssl.mu", 0),
        ("ssl.threshold", 1.5),
        ("ssl.alignment", "ours"),
        ("score.decay", 0.0),
        ("score.never_learned", "infinity"),
        ("ssl.ema_decay", 1.0),
        ("proxy.epochs", 0),
        ("retrain.learning_rate", 0.0),
        ("retrain.batch_rule", "half"),
        ("retrain.weight_decay", -1e-4),
        ("proxy.final_learning_rate", -0.1),
        ("data.imbalance", 0.0),
        ("data.corruption", 1.5),
        ("data.classes", ("ant",)),
        ("data.classes", ("ant", "bee")),  # the digits have ten
        # Wrong types, which only a config file can hold, since flags are parsed.
        ("seed", None),
        ("data", None),
        ("label.budget", float("nan")),
        ("ssl.steps", True),
        ("ssl.learning_rate", float("inf")),
        ("select.keep", ("half",)),
        ("select.names", (1,)),
        ("retrain.seeds", (0.5,)),
        ("select.semi_aum.cutoff", (None,)),
        ("retrain.seeds", ()),
        ("score.window", 201),
        ("score.last", 201),
        ("select.keep", (0.5, 1.5)),
        ("select.keep", (0.0,)),
        ("select.keep", ()),
        ("select.names", ("semi_aun",)),
        ("select.names", ("keep",)),
        ("select.semi_aum.cutoff", (0.1, 0.2)),
        ("select.semi_aum.cutoff", (0.4,)),  # with keep = 0.7
        ("select.semi_aum.selector", "double"),
        ("select.semi_aum.score", "entropy"),  # not recorded
        ("select.semi_dual.horizon", 201),
        ("select.semi_dual.horizon", 9),  # below the window
        ("select.semi_dual.form", "both"),
        ("select.semi_dual.c_d", 0.0),
        ("temi.select", "oracle"),  # without data.oracle
        ("runtime.parallel", "pjit"),
        ("runtime.devices", -1),
        ("runtime.compute_dtype", "float16"),
    ],
)
def test_bad_values_name_their_field(path, value):
    with pytest.raises(ConfigError) as error:
        validation.validate(change(path, value))
    section = path if path != "data.source" or value != "folder" else "data.path"
    first = str(error.value).splitlines()[0]  # lines about its consequences may follow
    assert first.startswith((f"config.{section}", "config.proxy.record_entropy"))
    assert "expected" in first


# Fields that take any text, and numbers that are read only under another setting or by another selector.
PLACES = ("cache", "labels", "name", "path", "split", "test_labels", "test_path", "test_split", "compilation_cache")
ELSEWHERE = ("square_size", "cutoff", "horizon")


def leaves(section, prefix=""):
    for name, value in section.items():
        if isinstance(value, ConfigDict):
            yield from leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, bool):
            yield prefix + name, value


def nonsense(value):
    """A value of the same type that is wrong for any field."""
    if isinstance(value, tuple):
        return (nonsense(value[0] if value else 0.0),)
    return "nonsense" if isinstance(value, str) else type(value)(-7)


def refusal(config):
    """The message of validation, or an empty text."""
    try:
        validation.validate(config)
    except ConfigError as error:
        return str(error)
    return ""


def test_no_field_takes_everything():
    config, taken = change("data.source", "digits"), set()
    config.select.names = ("semi_aum", "semi_dual")
    for name in set(config.select) - {*schema.SECTIONS["select"].fields, *config.select.names}:
        del config.select[name]
    for path, value in list(leaves(config)):
        put(config, path, nonsense(value))
        if f"config.{path}" not in refusal(config) and path != "score.first":  # which is reported as score.last
            taken.add(path.rpartition(".")[2])
        put(config, path, value)
    assert taken == {*PLACES, *ELSEWHERE, "wandb_project"}


def test_all_problems_come_at_once():
    config = change("seed", -1)
    config.data.image_size = 0
    config.select.names = ("nobody",)
    with pytest.raises(ConfigError) as error:
        validation.validate(config)
    assert len(str(error.value).splitlines()) == 3


def test_names_in_a_flag_are_split_at_commas():
    """ml_collections reads --config.select.names=random,ccs as one name."""
    config = change("select.names", ("random, ccs",))
    validation.validate(config)
    assert config.select.names == ("random", "ccs")
    validation.validate(config)
    assert config.select.names == ("random", "ccs")


def test_unused_selections_do_not_get_in_the_way():
    config = change("proxy.epochs", 12)
    config.select.names = ("random", "semi_aum")  # semi_dual's horizon of 30 does not fit
    validation.validate(config)
