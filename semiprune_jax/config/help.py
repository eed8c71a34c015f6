"""The text of ``--help``: every setting with its default, its meaning and its rule, in sections."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from semiprune_jax.config.aliases import CURRENT
from semiprune_jax.config.schema import NAMED, SECTIONS, SEED, selection_section
from semiprune_jax.errors import ConfigError
from semiprune_jax.field import Field

WIDTH = 100
_LEFT = 32  # columns for a setting and its default, beside its meaning


def of_everything() -> str:
    """All settings."""
    head = "All settings with their defaults. Each is a flag: --config.SECTION.SETTING=VALUE."
    parts = [head, "\n".join(_settings({"seed": SEED}))]
    return "\n\n".join([*parts, *(_section(name) for name in SECTIONS)])


def of_topic(topic: str) -> str:
    """One section, by its current or former name, or one of the selections: "ssl", "select.semi_aum".

    Raises:
      ConfigError: there is no such section.
    """
    section, _, selection = topic.removeprefix("config.").partition(".")
    section = CURRENT.get(section, section)
    if section in SECTIONS and not selection:
        return _section(section)
    if section == "select" and selection in NAMED:
        return _selection(selection)
    known = f"{', '.join(SECTIONS)}, or select.NAME with NAME one of {', '.join(NAMED)}"
    raise ConfigError(f"--help={topic}: there is no such section; expected one of {known}")


def paragraph(text: str) -> list[str]:
    """The lines of a text, wrapped and indented."""
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)


def table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lines of two columns: the left text, and the right one beside it, or below it if the left one is long."""
    for left, right in rows:
        first, *rest = textwrap.wrap(right, WIDTH - _LEFT, break_long_words=False, break_on_hyphens=False)
        if len(left) + 3 <= _LEFT:
            yield f"  {left:<{_LEFT - 2}}{first}"
        else:
            yield from (f"  {left}", " " * _LEFT + first)
        yield from (" " * _LEFT + line for line in rest)


def _section(name: str) -> str:
    lines = [*_title(name, SECTIONS[name].title), *_settings(SECTIONS[name].fields)]
    if name == "select":
        lines += ["", "  The selections. Each has the settings below; --help=select.NAME shows their values:", ""]
        lines += table((key, named.help) for key, named in NAMED.items())
        lines += ["", *paragraph(selection_section().title), ""]
        lines += _settings(selection_section().fields)
    return "\n".join(lines)


def _selection(name: str) -> str:
    return "\n".join(
        [*_title(f"select.{name}", NAMED[name].help), *_settings(selection_section().fields, NAMED[name].fields)]
    )


def _title(name: str, title: str) -> list[str]:
    return [f"--config.{name}", *paragraph(title), ""]


def _settings(fields: Mapping[str, Field], others: Mapping[str, Any] | None = None) -> Iterator[str]:
    """One row for each field; ``others`` are values that replace defaults."""
    values = {name: field.default for name, field in fields.items()} | dict(others or {})
    rows = []
    for name, field in fields.items():
        rule = f" [{field.rule.expected}]" if field.rule.expected else ""
        rows.append((f"{name}={_as_flag(values[name])}", field.help + rule))
    return table(rows)


def _as_flag(value: Any) -> str:
    """The value as one types it after the equals sign."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
