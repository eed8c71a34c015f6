"""The schema: every setting once, and configs made from it."""

import copy
import json

import pytest

from semiprune_jax.config import schema, validation
from semiprune_jax.config.aliases import former_names
from semiprune_jax.errors import ConfigError
from semiprune_jax.select import selectors


def test_a_config_is_made_of_the_schema():
    config = schema.base_config()
    assert list(json.loads(config.to_json())) == ["seed", *schema.SECTIONS]
    for name, section in schema.SECTIONS.items():
        fields = set(config[name]) - (set(schema.NAMED) if name == "select" else set())
        assert fields == set(section.fields)
        for key, field in section.fields.items():
            assert config[name][key] == field.default
            assert field.type_expected(field.default) == ""
            assert field.help.endswith("."), key
    assert set(schema.NAMED) <= set(config.select)


def test_former_names_are_read():
    """Code and flags may use former names; a config is written with today's names only."""
    config = schema.base_config()
    assert config.fixmatch is config.ssl
    config.fixmatch.steps = 5
    config.fixmatch.update(mu=2)
    config.model.fixmatch = "resnet50"
    config.update({"fixmatch": {"batch_size": 3}, "model": {"fixmatch": "resnet8"}})
    config.update_from_flattened_dict({"fixmatch.threshold": 0.5})
    assert (config.ssl.steps, config.ssl.mu, config.ssl.batch_size, config.ssl.threshold) == (5, 2, 3, 0.5)
    assert config.model.ssl == config["model.fixmatch"] == "resnet8"
    assert config.get_type("fixmatch") is type(config.ssl)
    assert config.model.get_type("fixmatch") is str
    with pytest.raises(TypeError, match="original type"):
        config.model.fixmatch = 7
    validation.validate(config)
    for twin in (config, config.copy_and_resolve_references(), copy.deepcopy(config)):
        twin.fixmatch.steps = 6
        assert twin.ssl.steps == 6
        assert "fixmatch" in twin
        for shown in (list(twin), list(twin.model), twin.to_dict(), json.loads(twin.to_json())["model"]):
            assert "fixmatch" not in shown
            assert "ssl" in shown
        assert twin.is_locked
    assert config.ssl.steps == 6
    config.ssl.steps = 0
    with pytest.raises(ConfigError, match=r"^config\.ssl\.steps = 0: expected more than 0$"):
        validation.validate(config)


@pytest.mark.parametrize(
    ("flag", "found"),
    [
        ("--config.fixmatch.steps=5", {"fixmatch": "ssl"}),
        ("-config.model.fixmatch=resnet8", {"model.fixmatch": "model.ssl"}),
        ("--config.ssl.learner=fixmatch", {}),
        ("--config.embed.source=fixmatch", {}),
        ("--config.fixmatched=1", {}),
    ],
)
def test_flags_with_former_names_are_noticed(flag, found):
    assert former_names(["main", flag]) == found


def test_a_selection_of_an_unknown_field():
    with pytest.raises(TypeError, match=r"selection\(\) has no field 'cutof'; expected selector, score, horizon, "):
        schema.selection(selector="top", cutof=(0.1,))


def test_every_selection_has_the_settings_of_all_selectors():
    for selector in selectors.SELECTORS.values():
        made = schema.selection(selector=selector.name)
        assert {name: made[name] for name in selector.settings} == {n: f.default for n, f in selector.settings.items()}


def test_misspelled_fields_are_errors():
    config = schema.base_config()
    with pytest.raises(AttributeError, match='Did you mean "steps"'):
        config.ssl.step = 7
    with pytest.raises(AttributeError, match='Key "epoch" does not exist'):
        config.retrain.epoch = 7
    with pytest.raises(AttributeError, match='Did you mean "select"'):
        config.selct = 1
    with pytest.raises(AttributeError):
        config.select.semi_aum.cutof = (0.1,)
    config.select.mine = schema.selection(selector="top")  # a selection of one's own
    config.select.names = ("mine",)
    validation.validate(config)
    config.select.kep = (0.1,)
    with pytest.raises(ConfigError, match=r"config\.select\.kep: expected names, keep, include_labelled, or a sel"):
        validation.validate(config)


def test_paper_batch_size():
    sizes = [schema.paper_batch_size(128, keep, "paper") for keep in (1.0, 0.3, 0.2, 0.1, 0.05)]
    assert sizes == [128, 128, 64, 32, 32]
    assert schema.paper_batch_size(128, 0.1, "fixed") == 128
    assert schema.paper_batch_size(2, 0.1, "paper") == 1


def test_settings_are_plain():
    plain = schema.settings(schema.base_config().data, "path")
    assert plain["mean"] == [0.485, 0.456, 0.406]
    assert "path" not in plain
