"""The settings in --help."""

import pytest

from semiprune_jax.config import help, schema
from semiprune_jax.errors import ConfigError


def shown(name, field):
    return f"  {name}={help._as_flag(field.default)}"


def test_everything_is_there_and_fits_the_screen():
    lines = help.of_everything().splitlines()
    assert all(len(line) <= help.WIDTH for line in lines)
    for name, section in schema.SECTIONS.items():
        assert f"--config.{name}" in lines
        for key, field in section.fields.items():
            assert any(line.startswith(shown(key, field)) for line in lines), f"{name}.{key}"
    words = " ".join(help.of_everything().split())
    for section in schema.SECTIONS.values():
        assert section.title in words
        for field in section.fields.values():
            assert field.help in words
            assert field.rule.expected in words


@pytest.mark.parametrize("topic", ["ssl", "fixmatch", "config.ssl"])
def test_a_section_by_itself(topic):
    lines = help.of_topic(topic).splitlines()
    assert lines[0] == "--config.ssl"
    settings = [
        line.split("=")[0].strip() for line in lines if line.startswith("  ") and line[2] != " " and "=" in line
    ]
    assert set(schema.SECTIONS["ssl"].fields) <= set(settings)
    assert not any("warm_up_epochs" in line for line in lines)  # another section's


def test_a_selection_shows_its_own_values():
    text = help.of_topic("select.semi_dual")
    for setting in ("selector=beta", "score=dual", "horizon=-1", "c_d=-1.0", "strata=50"):
        assert setting in text


@pytest.mark.parametrize("topic", ["nope", "ssl.steps", "select.nope", "data.random"])
def test_an_unknown_section(topic):
    with pytest.raises(ConfigError, match=rf"^--help={topic}: there is no such section; expected one of data, label,"):
        help.of_topic(topic)
